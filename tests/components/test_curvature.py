"""The curvature that is remembered is that of BFGS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from skbig.components.optimizers.curvature import Curvature
from skbig.components.optimizers.vectors import Vector

KINDS = ["array", "tensor"]


def as_kind(values: Any, kind: str, dtype: str = "float64") -> Vector:
    array = np.array(values, dtype=dtype)
    return array if kind == "array" else torch.from_numpy(array)


def remembered(n_pairs: int, n_most: int, kind: str, dtype: str = "float64") -> tuple[Curvature, list[np.ndarray]]:
    """Return what is known after some moves over a bowl, and the moves with their changes."""
    random = np.random.default_rng(n_pairs)
    root = random.normal(size=(6, 6))
    bowl = root @ root.T + 0.1 * np.eye(6)
    curvature, pairs = Curvature(), []
    for move in random.normal(size=(n_pairs, 6)):
        pairs.append(np.stack([move, bowl @ move]))
        curvature = curvature.after(*(as_kind(row, kind, dtype) for row in pairs[-1]), n_most)
    return curvature, pairs


def inverse_hessian(pairs: list[np.ndarray]) -> np.ndarray:
    """Return the matrix itself, by the update of BFGS (Nocedal & Wright, 2006, equation 6.17)."""
    move, change = pairs[-1]
    inverse = np.eye(6) * (move @ change) / (change @ change)
    for move, change in pairs:
        rho = 1 / (move @ change)
        left = np.eye(6) - rho * np.outer(move, change)
        inverse = left @ inverse @ left.T + rho * np.outer(move, move)
    return inverse


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_most", [1, 3, 10])
@pytest.mark.parametrize("n_pairs", [1, 2, 5, 12])
def test_downhill_is_the_product_with_the_matrix(n_pairs: int, n_most: int, kind: str) -> None:
    """The direction is what the whole matrix of the pairs that are remembered makes of the gradient."""
    curvature, pairs = remembered(n_pairs, n_most, kind)
    gradient = np.random.default_rng(1).normal(size=6)
    expected = -inverse_hessian(pairs[-n_most:]) @ gradient
    np.testing.assert_allclose(curvature.downhill(as_kind(gradient, kind)), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_without_pairs_it_is_straight_down(kind: str) -> None:
    """Nothing is known at first; the gradient stays as it is."""
    gradient = as_kind([1.0, -2.0], kind)
    np.testing.assert_array_equal(Curvature().downhill(gradient), [-1.0, 2.0])
    np.testing.assert_array_equal(gradient, [1.0, -2.0])


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_known_stays(kind: str) -> None:
    """One more move makes a curvature of its own, and leaves the one before as it was."""
    before, _ = remembered(4, 4, kind)
    moves, products = [np.asarray(move).copy() for move in before.moves], before.products
    after = before.after(as_kind(np.ones(6), kind), as_kind(np.ones(6), kind), 4)
    np.testing.assert_array_equal(np.stack(before.moves), moves)
    assert before.products == products
    np.testing.assert_array_equal(np.stack(after.moves[:3]), moves[1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_that_of_the_weights(dtype: str, kind: str) -> None:
    """Long vectors stay as they are."""
    curvature, _ = remembered(3, 10, kind, dtype)
    gradient = as_kind(np.ones(6), kind, dtype)
    assert curvature.downhill(gradient).dtype == gradient.dtype == curvature.moves[0].dtype


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("move", "change"), [(1.0, -1.0), (1.0, 0.0), (1e-25, 1e25)])
def test_what_says_nothing_is_not_remembered(move: float, change: float, kind: str) -> None:
    """A gradient that does not rise, or a curvature that no number holds, leaves what was known."""
    before, _ = remembered(3, 10, kind, "float32")
    with np.errstate(over="ignore"):
        assert before.after(*(as_kind(np.full(6, value), kind, "float32") for value in (move, change)), 10) is before
