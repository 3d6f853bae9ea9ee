"""The numbers of many steps at once: rates, keys and whatever else depends on the step's number alone.

Legend: M members, S steps. Each table has the shape (S, M, 1, 1), or (S, 1, 1, 1) where members agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
import torch
from torch import Tensor

from skbig._utils.random import Noise, Purpose, step_keys
from skbig.components.schedules.base import Progress
from skbig.engine.members import Members
from skbig.engine.private_noise import StepNoise
from skbig.engine.recipe import Recipe
from skbig.engine.step import StepInputs


class StepTable(Sequence[StepInputs]):
    """What each of some steps needs besides its batch.

    Attributes
    ----------
    columns : list of Tensor (S, 1, 1, 1) or (S, M, 1, 1), in float64 on the host
        The rate, what the optimizer and what the augmentation make of the step, and its share in an average.
    keys : Tensor (S, 2, M) of int32 on the host, or None
    n_optimizer, n_augmentation : int
        How many columns are the optimizer's, and the augmentation's.
    like : Tensor
        On the device and in the dtype of the steps.
    private_noise : StepNoise or None
        Draws the noise of private steps when they are gone through; without it a step draws its own.
    """

    def __init__(
        self,
        columns: list[Tensor],
        keys: Tensor | None,
        n_optimizer: int,
        n_augmentation: int,
        like: Tensor,
        private_noise: StepNoise | None = None,
    ) -> None:
        self.columns, self.keys, self.like = columns, keys, like
        self.n_optimizer, self.n_augmentation = n_optimizer, n_augmentation
        self.private_noise = private_noise

    @property
    def rates(self) -> Tensor:
        """The rate of each step, (S, 1, 1, 1) or (S, M, 1, 1)."""
        return self.columns[0]

    @property
    def widths(self) -> list[int]:
        """How many numbers each column has for a step."""
        return [column.shape[1] for column in self.columns]

    def part(self, start: int, stop: int) -> StepTable:
        """Return the table of some of the steps."""
        if (start, stop) == (0, len(self)):
            return self
        keys = None if self.keys is None else self.keys[start:stop]
        columns = [column[start:stop] for column in self.columns]
        part = StepTable(columns, keys, self.n_optimizer, self.n_augmentation, self.like, self.private_noise)
        if self.like.device.type == "cpu":
            part._all = self._all[start:stop]
        return part

    def packed(self) -> Tensor:
        """Return all columns side by side, (S, sum of widths), on the host."""
        side_by_side = [column.reshape(len(self), -1) for column in self.columns]
        return torch.cat(side_by_side, 1).to(self.like.dtype)

    def of_row(self, row: Tensor, keys: Tensor | None) -> StepInputs:
        """Return the inputs of a step from its row of `packed`, wherever it lies now, and its keys (2, M)."""
        parts = [part.view(-1, 1, 1) for part in row.split(self.widths)]
        return self._inputs(parts, keys)

    def _inputs(self, parts: Sequence[Tensor], keys: Tensor | None) -> StepInputs:
        split = 1 + self.n_optimizer
        end = split + self.n_augmentation
        return StepInputs(parts[0], keys, tuple(parts[1:split]), tuple(parts[split:end]), tuple(parts[end:]))

    @cached_property
    def _all(self) -> list[StepInputs]:
        with torch.inference_mode(False):
            columns = [column.to(self.like).contiguous().unbind(0) for column in self.columns]
            keys: Sequence[Tensor | None] = [None] * len(self)
            if self.keys is not None:
                keys = [row.contiguous() for row in self.keys.to(self.like.device)]
        return [self._inputs(row, key) for row, key in zip(zip(*columns, strict=True), keys, strict=True)]

    def __len__(self) -> int:
        return int(self.columns[0].shape[0])

    def __iter__(self) -> Iterator[StepInputs]:
        if self.private_noise is None or self.keys is None:
            return iter(self._all)
        drawn = self.private_noise.of_steps(self.keys)
        return (inputs._replace(private_noise=noise) for inputs, noise in zip(self._all, drawn, strict=True))

    @overload
    def __getitem__(self, index: int) -> StepInputs: ...

    @overload
    def __getitem__(self, index: slice) -> StepTable: ...

    def __getitem__(self, index: int | slice) -> StepInputs | StepTable:
        return self._all[index] if isinstance(index, int) else self.part(*index.indices(len(self))[:2])


def inputs_of_steps(members: Members, recipe: Recipe, progress: Progress) -> StepTable:
    """Return what each of some steps needs, one after another."""
    n_steps, steps = progress.step.shape[0], progress.step + 1
    keys = _keys(members, progress, recipe.steps_forgotten) if recipe.draws_noise else None
    optimizer = () if recipe.optimizer.full_batch else recipe.optimizer.factors(steps)
    augmentation = () if recipe.augmentation is None else recipe.augmentation.factors(_uniforms(keys))
    average = () if recipe.average is None else (recipe.average.share(steps),)
    tables = (rate_table(members, recipe, progress), *optimizer, *augmentation, *average)
    columns = [table.expand(n_steps, *table.shape[1:]).to("cpu", torch.float64) for table in tables]
    like = members.flat.new_empty(0)  # a table that is kept must not keep the weights
    return StepTable(columns, keys, len(optimizer), len(augmentation), like, _private_noise(members, recipe))


def _private_noise(members: Members, recipe: Recipe) -> StepNoise | None:
    """Return what draws the noise of many private steps on the host; on a device a step draws its own."""
    privacy, flat = recipe.privacy, members.flat
    if privacy is None or not (privacy.secure or flat.device.type == "cpu"):
        return None
    return StepNoise(flat.shape[-1], flat, secure=privacy.secure)


def rate_table(members: Members, recipe: Recipe, progress: Progress) -> Tensor:
    """Return the rate of each step and member: base rate, times schedule, times what a plateau has made of it.

    As wide in a training's first step as in its last, though members that react to a plateau differ only later.
    """
    scale = members.rate_scale
    differs = recipe.schedule.reacts or np.any(scale != 1.0)
    reduced = torch.from_numpy(scale).view(-1, 1, 1) if differs else 1.0
    return recipe.schedule.multiplier(progress) * recipe.rate * reduced + torch.zeros_like(progress.step)


def _keys(members: Members, progress: Progress, n_forgotten: int) -> Tensor:
    first, n_steps = int(progress.step[0].item()), progress.step.shape[0]
    return torch.from_numpy(step_keys(members.seeds, first + n_forgotten, n_steps))


def _uniforms(keys: Tensor | None) -> Tensor:
    """A random number of each step and member, (S, M, 1, 1)."""
    assert keys is not None
    n_steps, _, n_members = keys.shape
    side_by_side = keys.transpose(0, 1).reshape(2, n_steps * n_members)  # as if each step had members of its own
    return Noise(side_by_side).uniform(1, 1, Purpose.MIX_SHARE, torch.float64).view(n_steps, n_members, 1, 1)
