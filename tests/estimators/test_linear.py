"""The linear models find the solutions of scikit-learn's where the objective is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Lasso, LogisticRegression, Ridge

from skbig import BigGridSearchCV, BigLinearClassifier, BigLinearRegressor
from skbig._utils.threads import thread_count
from skbig.components import LBFGS
from tests.searching import assert_same_search

pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")
random = np.random.default_rng(0)
X = random.normal(size=(150, 6))
SIGNAL = X @ random.normal(size=(6, 3)) + 0.5 * random.normal(size=(150, 3))
TWO, THREE, VALUES = SIGNAL[:, 0] > 0, SIGNAL.argmax(1), SIGNAL[:, 0] + 1
EXACT: dict[str, Any] = {
    "optimizer": LBFGS(tolerance_change=0.0),
    "max_iter": 5000,
    "tol": 1e-10,
    "schedule": "constant",
    "learning_rate": 1.0,
}


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("C", [0.1, 10.0])
def test_it_is_logistic_regression(y: np.ndarray, C: float, fit_intercept: bool) -> None:
    """With alpha = 1 / C, coefficients, intercepts and probabilities are LogisticRegression's, in its shapes."""
    theirs = LogisticRegression(C=C, fit_intercept=fit_intercept, tol=1e-10, max_iter=10_000).fit(X, y)
    ours = BigLinearClassifier(alpha=1 / C, fit_intercept=fit_intercept, **EXACT).fit(X, y)
    assert (ours.coef_.shape, ours.intercept_.shape) == (theirs.coef_.shape, theirs.intercept_.shape)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    # Of more classes than two, intercepts may all be moved by the same number.
    shift = (theirs.intercept_ - ours.intercept_).mean() if y is THREE else 0.0
    np.testing.assert_allclose(ours.intercept_ + shift, theirs.intercept_, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("y", [VALUES, SIGNAL], ids=["one", "several"])
@pytest.mark.parametrize("alpha", [0.1, 30.0])
def test_it_is_ridge(y: np.ndarray, alpha: float, fit_intercept: bool) -> None:
    """Coefficients and intercepts are those of Ridge with the same alpha, in its shapes."""
    theirs = Ridge(alpha, fit_intercept=fit_intercept).fit(X, y)
    ours = BigLinearRegressor(alpha=alpha, fit_intercept=fit_intercept, **EXACT).fit(X, y)
    assert ours.coef_.shape == theirs.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(y)[1:]
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_ if fit_intercept else 0.0, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_it_is_lasso(optimizer: str) -> None:
    """With alpha as many times Lasso's as there are rows, the solution is Lasso's, exact zeros included."""
    theirs = Lasso(0.5).fit(X, VALUES)
    ours = BigLinearRegressor(
        penalty="l1", alpha=0.5 * len(X), optimizer=optimizer, learning_rate=0.05, batch_size="full", max_iter=2000,
        tol=0.0, n_iter_no_change=2000, schedule="cosine",
    ).fit(X, VALUES)  # fmt: skip
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    assert (ours.coef_ == 0).tolist() == (theirs.coef_ == 0).tolist() and (ours.coef_ == 0).any()


def test_sparse_rows_are_the_same() -> None:
    """Sparse rows give what dense ones give."""
    kept = X * (np.abs(X) > 0.5)
    dense, other = (BigLinearClassifier(random_state=0, max_iter=5).fit(rows, THREE) for rows in (kept, _csr(kept)))
    np.testing.assert_allclose(other.coef_, dense.coef_, rtol=1e-9, atol=1e-12)


def _csr(rows: np.ndarray) -> Any:
    return sparse.csr_array(rows)


def test_a_search_is_one_stack() -> None:
    """All candidates on all folds are trained as one, and score as in GridSearchCV."""
    grid = {"alpha": [0.0, 0.1, 1.0], "learning_rate": [0.01, 0.1]}
    with thread_count(1):  # with more, as many stacks are trained side by side
        largest = assert_same_search(BigLinearClassifier(max_iter=5, random_state=0), grid, X, THREE, cv=2)
    assert largest == 12
    assert BigGridSearchCV(BigLinearRegressor(max_iter=5), grid, cv=2).fit(X, VALUES).best_estimator_.coef_.shape == (
        6,
    )


@pytest.mark.parametrize("n_members", [1, 3])
def test_it_goes_on(n_members: int) -> None:
    """Calls of partial_fit go on with the shown coefficients, also those of an ensemble."""
    whole = BigLinearClassifier(max_iter=4, schedule="constant", random_state=0, n_members=n_members, tol=0.0)
    parts = BigLinearClassifier(max_iter=4, schedule="constant", random_state=0, n_members=n_members)
    for _ in range(4):
        parts.partial_fit(X, TWO, classes=[False, True])
    whole.fit(X, TWO)
    np.testing.assert_array_equal(parts.coef_, whole.coef_)
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))
