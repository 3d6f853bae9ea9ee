"""From a fitted model to an ONNX graph that has been seen to predict the same.

Legend: N rows, F features.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_is_fitted

from skbig._utils.extras import import_extra
from skbig._utils.version import __version__
from skbig._utils.whole_files import in_place_of
from skbig.estimators.types import Table, Targets
from skbig.exceptions import ExportError
from skbig.onnx.check import check_graph
from skbig.onnx.feeds import Feeds, feeds_of
from skbig.onnx.messages import first_line
from skbig.onnx.quantization import quantized
from skbig.onnx.registration import register_if_installed, register_within

if TYPE_CHECKING:
    from onnx import ModelProto

OLDEST_OPSET = 15


def to_onnx(
    model: BaseEstimator,
    X: Table,
    path: str | os.PathLike[str] | None = None,
    *,
    quantize: str | None = None,
    max_loss: float = 0.01,
    y: Targets | None = None,
    target_opset: int | None = None,
    dtype: str = "float32",
) -> ModelProto:
    """Return a fitted model, or a whole Pipeline, as an ONNX graph; it is run, and must predict the same.

    Parameters
    ----------
    model : estimator
        Fitted: an estimator of this package, or whatever skl2onnx converts with one of ours in it, such as a Pipeline
        with a ColumnTransformer. Of a search the best estimator is taken.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows as the model reads them, on which the graph is tried: some hundred typical ones. A table that a
        `BigTabularClassifier` or a ColumnTransformer reads becomes one input for each column, and so does a data frame
        with a column of texts; anything else becomes one input "X". That of a module may have any shape.
    path : path, default=None
        File to write, as a whole or not at all.
    quantize : {'int8'} or None, default=None
        Store the weights of large products as 8-bit integers: a quarter of the size, and about twice as fast for many
        rows.
    max_loss : float, default=0.01
        How much of its score the model may lose by `quantize`.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets of X, by which that loss is measured: in accuracy, or in R². Without them predictions are compared with
        those before: the share of rows whose label changes, or one less the R².
    target_opset : int, default=None
        Version of ONNX's operators, from 15 on, for modules of your own from 18 on; None is the newest that skl2onnx
        knows.
    dtype : {'float32', 'float64'}, default='float32'
        Of the numbers in the inputs, and in what is computed: 'float64' for numbers that float32 cannot tell apart.

    Returns
    -------
    graph : onnx.ModelProto
        Of a classifier with the outputs "label" and "probabilities" (N, n_classes); scores, where the loss gives no
        probabilities. Its `metadata_props` have "classes", "max_difference" (of what was compared) and
        "quantization_loss".

    Raises
    ------
    skbig.exceptions.ExportError
        When a part of the model has no equal in ONNX; when the graph predicts something else than the model, by more
        than 1e-5; or when quantizing loses too much. Nothing is written then.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigMLPClassifier
    >>> from skbig.onnx import to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), BigMLPClassifier((8,), optimizer="lbfgs", random_state=0)).fit(X, y)
    >>> graph = to_onnx(model, X, "iris.onnx")
    >>> [output.name for output in graph.graph.output]
    ['label', 'probabilities']
    """
    _check_choices(quantize, max_loss, target_opset, dtype)
    model = getattr(model, "best_estimator_", model)
    check_is_fitted(model)
    feeds = feeds_of(model, X, dtype)
    graph = _converted(model, feeds, target_opset)
    facts = {"skbig": __version__, "max_difference": repr(check_graph(graph, model, feeds))}
    if quantize is not None:
        graph, loss = quantized(graph, model, feeds, y, max_loss)
        facts["quantization_loss"] = repr(loss)
    classes = getattr(model, "classes_", None)
    if isinstance(classes, np.ndarray):
        facts["classes"] = json.dumps(classes.tolist())
    for name, value in facts.items():
        graph.metadata_props.add(key=name, value=value)
    if path is not None:
        with in_place_of(Path(path)) as unfinished:
            unfinished.write_bytes(graph.SerializeToString())
    return graph


def _check_choices(quantize: Any, max_loss: Any, target_opset: Any, dtype: Any) -> None:
    if not (isinstance(dtype, str) and dtype in ("float32", "float64")):
        raise ValueError(f"The 'dtype' parameter of to_onnx must be 'float32' or 'float64'. Got {dtype!r} instead.")
    if quantize not in (None, "int8"):
        raise ValueError(f"The 'quantize' parameter of to_onnx must be 'int8' or None. Got {quantize!r} instead.")
    if quantize and dtype != "float32":
        raise ValueError("quantize='int8' takes a graph with dtype='float32'. Got dtype='float64'.")
    if not isinstance(max_loss, int | float) or not max_loss >= 0:
        raise ValueError(
            f"The 'max_loss' parameter of to_onnx must be a float of at least 0. Got {max_loss!r} instead."
        )
    newest = import_extra("skl2onnx", "onnx", "skbig.onnx").__max_supported_opset__
    whole = isinstance(target_opset, int) and OLDEST_OPSET <= target_opset <= newest
    if target_opset is not None and not whole:
        raise ValueError(
            f"The 'target_opset' parameter of to_onnx must be an int from {OLDEST_OPSET} to {newest}, the newest that "
            f"this skl2onnx knows. Got {target_opset!r} instead."
        )


def _converted(model: Any, feeds: Feeds, target_opset: int | None) -> Any:
    skl2onnx = import_extra("skl2onnx", "onnx", "skbig.onnx")
    register_if_installed()
    register_within(model)
    options = {id(model): {"zipmap": False}} if is_classifier(model) else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it does within
            graph = skl2onnx.convert_sklearn(
                model,
                initial_types=feeds.types(),
                options=options,
                target_opset=target_opset,
                name=type(model).__name__,
            )
    except (ExportError, ImportError):  # which says what to install
        raise
    except Exception as error:
        raise ExportError(f"skl2onnx cannot convert {type(model).__name__}: {first_line(error)}") from error
    _give_back_names(graph.graph, list(feeds.inputs))
    for each in graph.opset_import:
        if each.domain == "" and target_opset is not None:
            each.version = target_opset  # the nodes may do with an older one
    return graph


def _give_back_names(graph: Any, names: list[str]) -> None:
    """Call the inputs what the columns are called, of whose names skl2onnx has kept letters and digits alone."""
    outputs = [made.name for made in graph.output]
    if taken := [name for name in names if name in outputs]:
        raise ExportError(
            f"A column is called {taken[0]!r}, and so is an output of the graph, of {outputs}. Rename the column, and "
            "fit the model again."
        )
    own = {given.name: name for given, name in zip(graph.input, names, strict=True)}
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = own.get(name, name)
    for given in graph.input:
        given.name = own[given.name]
