"""The laws of averages.

Legend: S steps, M members, two here; a share is [S,1,1,1] or [S,M,1,1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from skbig.components.averages import Average
from skbig.testing.laws import check_members, expect, same


def check_average(average: Average) -> None:
    """Check the shares of a training of forty steps."""
    whole = average.share(_steps(*range(1, 41)))
    expect(whole.shape == (40, 1, 1, 1), average, "must return one share per step, of shape [S, 1, 1, 1].")
    legal = bool(((whole >= 0) & (whole <= 1)).all())
    expect(legal, average, "must return shares in [0, 1].")
    law = "must be a function of the step, whichever steps it is asked for, and in which order."
    expect(same(average.share(_steps(31, 3)), whole[[30, 2]]), average, law)
    check_members(average, lambda some, members, dtype: _by_member(some, members), "share", rough=None)


def _by_member(average: Average, members: slice) -> Tensor:
    """Return the shares with the members first, [M,S,1,1]."""
    return average.share(_steps(1, 20)).expand(-1, members.stop - members.start, 1, 1).transpose(0, 1)


def _steps(*steps: int) -> Tensor:
    return torch.tensor(steps, dtype=torch.float64).view(-1, 1, 1, 1)
