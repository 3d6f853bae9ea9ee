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

from torch import Tensor

from skbig._utils.component import Component
from skbig._utils.validation import Interval

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

    To make one, define `init` and `update`, and `factors` where the formula looks at the step number; and `for_role`
    where parameters of some roles are left to another optimizer. One that searches along a line over the whole data set
    says ``full_batch = True`` and defines `iterate` and `converged`.

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

    def for_role(self, role: str) -> Optimizer:
        """Return what moves parameters of a role ('weight', 'head', 'bias', 'embedding', ...): itself, or another one.

        Another one reads the same factors.
        """
        del role
        return self

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


def sign(value: Any) -> Any:
    return value.sign() if isinstance(value, Tensor) else float(value > 0)
