"""A candidate that fails in a search: it gets its score and its warning, and the others do not notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning

from skbig import BigGridSearchCV, BigMLPClassifier
from skbig._utils.threads import thread_count
from skbig.engine import population
from tests.fitting import BINARY, MULTICLASS, X, target
from tests.searching import (
    EARLY,
    RATES,
    assert_alike,
    assert_same_best,
    each,
    estimator_of,
    noting,
    searches,
    warnings_of,
)

VALUES = target("regression")
WILD: dict[str, Any] = {"optimizer": "sgd", "activation": "identity"}
# Learning rates beyond the first two are fine.
FAILING = {
    "divergence": (WILD, each(learning_rate=[1e6, 1e60, 1e-3, 1e-2], alpha=[0, 1, 0.1, 0], max_iter=[3, 2, 2, 5])),
    "divergence of one member": (WILD, each(learning_rate=[1e6, 1e-3, 1e-2], n_members=[2, 2, 1])),
    "divergence before validation": (
        WILD | EARLY,
        each(learning_rate=[1e6, 1e60, 1e-3, 1e-2, 1e-2], scoring=["loss", None, "loss", None, "r2"]),
    ),
    "divergence under batch norm": (
        WILD | {"normalization": "batch"},
        each(learning_rate=[1e300, 1e-3, 1e-2], max_iter=[3, 3, 2]),
    ),
    "a value out of range": ({}, each(alpha=[-1.0, 0.1, 1.0], learning_rate=RATES)),
    "a component's value out of range": ({"optimizer": "sgd"}, {"optimizer__momentum": [2.0, 0.9, 0.5]}),
    "no such choice": ({}, each(activation=["tan", "tanh", "tanh"], learning_rate=RATES)),
    "no batch": ({}, each(batch_size=[0, 16, 16], learning_rate=RATES)),
    "too few rows to validate": (EARLY, {"validation_fraction": [0.001, 0.3, 0.31]}),
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Let all folds share one stack."""
    with thread_count(1):
        yield


@pytest.mark.parametrize("name", FAILING)
def test_a_fit_that_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets `error_score` and a warning, and the others come to what they come to without it."""
    parameters, grid = FAILING[name]
    settings = {"scoring": "neg_mean_squared_error", "refit": True, "error_score": -9.0 if "value" in name else np.nan}
    theirs, ours = searches(estimator_of("regression", **parameters), grid, **settings)
    sizes: list[int] = []
    monkeypatch.setattr("skbig.search.stack_scheduler.Population", noting(sizes))
    expected = warnings_of(theirs, X, VALUES)
    assert warnings_of(ours, X, VALUES) == expected
    assert FitFailedWarning in {category for category, _ in expected}
    assert_alike(theirs, ours)
    assert_same_best(theirs, ours, X)
    assert max(sizes) > 2


def test_all_fits_fail() -> None:
    """When nothing is left, the search says so as scikit-learn's does."""
    messages = []
    for search in searches(estimator_of("regression", **WILD), {"learning_rate": [1e6, 1e60]}):
        with pytest.raises(ValueError, match="All the 4 fits failed") as caught:
            search.fit(X, VALUES)
        messages.append(str(caught.value).split("\n")[:3])
    assert messages[0] == messages[1]


@pytest.mark.parametrize("grid", [{"learning_rate": [1e-3, 1e6]}, {"alpha": [0.1, -1.0]}, {"nonsense": [1]}], ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_errors_that_are_raised(grid: dict[str, Any]) -> None:
    """With ``error_score="raise"`` the error of the fit comes out, and a name that nobody knows always does."""
    raised = []
    for search in searches(estimator_of("regression", **WILD), grid, error_score="raise"):
        with pytest.raises(ValueError) as caught:
            search.fit(X, VALUES)
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]


def picky(estimator: Any, X: Any, y: Any) -> float:
    if estimator.alpha == 1:
        raise ValueError("no score on purpose")
    return -float(np.square(estimator.predict(X) - y).mean())


def test_a_scorer_that_fails() -> None:
    """A candidate that cannot be scored gets `error_score`, and the others their scores."""
    grid = each(alpha=[0, 1, 2], learning_rate=RATES)
    theirs, ours = searches(estimator_of("regression"), grid, scoring=picky, refit=True)
    categories = [{category for category, _ in warnings_of(search, X, VALUES)} for search in (theirs, ours)]
    assert categories[0] == categories[1]
    assert np.isnan(ours.cv_results_["mean_test_score"]).tolist() == [False, True, False]
    assert_alike(theirs, ours)
    assert_same_best(theirs, ours, X)


@pytest.mark.parametrize("most", [2, 32])
def test_a_validation_scorer_that_fails(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that cannot be judged any more fails as it does alone, whoever else is still in its stack."""
    monkeypatch.setattr("skbig.search.stack_planning.MAX_ON_CPU", most)

    def shy(estimator: Any, X: Any, y: Any) -> float:
        certainty = float(estimator.predict_proba(X).max())
        if certainty > 0.9:
            raise ValueError("no score on purpose")
        return certainty

    parameters = EARLY | {"scoring": shy, "n_iter_no_change": 100}
    grid = each(learning_rate=[0.1, 0.003, 0.003], max_iter=[25, 2, 25])
    theirs, ours = searches(estimator_of("binary", **parameters), grid)
    expected = warnings_of(theirs, X, BINARY)
    assert warnings_of(ours, X, BINARY) == expected
    assert FitFailedWarning in {category for category, _ in expected}
    assert_alike(theirs, ours)


@pytest.mark.parametrize("parameters", [{}, {"batch_size": 50}, {"schedule": "cosine"}], ids=str)
def test_warnings_are_the_same(parameters: dict[str, Any]) -> None:
    """Every fit that would warn does, and no other."""
    theirs, ours = searches(estimator_of("multiclass", **parameters), {"learning_rate": RATES})
    expected = warnings_of(theirs, X, MULTICLASS)
    assert warnings_of(ours, X, MULTICLASS) == expected
    assert bool(expected) == ("schedule" not in parameters)


def test_a_failed_member_begins_again_with_its_own_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has to be repeated alone draws from `random_state` what it drew at first."""

    def refuse(trainings: Any, n_epochs: int) -> Any:
        raise MemoryError("on purpose")

    grid = {"learning_rate": RATES}
    theirs, ours = searches(estimator_of("regression", random_state=np.random.RandomState(5)), grid)
    monkeypatch.setattr(population, "stacked", refuse)
    monkeypatch.setattr(population, "_limited", refuse)
    assert warnings_of(ours, X, VALUES) == warnings_of(theirs, X, VALUES)
    assert_alike(theirs, ours)


@pytest.mark.parametrize("n_jobs", [None, pytest.param(2, marks=pytest.mark.thorough)])
def test_a_search_warns_once_of_what_has_not_converged(n_jobs: int | None) -> None:
    """However many fits come to their last epoch unconverged, one warning tells how many; the last fit has its own."""
    network = BigMLPClassifier((4,), max_iter=3, random_state=0)
    grid = {"learning_rate": [1e-3, 1e-2], "schedule": ["constant", "cosine"]}  # a cosine ends as planned
    search = BigGridSearchCV(network, grid, cv=2, refit=False, n_jobs=n_jobs)
    with pytest.warns(ConvergenceWarning, match=r"\(max_iter\) reached in 4 of 8 fits of this search") as caught:
        search.fit(X, MULTICLASS)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not any("ran_out" in name for name in search.cv_results_)
