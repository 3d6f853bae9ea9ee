"""Activations of split tensors that the oldest supported torch does not know: each number is computed by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.experimental import register_sharding

_aten = torch.ops.aten
_POINTWISE = [
    *(_aten.elu.default, _aten.elu_backward.default),
    *(_aten.leaky_relu.default, _aten.leaky_relu_backward.default),
    *(_aten.mish.default, _aten.mish_backward.default),
]


def _alike(*arguments: Any) -> list[Any]:
    """Return how result and arguments may lie: all whole, or all split along the same axis."""
    n_dims = max(argument.ndim for argument in arguments if hasattr(argument, "ndim"))
    ways = [Replicate(), *(Shard(dim) for dim in range(n_dims))]
    return [([way], [way if hasattr(argument, "ndim") else None for argument in arguments]) for way in ways]


def learn_activations() -> None:
    """Tell torch how to compute those that it does not know."""
    known = DTensor._op_dispatcher.sharding_propagator.op_strategy_funcs
    unknown = [operation for operation in _POINTWISE if operation not in known]
    if unknown:
        register_sharding(unknown)(_alike)
