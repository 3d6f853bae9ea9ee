"""Schedules whose time is the share of the whole training that is done: they move with every step, and end with it.

Legend: S steps looked at together, M members; a multiplier is [S,1,1,1] or [S,M,1,1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Interval
from skbig.components.schedules.base import NOT_NEGATIVE, Progress, Schedule


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

    end: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)

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

    end: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)

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
    end: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)

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


def _cosine(first: Any, last: Any, fraction: Tensor) -> Tensor:
    """Go along half a cosine from `first`, at a fraction of zero, to `last`, at one."""
    return last + (first - last) * (1 + (math.pi * fraction).cos()) / 2
