"""What makes a step private: the gradient of each row is clipped before they are summed, and noise is added.

Legend: M members (left out of batches when there is one), R rows, P parameters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skbig._utils.random import Noise
from skbig.data.batch import Batch
from skbig.engine.members import Members
from skbig.engine.private_noise import normal_of
from skbig.engine.recipe import Recipe
from skbig.networks.layer import TrainingPass


def clipped_gradient(
    members: Members, batch: Batch, recipe: Recipe, keys: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """Return the loss, (M,) or () for one member, and the gradient by each parameter, summed over clipped rows.

    A row counts by its share, and no row more than ``max_grad_norm * share``. What padding is has the share zero.
    """
    assert recipe.privacy is not None
    noise = None if keys is None else Noise(keys, batch.first_row)
    with torch.enable_grad():
        raw, taps = members.network.tapped(members.parameters, batch.X, TrainingPass(noise, batch.share))
        per_row = recipe.loss.per_row(raw, batch.y)
        gradients = torch.autograd.grad(per_row, [tap.tensor for tap in taps], torch.ones_like(per_row))
    with torch.no_grad():
        squares = _total([tap.squared_norms(own) for tap, own in zip(taps, gradients, strict=True)])
        factors = _factors(squares, recipe.privacy.max_grad_norm).mul_(batch.share)
        sums: dict[str, Tensor] = {}
        for tap, own in zip(taps, gradients, strict=True):
            sums |= tap.sums(own, factors)
        loss = torch.dot(per_row, batch.share) if per_row.dim() == 1 else (per_row * batch.share).sum(-1)
    return loss, [sums[name] for name in members.parameters]


def add_noise(gradient: Tensor, recipe: Recipe, keys: Tensor | None, noise: Tensor | None, n_rows: int) -> None:
    """Add to the gradient (M, 1, P) the noise of a step that reads `n_rows` rows on average.

    The noise (M, 1, P) may have been drawn already; else it is drawn here from the keys.
    """
    assert recipe.privacy is not None and keys is not None
    if noise is None:
        noise = normal_of(keys, gradient.shape[-1], gradient.dtype)
    deviation = recipe.privacy.noise * recipe.privacy.max_grad_norm / n_rows
    if isinstance(deviation, Tensor):
        gradient.addcmul_(noise, deviation.to(gradient))
    else:
        gradient.add_(noise, alpha=deviation)


def _factors(squares: Tensor, bound: Any) -> Tensor:
    """Return by what gradients of these squared norms (M, R) are multiplied, so that none is longer than the bound.

    By one, too, what is zero: the inverse of its norm is infinite, and more than one is cut off.
    """
    if isinstance(bound, Tensor):  # of members that differ, (M, 1, 1)
        bound = bound.to(squares).view(-1, 1)
    elif bound == 1.0:
        return squares.rsqrt_().clamp_max_(1.0)
    return squares.rsqrt_().mul_(bound).clamp_max_(1.0)


def _total(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total.add_(part)
    return total
