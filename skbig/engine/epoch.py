"""What every kind of epoch shares: its result, and the clock of the training.

Legend: M members, S steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

ADVICE = (
    "Scale the features (StandardScaler) and, in regression, the target, lower learning_rate, or set clipping='norm'."
)


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to: per member its mean loss, its last rate, and whether nothing is left to do."""

    loss: np.ndarray
    rate: np.ndarray
    converged: np.ndarray


@dataclass(frozen=True)
class Clock:
    """Where a training stands in time: it began at `start` and, with `max_time`, ends at the deadline.

    Several processes agree on every time that matters by `agreed`.
    """

    start: float
    max_time: float | None
    agreed: Callable[[float], float] = float

    @property
    def deadline(self) -> float:
        return inf if self.max_time is None else self.start + self.max_time

    @property
    def fraction(self) -> float:
        if self.max_time is None:
            return 0.0
        return self.agreed(min(1.0, (time.perf_counter() - self.start) / self.max_time))


def column(values: Any, n_steps: int) -> Tensor:
    """Return numbers, one or one per member, (M,), or per step and member, (S, M), as a tensor (S, M, 1, 1)."""
    columns = np.atleast_2d(np.array(values, dtype=np.float64))
    if len(columns) == 1 and n_steps > 1:
        columns = np.repeat(columns, n_steps, axis=0)
    return torch.from_numpy(columns).view(n_steps, -1, 1, 1)
