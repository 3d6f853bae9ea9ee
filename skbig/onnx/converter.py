"""What skl2onnx is told of the estimators: the shapes of their outputs, and their nodes.

Legend: M members, N rows, K raw outputs, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skbig._utils.extras import import_extra
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.estimators.exits import fitted_network
from skbig.exceptions import ExportError
from skbig.inference.fitted_network import FittedNetwork
from skbig.onnx.graph import Graph
from skbig.onnx.layers import convert_layer
from skbig.onnx.modules import convert_module, is_module, row_dtype
from skbig.onnx.tables import Input, encoded_table


def output_shapes(operator: Any) -> None:
    """Say what comes out: labels and probabilities, or numbers."""
    types = import_extra("skl2onnx.common.data_types", "onnx", "skbig.onnx")
    fitted = fitted_network(operator.raw_operator)
    rows = operator.inputs[0].get_first_dimension()
    number = types.DoubleTensorType if _dtype_of(operator) == np.float64 else types.FloatTensorType
    if isinstance(fitted.targets, ClassTargets):
        classes, several = _labels(operator.scope_inst, operator.raw_operator), fitted.targets.multilabel
        label = types.StringTensorType if _are_texts(classes) else types.Int64TensorType
        operator.outputs[0].type = label([rows, len(classes)] if several else [rows])
        operator.outputs[1].type = number([rows, len(classes)])
    else:
        operator.outputs[0].type = number([rows, fitted.network.n_outputs])


def add_nodes(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted estimator."""
    estimator = operator.raw_operator
    fitted = fitted_network(estimator)
    graph = Graph(scope, container, fitted.n_members, _dtype_of(operator))
    raw = _raw(graph, fitted, _rows(graph, fitted, estimator, operator.inputs))
    outputs = [variable.full_name for variable in operator.outputs]
    if isinstance(fitted.targets, RegressionTargets):
        predictions = _decoded(graph, _prediction(graph, raw, fitted), fitted.targets)
        graph.node("Identity", _mean(graph, predictions), output=outputs[0])
        return
    asks_for_raw = bool(container.get_options(estimator, {"raw_scores": False})["raw_scores"])
    _add_classes(graph, fitted, raw, outputs, _labels(scope, estimator), asks_for_raw)


def _rows(graph: Graph, fitted: FittedNetwork, estimator: Any, variables: list[Any]) -> str:
    """Add what the network reads, of one input or of several side by side: (N, F)."""
    if hasattr(estimator, "encoding_"):
        return encoded_table(graph, estimator.encoding_, [_input(variable) for variable in variables])
    dtype = row_dtype(fitted, graph) if is_module(fitted) else graph.dtype
    parts = [graph.cast(variable.full_name, dtype) for variable in variables]
    return parts[0] if len(parts) == 1 else str(graph.node("Concat", *parts, axis=-1))


def _input(variable: Any) -> Input:
    shape = variable.type.shape
    width = shape[1] if len(shape) > 1 and isinstance(shape[1], int) else 1
    return Input(variable.full_name, variable.raw_name, _kind(variable.type), width)


def _raw(graph: Graph, fitted: FittedNetwork, X: str) -> str:
    """Add the network: (N, F) -> (N, K), or (M, N, K)."""
    if is_module(fitted):
        return convert_module(graph, fitted, X)
    if graph.n_members > 1:
        X = graph.node("Unsqueeze", X, graph.constant([0], np.int64))
    only = 0 if graph.n_members == 1 else None
    for i, layer in enumerate(fitted.network.layers):
        X = convert_layer(layer, graph, X, fitted.of_layer(i, only))
    return X if fitted.temperature == 1.0 else str(graph.node("Div", X, graph.constant(fitted.temperature)))


def _mean(graph: Graph, value: str) -> str:
    """Add the mean over the members: (M, N, K) -> (N, K)."""
    return value if graph.n_members == 1 else graph.mean(value, 0, graph.n_members)


def _prediction(graph: Graph, raw: str, fitted: FittedNetwork) -> str:
    """Add the inverse link."""
    if fitted.link is not None:
        return _link(graph, raw, fitted.link)
    name = fitted.loss.name
    if name == "modified_huber":
        return _modified_huber(graph, raw, fitted.multiclass)
    raise ExportError(
        f"The model cannot become an ONNX graph: what loss={fitted.loss!r} makes of raw predictions is a formula of "
        "its own, which is Python. Export to_torch()."
    )


def _link(graph: Graph, raw: str, name: str) -> str:
    if name == "identity":
        return raw
    if name == "expm1":
        return str(graph.node("Sub", graph.node("Exp", raw), graph.constant(1.0)))
    if name == "softmax":
        return str(graph.node("Softmax", raw, axis=-1))
    return str(graph.node({"exp": "Exp", "logistic": "Sigmoid"}[name], raw))


def _modified_huber(graph: Graph, raw: str, multiclass: bool) -> str:
    cut = graph.node("Clip", raw, graph.constant(-1.0), graph.constant(1.0))
    share = graph.node("Mul", graph.node("Add", cut, graph.constant(1.0)), graph.constant(0.5))
    if not multiclass:
        return str(share)
    zero, one = graph.constant(0.0), graph.constant(1.0)
    claimed = graph.node("Greater", graph.sum(share, -1, keepdims=True), zero)
    share = graph.node("Where", claimed, share, one)  # a row that no class claims is shared evenly
    return str(graph.node("Div", share, graph.sum(share, -1, keepdims=True)))


def _decoded(graph: Graph, prediction: str, targets: RegressionTargets) -> str:
    if isinstance(targets.scale, float):
        return prediction
    moved = graph.node("Mul", prediction, graph.constant(targets.scale))
    moved = graph.node("Add", moved, graph.constant(targets.centre))
    return str(graph.node("Min", graph.node("Max", moved, graph.constant(targets.low)), graph.constant(targets.high)))


def _labels(scope: Any, estimator: Any) -> np.ndarray:
    """Return the labels of classes, or, by skl2onnx's option "nocl", their numbers."""
    counted = bool(scope.get_options(estimator, {"nocl": False})["nocl"])
    return np.arange(len(estimator.classes_)) if counted else estimator.classes_


def _add_classes(
    graph: Graph, fitted: FittedNetwork, raw: str, outputs: list[str], labels: np.ndarray, asks_for_raw: bool
) -> None:
    """Add labels, and probabilities or scores."""
    targets, threshold = fitted.targets, 0.0
    assert isinstance(targets, ClassTargets)
    scores = decisive = _mean(graph, raw)
    if fitted.one_class:
        _add_only_class(graph, scores, outputs, labels, fitted.loss.probabilistic and not asks_for_raw)
        return
    if fitted.loss.probabilistic:
        probabilities = _mean(graph, _prediction(graph, raw, fitted))
        if graph.n_members > 1:
            decisive, threshold = probabilities, 0.5
            scores = _pooled(graph, probabilities, fitted) if asks_for_raw and fitted.pools else scores
    is_share = fitted.loss.probabilistic and not asks_for_raw
    shown = probabilities if is_share else scores
    if fitted.two_classes:
        first = graph.node("Sub", graph.constant(1.0), shown) if is_share else graph.node("Neg", shown)
        shown = graph.node("Concat", first, shown, axis=-1)
    graph.node("Identity", shown, output=outputs[1])
    if targets.multiclass:
        index = graph.node("ArgMax", decisive, axis=-1, keepdims=0)
    else:
        over = graph.cast(graph.node("Greater", decisive, graph.constant(threshold)), np.int64)
        index = over if targets.multilabel else graph.reshape(over, [-1])
    if targets.multilabel:
        graph.node("Identity", index, output=outputs[0])
    else:
        graph.node("Gather", _class_constant(graph, labels), index, axis=0, output=outputs[0])


def _add_only_class(graph: Graph, scores: str, outputs: list[str], labels: np.ndarray, is_share: bool) -> None:
    """Add the one label that there is, and that it is sure; or its score."""
    nothing = graph.node("Sub", scores, scores)
    shown = graph.node("Add", nothing, graph.constant(1.0)) if is_share else scores
    graph.node("Identity", shown, output=outputs[1])
    index = graph.reshape(graph.cast(nothing, np.int64), [-1])
    graph.node("Gather", _class_constant(graph, labels), index, axis=0, output=outputs[0])


def _pooled(graph: Graph, probabilities: str, fitted: FittedNetwork) -> str:
    """Add the log-odds of mean probabilities, or the logarithms of those of several classes."""
    if fitted.multiclass:
        return str(graph.node("Log", probabilities))
    others = graph.node("Sub", graph.constant(1.0), probabilities)
    return str(graph.node("Log", graph.node("Div", probabilities, others)))


def _class_constant(graph: Graph, classes: np.ndarray) -> str:
    if _are_texts(classes):
        return graph.constant(classes.astype(str))
    whole = classes.astype(np.int64)
    if not np.array_equal(whole, classes):
        raise ExportError(f"A graph's labels are texts or whole numbers, and `classes_` are {classes.tolist()}.")
    return graph.constant(whole, np.int64)


def _are_texts(classes: np.ndarray) -> bool:
    return classes.dtype.kind in "US" or (classes.dtype.kind == "O" and isinstance(classes[0], str))


def _dtype_of(operator: Any) -> np.dtype[Any]:
    """Return what is computed in: float64 where inputs are, and none is float32."""
    kinds = {_kind(variable.type) for variable in operator.inputs}
    return np.dtype(np.float64 if "float64" in kinds and "float32" not in kinds else np.float32)


def _kind(type_: Any) -> str:
    """Return what an input holds, in the words of `Input`."""
    name = type(type_).__name__.removesuffix("TensorType")
    if name.startswith(("Int", "UInt")):
        return "whole"
    return {"Double": "float64", "String": "text", "Boolean": "bool"}.get(name, "float32")
