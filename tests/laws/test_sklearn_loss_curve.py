"""A converted network trains as scikit-learn's own: the deepest test of the engine.

Everything between the first weights and the last is in a loss curve: initialization, losses, gradients, penalty,
optimizers, schedules, batches and stopping. scikit-learn computes all of it by other code.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skbig.from_sklearn import from_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

needs_losses = pytest.mark.skipif(
    "loss" not in inspect.signature(MLPRegressor).parameters, reason="scikit-learn < 1.7 has one loss"
)
needs_weights = pytest.mark.skipif(
    "sample_weight" not in inspect.signature(MLPRegressor.fit).parameters, reason="scikit-learn < 1.7 has no weights"
)

N_ROWS = 50
TASKS = [
    *("binary", "multiclass", "multilabel", "regression", "multi-output"),
    *[pytest.param(task, marks=needs_losses) for task in ("poisson", "multi-output poisson")],
]
ADAMS = [
    {},
    {"learning_rate_init": 0.02, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.01},
]
MOMENTA = [{"momentum": 0.0}, {"nesterovs_momentum": False}, {"momentum": 0.7}]
SCHEDULES = [
    {"learning_rate": "constant"},
    {"learning_rate": "invscaling", "power_t": 0.3},
    {"learning_rate": "adaptive", "tol": 0.1},  # the rate falls every few epochs
]
SGDS = [{"solver": "sgd", "learning_rate_init": 0.01, **momentum, **rate} for momentum in MOMENTA for rate in SCHEDULES]


def data(task: str, n_rows: int = N_ROWS) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(7)
    X = random.normal(size=(n_rows, 4))
    signal = X @ random.normal(size=(4, 3)) + 0.3 * random.normal(size=(n_rows, 3))
    y = {
        "binary": np.array(["no", "yes"])[(signal[:, 0] > 0).astype(int)],
        "multiclass": signal.argmax(axis=1),
        "multilabel": (signal > 0).astype(int),
        "regression": signal[:, 0],
        "multi-output": signal,
        "poisson": np.floor(np.exp(signal[:, 0].clip(max=2))),
        "multi-output poisson": np.floor(np.exp(signal.clip(max=2))),
    }
    return X, y[task]


def theirs(task: str, **parameters: Any) -> Any:
    """Return scikit-learn's estimator, quick enough to stall here and there: the stopping is compared, too."""
    defaults = {"hidden_layer_sizes": (6,), "batch_size": 16, "max_iter": 12, "tol": 5e-3, "n_iter_no_change": 1}
    kind = MLPClassifier if task in ("binary", "multiclass", "multilabel") else MLPRegressor
    if "poisson" in task:
        parameters["loss"] = "poisson"
    return kind(**{**defaults, **parameters}, shuffle=False, random_state=0)


def assert_same_training(estimator: Any, X: Any, y: np.ndarray, rtol: float = 1e-5, **fit: Any) -> None:
    ours = from_sklearn(estimator).set_params(device="cpu").fit(X, y, **fit)
    estimator.fit(X, y, **fit)
    assert ours.n_iter_ == estimator.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, estimator.loss_curve_, rtol=rtol)


@pytest.mark.crossed
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("optimizer", [*ADAMS, *SGDS], ids=lambda parameters: "-".join(map(str, parameters.values())))
def test_every_optimizer_and_schedule_gives_scikit_learns_curve(optimizer: dict[str, Any], task: str) -> None:
    """Adam and SGD, with each momentum and schedule, take scikit-learn's steps on each kind of target."""
    assert_same_training(theirs(task, **optimizer), *data(task))


@pytest.mark.crossed
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_every_activation_and_penalty_gives_scikit_learns_curve(activation: str, alpha: float, task: str) -> None:
    """Forward and backward pass of each activation, and the penalty per batch, are scikit-learn's."""
    assert_same_training(theirs(task, activation=activation, alpha=alpha), *data(task))


@pytest.mark.parametrize("hidden", [(), 3, [5, 4], np.array([4, 3, 2])], ids=str)
@pytest.mark.parametrize("task", ["binary", "multi-output"])
def test_every_depth_gives_scikit_learns_curve(hidden: Any, task: str) -> None:
    """First weights are drawn and layers put together as in scikit-learn."""
    assert_same_training(theirs(task, hidden_layer_sizes=hidden), *data(task))


@pytest.mark.parametrize("batch_size", [1, 7, 49, 50, "auto"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_every_batch_size_gives_scikit_learns_curve(solver: str, batch_size: Any) -> None:
    """Batches are cut as in scikit-learn, and a short last one counts by its rows."""
    assert_same_training(theirs("multiclass", solver=solver, batch_size=batch_size, alpha=0.1), *data("multiclass"))


def test_auto_batches_are_scikit_learns() -> None:
    """Above 200 rows the default batch has 200."""
    assert_same_training(theirs("regression", batch_size="auto", alpha=0.1), *data("regression", n_rows=230))


@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
def test_a_batch_larger_than_the_set_is_clipped_as_in_scikit_learn() -> None:
    """More rows to a batch than there are is a full batch."""
    assert_same_training(theirs("binary", batch_size=1000), *data("binary"))


@needs_weights
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_weighted_rows_give_scikit_learns_curve(solver: str, task: str) -> None:
    """In a full batch weights act on loss, gradient and penalty as in scikit-learn."""
    weight = np.random.RandomState(3).uniform(0.1, 5.0, N_ROWS)
    estimator = theirs(task, solver=solver, batch_size="auto", alpha=0.5)
    assert_same_training(estimator, *data(task), sample_weight=weight)


@pytest.mark.parametrize("rate", SCHEDULES, ids=lambda parameters: parameters["learning_rate"])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_training_stops_where_scikit_learns_does(rate: dict[str, Any], task: str) -> None:
    """Training ends by the same epoch, under "adaptive" after the same reductions of the rate."""
    settings = {"solver": "sgd", "learning_rate_init": 0.1, "max_iter": 400, "n_iter_no_change": 3, "tol": 1e-3}
    estimator = theirs(task, **{**settings, **rate})
    assert_same_training(estimator, *data(task))
    assert estimator.n_iter_ < 400


@pytest.mark.parametrize("rate", [1e-3, 5e-7])
def test_the_last_rates_of_adaptive_are_scikit_learns(rate: float) -> None:
    """Rates below a millionth are reached, and are the last, as in scikit-learn."""
    adaptive = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": rate}
    estimator = theirs("regression", **adaptive, tol=1.0, max_iter=50)
    assert_same_training(estimator, *data("regression"))
    assert estimator.n_iter_ < 50


def test_patience_without_end_is_scikit_learns() -> None:
    """An infinite n_iter_no_change trains to max_iter."""
    assert_same_training(theirs("regression", n_iter_no_change=np.inf, tol=1.0), *data("regression"))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_sparse_rows_give_scikit_learns_curve(task: str) -> None:
    """Sparse rows train as in scikit-learn."""
    X, y = data(task)
    X[np.abs(X) < 0.7] = 0
    assert_same_training(theirs(task), sparse.csr_matrix(X), y)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_single_precision_gives_scikit_learns_curve(task: str) -> None:
    """Rows in float32 are trained on in float32, to its rounding."""
    X, y = data(task)
    assert_same_training(theirs(task), X.astype(np.float32), y, rtol=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_a_second_fit_goes_on_as_a_fresh_one(task: str) -> None:
    """The converted estimator can be fitted again, with the same result as the first time."""
    X, y = data(task)
    ours = from_sklearn(theirs(task)).set_params(device="cpu")
    assert ours.fit(X, y).loss_curve_ == ours.fit(X, y).loss_curve_


@pytest.mark.parametrize("task", [task for task in TASKS if task != "multi-output"])
def test_lbfgs_comes_to_scikit_learns_minimum(task: str) -> None:
    """Of a convex problem both line searches find the one minimum."""
    X, y = data(task)
    estimator = theirs(task, solver="lbfgs", hidden_layer_sizes=(), alpha=1.0, max_iter=500, tol=1e-7)
    ours = from_sklearn(estimator).set_params(device="cpu").fit(X, y)
    assert ours.loss_ == pytest.approx(estimator.fit(X, y).loss_, rel=1e-5)
    for coef, their_coef in zip(ours.coefs_, estimator.coefs_, strict=True):
        np.testing.assert_allclose(coef, their_coef, atol=1e-4)


@pytest.mark.parametrize("n_outputs", [2, 20])
def test_lbfgs_comes_to_the_minimum_of_many_outputs(n_outputs: int) -> None:
    """A linear network's minimum is ridge regression's, on which MLPRegressor's own line search gives up."""
    random = np.random.RandomState(0)
    X = random.normal(size=(N_ROWS, 4))
    y = X @ random.normal(size=(4, n_outputs)) + random.normal(size=(N_ROWS, n_outputs))
    parameters = {"hidden_layer_sizes": (), "alpha": 1.0, "max_iter": 500, "tol": 1e-7, "random_state": 0}
    ours = from_sklearn(MLPRegressor(solver="lbfgs", **parameters)).set_params(device="cpu").fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0].T, Ridge(alpha=1.0).fit(X, y).coef_, atol=1e-4)
