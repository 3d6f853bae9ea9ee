"""The numbers of many steps at once: rates, keys and whatever else depends on the step's number alone.

Legend: M members, S steps. Each table has the shape (S, M, 1, 1), or (S, 1, 1, 1) where members agree.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from skbig._utils.random import Noise, Purpose, step_keys
from skbig.components.schedules import Progress
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.step import StepInputs


def inputs_of_steps(members: Members, recipe: Recipe, progress: Progress) -> list[StepInputs]:
    """Return what each of the next steps needs."""
    n_steps = progress.step.shape[0]
    rates = rate_table(members, recipe, progress)
    keys = _keys(members, n_steps) if recipe.draws_noise else None
    optimizer = () if recipe.optimizer.full_batch else recipe.optimizer.factors(_step_numbers(members, n_steps))
    augmentation = () if recipe.augmentation is None else recipe.augmentation.factors(_uniforms(keys))
    columns = [_column(table, members, n_steps) for table in (rates, *optimizer, *augmentation)]
    key_rows = [None] * n_steps if keys is None else [row.contiguous() for row in keys.to(members.flat.device)]
    split = 1 + len(optimizer)
    return [
        StepInputs(row[0], key, tuple(row[1:split]), tuple(row[split:]))
        for row, key in zip(zip(*columns, strict=True), key_rows, strict=True)
    ]


def rate_table(members: Members, recipe: Recipe, progress: Progress) -> Tensor:
    """Return the rate of each step and member: base rate, times schedule, times what a plateau has made of it."""
    scale = members.rate_scale
    reduced = torch.from_numpy(scale).view(-1, 1, 1) if np.any(scale != 1.0) else 1.0
    return recipe.schedule.multiplier(progress) * recipe.rate * reduced + torch.zeros_like(progress.step)


def _step_numbers(members: Members, n_steps: int) -> Tensor:
    return torch.arange(members.steps + 1, members.steps + 1 + n_steps, dtype=torch.float64).view(-1, 1, 1, 1)


def _keys(members: Members, n_steps: int) -> Tensor:
    return torch.from_numpy(step_keys(members.seeds, members.steps, n_steps))


def _uniforms(keys: Tensor | None) -> Tensor:
    """A random number of each step and member, (S, M, 1, 1)."""
    assert keys is not None
    n_steps, _, n_members = keys.shape
    side_by_side = keys.transpose(0, 1).reshape(2, n_steps * n_members)  # as if each step had members of its own
    return Noise(side_by_side).uniform(1, 1, Purpose.MIX_SHARE, torch.float64).view(n_steps, n_members, 1, 1)


def _column(table: Tensor, members: Members, n_steps: int) -> Iterable[Tensor]:
    rows = table.expand(n_steps, *table.shape[1:]).to(dtype=members.flat.dtype, device=members.flat.device)
    return rows.contiguous().unbind(0)
