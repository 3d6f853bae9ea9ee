"""Stochastic gradient descent, with momentum.

Legend: M members, n and k the two dims of a parameter `[M,n,k]`, P the parameters of a member, laid out flat in
`[M,1,P]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Boolean
from skbig.components.optimizers.base import (
    NOT_NEGATIVE,
    SHARE,
    Factors,
    Optimizer,
    State,
    add_scaled,
    as_like,
    forgotten,
    is_zero,
    sign,
)


@dataclass(frozen=True)
class SGD(Optimizer, name="sgd", recordable=True):
    """Stochastic gradient descent, with momentum.

    ``b = momentum * b + (1 - dampening) * g`` and ``param -= rate * b``, where the first b is g itself.
    `rate_in_velocity` is the form of Sutskever et al. (2013), "On the importance of initialization and momentum in deep
    learning", and of scikit-learn: ``v = momentum * v - rate * (1 - dampening) * g`` and ``param += v``. The two differ
    when the rate changes.

    Parameters
    ----------
    momentum : float, default=0.9
        Share of the last move that is kept, in [0, 1]; the default is scikit-learn's.
    dampening : float, default=0.0
        Share of a gradient that the momentum does not take up, in [0, 1].
    nesterov : bool, default=True
        Move on by momentum once more: by ``g + momentum * b`` in place of b; the default is scikit-learn's.
    weight_decay : float, default=0.0
        Adds ``weight_decay * param`` to the gradient of every parameter, as torch does. The estimator's `alpha`
        penalises weights only, not intercepts, and is usually what one wants.
    rate_in_velocity : bool, default=False
        The form in which a new rate acts on new gradients only.

    Examples
    --------
    >>> from skbig.components import SGD
    >>> SGD(momentum=0.95).nesterov
    True
    """

    momentum: float = hyperparameter(0.9, SHARE, varies=True)
    dampening: float = hyperparameter(0.0, SHARE, varies=True)
    nesterov: bool = hyperparameter(True, Boolean())
    weight_decay: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)
    rate_in_velocity: bool = hyperparameter(False, Boolean())

    def init(self, param: Tensor) -> State:
        return {} if is_zero(self.momentum) else {"velocity": torch.zeros_like(param)}

    def factors(self, step: Tensor) -> Factors:
        if is_zero(self.momentum) or is_zero(self.dampening):
            return ()
        # Nothing is dampened in the first step, nor for a member without momentum: its move is the gradient.
        dampened = (step > 1) & (torch.as_tensor(as_like(self.momentum, step)) != 0)
        return (1 - as_like(self.dampening, step) * dampened.to(step.dtype),)

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        add_scaled(grad, param, self.weight_decay)
        if is_zero(self.momentum):
            param.addcmul_(grad, rate, value=-1)
            return
        velocity = state["velocity"].mul_(as_like(self.momentum, param))
        if self.rate_in_velocity:
            self._move_by_velocity(param, grad, velocity, rate, factors)
        else:
            self._move_by_gradients(param, grad, velocity, rate, factors)

    def reach(self, state: State, factors: Factors) -> Tensor | float:
        del factors
        if is_zero(self.momentum):
            return 1.0
        # The velocity comes to (1 - dampening) / (1 - momentum), of which Nesterov adds a share to the gradient. For a
        # member without momentum nothing is dampened.
        share = self.momentum if self.nesterov else sign(self.momentum)
        return as_like((1 - share * self.dampening) / forgotten(self.momentum), state["velocity"])

    def _move_by_gradients(self, param: Tensor, grad: Tensor, velocity: Tensor, rate: Tensor, factors: Factors) -> None:
        if factors:
            velocity.addcmul_(grad, factors[0])
        else:
            velocity.add_(grad)
        if self.nesterov:
            add_scaled(grad, velocity, self.momentum)
        param.addcmul_(grad if self.nesterov else velocity, rate, value=-1)

    def _move_by_velocity(self, param: Tensor, grad: Tensor, velocity: Tensor, rate: Tensor, factors: Factors) -> None:
        velocity.addcmul_(grad, rate * factors[0] if factors else rate, value=-1)
        if self.nesterov:
            add_scaled(param, velocity, self.momentum)
            param.addcmul_(grad, rate, value=-1)
        else:
            param.add_(velocity)
