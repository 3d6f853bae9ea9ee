"""The laws of schedules.

Legend: S steps, M members, two here; a progress is [S,1,1,1], a multiplier [S,1,1,1] or [S,M,1,1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skbig.components.schedules.base import Progress, Schedule
from skbig.testing.laws import check_members, expect, same


def check_schedule(schedule: Schedule) -> None:
    """Check a training of forty steps and, where the schedule reacts, one that stalls."""
    whole = _progress(*range(40))
    result = schedule.multiplier(whole)
    expect(result.shape == (40, 1, 1, 1), schedule, "must return one multiplier per step, of shape [S, 1, 1, 1].")
    expect(result.isfinite().all() and (result >= 0).all(), schedule, "must be finite, and not negative.")
    alone = torch.cat([schedule.multiplier(_progress(step)) for step in (31, 3)])
    law = "must be a function of the progress of a step, whichever steps it is asked for, and in which order."
    expect(same(alone, result[[31, 3]]), schedule, law)
    _check_members(schedule, lambda some, members: _by_member(some.multiplier(whole), members), "multiplier")
    if schedule.reacts:
        _check_reaction(schedule)


def _check_reaction(schedule: Schedule) -> None:
    rate, stalled = torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor([0, 10**6])
    ratio = schedule.reduce(rate, stalled)
    legal = ratio.shape == (2,) and bool(ratio[0] == 1) and bool(0 < ratio[1] <= 1)
    expect(legal, schedule, "must return a ratio in (0, 1] per member from reduce, and 1 for one that improves.")
    exhausted = schedule.exhausted(rate)
    legal = exhausted.shape == (2,) and exhausted.dtype == torch.bool
    expect(legal, schedule, "must say of each member whether it is exhausted, as a bool tensor [M].")
    _check_members(schedule, lambda some, members: some.reduce(rate[members], stalled[members]), "reduce")
    _check_members(schedule, lambda some, members: some.exhausted(rate[members]).double(), "exhausted")


def _check_members(schedule: Schedule, run: Callable[[Any, slice], Tensor], what: str) -> None:
    """Check the law of members in float64, which is all that a schedule is asked in."""
    check_members(schedule, lambda some, members, dtype: run(some, members), what, rough=None)


def _progress(*steps: int) -> Progress:
    """Some steps of a training of forty, four an epoch of a hundred rows."""
    step = torch.tensor(steps, dtype=torch.float64).view(-1, 1, 1, 1)
    epoch = (step / 4).floor()
    return Progress(step / 40, (step + 1) / 40, epoch, step, epoch * 100)


def _by_member(multiplier: Tensor, members: slice) -> Tensor:
    """Return a multiplier with the members first, [M,S,1,1]."""
    return multiplier.expand(-1, members.stop - members.start, 1, 1).transpose(0, 1)
