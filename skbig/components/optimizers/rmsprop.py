"""RMSprop: a gradient over the root of the running mean of its square.

Legend: M members, n and k the two dims of a parameter `[M,n,k]`, P the parameters of a member, laid out flat in
`[M,1,P]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Boolean
from skbig.components.optimizers.base import (
    BELOW_ONE,
    NOT_NEGATIVE,
    SHARE,
    Factors,
    Optimizer,
    State,
    add_scaled,
    as_like,
    average,
    forgotten,
    is_zero,
)


@dataclass(frozen=True)
class RMSprop(Optimizer, name="rmsprop", recordable=True):
    """Gradients divided by a running average of their size.

    ``v = alpha * v + (1 - alpha) * g^2`` and ``param -= rate * g / (sqrt(v) + eps)`` (Tieleman & Hinton, 2012, lecture
    6.5 of "Neural networks for machine learning").

    Parameters
    ----------
    alpha : float, default=0.99
        Memory of the average, in [0, 1).
    eps : float, default=1e-8
        Keeps the division finite.
    momentum : float, default=0.0
        Share of the last move that is kept, in [0, 1].
    centered : bool, default=False
        Divide by the standard deviation instead: v less the square of the averaged gradient (Graves, 2013).
    weight_decay : float, default=0.0
        As in `SGD`.

    Examples
    --------
    >>> from skbig.components import RMSprop
    >>> RMSprop(alpha=0.9, centered=True).default_rate
    0.01
    """

    default_rate: ClassVar[float] = 1e-2

    alpha: float = hyperparameter(0.99, BELOW_ONE, varies=True)
    eps: float = hyperparameter(1e-8, NOT_NEGATIVE, varies=True)
    momentum: float = hyperparameter(0.0, SHARE, varies=True)
    centered: bool = hyperparameter(False, Boolean())
    weight_decay: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)

    def init(self, param: Tensor) -> State:
        names = ["square"] + ["mean"] * self.centered + ["velocity"] * (not is_zero(self.momentum))
        return {name: torch.zeros_like(param) for name in names}

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        add_scaled(grad, param, self.weight_decay)
        deviation = self._deviation(grad, state).add_(as_like(self.eps, param))
        if is_zero(self.momentum):
            param.addcmul_(grad.div_(deviation), rate, value=-1)
        else:
            velocity = state["velocity"].mul_(as_like(self.momentum, param))
            param.addcmul_(velocity.addcdiv_(grad, deviation), rate, value=-1)

    def reach(self, state: State, factors: Factors) -> Tensor:
        del factors
        deviation = self._root(state).add_(as_like(self.eps, state["square"]))
        return deviation.mul_(as_like(forgotten(self.momentum), deviation)).reciprocal_()

    def _deviation(self, grad: Tensor, state: State) -> Tensor:
        average(state["square"], grad.square(), self.alpha)
        if self.centered:
            average(state["mean"], grad, self.alpha)
        return self._root(state)

    def _root(self, state: State) -> Tensor:
        if not self.centered:
            return state["square"].sqrt()
        # A gradient that stays the same has no variance, and rounding may leave less than none.
        return state["square"].addcmul(state["mean"], state["mean"], value=-1).clamp_min_(0).sqrt_()
