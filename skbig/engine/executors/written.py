"""The step as written, run by autograd: the reference, and the way of a user's own components.

Legend: M members, S steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor

from skbig.data.batch import Batch
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.step import StepInputs, step


class WrittenExecutor:
    """Runs each step as it is written.

    Attributes
    ----------
    n_parts : int
        Into how many parts a batch is split, to need less memory; the result is the same.
    """

    name = "written"
    differentiate = None
    steps_at_once = 256
    choice = None

    def __init__(self, members: Members, recipe: Recipe, mean_weight: Any) -> None:
        self._members = members
        self._recipe = recipe
        self._mean_weight = mean_weight
        self._strengths: dict[Any, Tensor | float] = {}
        self.n_parts = 1

    def run(self, batches: Sequence[Batch], numbers: Sequence[StepInputs], deadline: float = inf) -> Tensor:
        """Update the members by each batch in turn, until `deadline`, and return the losses (S, M)."""
        losses = []
        for batch, number in zip(batches, numbers, strict=True):
            losses.append(self.step(batch, number))
            if deadline < inf and time.perf_counter() > deadline:
                break
        return torch.stack(losses)

    def gives_way(self, error: Exception) -> bool:
        """There is no other way."""
        del error
        return False

    def step(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """Update the members by one batch."""
        return self.step_as_written(batch, numbers)

    def step_as_written(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """The reference."""
        with torch.inference_mode(False), torch.no_grad():
            return step(self._members, batch, self._recipe, numbers, self.strength(batch), self.n_parts)

    def strength(self, batch: Batch) -> Tensor | float:
        """The penalty's strength over the weight of a batch; kept, since programs hold on to it."""
        form = form_of(batch)
        if form not in self._strengths:
            self._strengths[form] = penalty_strength(self._recipe, batch, self._mean_weight, self._members.flat)
        return self._strengths[form]


def penalty_strength(recipe: Recipe, batch: Batch, mean_weight: Any, like: Tensor) -> Tensor | float:
    """Return alpha over the weight of a batch: a float, or a tensor (M, 1, 1) where members differ."""
    n_rows: Any = batch.counted_rows
    if batch.sizes is not None:
        n_rows = torch.tensor(batch.sizes, dtype=torch.float64).view(-1, 1, 1)
    strength = recipe.alpha / (n_rows * mean_weight)
    return strength.to(like) if isinstance(strength, Tensor) else strength


def form_of(batch: Batch) -> tuple[Any, ...]:
    """What two batches share that take the same operations with the same constants."""
    whole = batch.y.is_contiguous(), batch.share.is_contiguous()  # an operation may view only what is
    return (batch.share.shape, batch.sizes, batch.first_row, batch.n_whole, batch.equal, *whole)


def tensors_of(batch: Batch, numbers: StepInputs) -> list[Tensor]:
    """All that a step reads besides the members, as the inputs of a program."""
    assert isinstance(batch.X, Tensor)
    inputs = [batch.X, batch.y, batch.share, numbers.rate]
    if numbers.keys is not None:
        inputs.append(numbers.keys)
    if numbers.private_noise is not None:
        inputs.append(numbers.private_noise)
    return [*inputs, *numbers.optimizer, *numbers.augmentation, *numbers.average]
