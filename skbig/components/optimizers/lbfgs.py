"""L-BFGS: a quasi-Newton method over the whole data set.

Legend: P the parameters of one member, laid out flat; k the pairs of the history.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Interval
from skbig.components.optimizers.base import NOT_NEGATIVE, Evaluate, Optimizer
from skbig.components.optimizers.curvature import Curvature
from skbig.components.optimizers.vectors import Vector, dot, largest, rounding, same, tensor, vector
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
            Takes a point (P,) and returns its loss, a float, and gradient (P,). One that is `Remembered` over many
            iterations saves the evaluation at the start of each.
        point : Tensor of shape (P,)
            Changed in place.
        state : dict
            What the last call returned, {} at the start. It may have been stored: every value is a number, or a tuple
            of numbers or of vectors (P,), which may come back as one tensor (k, P).
        rate : float
            The first step length that a line search tries.

        Returns
        -------
        loss : float
            The loss at the new point. Where it is not finite the point has not moved.
        state : dict
            `func_evals`, the evaluations so far; `max_gradient`, the largest entry of the gradient at the new point;
            `stalled`, whether nothing changed; and from the first move on `n_iter`, and the `moves`, `changes`,
            `products` and `scale` of the `Curvature`.
        """
        objective = evaluate if isinstance(evaluate, Remembered) else Remembered(evaluate)
        with np.errstate(all="ignore"):  # what leaves the range of numbers is looked at
            return self._iterate(objective, vector(point), state, rate)

    def _iterate(
        self, objective: Remembered, point: Vector, state: dict[str, Any], rate: float
    ) -> tuple[float, dict[str, Any]]:
        start = objective.start(point)
        n_before, steepest = objective.n_evaluations, objective.steepest
        if not (math.isfinite(start.loss) and math.isfinite(steepest)):
            return math.nan, {**state, "max_gradient": math.nan, "stalled": True}
        if rate == 0 or steepest == 0:  # as a schedule may end, or at a minimum: nothing moves
            return start.loss, {"func_evals": 0, **state, "max_gradient": steepest, "stalled": steepest == 0}
        start, end, curvature = self._searched(objective, start, _curvature(state, point), rate)
        if not math.isfinite(end.slope):
            return math.nan, {**state, "max_gradient": steepest, "stalled": True}
        moved = 0.0
        if end.step:
            move = end.point - point
            moved = largest(move)
            if not math.isfinite(moved):
                return math.nan, {**state, "max_gradient": steepest, "stalled": True}
            curvature = self._learnt(curvature, move, start, end)
            point[:] = end.point
            objective.remember(end)
        return end.loss, {
            "n_iter": state.get("n_iter", 0) + 1,
            # The evaluation at the start of an iteration is the last of the one before.
            "func_evals": (state.get("func_evals") or 1) + objective.n_evaluations - n_before,
            **curvature._asdict(),
            "max_gradient": objective.steepest,
            "stalled": abs(end.loss - start.loss) < self.tolerance_change or moved <= self.tolerance_change,
        }

    def _learnt(self, curvature: Curvature, move: Vector, start: Probe, end: Probe) -> Curvature:
        """Return what is known after a move, if the slope along it has changed by more than rounding says."""
        change = end.gradient - start.gradient
        if dot(move, change) > rounding(move) * end.step * -start.slope:
            return curvature.after(move, change, self.history_size)
        return curvature

    def _searched(
        self, objective: Remembered, start: Probe, curvature: Curvature, rate: float
    ) -> tuple[Probe, Probe, Curvature]:
        """Return where a search along the line that the curvature leads down starts and ends, and that curvature.

        Where rounding has made the pairs contradict each other, or they lead nowhere, it is straight down.
        """
        if curvature.moves:
            direction = curvature.downhill(start.gradient)
            slope = dot(direction, start.gradient)
            if slope < 0:
                sloping = start._replace(slope=slope)
                end = search(_along(direction, start, objective), sloping, rate, self.tolerance_change)
                if end.step:
                    return sloping, end, curvature
        # Divided, so that no product of two gradients leaves the range of numbers.
        direction = -start.gradient / objective.steepest
        start = start._replace(slope=dot(direction, start.gradient))
        first = rate * objective.steepest * min(1.0, 1.0 / float(abs(start.gradient).sum()))
        end = search(_along(direction, start, objective), start, first, self.tolerance_change)
        return start, end, Curvature()

    def converged(self, state: dict[str, Any], tol: float) -> bool:
        """Return whether the gradient vanishes to `tol`, or nothing changed in the last iteration."""
        return bool(state["max_gradient"] <= tol or state["stalled"])

    def exhausted(self, state: dict[str, Any]) -> bool:
        """Return whether `max_fun` evaluations are spent."""
        return bool(state["func_evals"] >= self.max_fun)


def _along(direction: Vector, start: Probe, objective: Remembered) -> Callable[[float], Probe]:
    """Return what probes steps in a direction (P,)."""

    def at(step: float) -> Probe:
        point = start.point + step * direction
        loss, gradient = objective.evaluate(point)
        return Probe(step, loss, dot(direction, gradient), point, gradient)

    return at


class Remembered:
    """An objective that knows where the last search ended, and does not compute that twice.

    Parameters
    ----------
    evaluate : callable
        As that of `LBFGS.iterate`; it may use the memory of a gradient again.
    takes_vectors : bool, default=False
        Whether it takes a vector (P,) in place of a tensor, and returns a gradient that is a vector of its own.

    Attributes
    ----------
    n_evaluations : int
        How often it was computed.
    steepest : float
        The largest magnitude in the gradient where a search starts, or the last one has ended.
    """

    def __init__(self, evaluate: Callable[[Any], tuple[float, Any]], *, takes_vectors: bool = False) -> None:
        self._evaluate = evaluate if takes_vectors else _of_vectors(evaluate)
        self._end: Probe | None = None
        self.n_evaluations, self.steepest, self._steepest_end = 0, math.nan, math.nan

    def __call__(self, point: Tensor) -> tuple[float, Tensor]:
        """Return the loss and the gradient at a point (P,), as any objective of tensors does."""
        start = self.start(vector(point))
        return start.loss, tensor(start.gradient)

    def start(self, point: Vector) -> Probe:
        """Return what is found at a point, computed where it is another one than the last end."""
        if self._end is None or not same(self._end.point, point):
            loss, gradient = self.evaluate(point)
            self.steepest = largest(gradient)
        else:
            loss, gradient, self.steepest = self._end.loss, self._end.gradient, self._steepest_end
        return Probe(0.0, loss, math.nan, point, gradient)

    def evaluate(self, point: Vector) -> tuple[float, Vector]:
        """Compute the loss and the gradient at a point."""
        self.n_evaluations += 1
        return self._evaluate(point)

    def remember(self, end: Probe) -> None:
        """Keep what was found where a search ends."""
        self._end, self.steepest = end, largest(end.gradient)
        self._steepest_end = self.steepest


def _of_vectors(evaluate: Evaluate) -> Callable[[Vector], tuple[float, Vector]]:
    """Return an objective of tensors, which may use the memory of a gradient again, as one of vectors."""

    def evaluate_vector(point: Vector) -> tuple[float, Vector]:
        loss, gradient = evaluate(tensor(point))
        return loss, vector(gradient.clone())

    return evaluate_vector


def _curvature(state: dict[str, Any], point: Vector) -> Curvature:
    """Return what a state, which may have been stored, knows of the curvature."""
    moves, changes, products = (state.get(name, ()) for name in ("moves", "changes", "products"))
    if len(moves) == 0:
        return Curvature()
    if isinstance(moves, tuple) and type(moves[0]) is type(point):
        return Curvature(moves, changes, products, state["scale"])
    moves, changes = (tuple(vector(tensor(row).to(tensor(point))) for row in rows) for rows in (moves, changes))
    return Curvature(moves, changes, tuple(map(float, products)), float(state["scale"]))
