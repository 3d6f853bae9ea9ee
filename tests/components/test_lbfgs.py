"""L-BFGS takes torch's iterations one at a time, goes on exactly from a stored state, and knows when to stop."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from skbig.components.optimizers import vectors
from skbig.components.optimizers.lbfgs import LBFGS, Remembered

ROOT = Path(__file__).parents[2]


class LogisticRegression:
    """The mean log loss of a linear classifier with an L2 penalty; it counts its evaluations."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        random = np.random.default_rng(0)
        X = random.normal(size=(60, 5)) * [1, 2, 5, 0.5, 1]
        self.X = torch.tensor(X, dtype=dtype)
        self.y = torch.tensor(X @ [1, -1, 0.5, 2, 0] + random.normal(size=60) > 0).to(dtype)
        self.start = torch.tensor(random.normal(size=5), dtype=dtype)
        self.n_calls = 0

    def __call__(self, point: Tensor) -> tuple[float, Tensor]:
        self.n_calls += 1
        leaf = point.detach().clone().requires_grad_()
        with torch.enable_grad():
            loss = torch.nn.functional.binary_cross_entropy_with_logits(self.X @ leaf, self.y)
            loss = loss + 0.005 * leaf.square().sum()
            (gradient,) = torch.autograd.grad(loss, leaf)
        return float(loss.detach()), gradient


def torch_run(problem: LogisticRegression, n_iter: int, rate: float, optimizer: LBFGS) -> Tensor:
    """Return the point after many iterations in one call of torch's own."""
    point = problem.start.clone()
    # More evaluations than one line search may take, as torch counts those of all iterations together.
    limits = {"max_iter": n_iter, "max_eval": 10_000, "tolerance_grad": 0.0}
    search = {"history_size": optimizer.history_size, "line_search_fn": "strong_wolfe"}
    twin = torch.optim.LBFGS([point], lr=rate, tolerance_change=optimizer.tolerance_change, **limits, **search)

    def closure() -> float:
        loss, point.grad = problem(point)
        return loss

    twin.step(closure)
    return point


def iterate(optimizer: LBFGS, evaluate: Any, point: Tensor, n_iter: int, state: Any = None, rate: float = 1.0) -> Any:
    """Move the point by many calls; return the losses and the last state."""
    losses, state = [], {} if state is None else state
    for _ in range(n_iter):
        loss, state = optimizer.iterate(evaluate, point, state, rate)
        losses.append(loss)
    return losses, state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("n_iter", "rate", "history_size"), [(1, 1.0, 10), (4, 0.3, 10), (9, 1.0, 2)])
def test_iterations_are_those_of_torch(n_iter: int, rate: float, history_size: int, dtype: torch.dtype) -> None:
    """Calls of one iteration each end where torch ends in one call, with no more evaluations."""
    ours, theirs, optimizer = LogisticRegression(dtype), LogisticRegression(dtype), LBFGS(history_size)
    point = ours.start.clone()
    _, state = iterate(optimizer, Remembered(ours), point, n_iter, rate=rate)
    tolerance = {torch.float32: 1e-3, torch.float64: 1e-12}[dtype]  # torch's interpolates in the point's own dtype
    torch.testing.assert_close(point, torch_run(theirs, n_iter, rate, optimizer), rtol=tolerance, atol=tolerance)
    assert ours.n_calls <= theirs.n_calls
    assert state["func_evals"] == ours.n_calls
    assert state["n_iter"] == n_iter


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_short_and_long_points_go_the_same_way(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is an array, and what a tensor, is up to the size: both take the same iterations, and each the other's."""
    problem, optimizer = LogisticRegression(dtype), LBFGS(history_size=3)
    short, long = problem.start.clone(), problem.start.clone()
    losses, state = iterate(optimizer, problem, short, 6)
    assert isinstance(state["moves"][0], np.ndarray)
    monkeypatch.setattr(vectors, "SHORT", 0)
    expected, other = iterate(optimizer, problem, long, 6)
    assert isinstance(other["moves"][0], Tensor)
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]
    assert losses == pytest.approx(expected, rel=tolerance)
    torch.testing.assert_close(short, long, rtol=tolerance, atol=tolerance)
    (now,), _ = iterate(optimizer, problem, short.clone(), 1, state)
    assert now == pytest.approx(iterate(optimizer, problem, long, 1, other)[0][0], rel=tolerance)


def to_arrays(state: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(value) for name, value in state.items()}


def to_lists(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() for name, value in to_arrays(state).items()}


def from_arrays(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.from_numpy(value) if value.ndim else value[()] for name, value in stored.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n_before", [1, 2, 5])
def test_a_stored_state_goes_on_exactly(n_before: int, dtype: torch.dtype) -> None:
    """A search that is stored as NumPy arrays and put back takes the same iterations, bit for bit."""
    optimizer, problem = LBFGS(history_size=3), LogisticRegression(dtype)
    whole = problem.start.clone()
    losses, end = iterate(optimizer, Remembered(problem), whole, n_before + 4)
    point = problem.start.clone()
    first, state = iterate(optimizer, problem, point, n_before)
    point, stored = torch.from_numpy(point.numpy().copy()), to_arrays(state)
    second, state = iterate(optimizer, problem, point, 4, from_arrays(stored))
    assert torch.equal(point, whole)
    assert first + second == losses
    assert to_lists(state) == to_lists(end)


def test_a_state_is_left_as_it_was() -> None:
    """An iteration returns a new state, so the old one can be taken up again."""
    optimizer, problem = LBFGS(), LogisticRegression()
    point = problem.start.clone()
    _, state = iterate(optimizer, problem, point, 3)
    before = to_lists(state)
    iterate(optimizer, problem, point, 2, state)
    assert to_lists(state) == before


@pytest.mark.parametrize("tol", [1e-3, 1e-6])
def test_converged_is_where_the_gradient_vanishes(tol: float) -> None:
    """The search converges to the minimum that scipy finds, at a gradient no larger than the tolerance."""
    optimizer, problem = LBFGS(tolerance_change=0.0), LogisticRegression()
    point, state = problem.start.clone(), {"max_gradient": math.inf, "stalled": False}
    while not optimizer.converged(state, tol):
        loss, state = optimizer.iterate(problem, point, state, 1.0)
    best = scipy.optimize.minimize(lambda x: problem(torch.from_numpy(x))[0], problem.start.numpy(), tol=1e-9)
    assert problem(point)[1].abs().max() <= tol
    assert loss == pytest.approx(best.fun, abs=100 * tol**2)


def test_at_the_minimum_a_search_is_stalled() -> None:
    """Where nothing changes any more a search says so, whatever tolerance the gradient has."""
    optimizer, problem = LBFGS(), LogisticRegression(torch.float32)
    _, state = iterate(optimizer, Remembered(problem), problem.start, 30)
    assert state["stalled"]
    assert optimizer.converged(state, tol=0.0)


def test_a_start_without_slope_stays() -> None:
    """At a point whose gradient is exactly zero there is nothing to do."""
    point = torch.ones(3)
    loss, state = LBFGS().iterate(lambda at: (2.0, torch.zeros_like(at)), point, {}, 1.0)
    assert (loss, state["max_gradient"], state["stalled"]) == (2.0, 0.0, True)
    assert torch.equal(point, torch.ones(3))
    _, state = LBFGS().iterate(lambda at: (float((at**2).sum()), 2 * at), point, state, 1.0)
    assert point.max() < 1  # the search goes on where there is a slope again


def test_max_fun_bounds_the_evaluations() -> None:
    """The evaluations are exhausted once there are as many as allowed, and not before."""
    problem = LogisticRegression()
    _, state = iterate(LBFGS(), Remembered(problem), problem.start, 5)
    assert LBFGS(max_fun=problem.n_calls).exhausted(state)
    assert not LBFGS(max_fun=problem.n_calls + 1).exhausted(state)


@pytest.mark.parametrize(
    ("outside", "slope"), [(math.nan, math.nan), (math.inf, math.inf), (math.inf, 1e3), (5.0, math.nan)]
)
def test_a_search_comes_back_from_where_the_loss_is_not_finite(outside: float, slope: float) -> None:
    """A step to where the loss or its gradient is not finite is shortened until both are."""

    def barrier(point: Tensor) -> tuple[float, Tensor]:  # lowest at 0.9, infinite from 1 on
        room = 1 - point
        if bool((room <= 0).any()):
            return outside, torch.full_like(point, slope)
        return float((-room.log() - 10 * point).sum()), 1 / room - 10

    point = torch.tensor([0.0, -50.0], dtype=torch.float64)
    optimizer, state = LBFGS(), {}
    for _ in range(30):
        _, state = optimizer.iterate(barrier, point, state, 1.0)
    torch.testing.assert_close(point, torch.full_like(point, 0.9))


def test_a_start_that_is_not_finite_is_left() -> None:
    """Where the loss at hand is not finite the point stays, and the loss says why."""
    point = torch.ones(3)
    loss, _ = LBFGS().iterate(lambda at: (math.nan, torch.full_like(at, math.nan)), point, {}, 1.0)
    assert math.isnan(loss)
    assert torch.equal(point, torch.ones(3))


@pytest.mark.parametrize("scale", [1e-3, 1e10, 1e16, 1e18])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_may_be_of_any_size(dtype: torch.dtype, scale: float) -> None:
    """A bowl is gone down in whatever unit its height is, though squares of gradients are no numbers any more."""
    target = torch.tensor([3.0, -2.0, 1.0], dtype=dtype)
    weight = scale * torch.tensor([1.0, 4.0, 20.0], dtype=dtype)

    def bowl(point: Tensor) -> tuple[float, Tensor]:
        return float((weight * (point - target) ** 2).sum()), 2 * weight * (point - target)

    optimizer, point = LBFGS(tolerance_change=0.0), torch.zeros(3, dtype=dtype)
    iterate(optimizer, Remembered(bowl), point, 30)
    torch.testing.assert_close(point, target, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("entry", [math.inf, math.nan, 1.7e308])
def test_a_gradient_that_is_not_finite_is_no_end(entry: float) -> None:
    """Where the loss is finite and its slope is not, nothing has converged: the loss that is returned says so."""
    point = torch.ones(3, dtype=torch.float64)
    loss, _ = LBFGS().iterate(lambda at: (1.0, torch.full_like(at, entry)), point, {}, 1.0)
    assert math.isnan(loss)
    assert torch.equal(point, torch.ones(3, dtype=torch.float64))


def test_pairs_that_lead_nowhere_are_forgotten() -> None:
    """A search that an old curvature leads astray begins again, straight down."""
    problem, optimizer = LogisticRegression(), LBFGS()
    point = problem.start.clone()
    _, state = iterate(optimizer, Remembered(problem), point, 3)
    before = problem(point)[0]
    astray = {**state, "moves": tuple(1e12 * move for move in state["moves"])}
    loss, state = optimizer.iterate(lambda at: problem(at), point, astray, 1.0)
    assert loss < before
    assert not state["stalled"]
    assert len(state["moves"]) <= 4


def test_the_end_of_a_search_is_not_evaluated_again() -> None:
    """An objective knows the last end by its bits, even if it uses its memory again, and computes any other point."""
    memory, calls = torch.zeros(2), []

    def evaluate(point: Tensor) -> tuple[float, Tensor]:
        calls.append(point.tolist())
        return float((point**2).sum()), torch.mul(point, 2, out=memory)

    remembered, point = Remembered(evaluate), torch.tensor([1.0, 2.0])
    LBFGS().iterate(remembered, point, {}, 1.0)
    n_calls = len(calls)
    loss, gradient = remembered(point.clone())
    assert len(calls) == n_calls == remembered.n_evaluations
    assert loss == float((point**2).sum())
    assert torch.equal(gradient, 2 * point)
    remembered(point + 2**-22)
    assert calls[n_calls:] == [(point + 2**-22).tolist()]


@pytest.mark.parametrize("longest", [0, 4000])
def test_a_move_without_end_is_not_made(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loss is finite at infinity, too, the point stays, and the loss that is returned says so."""
    monkeypatch.setattr(vectors, "SHORT", longest)
    state = {"moves": (torch.tensor([2.0**63]),), "changes": (torch.tensor([2.0**-63]),), "products": (1.0,)}
    point = torch.zeros(1)

    def cliff(at: Tensor) -> tuple[float, Tensor]:
        return (1e38, -torch.ones(1)) if at == 0 else (0.0, torch.zeros(1))

    loss, _ = LBFGS().iterate(cliff, point, {**state, "scale": 1.0}, 10.0)
    assert math.isnan(loss)
    assert torch.equal(point, torch.zeros(1))


def test_a_look_elsewhere_changes_nothing() -> None:
    """The steepest slope is that of the point at hand, whatever was evaluated since the last search."""
    problem, optimizer = LogisticRegression(), LBFGS()
    point, remembered = problem.start.clone(), Remembered(problem)
    _, state = optimizer.iterate(remembered, point, {}, 1.0)
    remembered(torch.full_like(point, 1000.0))
    _, after = optimizer.iterate(remembered, point, state, 0.0)
    assert after["max_gradient"] == state["max_gradient"]


def test_a_fit_imports_no_compiler() -> None:
    """Neither the compiler is imported, which takes a second, nor the environment or a warnings' filter changed."""
    script = """
import os, sys, warnings
import torch
from skbig.components.optimizers import vectors
from skbig.components.optimizers.lbfgs import LBFGS
before = dict(os.environ), list(warnings.filters)
point = torch.ones(3)
LBFGS().iterate(lambda at: (float((at**2).sum()), 2 * at), point, {}, 1.0)
assert "torch._dynamo" not in sys.modules
assert before == (dict(os.environ), list(warnings.filters))
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)
