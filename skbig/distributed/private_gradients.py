"""The gradient of a private step whose rows several ranks share: each row is clipped where it is, then sums are summed.

Noise is not added here but in the step, by every rank the same, so that it counts once.

Legend: M members, P parameters of one member, S signals.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skbig.distributed.ranks import Ranks
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.step import Augmented, StepInputs, differentiate_privately


class PrivateGradients:
    """The sum of clipped gradients over the rows of all ranks, in one message with what else they have to say."""

    def __init__(self, members: Members, recipe: Recipe, ranks: Ranks, signals: Callable[[Tensor], Tensor]) -> None:
        self._members, self._recipe, self._ranks, self._signals = members, recipe, ranks, signals

    def __call__(self, own: Augmented, numbers: StepInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Return of all rows loss (M,), signals (S,), and gradient (M, 1, P)."""
        with torch.no_grad():
            loss, gradient = differentiate_privately(self._members, own.batch, self._recipe, numbers)
            told = torch.cat([gradient.view(-1), loss.view(-1), self._signals(loss)])
        self._ranks.add_up(told)
        n_numbers, n_losses = gradient.numel(), loss.numel()
        summed, losses, signals = told.split([n_numbers, n_losses, len(told) - n_numbers - n_losses])
        return losses, signals, summed.view(gradient.shape)
