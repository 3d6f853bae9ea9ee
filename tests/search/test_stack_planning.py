"""How many candidates train side by side is a matter of the work in a step, and of nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from skbig import BigMLPRegressor
from skbig.estimators.given import Given
from skbig.estimators.preparation import prepare
from skbig.estimators.session import Session
from skbig.search.stack_planning import stack_size

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(2_000, 20)), RANDOM.normal(size=2_000)


def session_of(rows: Any, **parameters: Any) -> Session:
    estimator = BigMLPRegressor(random_state=0, **parameters)
    return prepare(estimator, Given(rows, Y[: rows.shape[0]]), Given(None, None))


@pytest.mark.parametrize(
    ("parameters", "n_tasks", "expected"),
    [
        ({"hidden_layer_sizes": (40,), "batch_size": 200}, 40, 40),
        ({"hidden_layer_sizes": (128, 128), "batch_size": 256}, 64, 16),
        ({"hidden_layer_sizes": (512, 512), "batch_size": 256}, 64, 1),
    ],
    ids=["small", "middle", "large"],
)
def test_the_larger_a_step_the_fewer_are_stacked(parameters: dict[str, Any], n_tasks: int, expected: int) -> None:
    """Small steps are all one stack, and those of large products gain nothing from it."""
    session = session_of(X, **parameters)
    assert stack_size(session, 1, n_tasks, 1) == expected
    members = session.recipe.batch_size * session.recipe.network.n_products
    assert expected == 1 or expected * members <= 96_000_000


def test_candidates_of_two_workers_are_shared_out() -> None:
    """No worker is left without a stack, and stacks are of about one size."""
    session = session_of(X, hidden_layer_sizes=(40,), batch_size=200)
    assert stack_size(session, 1, 40, 2) == 20
    assert stack_size(session, 4, 40, 1) == 14  # sixteen of four members would be 16, 16 and 8


@pytest.mark.parametrize("own_way", [{"optimizer": "lbfgs"}, {"max_time": 60.0}], ids=str)
def test_what_goes_its_own_way_is_not_stacked(own_way: dict[str, Any]) -> None:
    """A line search and a clock are those of one training."""
    assert stack_size(session_of(X[:60], hidden_layer_sizes=(4,), **own_way), 1, 8, 1) == 1


def test_of_sparse_rows_the_weights_are_the_work() -> None:
    """A step goes over all weights, whatever few values the rows have."""
    few = sparse.random_array((400, 2_000), density=0.01, random_state=0, format="csr")
    narrow, wide = (session_of(few, hidden_layer_sizes=(width,), batch_size=200) for width in (32, 100))
    assert stack_size(narrow, 1, 8, 1) > 1
    assert stack_size(wide, 1, 8, 1) == 1
