"""What many numbers come to; sums have the same bits on any number of threads.

Legend: M members, P numbers of one member.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 2**15 - 1
"""A sum as long as this runs on one thread; libraries share longer ones among threads, each in its own way."""

SHORT = 2**12 - 1
"""The same of an inner product."""


def norm(tensor: Tensor, order: float = 2) -> Tensor:
    """Return the 1-norm or the 2-norm of each member, (M, 1, P) -> (M, 1, 1)."""
    if tensor.device.type != "cpu":
        return torch.linalg.vector_norm(tensor, order, dim=2, keepdim=True)
    blocks = [torch.linalg.vector_norm(block, order, dim=2, keepdim=True) for block in tensor.split(BLOCK, 2)]
    return blocks[0] if len(blocks) == 1 else torch.linalg.vector_norm(torch.cat(blocks, 2), order, dim=2, keepdim=True)


def half_sum_of_squares(tensor: Tensor) -> Tensor:
    """Return that of each member, (M, 1, P) -> (M, 1, 1)."""
    if len(tensor) == 1 and tensor.shape[2] <= SHORT and tensor.device.type == "cpu":
        row = tensor.view(-1)
        return (torch.dot(row, row) * 0.5).view(1, 1, 1)
    return norm(tensor).square() * 0.5


def all_finite(values: Tensor) -> bool:
    """Whether all numbers are finite."""
    total = values.sum()  # is not finite where one number is not; numbers whose sum is too large are looked at
    return math.isfinite(total) or bool(torch.isfinite(values).all())
