"""The laws of clipping.

Legend: M members, two here; gradients are [M,n,k], the norm of a member [M,1,1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from skbig.components.clipping import Clipping
from skbig.testing.laws import BOTH, Blindfold, check_members, expect, normal


def check_clipping(clipping: Clipping) -> None:
    """Check gradients of several sizes."""
    for scale in (0.0, 1e-3, 1.0, 1e3):
        _check_at(clipping, [normal(2, 4, 3) * scale, normal(2, 1, 3) * scale])


def _check_at(clipping: Clipping, grads: list[Tensor]) -> None:
    clipped = _clip(clipping, grads, BOTH, torch.float64)
    expect(clipped.isfinite().all(), clipping, "must keep gradients finite, zeros too.")
    before, after = (torch.linalg.vector_norm(flat, dim=1) for flat in (_flat(grads), clipped))
    expect((after <= before * (1 + 1e-9)).all(), clipping, "must not let a gradient grow.")
    check_members(clipping, lambda some, members, dtype: _clip(some, grads, members, dtype), "clipping")


def _clip(clipping: Clipping, grads: list[Tensor], members: slice, dtype: torch.dtype) -> Tensor:
    """Return the clipped gradients of some members, all of a member's in one row."""
    grads = [grad[members].to(dtype, copy=True) for grad in grads]
    norm = torch.linalg.vector_norm(_flat(grads), dim=1).view(-1, 1, 1) if clipping.needs_norm else None
    with Blindfold(clipping, "apply"):
        clipping.apply(grads, norm)
    return _flat(grads)


def _flat(grads: list[Tensor]) -> Tensor:
    return torch.cat([grad.flatten(1) for grad in grads], dim=1)
