"""Layers as nodes of a graph.

Legend: M members, N rows, F features, I inputs, O outputs, B bins, C frequencies, D numbers for each column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import singledispatch

import numpy as np
import torch

from skbig.exceptions import ExportError
from skbig.inference.affine import affine_of
from skbig.networks.columns import Columns
from skbig.networks.dense import Dense
from skbig.networks.embedding import Embedding, OneHot
from skbig.networks.layer import Layer
from skbig.networks.linear import LinearLayer
from skbig.networks.monotonic import MonotonicDense
from skbig.networks.normalization import EPSILON
from skbig.networks.periodic import Periodic
from skbig.networks.piecewise import PiecewiseLinear
from skbig.onnx.graph import Graph


@singledispatch
def convert_layer(layer: Layer, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Add the nodes of a layer to a graph; register a function for layers of your own.

    Parameters
    ----------
    layer : Layer
    graph : Graph
        What nodes are added to.
    X : str
        Name of what the layer reads.
    arrays : dict of ndarray
        Parameters and running statistics by their names in the layer. Of several members, each has them as its first
        dim.

    Returns
    -------
    name : str
        Of what the layer gives.

    Raises
    ------
    ExportError
        When no function is registered for layers of this class.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from skbig.networks import Layer
    >>> from skbig.onnx import convert_layer
    >>> class Square(Layer):  # and its methods
    ...     pass
    >>> @convert_layer.register
    ... def square(layer: Square, graph, X, arrays):
    ...     return graph.node("Mul", X, X)
    """
    del graph, X, arrays
    name = type(layer).__name__
    raise ExportError(
        f"The layer {name} cannot become nodes of ONNX: nobody has said how. Register a function: "
        f"@skbig.onnx.convert_layer.register def _(layer: {name}, graph, X, arrays): ..., or export to_torch()."
    )


@convert_layer.register
def _linear(layer: LinearLayer, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    return _affine(graph, X, arrays["weight"], arrays.get("bias"))


@convert_layer.register
def _dense(layer: Dense, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    Z = _affine(graph, X, *affine_of(layer, arrays))
    if layer.normalization == "layer":
        Z = _layer_norm(graph, Z, layer.n_out, arrays)
    known = _ACTIVATIONS if graph.dtype == np.float32 else _ACTIVATIONS | _IN_FLOAT64
    return known[layer.activation](graph, Z)


@convert_layer.register
def _monotonic(layer: MonotonicDense, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    signed = layer.signed({name: torch.from_numpy(np.array(arrays[name])) for name in layer.parameters()})
    Z = _dense(layer.sums, graph, X, {**arrays, **{name: value.numpy() for name, value in signed.items()}})
    known = _ACTIVATIONS if graph.dtype == np.float32 else _ACTIVATIONS | _IN_FLOAT64
    activation, (n_convex, n_concave, n_saturated) = known[layer.activation], layer.thirds
    if not n_concave:
        return activation(graph, Z)
    side = graph.constant(np.repeat([1.0, -1.0, 1.0], layer.thirds))
    one_sided = graph.node("Mul", activation(graph, graph.node("Mul", Z, side)), side)
    saturated = graph.constant(np.repeat([False, True], [n_convex + n_concave, n_saturated]), bool)
    return str(graph.node("Where", saturated, graph.node("Tanh", Z), one_sided))


def _affine(graph: Graph, X: str, weight: np.ndarray, bias: np.ndarray | None) -> str:
    product = str(graph.node("MatMul", X, graph.constant(weight)))
    return product if bias is None else str(graph.node("Add", product, graph.constant(bias)))


def _layer_norm(graph: Graph, Z: str, width: int, arrays: Mapping[str, np.ndarray]) -> str:
    centred = graph.node("Sub", Z, graph.mean(Z, -1, width, keepdims=True))
    variance = graph.mean(graph.node("Mul", centred, centred), -1, width, keepdims=True)
    deviation = graph.node("Sqrt", graph.node("Add", variance, graph.constant(EPSILON)))
    scaled = graph.node("Mul", graph.node("Div", centred, deviation), graph.constant(arrays["scale"]))
    return str(graph.node("Add", scaled, graph.constant(arrays["offset"])))


def _gelu(graph: Graph, Z: str) -> str:
    error = graph.node("Erf", _times(graph, Z, math.sqrt(0.5)))
    return _gelu_of(graph, Z, error)


def _gelu_by_float32(graph: Graph, Z: str) -> str:
    """Add a GELU in float64 whose error function is exact to float32, as is all that there is of it."""
    error = graph.node("Erf", graph.cast(_times(graph, Z, math.sqrt(0.5)), np.float32))
    return _gelu_of(graph, Z, graph.cast(error, graph.dtype))


def _gelu_of(graph: Graph, Z: str, error: str) -> str:
    return str(graph.node("Mul", _times(graph, Z, 0.5), graph.node("Add", error, graph.constant(1.0))))


def _silu(graph: Graph, Z: str) -> str:
    return str(graph.node("Mul", Z, graph.node("Sigmoid", Z)))


def _mish(graph: Graph, Z: str) -> str:
    """Add ``z tanh(log(1 + e^z))``, by ``max(z, 0) + log(1 + e^-|z|)``, which is finite."""
    tail = graph.node("Exp", graph.node("Neg", graph.node("Abs", Z)))
    tail = graph.node("Log", graph.node("Add", tail, graph.constant(1.0)))
    return str(graph.node("Mul", Z, graph.node("Tanh", graph.node("Add", graph.node("Relu", Z), tail))))


def _elu(graph: Graph, Z: str, factor: float = 1.0) -> str:
    below = graph.node("Exp", graph.node("Min", Z, graph.constant(0.0)))
    below = _times(graph, graph.node("Sub", below, graph.constant(1.0)), factor)
    return str(graph.node("Add", graph.node("Relu", Z), below))


def _times(graph: Graph, Z: str, factor: float) -> str:
    return str(graph.node("Mul", Z, graph.constant(factor)))


_SELU = (1.0507009873554805, 1.6732632423543772)
# ONNX Runtime has these for float32 only.
_IN_FLOAT64: dict[str, Callable[[Graph, str], str]] = {
    "gelu": _gelu_by_float32,
    "mish": _mish,
    "selu": lambda graph, Z: _times(graph, _elu(graph, Z, _SELU[1]), _SELU[0]),
    "elu": _elu,
    "leaky_relu": lambda graph, Z: graph.node("Max", Z, _times(graph, Z, 0.01)),
}
_ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "identity": lambda graph, Z: Z,
    "logistic": lambda graph, Z: graph.node("Sigmoid", Z),
    "tanh": lambda graph, Z: graph.node("Tanh", Z),
    "relu": lambda graph, Z: graph.node("Relu", Z),
    "gelu": _gelu,
    "silu": _silu,
    "mish": lambda graph, Z: graph.node("Mul", Z, graph.node("Tanh", graph.node("Softplus", Z))),
    "selu": lambda graph, Z: graph.node("Selu", Z, alpha=_SELU[1], gamma=_SELU[0]),
    "elu": lambda graph, Z: graph.node("Elu", Z, alpha=1.0),
    "leaky_relu": lambda graph, Z: graph.node("LeakyRelu", Z, alpha=0.01),
}


@convert_layer.register
def _columns(layer: Columns, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    results, start = [], 0
    for name, part in layer.parts:
        size: int = part.n_in  # type: ignore[attr-defined]
        own = {key: arrays[f"{name}_{key}"] for key in [*part.parameters(), *part.statistics()]}
        results.append(convert_layer(part, graph, graph.columns(X, start, start + size), own))
        start += size
    if layer.n_left:
        results.append(graph.columns(X, start, layer.n_in))
    return graph.side_by_side(results)


@convert_layer.register
def _one_hot(layer: OneHot, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    known = []
    for i, n in enumerate(layer.n_codes):
        hit = graph.node("Equal", graph.columns(X, i, i + 1), graph.constant(np.arange(1, n)))
        known.append(graph.cast(hit, graph.dtype))
    return graph.side_by_side(known)


@convert_layer.register
def _embedding(layer: Embedding, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Read rows of a table; of several members, of theirs below each other."""
    table = arrays["table"].reshape(-1, layer.width)
    n_codes = np.array(layer.n_codes)
    codes = graph.cast(X, np.int64)  # (..., N, columns)
    codes = graph.node("Max", codes, graph.constant(np.zeros_like(n_codes), np.int64))
    codes = graph.node("Min", codes, graph.constant(n_codes - 1, np.int64))
    first = np.array(layer.first)
    if graph.n_members > 1:
        first = first + n_codes.sum() * np.arange(graph.n_members)[:, None, None]
    index = graph.node("Add", codes, graph.constant(first, np.int64))
    read = graph.node("Gather", graph.constant(table), index, axis=0)
    return graph.reshape(read, [*[0] * (graph.rank - 1), layer.n_units])


@convert_layer.register
def _piecewise(layer: PiecewiseLinear, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Multiply how full the bins are with the table."""
    n_bins = layer.n_bins
    place = graph.node("Mul", X, graph.constant(float(n_bins)))
    place = graph.node("Unsqueeze", place, graph.constant([-1], np.int64))
    begins = np.arange(n_bins, dtype=float)
    low, high = np.zeros(n_bins), np.ones(n_bins)
    low[0], high[-1] = -np.finfo(np.float32).max, np.finfo(np.float32).max  # the outer bins have no end
    full = graph.node("Sub", place, graph.constant(begins))
    full = graph.node("Min", graph.node("Max", full, graph.constant(low)), graph.constant(high))
    sums = _column_product(graph, full, arrays["table"], layer.n_units)
    values = str(graph.node("Add", sums, graph.constant(arrays["bias"])))
    if not layer.n_rectified:
        return values
    least = np.where(np.arange(layer.n_units) % layer.width < layer.n_rectified, 0.0, -np.finfo(np.float32).max)
    return str(graph.node("Max", values, graph.constant(least)))


@convert_layer.register
def _periodic(layer: Periodic, graph: Graph, X: str, arrays: Mapping[str, np.ndarray]) -> str:
    number = graph.node("Unsqueeze", X, graph.constant([-1], np.int64))  # (..., N, F, 1)
    frequency, shift = (np.swapaxes(arrays[name], -3, -2) for name in ("frequency", "shift"))  # (..., 1, F, C)
    phase = graph.node("Add", graph.node("Mul", number, graph.constant(frequency)), graph.constant(shift))
    waves = graph.node("Cos", graph.node("Mul", phase, graph.constant(2 * math.pi)))
    sums = _column_product(graph, waves, arrays["wave"], layer.n_in * layer.width)
    return graph.side_by_side([X, str(graph.node("Add", sums, graph.constant(arrays["bias"])))])


def _column_product(graph: Graph, values: str, table: np.ndarray, n_units: int) -> str:
    """Multiply the numbers of each column with its matrix: (..., N, F, B) and (..., F, B, D) -> (..., N, F * D)."""
    swapped = [*range(graph.rank - 2), *(graph.rank - 2 + axis for axis in (1, 0, 2))]
    product = graph.node("MatMul", graph.node("Transpose", values, perm=swapped), graph.constant(table))
    return graph.reshape(graph.node("Transpose", product, perm=swapped), [*[0] * (graph.rank - 1), n_units])
