"""What a schedule is: how the learning rate moves while the training goes on.

A schedule is a multiplier of the base rate, `learning_rate`, and a function of the progress alone. Any may begin with a
warm-up. One that `reacts` also looks at how well the training goes; it keeps no state, the engine counts for it.

Legend: S steps looked at together, M members. A progress is [S,1,1,1], a hyperparameter that differs between members
[M,1,1], so a multiplier is [S,1,1,1] or [S,M,1,1].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable as Function
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skbig._utils.component import Component, hyperparameter, names, resolve
from skbig._utils.validation import Callable, Interval, plain

NOT_NEGATIVE = Interval(0, None, closed="left")


@dataclass(frozen=True)
class Progress:
    """Where training is, for S steps at once; every tensor is float64 [S,1,1,1].

    Parameters
    ----------
    fraction : Tensor
        How much of the whole training is done before the step, in [0, 1].
    until : Tensor
        The same after the step.
    epoch : Tensor
        Whole epochs done before the step.
    step : Tensor
        Updates done before the step.
    rows : Tensor
        Rows seen in the epochs done before the step.
    """

    fraction: Tensor
    until: Tensor
    epoch: Tensor
    step: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Schedule(Component):
    """Multiplies the base rate by ``shape(progress) * min(1, until / warmup)``.

    Parameters
    ----------
    warmup : float, default=0.0
        Share of the whole training, in [0, 1), over which the rate rises linearly to its scheduled value. Keyword only.

    Attributes
    ----------
    reacts : bool
        Whether the rate also depends on how the training goes, through `reduce` and `exhausted`.
    ends : bool
        Whether the rate runs out at the end, so that reaching `max_iter` is the plan and no reason for a warning.

    Examples
    --------
    A user-made schedule defines its `shape`:

    >>> from dataclasses import dataclass
    >>> from skbig.components import Schedule
    >>> @dataclass(frozen=True)
    ... class SquareRoot(Schedule):
    ...     def shape(self, progress):
    ...         return 1 / (1 + progress.step).sqrt()
    >>> SquareRoot(warmup=0.1)
    SquareRoot(warmup=0.1)
    """

    kind = "schedule"
    reacts: ClassVar[bool] = False
    ends: ClassVar[bool] = False

    _: KW_ONLY
    warmup: float = hyperparameter(0.0, Interval(0, 1, closed="left"), varies=True)

    def multiplier(self, progress: Progress) -> Tensor:
        """Return what the base rate is multiplied by, of shape [S,1,1,1] or [S,M,1,1]."""
        ramp = torch.where(progress.until < self.warmup, progress.until / self.warmup, 1.0)
        return self.shape(progress) * ramp

    def shape(self, progress: Progress) -> Tensor:
        """Return the multiplier without the warm-up, of shape [S,1,1,1] or [S,M,1,1]."""
        raise NotImplementedError(f"{type(self).__name__} must define shape.")

    def reduce(self, rate: Tensor, stalled: Tensor) -> Tensor:
        """Return the new rate over the old, [M], from the rate and the epochs without improvement, both [M].

        The engine asks after every epoch where `reacts` is true, and counts anew for a member whose rate is reduced.
        """
        raise NotImplementedError(f"{type(self).__name__} must define reduce, as it reacts.")

    def exhausted(self, rate: Tensor) -> Tensor:
        """Return whether the rate, [M], is as small as it may get, a bool tensor [M]; asked where `reacts` is true."""
        raise NotImplementedError(f"{type(self).__name__} must define exhausted, as it reacts.")


@dataclass(frozen=True)
class FunctionSchedule(Schedule):
    """A plain function as a schedule: ``function(fraction)``.

    Parameters
    ----------
    function : callable
        Takes the fraction of the whole training that is done, a float in [0, 1], and returns the multiplier, a float.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    Examples
    --------
    >>> from skbig.components import FunctionSchedule
    >>> halved = FunctionSchedule(lambda fraction: 1.0 if fraction < 0.5 else 0.5)
    """

    function: Function[[float], float] = hyperparameter(dataclasses.MISSING, Callable())

    def shape(self, progress: Progress) -> Tensor:
        values = [self._checked(fraction) for fraction in progress.fraction.flatten().tolist()]
        return torch.tensor(values, dtype=torch.float64, device=progress.fraction.device).view_as(progress.fraction)

    def _checked(self, fraction: float) -> float:
        multiplier = plain(self.function(fraction))
        if not NOT_NEGATIVE.accepts(multiplier):
            raise ValueError(
                "The function given as the 'schedule' parameter must return what the rate is multiplied by, "
                f"{NOT_NEGATIVE}. Got {multiplier!r} at the fraction {fraction:g} of the training."
            )
        return float(multiplier)


def resolve_schedule(value: Any) -> Schedule:
    """Turn a name, a class, an instance or a plain function into a schedule."""
    if isinstance(value, str) and value == "adaptive":
        raise ValueError(
            f"The 'schedule' parameter must be one of {names('schedule')}. "
            "Got 'adaptive' instead, which is schedule='plateau' here."
        )
    if callable(value) and not isinstance(value, type | Schedule):
        return FunctionSchedule(value)
    schedule = resolve(Schedule, value)
    assert schedule is not None  # not optional
    return schedule
