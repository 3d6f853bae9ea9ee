"""The curvature that is remembered is that of BFGS."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skbig.components.optimizers.curvature import Curvature


def remembered(n_pairs: int, n_most: int, dtype: torch.dtype = torch.float64) -> tuple[Curvature, list[np.ndarray]]:
    """Return what is known after some moves over a bowl, and the moves with their changes."""
    random = np.random.default_rng(n_pairs)
    root = random.normal(size=(6, 6))
    bowl = root @ root.T + 0.1 * np.eye(6)
    curvature, pairs = Curvature.unknown(torch.empty(6, dtype=dtype)), []
    for move in random.normal(size=(n_pairs, 6)):
        pairs.append(np.stack([move, bowl @ move]))
        curvature = curvature.after(*torch.tensor(pairs[-1], dtype=dtype).unbind(), n_most)
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


@pytest.mark.parametrize("n_most", [1, 3, 10])
@pytest.mark.parametrize("n_pairs", [1, 2, 5, 12])
def test_downhill_is_the_product_with_the_matrix(n_pairs: int, n_most: int) -> None:
    """The direction is what the whole matrix of the pairs that are remembered makes of the gradient."""
    curvature, pairs = remembered(n_pairs, n_most)
    gradient = np.random.default_rng(1).normal(size=6)
    expected = -inverse_hessian(pairs[-n_most:]) @ gradient
    np.testing.assert_allclose(curvature.downhill(torch.tensor(gradient)).numpy(), expected, rtol=1e-8, atol=1e-8)


def test_without_pairs_it_is_straight_down() -> None:
    """Nothing is known at first."""
    gradient = torch.tensor([1.0, -2.0])
    assert torch.equal(Curvature.unknown(gradient).downhill(gradient), -gradient)


def test_what_was_known_stays() -> None:
    """One more move makes a curvature of its own, and leaves the one before as it was."""
    before, _ = remembered(4, 4)
    pairs, products = before.pairs.clone(), before.products.copy()
    after = before.after(torch.ones(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64), 4)
    assert torch.equal(before.pairs, pairs)
    np.testing.assert_array_equal(before.products, products)
    assert torch.equal(after.pairs[:3], pairs[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_dtype_is_that_of_the_weights(dtype: torch.dtype) -> None:
    """Long vectors stay as they are; the few products are as exact as can be."""
    curvature, _ = remembered(3, 10, dtype)
    assert curvature.downhill(torch.ones(6, dtype=dtype)).dtype == dtype
    assert curvature.products.dtype == np.float64


@pytest.mark.parametrize(("move", "change"), [(1.0, -1.0), (1.0, 0.0), (1e-25, 1e25)])
def test_what_says_nothing_is_not_remembered(move: float, change: float) -> None:
    """A gradient that does not rise, or a curvature that no number holds, leaves what was known."""
    before, _ = remembered(3, 10, torch.float32)
    assert before.after(torch.full((6,), move), torch.full((6,), change), 10) is before
