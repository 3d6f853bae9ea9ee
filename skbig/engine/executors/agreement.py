"""Whether two ways to take the same steps have come to the same result.

Legend: M members, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skbig.engine.recipe import Recipe

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""For each step; docs/design.md says why no less."""

COARSE = 3e-2
"""Where products are rounded to bfloat16 or TF32, the order of a sum alone changes the third digit."""


def tolerance_of(recipe: Recipe, dtype: torch.dtype, n_steps: int) -> float:
    """Return by what part the moves of some steps may differ that are computed in another order."""
    rough = recipe.bf16 or _rounds_to_tf32() or not recipe.optimizer.elementwise
    return COARSE if rough and dtype != torch.float64 else min(COARSE, n_steps * TOLERANCE[dtype])


def agree(
    before: Sequence[Tensor], one: Sequence[Tensor], other: Sequence[Tensor], losses: tuple[Tensor, Tensor], tol: float
) -> bool:
    """Return whether tensors that began at `before` have moved alike, and the losses (S, M) are alike.

    The measure is the sum of the differences over the sum of the moves: in it a weight whose gradient is zero but for
    rounding, and that takes a whole step to this or to that side, counts no more than others.
    """
    checks = [_close(*losses, losses[1].abs().sum(), tol)]
    for start, a, b in zip(map(_as_floats, before), map(_as_floats, one), map(_as_floats, other), strict=True):
        rounding = torch.finfo(b.dtype).eps * b.abs().sum()
        checks.append(_close(a, b, (b - start).abs().sum() + rounding / tol, tol))
    return bool(torch.stack(checks).all())


def _rounds_to_tf32() -> bool:
    switch = torch.backends.cuda.matmul
    # The new name since torch 2.9, which refuses to tell the old one where a caller has used the new.
    return bool(switch.fp32_precision == "tf32" if hasattr(switch, "fp32_precision") else switch.allow_tf32)


def _as_floats(tensor: Tensor) -> Tensor:
    """Return whole numbers, such as those by which a module counts its batches, as floats."""
    return tensor if tensor.is_floating_point() else tensor.double()


def _close(one: Tensor, other: Tensor, size: Tensor, tol: float) -> Tensor:
    # What is not finite in both is the same; the differences of the rest decide.
    difference = torch.where((one == other) | (one.isnan() & other.isnan()), 0.0, (one - other).abs())
    finite = torch.where(size.isfinite(), size, torch.finfo(other.dtype).max)
    return difference.sum() <= tol * finite
