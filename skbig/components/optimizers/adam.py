"""Adam and its kin: an averaged gradient over the square root of its averaged square.

Legend: M members, S steps; a parameter is `[M,n,k]`, or all of them flat `[M,1,P]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Boolean, Each
from skbig.components.optimizers.base import (
    BELOW_ONE,
    NOT_NEGATIVE,
    Factors,
    Optimizer,
    State,
    add_scaled,
    as_like,
    average,
    decay,
)
from skbig.components.optimizers.fused import fused_adam, takes_fused
from skbig.components.powers import power


def adam_state(param: Tensor, amsgrad: bool = False) -> State:
    """Return Adam's running averages of the gradient and of its square, and the largest of the latter."""
    names = ["mean", "variance"] + ["peak"] * amsgrad
    return {name: torch.zeros_like(param) for name in names}


def adam_factors(step: Tensor, betas: tuple[Any, Any], eps: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return what makes up for averages that began at zero: a scale of the rate, and eps brought to the raw variance.

    ``(m / c1) / (sqrt(v / c2) + eps)`` is ``sqrt(c2) / c1 * m / (sqrt(v) + eps * sqrt(c2))``. The last is the step.
    """
    first, second = (1 - power(beta, step).to(step) for beta in betas)
    return second.sqrt() / first, as_like(eps, step) * second.sqrt(), step


def adam_move(param: Tensor, grad: Tensor, state: State, betas: tuple[Any, Any], rate: Tensor, eps: Any) -> None:
    """``param -= rate * mean / (sqrt(variance) + eps)``, both averages brought up to date."""
    average(state["mean"], grad, betas[0])
    average(state["variance"], grad.square_(), betas[1])
    variance = state["peak"].clamp_min_(state["variance"]) if "peak" in state else state["variance"]
    deviation = torch.sqrt(variance, out=grad).add_(as_like(eps, grad))
    param.addcmul_(torch.div(state["mean"], deviation, out=deviation), rate, value=-1)


def adam_reach(state: State, scale: Tensor, eps: Any) -> Tensor:
    """Return ``scale / (sqrt(variance) + eps)``: how far a lasting gradient of one moves a parameter."""
    variance = state.get("peak", state["variance"])
    return scale / variance.sqrt().add_(as_like(eps, variance))


@dataclass(frozen=True)
class Adam(Optimizer, name="adam", recordable=True):
    """Adaptive moments: an averaged gradient over the square root of its averaged square.

    ``m = b1 * m + (1 - b1) * g``, ``v = b2 * v + (1 - b2) * g^2``, and in step t
    ``param -= rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)`` (Kingma & Ba, 2015, arXiv:1412.6980, algorithm 1).

    Parameters
    ----------
    betas : tuple of two floats, default=(0.9, 0.999)
        Memory of the two averages, each in [0, 1).
    eps : float, default=1e-8
        Keeps the division finite.
    weight_decay : float, default=0.0
        As in `SGD`.
    amsgrad : bool, default=False
        Divide by the largest v so far (Reddi, Kale & Kumar, 2018).
    eps_hat : bool, default=False
        Add eps to ``sqrt(v)`` before the correction by ``1 - b2^t``, as scikit-learn and TensorFlow do: the "epsilon
        hat" of the paper's section 2.

    Examples
    --------
    >>> from skbig.components import Adam
    >>> Adam(betas=(0.9, 0.95)).eps
    1e-08
    """

    betas: tuple[float, float] = hyperparameter((0.9, 0.999), Each(BELOW_ONE, 2), varies=True)
    eps: float = hyperparameter(1e-8, NOT_NEGATIVE, varies=True)
    weight_decay: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)
    amsgrad: bool = hyperparameter(False, Boolean())
    eps_hat: bool = hyperparameter(False, Boolean())

    def init(self, param: Tensor) -> State:
        return adam_state(param, self.amsgrad)

    def factors(self, step: Tensor) -> Factors:
        factors = adam_factors(step, self.betas, self.eps)
        return factors[:1] if self.eps_hat else factors

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        numbers = (*self.betas, self.eps, self.weight_decay)
        if not self.eps_hat and takes_fused(param, rate, factors[-1], numbers):
            return fused_adam(param, grad, state, rate, factors[2], *numbers, decoupled=False)
        add_scaled(grad, param, self.weight_decay)
        adam_move(param, grad, state, self.betas, rate * factors[0], self.eps if self.eps_hat else factors[1])

    def reach(self, state: State, factors: Factors) -> Tensor:
        return adam_reach(state, factors[0], self.eps if self.eps_hat else factors[1])


@dataclass(frozen=True)
class AdamW(Optimizer, name="adamw", recordable=True):
    """Adam with decoupled weight decay.

    ``param -= rate * weight_decay * param``, then Adam's move (Loshchilov & Hutter, 2019, arXiv:1711.05101).

    Parameters
    ----------
    betas : tuple of two floats, default=(0.9, 0.999)
        Memory of the averages of the gradient and of its square, each in [0, 1).
    eps : float, default=1e-8
        Keeps the division finite.
    weight_decay : float, default=0.01
        How fast every parameter shrinks, intercepts too, as in torch: per step, in units of the rate.
    amsgrad : bool, default=False
        Divide by the largest averaged square so far.

    Examples
    --------
    >>> from skbig.components import AdamW
    >>> AdamW(weight_decay=0.1).betas
    (0.9, 0.999)
    """

    betas: tuple[float, float] = hyperparameter((0.9, 0.999), Each(BELOW_ONE, 2), varies=True)
    eps: float = hyperparameter(1e-8, NOT_NEGATIVE, varies=True)
    weight_decay: float = hyperparameter(0.01, NOT_NEGATIVE, varies=True)
    amsgrad: bool = hyperparameter(False, Boolean())

    def init(self, param: Tensor) -> State:
        return adam_state(param, self.amsgrad)

    def factors(self, step: Tensor) -> Factors:
        return adam_factors(step, self.betas, self.eps)

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        numbers = (*self.betas, self.eps, self.weight_decay)
        if takes_fused(param, rate, factors[-1], numbers):
            return fused_adam(param, grad, state, rate, factors[2], *numbers, decoupled=True)
        decay(param, rate, self.weight_decay)
        adam_move(param, grad, state, self.betas, rate * factors[0], factors[1])

    def reach(self, state: State, factors: Factors) -> Tensor:
        return adam_reach(state, factors[0], factors[1])


@dataclass(frozen=True)
class NAdam(Optimizer, name="nadam", recordable=True):
    """Adam with Nesterov's momentum.

    With ``mu_t = b1 * (1 - 0.96^(t * momentum_decay) / 2)`` and ``p_t = mu_1 * ... * mu_t``, the averaged gradient of
    `Adam` is replaced by ``mu_(t+1) * m / (1 - p_(t+1)) + (1 - mu_t) * g / (1 - p_t)`` (Dozat, 2016, "Incorporating
    Nesterov momentum into Adam").

    Parameters
    ----------
    betas : tuple of two floats, default=(0.9, 0.999)
        Memory of the averages of the gradient and of its square, each in [0, 1).
    eps : float, default=1e-8
        Keeps the division finite.
    weight_decay : float, default=0.0
        As in `SGD`.
    momentum_decay : float, default=0.004
        How fast the momentum rises from a half of b1 to b1, per step.
    decoupled_weight_decay : bool, default=False
        Apply the weight decay as `AdamW` does.

    Examples
    --------
    >>> from skbig.components import NAdam
    >>> NAdam(momentum_decay=0.01).default_rate
    0.002
    """

    default_rate: ClassVar[float] = 2e-3

    betas: tuple[float, float] = hyperparameter((0.9, 0.999), Each(BELOW_ONE, 2), varies=True)
    eps: float = hyperparameter(1e-8, NOT_NEGATIVE, varies=True)
    weight_decay: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)
    momentum_decay: float = hyperparameter(0.004, NOT_NEGATIVE, varies=True)
    decoupled_weight_decay: bool = hyperparameter(False, Boolean())

    def init(self, param: Tensor) -> State:
        return adam_state(param)

    def factors(self, step: Tensor) -> Factors:
        now, then, product = self._momentum(step), self._momentum(step + 1), self._product(step)
        variance = 1 - power(self.betas[1], step).to(step)
        shares = (1 - now) / (1 - product), then / (1 - product * then)
        return (*(share * variance.sqrt() for share in shares), as_like(self.eps, step) * variance.sqrt())

    def _momentum(self, step: Tensor) -> Tensor:
        share = power(0.96, step * as_like(self.momentum_decay, step)).to(step)
        return as_like(self.betas[0], step) * (1 - 0.5 * share)

    def _product(self, step: Tensor) -> Tensor:
        """Return ``mu_1 * ... * mu_step``, from step 1 whatever steps are asked for.

        No mu is above b1, so the product vanishes beside one after a known number of steps; it is not followed further.
        torch multiplies in single precision, also for parameters in double; so do we, to take its steps to all digits.
        """
        slowest = float(torch.as_tensor(self.betas[0]).max())
        vanished = math.ceil(-40 / math.log(max(slowest, 1e-9)))
        counted = torch.arange(1, min(vanished, int(step.max())) + 1, dtype=step.dtype, device=step.device)
        factors = self._momentum(counted.view(-1, 1, 1, 1)).cpu().numpy().astype(np.float32)
        with np.errstate(under="ignore"):
            products = torch.from_numpy(np.cumprod(factors, axis=0)).to(step)
        return products[step.flatten().long().clamp(max=len(counted)) - 1]

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        if self.decoupled_weight_decay:
            decay(param, rate, self.weight_decay)
        else:
            add_scaled(grad, param, self.weight_decay)
        average(state["mean"], grad, self.betas[0])
        square = grad.square()
        average(state["variance"], square, self.betas[1])
        deviation = torch.sqrt(state["variance"], out=square).add_(factors[2])
        grad.mul_(factors[0]).addcmul_(state["mean"], factors[1]).div_(deviation)
        param.addcmul_(grad, rate, value=-1)

    def reach(self, state: State, factors: Factors) -> Tensor:
        return adam_reach(state, factors[0] + factors[1], factors[2])
