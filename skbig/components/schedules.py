"""Schedules: how the learning rate moves while the training goes on.

A schedule is a multiplier of the base rate, `learning_rate`, and a function of the progress alone. Each says in its
docstring what its time is counted in: a share of the whole training, epochs, updates or rows. Any of them may begin
with a warm-up. Only `Plateau` looks at how well the training goes; it keeps no state, the engine counts for it.

Legend: S steps looked at together, M members. A progress is [S,1,1,1], a hyperparameter that differs between members
[M,1,1], so a multiplier is [S,1,1,1] or [S,M,1,1].
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable as Function
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skbig._utils.component import Component, hyperparameter, names, resolve
from skbig._utils.validation import Callable, Interval, Options, plain
from skbig.components.powers import power

# The rate is a product of multipliers, so a floor that it has reached is only met up to rounding.
_ROUNDING = 1e-6

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
class Linear(Schedule, name="linear"):
    """Go in a straight line from the base rate to `end` times it: ``1 + (end - 1) * fraction``.

    Its time is the fraction of the whole training, and moves with every step.

    Parameters
    ----------
    end : float, default=0.0
        The multiplier at the end of the training.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    Examples
    --------
    >>> from skbig.components import Linear
    >>> Linear(end=0.1)
    Linear(warmup=0.0, end=0.1)
    """

    ends = True

    end: float = hyperparameter(0.0, Interval(0, None, closed="left"), varies=True)

    def shape(self, progress: Progress) -> Tensor:
        return 1 + (self.end - 1) * progress.fraction


@dataclass(frozen=True)
class Cosine(Schedule, name="cosine"):
    """Go along half a cosine from the base rate to `end` times it: ``end + (1 - end) (1 + cos(pi fraction)) / 2``.

    Its time is the fraction of the whole training, and moves with every step [1]_.

    Parameters
    ----------
    end : float, default=0.0
        The multiplier at the end of the training.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    References
    ----------
    .. [1] Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5.

    Examples
    --------
    >>> from skbig.components import Cosine
    >>> Cosine(end=0.01, warmup=0.05)
    Cosine(warmup=0.05, end=0.01)
    """

    ends = True

    end: float = hyperparameter(0.0, Interval(0, None, closed="left"), varies=True)

    def shape(self, progress: Progress) -> Tensor:
        return _cosine(1.0, self.end, progress.fraction)


@dataclass(frozen=True)
class FlatCosine(Schedule, name="flat_cosine"):
    """Keep the base rate at first, then go along half a cosine to `end` times it, as fastai's ``fit_flat_cos``.

    ``end + (1 - end) (1 + cos(pi max(0, fraction - flat) / (1 - flat))) / 2``; its time is the fraction of the whole
    training.

    Parameters
    ----------
    flat : float, default=0.75
        Share of the training, in [0, 1), before the rate begins to fall.
    end : float, default=0.0
        The multiplier at the end of the training.
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    Examples
    --------
    >>> from skbig.components import FlatCosine
    >>> FlatCosine(flat=0.5)
    FlatCosine(warmup=0.0, flat=0.5, end=0.0)
    """

    ends = True

    flat: float = hyperparameter(0.75, Interval(0, 1, closed="left"), varies=True)
    end: float = hyperparameter(0.0, Interval(0, None, closed="left"), varies=True)

    def shape(self, progress: Progress) -> Tensor:
        return _cosine(1.0, self.end, ((progress.fraction - self.flat) / (1 - self.flat)).clamp(min=0.0))


@dataclass(frozen=True)
class CosLog4(Schedule, name="coslog4"):
    """Rise from zero to the base rate and fall back four times, each time in twice as long as before.

    ``(1 - cos(2 pi log2(1 + 15 fraction))) / 2``: a training of a few epochs and one of many meet high and low rates
    alike [1]_. Its time is the fraction of the whole training.

    Parameters
    ----------
    warmup : float, default=0.0
        Share of the whole training over which the rate rises linearly to its scheduled value.

    References
    ----------
    .. [1] Holzmüller, Grinsztajn and Steinwart, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular
       Data", NeurIPS 2024.

    Examples
    --------
    >>> from skbig import BigMLPRegressor
    >>> BigMLPRegressor(schedule="coslog4", learning_rate=0.02).schedule
    'coslog4'
    """

    ends = True

    def shape(self, progress: Progress) -> Tensor:
        return (1 - torch.cos(2 * math.pi * torch.log2(1 + 15 * progress.fraction))) / 2


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

    beta: float = hyperparameter(0.01, Interval(0, None, closed="left"), varies=True)
    gamma: float = hyperparameter(1.0, Interval(0, None, closed="left"), varies=True)
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

    power_t: float = hyperparameter(0.5, Interval(0, None, closed="left"), varies=True)
    unit: str = hyperparameter("rows", Options(("rows", "epoch", "step")))

    def shape(self, progress: Progress) -> Tensor:
        return power(getattr(progress, self.unit) + 1, -self.power_t)


@dataclass(frozen=True)
class OneCycle(Schedule, name="one_cycle"):
    """Rise along half a cosine from `start` to 1 until `peak_at`, then fall along another to `end`.

    Its time is the fraction of the whole training, and moves with every step. The base rate is the largest one [1]_.

    Parameters
    ----------
    peak_at : float, default=0.3
        The fraction of the training at which the rate is largest.
    start : float, default=0.04
        The multiplier at the beginning.
    end : float, default=4e-6
        The multiplier at the end.
    warmup : float, default=0.0
        Share of the whole training with a linear rise on top of the cosine's.

    References
    ----------
    .. [1] Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2018.

    Examples
    --------
    >>> from skbig.components import OneCycle
    >>> OneCycle(peak_at=0.2)
    OneCycle(warmup=0.0, peak_at=0.2, start=0.04, end=4e-06)
    """

    ends = True

    peak_at: float = hyperparameter(0.3, Interval(0, 1, closed="neither"), varies=True)
    start: float = hyperparameter(0.04, Interval(0, 1), varies=True)
    end: float = hyperparameter(4e-6, Interval(0, 1), varies=True)

    def shape(self, progress: Progress) -> Tensor:
        rise = _cosine(self.start, 1.0, progress.fraction / self.peak_at)
        fall = _cosine(1.0, self.end, (progress.fraction - self.peak_at) / (1 - self.peak_at))
        return torch.where(progress.fraction < self.peak_at, rise, fall)


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
    patience: float = hyperparameter(10, Interval(0, None, closed="left"), varies=True)
    min_rate: float = hyperparameter(1e-6, Interval(0, None, closed="left"), varies=True)

    def shape(self, progress: Progress) -> Tensor:
        return torch.ones_like(progress.fraction)

    def reduce(self, rate: Tensor, stalled: Tensor) -> Tensor:
        wanted = torch.maximum(rate * _by_member(self.factor), torch.zeros_like(rate) + _by_member(self.min_rate))
        due = (stalled > _by_member(self.patience)) & ~self.exhausted(rate)
        return torch.where(due, wanted / rate, 1.0)

    def exhausted(self, rate: Tensor) -> Tensor:
        return rate <= _by_member(self.min_rate) * (1 + _ROUNDING)


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


def _cosine(first: Any, last: Any, fraction: Tensor) -> Tensor:
    """Go along half a cosine from `first`, at a fraction of zero, to `last`, at one."""
    return last + (first - last) * (1 + (math.pi * fraction).cos()) / 2


def _by_member(value: Any) -> Any:
    """Lay a hyperparameter `[M, 1, 1]` along a vector of members; a number stays one."""
    return value.view(-1) if isinstance(value, Tensor) else value
