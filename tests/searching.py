"""Two searches side by side: scikit-learn's, and ours that trains its candidates together."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skbig import BigGridSearchCV
from skbig.engine.population import Population
from tests.fitting import N_ROWS, TASKS

ROWS = np.arange(N_ROWS)
# 33 and 45 rows to train on: three batches of 16 each, the last of one row and of 13.
UNEQUAL = [(np.setdiff1d(ROWS, test), test) for test in (ROWS[:27], ROWS[27:42])]
RATES = [0.003, 0.01, 0.03]
EARLY: dict[str, Any] = {"early_stopping": True, "validation_fraction": 0.25, "max_iter": 12}
NOTHING: Mapping[str, Any] = MappingProxyType({})


def estimator_of(task: str, **parameters: Any) -> Any:
    """Return a small estimator for a task of `tests.fitting`, with some parameters, of components too, changed."""
    nested = {name: parameters.pop(name) for name in list(parameters) if "__" in name}
    settings = {"hidden_layer_sizes": (5,), "activation": "tanh", "max_iter": 3, "batch_size": 16, "random_state": 0}
    return TASKS[task][0](**settings | parameters).set_params(**nested)


def each(**columns: list[Any]) -> list[dict[str, list[Any]]]:
    """Return a grid of few candidates: the first value of every column, the second of every one, and so on."""
    return [
        {name: [value] for name, value in zip(columns, values, strict=True)}
        for values in zip(*columns.values(), strict=True)
    ]


def searches(estimator: Any, grid: Any, **settings: Any) -> tuple[GridSearchCV, BigGridSearchCV]:
    """Return scikit-learn's search and ours, alike."""
    options = {"scoring": seen, "refit": False, "cv": UNEQUAL, **settings}
    return GridSearchCV(clone(estimator), grid, **options), BigGridSearchCV(clone(estimator), grid, **options)


def seen(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """Score by small differences, and report what a fit has left behind as if that were scores too."""
    network = last_of(estimator)
    validated = getattr(network, "best_validation_score_", None)
    return {
        "score": -float(np.square(answers(estimator, X) - _wanted(network, y)).mean()),
        "epochs": network.n_iter_,
        "rows": network.t_,
        "loss": network.loss_,
        "least": network.best_loss_ or network.loss_,
        "rate": network.learning_rates_[-1],
        "validated": 0.0 if validated is None else validated,
        "converged": float(network.stop_reason_ == "converged"),
    }


def last_of(estimator: Any) -> Any:
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return estimator


def answers(estimator: Any, X: Any) -> np.ndarray:
    """Return what shows small differences best: probabilities or decision values of classes, else values."""
    for method in ("predict_proba", "decision_function", "predict"):
        if hasattr(estimator, method):
            return np.asarray(getattr(estimator, method)(X))
    raise AssertionError("not reached: every estimator predicts")


def _wanted(network: Any, y: Any) -> np.ndarray:
    y = np.asarray(y)
    return y[:, None] == network.classes_ if hasattr(network, "classes_") and y.ndim == 1 else y


def assert_same_search(
    estimator: Any, grid: Any, X: Any, y: Any, *, fit: Mapping[str, Any] = NOTHING, **settings: Any
) -> int:
    """Run both searches and compare them; return how many trainings the largest stack began with."""
    theirs, ours = searches(estimator, grid, **settings)
    theirs.fit(X, y, **fit)
    sizes: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skbig.search.stack_scheduler.Population", noting(sizes))
        ours.fit(X, y, **fit)
    assert_alike(theirs, ours)
    if theirs.refit:
        assert_same_best(theirs, ours, X)
    return max(sizes, default=1)


def noting(sizes: list[int]) -> type[Population]:
    """Return a population that notes down how many trainings it is made of."""

    class Noting(Population):
        def __init__(self, trainings: Sequence[Any], *args: Any, **keywords: Any) -> None:
            sizes.append(len(trainings))
            super().__init__(trainings, *args, **keywords)

    return Noting


def assert_alike(theirs: Any, ours: Any, tolerance: float = 1e-6) -> None:
    """Compare all of `cv_results_` but times; and ranks, but for ties."""
    expected, actual = theirs.cv_results_, ours.cv_results_
    assert actual.keys() == expected.keys()
    assert actual["params"] == expected["params"]
    for name in expected:
        if name.startswith("param_"):
            assert repr(actual[name]) == repr(expected[name])
        elif name.startswith("rank_"):
            mean = expected[name.replace("rank", "mean")]
            better = mean[:, None] > mean + 10 * tolerance
            assert (actual[name][:, None] < actual[name])[better].all(), name
        elif name.startswith("split") or name.endswith("_score"):
            np.testing.assert_allclose(actual[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
    assert (ours.n_splits_, ours.multimetric_) == (theirs.n_splits_, theirs.multimetric_)


def assert_same_best(theirs: Any, ours: Any, X: Any) -> None:
    """Compare the choice of the best candidate, and what it predicts when it is fitted to all rows."""
    assert ours.best_index_ == theirs.best_index_
    assert ours.best_params_ == theirs.best_params_
    if hasattr(theirs, "best_score_"):
        np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-6)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(answers(ours.best_estimator_, X), answers(theirs.best_estimator_, X))


def warnings_of(search: Any, X: Any, y: Any) -> Counter[tuple[type, str]]:
    """Fit, and return the warnings by class and first lines: what follows, of a failure, is a traceback.

    Fits that reach `max_iter` count once, however many there are: a loop over fits warns once.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(X, y)
    found: Counter[tuple[type, str]] = Counter()
    for warning in caught:
        message = "\n".join(str(warning.message).split("\n")[:3])
        if message.startswith("Maximum iterations"):
            found[warning.category, "Maximum iterations"] = 1
        else:
            found[warning.category, message] += 1
    return found
