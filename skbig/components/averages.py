"""Averages of the weights over the steps of a training: less noisy than those of any one step.

Legend: M members, S steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skbig._utils.component import Component, hyperparameter
from skbig._utils.validation import Boolean, Interval


@dataclass(frozen=True)
class Average(Component):
    """Averages the weights, and the running moments of a batch norm, over the steps.

    After each step ``averaged += share * (weights - averaged)``. What is scored, saved and predicted with are the
    averaged weights; training goes on from those of the last step. To make one, define `share`.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from skbig.components import Average
    >>> @dataclass(frozen=True)
    ... class Mean(Average):
    ...     def share(self, step):
    ...         return 1 / step
    >>> Mean().share(torch.tensor([1.0, 2.0, 4.0]))
    tensor([1.0000, 0.5000, 0.2500])
    """

    kind = "average"

    def share(self, step: Tensor) -> Tensor:
        """Return how far the averaged weights move towards those of a step, in [0, 1], for many steps, in float64.

        *Shape*: step, counted from 1, (S, 1, 1, 1); the share (S, 1, 1, 1) or (S, M, 1, 1).
        """
        raise NotImplementedError(f"{type(self).__name__} must define share(step).")


@dataclass(frozen=True)
class EMA(Average, name="ema", recordable=True):
    """Exponential moving average, in which a step counts the less the longer it is ago.

    ``averaged = d * averaged + (1 - d) * weights`` with d the decay (Polyak & Juditsky, 1992; Morales-Brotons, Vogels &
    Hendrikx, 2024, arXiv:2411.18704). With `warmup`, d is ``min(decay, (1 + t) / (10 + t))`` in step t, as in
    TensorFlow, so that the first weights are soon forgotten.

    Parameters
    ----------
    decay : float, default=0.999
        Memory of the average, in [0, 1): it goes back over about ``1 / (1 - decay)`` steps.
    warmup : bool, default=True
        Whether the memory is short in the first steps.

    Examples
    --------
    >>> from skbig import BigMLPClassifier
    >>> from skbig.components import EMA
    >>> BigMLPClassifier(average=EMA(decay=0.99)).get_params()["average__decay"]
    0.99
    """

    decay: float = hyperparameter(0.999, Interval(0, 1, "left"), varies=True)
    warmup: bool = hyperparameter(True, Boolean())

    def share(self, step: Tensor) -> Tensor:
        decay = torch.zeros_like(step) + self.decay
        if self.warmup:
            decay = torch.minimum(decay, (1 + step) / (10 + step))
        return 1 - decay
