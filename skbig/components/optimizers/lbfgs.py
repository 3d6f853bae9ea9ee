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

MAX_LINE_SEARCH = 25
"""Evaluations after which a line search takes the best it has seen."""


@dataclass(frozen=True)
class LBFGS(Optimizer, name="lbfgs"):
    """Limited-memory BFGS with a line search that meets the strong Wolfe conditions.

    An iteration moves along ``-H g``, where g is the gradient and H an estimate of the inverse Hessian from the last
    `history_size` moves and changes of g (Nocedal & Wright, 2006, "Numerical optimization", algorithms 7.4 and 3.5), as
    ``torch.optim.LBFGS`` computes it. Often the best choice for data of a few thousand rows or less.

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
            torch's entries, among them `func_evals`, the evaluations so far; `max_gradient`, the largest entry of the
            gradient at the new point; and `stalled`, whether nothing changed.
        """
        objective = evaluate if isinstance(evaluate, Remembered) else Remembered(evaluate)
        old_loss, gradient = objective(point)
        if not _is_finite(old_loss, gradient):
            return old_loss, {**state, "max_gradient": math.nan, "stalled": True}
        if rate == 0:  # as a schedule may end: nothing moves
            return old_loss, {"func_evals": 0, **state, "max_gradient": float(gradient.abs().max()), "stalled": False}
        start, new_state = point.clone(), self._search(objective, point, state, rate)
        loss, gradient = objective(point)
        change = float((point - start).abs().max())
        new_state["max_gradient"] = float(gradient.abs().max())
        new_state["stalled"] = change <= self.tolerance_change or abs(loss - old_loss) < self.tolerance_change
        return loss, new_state

    def converged(self, state: dict[str, Any], tol: float) -> bool:
        """Return whether the gradient vanishes to `tol`, or nothing changed in the last iteration."""
        return bool(state["max_gradient"] <= tol or state["stalled"])

    def exhausted(self, state: dict[str, Any]) -> bool:
        """Return whether `max_fun` evaluations are spent."""
        return bool(state["func_evals"] >= self.max_fun)

    def _search(self, objective: Remembered, point: Tensor, state: dict[str, Any], rate: float) -> dict[str, Any]:
        parameter = point.detach()  # the same memory, so that the gradient does not stay with the caller's tensor
        optimizer = _TorchLBFGS(
            [parameter],
            lr=rate,
            max_iter=1,
            max_eval=1 + MAX_LINE_SEARCH,
            tolerance_grad=0.0,
            tolerance_change=self.tolerance_change,
            history_size=self.history_size,
            line_search_fn="strong_wolfe",
        )
        optimizer.state[parameter].update(_to_torch(state, parameter))
        optimizer.step(_closure(objective, parameter))
        new_state = _from_torch(optimizer.state[parameter], parameter)
        # The evaluation at the start of an iteration is the last of the one before.
        known = state.get("func_evals", 0)
        new_state["func_evals"] = int(known) + new_state["func_evals"] - (known > 0)
        return new_state


class Remembered:
    """An objective that knows its value at the last few points, and computes none of them twice."""

    def __init__(self, evaluate: Evaluate, size: int = 4) -> None:
        self._evaluate, self._size = evaluate, size
        self._known: list[tuple[Tensor, float, Tensor]] = []

    def __call__(self, point: Tensor) -> tuple[float, Tensor]:
        """Return the loss and the gradient at a point (P,)."""
        for known, known_loss, known_gradient in self._known:
            if torch.equal(known, point):
                return known_loss, known_gradient
        loss, gradient = self._evaluate(point)
        gradient = gradient.clone()  # an objective may use its memory again
        if len(self._known) == self._size:
            # A line search goes on from the lowest points it has seen.
            losses = [math.inf if math.isnan(entry[1]) else entry[1] for entry in self._known]
            del self._known[losses.index(max(losses))]
        self._known.append((point.clone(), loss, gradient))
        return loss, gradient


class _TorchLBFGS(torch.optim.LBFGS):
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        # torch's own imports its compiler, which takes a second and changes the environment and the warnings' filters.
        self.param_groups.append({**self.defaults, **param_group})


def _closure(objective: Remembered, parameter: Tensor) -> Callable[[], float]:
    def evaluate() -> float:
        loss, gradient = objective(parameter)
        finite = _is_finite(loss, gradient)
        # With an infinite loss and no slope the search halves its step until both are finite.
        parameter.grad = gradient if finite else torch.full_like(gradient, math.nan)
        return loss if finite else math.inf

    return evaluate


def _is_finite(loss: float, gradient: Tensor) -> bool:
    return math.isfinite(loss) and bool(gradient.isfinite().all())


def _to_torch(state: dict[str, Any], point: Tensor) -> dict[str, Any]:
    """Put a stored state into the form in which torch keeps it."""
    if not state.get("n_iter"):
        return {}
    tensors = {name: state[name].to(point) for name in ("d", "prev_flat_grad", "old_dirs", "old_stps", "ro")}
    return {
        "n_iter": int(state["n_iter"]),
        "d": tensors["d"],
        "prev_flat_grad": tensors["prev_flat_grad"].clone(),  # torch writes into it
        **{name: list(tensors[name].unbind()) for name in ("old_dirs", "old_stps", "ro")},
        **{name: float(state[name]) for name in ("t", "H_diag", "prev_loss")},
    }


def _from_torch(kept: dict[str, Any], point: Tensor) -> dict[str, Any]:
    """Turn torch's state into numbers and tensors: the history as ``old_dirs``, ``old_stps`` (k, P) and ``ro`` (k,)."""
    counts = {name: int(kept[name]) for name in ("n_iter", "func_evals")}
    if "d" not in kept:
        return counts
    pairs = point.new_empty((0, len(point)))
    empty = {"old_dirs": pairs, "old_stps": pairs, "ro": point.new_empty(0)}
    history = {name: torch.stack(kept[name]) if kept[name] else none for name, none in empty.items()}
    numbers = {name: float(kept[name]) for name in ("t", "H_diag", "prev_loss")}
    return {**counts, **history, **numbers, "d": kept["d"], "prev_flat_grad": kept["prev_flat_grad"]}
