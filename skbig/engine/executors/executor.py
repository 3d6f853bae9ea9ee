"""How a step is executed: as written, or as a recording of the operations it comes down to.

Both give the same result; a recording saves the time that Python and autograd need between the operations, which is
most of the time of a small network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor

from skbig.data.rows import Batch
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.recorder import NotReplayable, record
from skbig.engine.step import StepInputs, step


class Execution:
    """Runs steps one after another.

    Attributes
    ----------
    n_parts : int
        Into how many parts a batch is split, to need less memory; the result is the same.
    records : bool
        Whether steps are recorded and replayed.
    differentiate : None
        Steps are differentiated in this process alone.
    """

    differentiate = None

    def __init__(self, members: Members, recipe: Recipe, mean_weight: Any, *, records: bool) -> None:
        self._members = members
        self._recipe = recipe
        self._mean_weight = mean_weight
        self._programs: dict[Any, Callable[..., Tensor]] = {}
        self._strengths: dict[Any, Tensor | float] = {}
        self.records = records
        self.n_parts = 1

    def run(self, batches: Sequence[Batch], numbers: Sequence[StepInputs], deadline: float = inf) -> list[Tensor]:
        """Update the members by each batch in turn, until `deadline`, and return the losses (M,) of each step."""
        losses = []
        with torch.inference_mode():  # spares each operation what autograd would note down
            for batch, number in zip(batches, numbers, strict=True):
                losses.append(self.step(batch, number))
                if deadline < inf and time.perf_counter() > deadline:
                    break
        return losses

    def step(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """Update the members by one batch."""
        if not self.records or self.n_parts > 1:
            return self.step_as_written(batch, numbers)
        inputs = _inputs(batch, numbers)
        program = self._programs.get(_form(batch))
        return self._record(batch, numbers, inputs) if program is None else program(*inputs)

    def step_as_written(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """The reference."""
        with torch.inference_mode(False), torch.no_grad():
            return step(self._members, batch, self._recipe, numbers, self._strength(batch), self.n_parts)

    def _strength(self, batch: Batch) -> Tensor | float:
        """The penalty's strength over the weight of a batch; kept, since a recording holds on to it."""
        form = _form(batch)
        if form not in self._strengths:
            self._strengths[form] = penalty_strength(self._recipe, batch, self._mean_weight, self._members.flat)
        return self._strengths[form]

    def _record(self, batch: Batch, numbers: StepInputs, inputs: list[Tensor]) -> Tensor:
        def again(*_: Tensor) -> Tensor:
            return self.step_as_written(batch, numbers)

        before = self._members.copy()
        try:
            with torch.inference_mode(False), torch.no_grad():
                loss, self._programs[_form(batch)] = record(again, inputs)
        except NotReplayable:
            self.records = False
            self._members.restore(before)
            loss = self.step_as_written(batch, numbers)
        return loss


def penalty_strength(recipe: Recipe, batch: Batch, mean_weight: Any, like: Tensor) -> Tensor | float:
    """Return alpha over the weight of a batch: a float, or a tensor (M, 1, 1) where members differ."""
    n_rows: Any = batch.counted_rows
    if batch.sizes is not None:
        n_rows = torch.tensor(batch.sizes, dtype=torch.float64).view(-1, 1, 1)
    strength = recipe.alpha / (n_rows * mean_weight)
    return strength.to(like) if isinstance(strength, Tensor) else strength


def _form(batch: Batch) -> tuple[Any, ...]:
    """What two batches share that take the same operations with the same constants."""
    return (batch.share.shape, batch.sizes, batch.first_row, batch.n_whole)


def _inputs(batch: Batch, numbers: StepInputs) -> list[Tensor]:
    keys = () if numbers.keys is None else (numbers.keys,)
    return [batch.X, batch.y, batch.share, numbers.rate, *keys, *numbers.optimizer, *numbers.augmentation]
