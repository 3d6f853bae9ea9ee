"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda X: X,
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "mish": functional.mish,
    "selu": torch.selu,
    "elu": functional.elu,
    "leaky_relu": functional.leaky_relu,
}
