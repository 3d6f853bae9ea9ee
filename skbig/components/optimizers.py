"""Optimizers: how a gradient moves the parameters.

An optimizer is a formula, `update`, run once per step, for all members at once and in place. A step of a small network
takes tens of microseconds and every torch operation more than one, so the formulas count their operations: what depends
on the step number alone is computed beforehand for many steps (`factors`), the gradient serves as scratch memory, and
what a float of zero switches off costs nothing.

Legend: M members, S steps, n and k the two dims of a parameter `[M,n,k]`, P the parameters of a member, laid out flat
in `[M,1,P]`. Rates, factors and hyperparameters that differ between members are `[M,1,1]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skbig._validation import Boolean, Each, Interval
from skbig.components.component import Component, hyperparameter

State = dict[str, Tensor]
Factors = tuple[Tensor, ...]
Evaluate = Callable[[Tensor], tuple[float, Tensor]]
"""An objective: takes a point (P,), returns the loss and its gradient (P,)."""

SHARE = Interval(0.0, 1.0)
BELOW_ONE = Interval(0.0, 1.0, closed="left")
NOT_NEGATIVE = Interval(0.0, None, closed="left")


@dataclass(frozen=True)
class Optimizer(Component):
    """Changes parameters and its own state, given gradients.

    To make one, define `init` and `update`, and `factors` where the formula looks at the step number. An optimizer that
    searches along a line over the whole data set says ``full_batch = True`` and defines `iterate` and `converged`.

    Attributes
    ----------
    default_rate : float, default=0.001
        What ``learning_rate="auto"`` stands for.
    elementwise : bool, default=True
        Whether each number of a parameter moves by itself, so that all parameters may come as one flat tensor.
    full_batch : bool, default=False
        Whether a step is an iteration over the whole data set.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from skbig.components import Optimizer
    >>> @dataclass(frozen=True)
    ... class Descent(Optimizer):
    ...     def init(self, param):
    ...         return {}
    ...     def update(self, param, grad, state, rate, factors):
    ...         param.sub_(rate * grad)
    >>> param = torch.ones(1, 1, 2)
    >>> Descent().update(param, grad=param.clone(), state={}, rate=torch.full((1, 1, 1), 0.25), factors=())
    >>> param
    tensor([[[0.7500, 0.7500]]])
    """

    kind: ClassVar[str] = "optimizer"
    default_rate: ClassVar[float] = 1e-3
    elementwise: ClassVar[bool] = True
    full_batch: ClassVar[bool] = False

    def init(self, param: Tensor) -> State:
        """Return the state that a parameter starts with, by name.

        *Shape*: param (M, n, k), or all parameters as (M, 1, P); a state tensor the same, or (M, 1, 1).
        """
        raise NotImplementedError(f"{type(self).__name__} must define init(param): its first state, {{}} for none.")

    def factors(self, step: Tensor) -> Factors:
        """Return what the formula takes from the step number alone, for many steps at once, in float64.

        *Shape*: step, counted from 1, (S, 1, 1, 1); each factor (S, 1, 1, 1) or (S, M, 1, 1). `update` is given the row
        of its step, in the dtype of the parameter.
        """
        del step
        return ()

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        """Change the parameter and its state in place. The gradient is free to be overwritten.

        An update never mixes members, and never looks at the value of a tensor: it is recorded once and replayed. A
        hyperparameter in which members differ is a float64 tensor (M, 1, 1), to be cast to the dtype of the parameter.

        *Shape*: param and grad (M, n, k) or (M, 1, P); rate and each factor (1, 1, 1) or (M, 1, 1).
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(param, grad, state, rate, factors).")

    def reach(self, state: State, factors: Factors) -> Tensor | float:
        """Return how far, in units of the rate, a lasting gradient of one moves a parameter in each step.

        The proximal step of a penalty is taken in this measure, so that 'l1' has the same minimum under every
        optimizer. One is right for plain descent; where moves do not grow with the gradient, as for the sign of it,
        there is no such measure.

        *Shape*: that of the parameter, or (1, 1, 1) or (M, 1, 1).
        """
        del state, factors
        return 1.0

    def iterate(
        self, evaluate: Evaluate, point: Tensor, state: dict[str, Any], rate: float
    ) -> tuple[float, dict[str, Any]]:
        """Move one member's point (P,) in place; return the loss there and the new state. Only where `full_batch`."""
        raise NotImplementedError(f"{type(self).__name__} must define iterate(evaluate, point, state, rate).")

    def converged(self, state: dict[str, Any], tol: float) -> bool:
        """Return whether nothing is left to gain after an iteration. Only where `full_batch`."""
        raise NotImplementedError(f"{type(self).__name__} must define converged(state, tol).")


def as_like(value: Any, tensor: Tensor) -> Any:
    """Return a float as it is, and a tensor of hyperparameters in the dtype and on the device of `tensor`."""
    return value.to(tensor) if isinstance(value, Tensor) else value


def is_zero(value: Any) -> bool:
    """Whether a hyperparameter is off for all members; a tensor never is, so no code depends on its values."""
    return not isinstance(value, Tensor) and value == 0


def add_scaled(total: Tensor, tensor: Tensor, scale: Any) -> None:
    """``total += scale * tensor``, free of cost where the scale is zero."""
    if isinstance(scale, Tensor):
        total.addcmul_(tensor, as_like(scale, total))
    elif scale != 0:
        total.add_(tensor, alpha=scale)


def average(mean: Tensor, value: Tensor, beta: Any) -> None:
    """``mean = beta * mean + (1 - beta) * value``."""
    mean.lerp_(value, as_like(1 - beta, mean))  # one minus beta in double precision: it may be 0.001


def decay(param: Tensor, rate: Tensor, weight_decay: Any) -> None:
    """``param -= rate * weight_decay * param``: decoupled weight decay, free of cost where it is zero."""
    if isinstance(weight_decay, Tensor):
        param.addcmul_(param, rate * as_like(weight_decay, rate), value=-1)
    elif weight_decay != 0:
        param.addcmul_(param, rate, value=-weight_decay)


def forgotten(momentum: Any) -> Any:
    """``1 - momentum``, but never zero: divided by it, what lasts is huge, and still nothing at a strength of zero."""
    share = 1 - momentum
    return share.clamp_min(1e-20) if isinstance(share, Tensor) else max(share, 1e-20)


def _sign(value: Any) -> Any:
    return value.sign() if isinstance(value, Tensor) else float(value > 0)


@dataclass(frozen=True)
class SGD(Optimizer, name="sgd"):
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
        share = self.momentum if self.nesterov else _sign(self.momentum)
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


@dataclass(frozen=True)
class Adagrad(Optimizer, name="adagrad"):
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


@dataclass(frozen=True)
class RMSprop(Optimizer, name="rmsprop"):
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


@dataclass(frozen=True)
class Lion(Optimizer, name="lion"):
    """Moves of one size: the sign of an averaged gradient.

    ``param -= rate * (sign(b1 * m + (1 - b1) * g) + weight_decay * param)``, then ``m = b2 * m + (1 - b2) * g``
    (Chen et al., 2023, "Symbolic discovery of optimization algorithms", arXiv:2302.06675).

    Parameters
    ----------
    betas : tuple of two floats, default=(0.9, 0.99)
        Memory of the average in the move and in what is kept, each in [0, 1).
    weight_decay : float, default=0.0
        How fast every parameter shrinks, intercepts too: per step, in units of the rate.

    Examples
    --------
    >>> from skbig.components import Lion
    >>> Lion().default_rate
    0.0001
    """

    default_rate: ClassVar[float] = 1e-4

    betas: tuple[float, float] = hyperparameter((0.9, 0.99), Each(BELOW_ONE, 2), varies=True)
    weight_decay: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)

    def init(self, param: Tensor) -> State:
        return {"mean": torch.zeros_like(param)}

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        decay(param, rate, self.weight_decay)
        sign = state["mean"].lerp(grad, as_like(1 - self.betas[0], grad)).sign_()
        average(state["mean"], grad, self.betas[1])
        param.addcmul_(sign, rate, value=-1)
