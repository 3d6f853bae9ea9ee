"""L-BFGS: a quasi-Newton method over the whole data set.

Legend: P the parameters of one member, laid out flat; k the pairs of the history.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Interval
from skbig.components.optimizers.base import NOT_NEGATIVE, Evaluate, Optimizer
from skbig.components.optimizers.curvature import Curvature, dot
from skbig.components.optimizers.wolfe import Probe, search


@dataclass(frozen=True)
class LBFGS(Optimizer, name="lbfgs"):
    """Limited-memory BFGS with a line search that meets the strong Wolfe conditions.

    An iteration moves along ``-H g``, where g is the gradient and H an estimate of the inverse Hessian from the last
    `history_size` moves and changes of g (Nocedal & Wright, 2006, "Numerical optimization", algorithms 7.4 and 3.5), as
    ``torch.optim.LBFGS`` takes it. Often the best choice for data of a few thousand rows or less.

    Parameters
    ----------
    history_size : int, default=10
        Pairs that are remembered; each takes the memory of two sets of parameters.
    max_fun : int, default=15000
        Evaluations of the loss and its gradient after which training stops.
    tolerance_change : float, default=1e-9
        Training stops when neither the loss nor any parameter changes by more.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import LBFGS
    >>> def evaluate(point):
    ...     return float(((point - 3) ** 2).sum()), 2 * (point - 3)
    >>> point, state, optimizer = torch.zeros(2), {}, LBFGS()
    >>> for _ in range(3):
    ...     loss, state = optimizer.iterate(evaluate, point, state, rate=1.0)
    >>> point, optimizer.converged(state, tol=1e-4)
    (tensor([3., 3.]), True)
    """

    default_rate: ClassVar[float] = 1.0
    elementwise: ClassVar[bool] = False
    full_batch: ClassVar[bool] = True

    history_size: int = hyperparameter(10, Interval(1, None, closed="left", integer=True))
    max_fun: int = hyperparameter(15000, Interval(1, None, closed="left", integer=True))
    tolerance_change: float = hyperparameter(1e-9, NOT_NEGATIVE)

    def iterate(
        self, evaluate: Evaluate, point: Tensor, state: dict[str, Any], rate: float
    ) -> tuple[float, dict[str, Any]]:
        """Move the point to the end of one line search.

        Parameters
        ----------
        evaluate : callable
            Takes a point (P,) and returns its loss, a float, and gradient (P,). Wrapped in `Remembered` once for many
            iterations, it saves the evaluation at the start of each.
        point : Tensor of shape (P,)
            Changed in place.
        state : dict
            What the last call returned, {} at the start. It may have been stored: every value is a number or a tensor.
        rate : float
            The first step length that a line search tries.

        Returns
        -------
        loss : float
            The loss at the new point. Where it is not finite the point has not moved.
        state : dict
            `func_evals`, the evaluations so far; `max_gradient`, the largest entry of the gradient at the new point;
            `stalled`, whether nothing changed; and from the first move on `n_iter`, the `pairs` of moves and changes
            (k, 2, P), and their `products` (2, k, k).
        """
        objective = evaluate if isinstance(evaluate, Remembered) else Remembered(evaluate)
        loss, gradient = objective(point)
        largest = _largest(gradient)
        if not (math.isfinite(loss) and math.isfinite(largest)):
            return math.nan, {**state, "max_gradient": math.nan, "stalled": True}
        if rate == 0 or largest == 0:  # as a schedule may end, or at a minimum: nothing moves
            return loss, {"func_evals": 0, **state, "max_gradient": largest, "stalled": largest == 0}
        start, n_before = Probe(0.0, loss, math.nan, point, gradient), objective.n_evaluations
        end, curvature = self._searched(objective, start, _curvature(state, point), rate)
        if not math.isfinite(end.slope):
            return math.nan, {**state, "max_gradient": largest, "stalled": True}
        move, change = end.point - point, end.gradient - gradient
        if end.step:
            if dot(move, change) > torch.finfo(point.dtype).eps * -dot(move, gradient):  # more than rounding says
                curvature = curvature.after(move, change, self.history_size)
            point.copy_(end.point)
            objective.remember(end)
        return end.loss, {
            "n_iter": state.get("n_iter", 0) + 1,
            # The evaluation at the start of an iteration is the last of the one before.
            "func_evals": (state.get("func_evals") or 1) + objective.n_evaluations - n_before,
            "pairs": curvature.pairs,
            "products": torch.from_numpy(curvature.products),
            "max_gradient": _largest(end.gradient),
            "stalled": abs(end.loss - loss) < self.tolerance_change or _largest(move) <= self.tolerance_change,
        }

    def _searched(
        self, objective: Remembered, start: Probe, curvature: Curvature, rate: float
    ) -> tuple[Probe, Curvature]:
        """Return where a search along the line ends that the curvature leads down, and that curvature.

        Where rounding has made the pairs contradict each other, or they lead nowhere, it is straight down.
        """
        if len(curvature.pairs):
            direction = curvature.downhill(start.gradient)
            slope = dot(direction, start.gradient)
            if slope < 0:
                sloping = start._replace(slope=slope)
                end = search(_along(direction, start, objective), sloping, rate, self.tolerance_change)
                if end.step:
                    return end, curvature
        largest = _largest(start.gradient)
        direction = -start.gradient / largest  # so that no product of two gradients leaves the range of numbers
        start = start._replace(slope=dot(direction, start.gradient))
        first = rate * largest * min(1.0, 1.0 / float(start.gradient.abs().sum()))
        end = search(_along(direction, start, objective), start, first, self.tolerance_change)
        return end, Curvature.unknown(start.point)

    def converged(self, state: dict[str, Any], tol: float) -> bool:
        """Return whether the gradient vanishes to `tol`, or nothing changed in the last iteration."""
        return bool(state["max_gradient"] <= tol or state["stalled"])

    def exhausted(self, state: dict[str, Any]) -> bool:
        """Return whether `max_fun` evaluations are spent."""
        return bool(state["func_evals"] >= self.max_fun)


def _along(direction: Tensor, start: Probe, objective: Remembered) -> Callable[[float], Probe]:
    """Return what probes steps in a direction (P,)."""

    def at(step: float) -> Probe:
        point = torch.add(start.point, direction, alpha=step)
        loss, gradient = objective.evaluate(point)
        return Probe(step, loss, dot(direction, gradient), point, gradient)

    return at


class Remembered:
    """An objective that knows where the last search ended, and does not compute that twice.

    Attributes
    ----------
    n_evaluations : int
        How often it was computed.
    """

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._end: Probe | None = None
        self.n_evaluations = 0

    def __call__(self, point: Tensor) -> tuple[float, Tensor]:
        """Return the loss and the gradient at a point (P,), computed where it is another one than the last end."""
        if self._end is None or not torch.equal(self._end.point, point):
            return self.evaluate(point)
        return self._end.loss, self._end.gradient

    def evaluate(self, point: Tensor) -> tuple[float, Tensor]:
        """Compute the loss and the gradient at a point (P,)."""
        self.n_evaluations += 1
        loss, gradient = self._evaluate(point)
        return loss, gradient.clone()  # an objective may use its memory again

    def remember(self, end: Probe) -> None:
        """Keep what was found where a search ends."""
        self._end = end


def _curvature(state: dict[str, Any], point: Tensor) -> Curvature:
    """Return what a state, which may have been stored, knows of the curvature."""
    if "pairs" not in state:
        return Curvature.unknown(point)
    return Curvature(state["pairs"].to(point), state["products"].cpu().double().numpy())


def _largest(values: Tensor) -> float:
    """Return the largest magnitude; not a number, where one is none."""
    return float(values.abs().max())
