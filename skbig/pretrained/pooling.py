"""One vector of the vectors of many positions.

Legend: R rows, L positions, D numbers of a vector.
"""

from __future__ import annotations

import torch
from torch import Tensor

POOLINGS = ("mean", "cls", "max")


def pooled(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    """Return (R, D) of vectors (R, L, D), of which those count where the mask (R, L) is true.

    A row without any position is zero.
    """
    if how == "cls":
        return hidden[:, 0]
    there = mask.unsqueeze(-1)
    if how == "mean":
        return (hidden * there).sum(1) / there.sum(1).clamp(min=1)
    lowest = torch.finfo(hidden.dtype).min
    return torch.where(there.any(1), hidden.masked_fill(~there, lowest).amax(1), 0.0)
