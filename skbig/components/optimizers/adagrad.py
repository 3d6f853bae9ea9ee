"""Adagrad: each number has a rate of its own, which its past gradients make smaller.

Legend: M members, n and k the two dims of a parameter `[M,n,k]`, P the parameters of a member, laid out flat in
`[M,1,P]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig.components.optimizers.base import NOT_NEGATIVE, Factors, Optimizer, State, add_scaled, as_like, is_zero


@dataclass(frozen=True)
class Adagrad(Optimizer, name="adagrad", recordable=True):
    """Rates that fall where gradients have been large.

    ``s += g^2`` and ``param -= rate / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)`` in step t (Duchi, Hazan &
    Singer, 2011, "Adaptive subgradient methods for online learning and stochastic optimization").

    Parameters
    ----------
    lr_decay : float, default=0.0
        How fast the rate falls besides, per step.
    initial_accumulator_value : float, default=0.0
        What the sum of squares s starts from.
    eps : float, default=1e-10
        Keeps the division finite.
    weight_decay : float, default=0.0
        As in `SGD`.

    Examples
    --------
    >>> from skbig.components import Adagrad
    >>> Adagrad(eps=1e-8).default_rate
    0.01
    """

    default_rate: ClassVar[float] = 1e-2

    lr_decay: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)
    initial_accumulator_value: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)
    eps: float = hyperparameter(1e-10, NOT_NEGATIVE, varies=True)
    weight_decay: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)

    def init(self, param: Tensor) -> State:
        return {"sum": torch.zeros_like(param).add_(as_like(self.initial_accumulator_value, param))}

    def factors(self, step: Tensor) -> Factors:
        return () if is_zero(self.lr_decay) else (1 / (1 + (step - 1) * as_like(self.lr_decay, step)),)

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        add_scaled(grad, param, self.weight_decay)
        state["sum"].addcmul_(grad, grad)
        grad.div_(state["sum"].sqrt().add_(as_like(self.eps, param)))
        param.addcmul_(grad, rate * factors[0] if factors else rate, value=-1)

    def reach(self, state: State, factors: Factors) -> Tensor:
        deviation = state["sum"].sqrt().add_(as_like(self.eps, state["sum"]))
        return factors[0] / deviation if factors else deviation.reciprocal_()
