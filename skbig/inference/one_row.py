"""A network for a single row, by NumPy: a product with a vector costs less there than torch's call of it.

Legend: M members, I inputs, O outputs, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatch

import numpy as np
from scipy.special import erf, expit

from skbig.inference.affine import affine_of
from skbig.inference.fitted_network import FittedNetwork
from skbig.networks.dense import Dense
from skbig.networks.layer import Layer
from skbig.networks.linear import LinearLayer
from skbig.networks.normalization import EPSILON

OfRow = Callable[[np.ndarray], np.ndarray]


class OneRow:
    """The raw predictions of a row, (I,) -> (M, 1, K).

    Parameters
    ----------
    members : list of list of callable
        The layers of each member, (I,) -> (O,), which do not change what they are given.
    """

    def __init__(self, members: list[list[OfRow]]) -> None:
        self.members = members

    def __call__(self, row: np.ndarray) -> np.ndarray:
        results = []
        for layers in self.members:
            value = row
            for layer in layers:
                value = layer(value)
            results.append(value)
        return results[0][None, None] if len(results) == 1 else np.stack(results)[:, None]


def one_row(fitted: FittedNetwork) -> OneRow | None:
    """Return a network for a single row, or None where a layer of it has no such form."""
    if fitted.encodes or fitted.temperature != 1.0:
        return None
    members = [
        [row_layer(layer, fitted.of_layer(i, member)) for i, layer in enumerate(fitted.network.layers)]
        for member in range(fitted.n_members)
    ]
    known = [[layer for layer in layers if layer is not None] for layers in members]
    return OneRow(known) if known[0] and len(known[0]) == len(members[0]) else None


@singledispatch
def row_layer(layer: Layer, arrays: Mapping[str, np.ndarray]) -> OfRow | None:
    """Return a layer for a single row, (I,) -> (O,), or None where nobody has written one."""
    del layer, arrays
    return None


@row_layer.register
def _linear(layer: LinearLayer, arrays: Mapping[str, np.ndarray]) -> OfRow:
    return _DenseRow(*affine_of(layer, arrays), "identity", None)


@row_layer.register
def _dense(layer: Dense, arrays: Mapping[str, np.ndarray]) -> OfRow:
    (weight, bias), norm = affine_of(layer, arrays), None
    if layer.normalization == "layer":
        norm = (arrays["scale"].ravel().copy(), arrays["offset"].ravel().copy())
    dtype = arrays["weight"].dtype
    return _DenseRow(weight.astype(dtype, copy=False), bias.astype(dtype, copy=False), layer.activation, norm)


class _DenseRow:
    """A dense layer for a row; its weight lies transposed, (O, I), so that each output reads memory in a line."""

    def __init__(
        self, weight: np.ndarray, bias: np.ndarray, activation: str, norm: tuple[np.ndarray, np.ndarray] | None
    ) -> None:
        self.weight, self.bias = np.array(weight.T, order="C"), bias.flatten()
        self.activation, self.norm = _ACTIVATIONS[activation], norm

    def __call__(self, row: np.ndarray) -> np.ndarray:
        Z = self.weight.dot(row)
        Z += self.bias
        if self.norm is not None:
            scale, offset = self.norm
            Z -= Z.mean()
            Z *= scale / np.sqrt(np.square(Z).mean() + Z.dtype.type(EPSILON))
            Z += offset
        return self.activation(Z)


def _identity(Z: np.ndarray) -> np.ndarray:
    return Z


def _tanh(Z: np.ndarray) -> np.ndarray:
    return np.tanh(Z, out=Z)


def _relu(Z: np.ndarray) -> np.ndarray:
    return np.maximum(Z, 0, out=Z)


def _gelu(Z: np.ndarray) -> np.ndarray:
    return Z * (0.5 + 0.5 * erf(Z * 0.7071067811865476))


def _silu(Z: np.ndarray) -> np.ndarray:
    return Z * expit(Z)


def _mish(Z: np.ndarray) -> np.ndarray:
    return Z * np.tanh(np.logaddexp(Z, Z.dtype.type(0)))


def _elu(Z: np.ndarray) -> np.ndarray:
    return np.where(Z > 0, Z, np.expm1(np.minimum(Z, 0)))


def _selu(Z: np.ndarray) -> np.ndarray:
    return 1.0507009873554805 * np.where(Z > 0, Z, 1.6732632423543772 * np.expm1(np.minimum(Z, 0)))


def _leaky_relu(Z: np.ndarray) -> np.ndarray:
    return np.where(Z > 0, Z, 0.01 * Z)


_ACTIVATIONS: dict[str, OfRow] = {
    "identity": _identity,
    "logistic": expit,
    "tanh": _tanh,
    "relu": _relu,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "elu": _elu,
    "selu": _selu,
    "leaky_relu": _leaky_relu,
}
