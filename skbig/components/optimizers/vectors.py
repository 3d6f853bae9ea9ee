"""Vectors of parameters (P,) in a search along a line: short ones on a CPU are arrays, all others tensors.

NumPy takes a third of the time that torch takes for an operation, apart from the numbers: of a thousand of them an
iteration is mostly that. What both can do, they do by the same operators; here is what they cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from skbig._utils.reduction import SHORT

Vector: TypeAlias = Any
"""A Tensor or an ndarray, whose operators do the same."""


def vector(tensor: Tensor) -> Vector:
    """Return what a search computes with, in the memory of a tensor (P,)."""
    is_short = tensor.device.type == "cpu" and len(tensor) <= SHORT
    return tensor.numpy() if is_short and tensor.dtype in (torch.float32, torch.float64) else tensor


def tensor(vector: Vector) -> Tensor:
    """Return the same memory as a tensor."""
    return torch.from_numpy(vector) if isinstance(vector, np.ndarray) else vector


def stacked(vectors: Sequence[Vector]) -> Tensor:
    """Return k vectors as one tensor (k, P)."""
    return torch.stack([tensor(vector) for vector in vectors])


def same(one: Vector, other: Vector) -> bool:
    """Whether all numbers are the same."""
    return bool((one == other).all()) if isinstance(one, np.ndarray) else torch.equal(one, tensor(other))


def dot(one: Vector, other: Vector) -> float:
    """Return the inner product, in float64 where another range of numbers is too small."""
    product = float(one.dot(other))
    if (product == 0 or not math.isfinite(product)) and one.dtype not in (torch.float64, np.float64):
        return float(tensor(one).double().dot(tensor(other).double()))
    return product


def largest(vector: Vector) -> float:
    """Return the largest magnitude; not a number, where one is none."""
    return float(abs(vector).max())


def add(total: Vector, vector: Vector, share: float) -> None:
    """``total += share * vector``."""
    if isinstance(total, np.ndarray):
        total += share * vector
    else:
        total.add_(vector, alpha=share)


def rounding(vector: Vector) -> float:
    """Return the distance from one to the next larger number."""
    return 2.0**-23 if vector.itemsize == 4 else 2.0**-52
