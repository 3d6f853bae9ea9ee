"""Schedules without an end in sight: their time is epochs, updates or rows, or how the training goes.

Legend: S steps looked at together, M members; a multiplier is [S,1,1,1] or [S,M,1,1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Interval, Options
from skbig.components.powers import power
from skbig.components.schedules.base import NOT_NEGATIVE, Progress, Schedule

# The rate is a product of multipliers, so a floor that it has reached is only met up to rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Constant(Schedule, name="constant"):
    """Leave the base rate as it is: ``1``.

    Parameters
    ----------
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly from zero.

    Examples
    --------
    >>> from skbig.components import Constant
    >>> Constant(warmup=0.05)
    Constant(warmup=0.05)
    """

    def shape(self, progress: Progress) -> Tensor:
        return torch.ones_like(progress.fraction)


@dataclass(frozen=True)
class Exponential(Schedule, name="exponential"):
    """Multiply the rate by `gamma` after every epoch: ``gamma ** epoch``.

    Parameters
    ----------
    gamma : float, default=0.97
        What each epoch multiplies the rate by.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    Examples
    --------
    >>> from skbig.components import Exponential
    >>> Exponential(0.9)
    Exponential(warmup=0.0, gamma=0.9)
    """

    gamma: float = hyperparameter(0.97, Interval(0, None, closed="neither"), varies=True)

    def shape(self, progress: Progress) -> Tensor:
        return power(self.gamma, progress.epoch)


@dataclass(frozen=True)
class StepDecay(Schedule, name="step"):
    """Multiply the rate by `gamma` after every `step_size` epochs: ``gamma ** floor(epoch / step_size)``.

    Parameters
    ----------
    step_size : float, default=30
        Epochs from one reduction to the next.
    gamma : float, default=0.1
        What each reduction multiplies the rate by.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    Examples
    --------
    >>> from skbig.components import StepDecay
    >>> StepDecay(step_size=10, gamma=0.5)
    StepDecay(warmup=0.0, step_size=10, gamma=0.5)
    """

    step_size: float = hyperparameter(30, Interval(1, None, closed="left"), varies=True)
    gamma: float = hyperparameter(0.1, Interval(0, None, closed="neither"), varies=True)

    def shape(self, progress: Progress) -> Tensor:
        return power(self.gamma, (progress.epoch / self.step_size).floor())


@dataclass(frozen=True)
class InverseTime(Schedule, name="inverse_time"):
    """Decay with the inverse of time: ``1 / (1 + beta t) ** gamma``.

    Parameters
    ----------
    beta : float, default=0.01
        How fast it decays, per epoch or per step.
    gamma : float, default=1.0
        The power of the decay.
    unit : {"epoch", "step"}, default="epoch"
        What t counts: epochs done, or updates done.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    Examples
    --------
    >>> from skbig.components import InverseTime
    >>> InverseTime(beta=1e-4, unit="step")
    InverseTime(warmup=0.0, beta=0.0001, gamma=1.0, unit='step')
    """

    beta: float = hyperparameter(0.01, NOT_NEGATIVE, varies=True)
    gamma: float = hyperparameter(1.0, NOT_NEGATIVE, varies=True)
    unit: str = hyperparameter("epoch", Options(("epoch", "step")))

    def shape(self, progress: Progress) -> Tensor:
        return power(1 + self.beta * getattr(progress, self.unit), -self.gamma)


@dataclass(frozen=True)
class InvScaling(Schedule, name="invscaling"):
    """Decay as scikit-learn's ``learning_rate="invscaling"``: ``1 / (t + 1) ** power_t``.

    Parameters
    ----------
    power_t : float, default=0.5
        The power of the decay.
    unit : {"rows", "epoch", "step"}, default="rows"
        What t counts: rows seen in finished epochs (as `MLPClassifier` does: the second epoch on 10,000 rows has a
        hundredth of the rate of the first), epochs done, or updates done.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    Examples
    --------
    >>> from skbig.components import InvScaling
    >>> InvScaling(power_t=0.25)
    InvScaling(warmup=0.0, power_t=0.25, unit='rows')
    """

    power_t: float = hyperparameter(0.5, NOT_NEGATIVE, varies=True)
    unit: str = hyperparameter("rows", Options(("rows", "epoch", "step")))

    def shape(self, progress: Progress) -> Tensor:
        return power(getattr(progress, self.unit) + 1, -self.power_t)


@dataclass(frozen=True)
class Plateau(Schedule, name="plateau"):
    """Multiply the rate by `factor` after more than `patience` epochs without improvement, down to `min_rate`.

    ``rate <- max(factor * rate, min_rate)``. An epoch improves when the watched loss or score gets better by more than
    the estimator's `tol`. The training ends when the rate has come down to `min_rate` and still nothing improves. This
    is scikit-learn's ``learning_rate="adaptive"``.

    Parameters
    ----------
    factor : float, default=0.2
        What a reduction multiplies the rate by.
    patience : float, default=10
        Epochs without improvement that are borne with.
    min_rate : float, default=1e-6
        The smallest rate.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import Plateau
    >>> Plateau(factor=0.5, patience=3).reduce(rate=torch.tensor([0.1, 0.1]), stalled=torch.tensor([3, 4]))
    tensor([1.0000, 0.5000])
    """

    reacts: ClassVar[bool] = True

    factor: float = hyperparameter(0.2, Interval(0, 1, closed="neither"), varies=True)
    patience: float = hyperparameter(10, NOT_NEGATIVE, varies=True)
    min_rate: float = hyperparameter(1e-6, NOT_NEGATIVE, varies=True)

    def shape(self, progress: Progress) -> Tensor:
        return torch.ones_like(progress.fraction)

    def reduce(self, rate: Tensor, stalled: Tensor) -> Tensor:
        wanted = torch.maximum(rate * _by_member(self.factor), torch.zeros_like(rate) + _by_member(self.min_rate))
        due = (stalled > _by_member(self.patience)) & ~self.exhausted(rate)
        return torch.where(due, wanted / rate, 1.0)

    def exhausted(self, rate: Tensor) -> Tensor:
        return rate <= _by_member(self.min_rate) * (1 + _ROUNDING)


def _by_member(value: Any) -> Any:
    """Lay a hyperparameter `[M, 1, 1]` along a vector of members; a number stays one."""
    return value.view(-1) if isinstance(value, Tensor) else value
