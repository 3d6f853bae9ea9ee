"""Layers as modules of torch.

A layer of this package that torch has too becomes torch's own, so that libraries that look into modules know it. Any
other becomes a `LayerModule`. Another module for a class of layers is registered:
``@layer_module.register def _(layer: Mine, arrays): ...``.

Legend: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skbig.networks.dense import Dense
from skbig.networks.layer import BATCH_NORM_RATE, Layer
from skbig.networks.linear import LinearLayer

ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "selu": nn.SELU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


class LayerModule(nn.Module):
    """A layer as a module: (N, I) -> (N, O). In training mode, too, it computes what it predicts with.

    Parameters
    ----------
    layer : Layer
    arrays : dict of ndarray
        Parameters and running statistics by their names in the layer.
    """

    def __init__(self, layer: Layer, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.layer = layer
        self.names, self.statistics = list(layer.parameters()), list(layer.statistics())
        self.tensors = nn.ParameterDict({name: nn.Parameter(_tensor(arrays[name])) for name in self.names})
        for name in self.statistics:
            self.register_buffer(f"statistic_{name}", _tensor(arrays[name]))

    def forward(self, X: Tensor) -> Tensor:
        statistics = {name: getattr(self, f"statistic_{name}") for name in self.statistics}
        return self.layer.forward(X, {name: self.tensors[name] for name in self.names}, statistics, None)

    def extra_repr(self) -> str:
        return repr(self.layer)


@singledispatch
def layer_module(layer: Layer, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    """Return a layer of one member with its numbers as a module, (N, I) -> (N, O)."""
    return LayerModule(layer, arrays)


@layer_module.register
def _linear(layer: LinearLayer, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    return linear_module(arrays["weight"], arrays.get("bias"))


@layer_module.register
def _dense(layer: Dense, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    parts: list[nn.Module] = [linear_module(arrays["weight"], arrays["bias"])]
    if layer.normalization is not None:
        parts.append(_normalization_module(layer, arrays))
    if layer.activation != "identity":
        parts.append(ACTIVATION_MODULES[layer.activation]())
    if layer.draws_noise:
        parts.append(nn.Dropout(float(layer.dropout)))
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


class _Unfilled(nn.Linear):
    """A linear module without first weights, which torch would take a millisecond for, even where it has no memory."""

    def reset_parameters(self) -> None:
        pass


def linear_module(weight: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    """Return ``X @ weight + bias`` as a module; torch keeps the weight transposed."""
    n_in, n_out = weight.shape
    module: nn.Linear = _Unfilled(n_in, n_out, bias=bias is not None, device="meta")
    module.__class__ = nn.Linear
    module.weight = nn.Parameter(_tensor(weight.T))
    if bias is not None:
        module.bias = nn.Parameter(_tensor(bias.ravel()))
    return module


def _normalization_module(layer: Dense, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    flat = {name: _tensor(array.ravel()) for name, array in arrays.items()}
    module: Any
    if layer.normalization == "layer":
        module = nn.LayerNorm(layer.n_out, device="meta")
    else:
        module = nn.BatchNorm1d(layer.n_out, momentum=BATCH_NORM_RATE, device="meta")
        module.running_mean, module.running_var = flat["mean"], flat["variance"]
        module.num_batches_tracked = torch.zeros((), dtype=torch.long)
    module.weight, module.bias = nn.Parameter(flat["scale"]), nn.Parameter(flat["offset"])
    return module


def _tensor(array: np.ndarray) -> Tensor:
    """Return a copy as a tensor."""
    return torch.from_numpy(np.array(array, order="C"))
