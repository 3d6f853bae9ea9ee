"""A search is asked for what scikit-learn's is asked for, and answers as it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform, uniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from skbig import BigGridSearchCV, BigRandomizedSearchCV
from tests.fitting import N_ROWS, VALUES, WORDS, X, fitted, small, weights_of
from tests.search.alike import GRID, assert_alike, both, negative_loss, piped
from tests.searching import warnings_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WEIGHT = np.random.RandomState(2).uniform(0.2, 3.0, size=N_ROWS)
GROUPS = np.arange(N_ROWS) % 7


# What a search is asked for.


def two_scores(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    return {"loss": negative_loss(estimator, X, y), "right": accuracy_score(y, estimator.predict(X))}


@pytest.mark.parametrize(
    ("scoring", "refit"),
    [
        (None, True),
        ("neg_log_loss", True),
        ("balanced_accuracy", False),
        (negative_loss, True),
        (["accuracy", "neg_log_loss"], "neg_log_loss"),
        (("accuracy", "neg_log_loss"), False),
        ({"right": "accuracy", "loss": negative_loss}, "loss"),
        ({"right": make_scorer(accuracy_score), "loss": "neg_log_loss"}, "right"),
        (two_scores, "loss"),
        (two_scores, False),
    ],
)
def test_scorings(scoring: Any, refit: Any) -> None:
    """One score or several, by name or by function, are in `cv_results_` as they are in scikit-learn's."""
    theirs, ours = both(small("multiclass"), scoring=scoring, refit=refit, return_train_score=refit is not True)
    assert type(ours.scorer_) is type(theirs.scorer_)
    if refit:
        assert ours.score(X, WORDS) == pytest.approx(theirs.score(X, WORDS))
        assert weights_of(ours.best_estimator_).tobytes() == weights_of(theirs.best_estimator_).tobytes()


@pytest.mark.parametrize("refit", [True, False, lambda results: int(np.argmin(results["mean_test_score"]))])
def test_refits(refit: Any) -> None:
    """What `refit` chooses is fitted on all rows; without it there is nothing that predicts."""
    theirs, ours = both(small("multiclass"), refit=refit, scoring="neg_log_loss")
    for name in ("predict", "predict_proba", "predict_log_proba", "transform", "score_samples", "classes_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
    if refit:
        np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
        assert ours.n_features_in_ == 4 and ours.refit_time_ > 0


def test_the_worst_may_be_refit() -> None:
    """A callable that chooses the worst candidate gets it."""
    search = BigGridSearchCV(small("multiclass"), GRID, cv=2, refit=lambda results: results["rank_test_score"].argmax())
    search.fit(X, WORDS)
    assert search.cv_results_["rank_test_score"][search.best_index_] == search.cv_results_["rank_test_score"].max()
    assert not hasattr(search, "best_score_")


@pytest.mark.parametrize("scoring", [["accuracy", "neg_log_loss"], two_scores, "no such score", 3])
def test_bad_scorings(scoring: Any) -> None:
    """Several scores without the name of the one to refit by, or none at all, are the same error."""
    assert_same_error(small("multiclass"), {"alpha": [0.0, 1.0]}, {"scoring": scoring})


def assert_same_error(estimator: Any, grid: Any, settings: dict[str, Any], fit: dict[str, Any] | None = None) -> str:
    raised = []
    for kind in (GridSearchCV, BigGridSearchCV):
        with pytest.raises(Exception) as caught:
            kind(clone(estimator), grid, **{"cv": 2} | settings).fit(X, WORDS, **(fit or {}))
        raised.append((caught.type, str(caught.value).replace("BigGridSearchCV", "GridSearchCV")))
    assert raised[0] == raised[1]
    return raised[1][1]


SPLITTERS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "int": lambda: 4,
    "KFold": lambda: KFold(3, shuffle=True, random_state=1),
    "ShuffleSplit": lambda: ShuffleSplit(2, test_size=0.3, random_state=0),
    "repeated": lambda: RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "generator": lambda: KFold(2).split(X),
    "lists": lambda: [(list(range(40)), list(range(40, 60))), (list(range(20, 60)), list(range(20)))],
    "overlapping": lambda: [(np.arange(50), np.arange(10)), (np.arange(50), np.arange(60))],
    "repeated rows": lambda: [(np.repeat(np.arange(30), 2), np.arange(30, 60))],
}


@pytest.mark.parametrize("name", SPLITTERS)
def test_splitters(name: str) -> None:
    """Folds come from a number, a splitter, an iterable, or a generator, which is used up by one search."""
    settings = {"error_score": "raise", "scoring": "neg_log_loss"}
    theirs, ours = (
        kind(small("multiclass"), GRID, cv=SPLITTERS[name](), **settings).fit(X, WORDS)
        for kind in (GridSearchCV, BigGridSearchCV)
    )
    assert_alike(theirs, ours)


def test_ranges_of_rows() -> None:
    """Folds may be ranges, where scikit-learn's search takes them."""
    settings = {"cv": [(range(40), range(40, 60))], "scoring": "neg_log_loss"}
    theirs, ours = (kind(small("multiclass"), GRID, **settings) for kind in (GridSearchCV, BigGridSearchCV))
    try:
        theirs.fit(X, WORDS)
    except ValueError:
        pytest.skip("this scikit-learn takes arrays only")
    assert_alike(theirs, ours.fit(X, WORDS))


def test_a_splitter_without_a_seed_splits_once() -> None:
    """A splitter that draws anew each time is asked once, so that all candidates are trained on the same folds."""
    drawn = StratifiedShuffleSplit(2)
    search = BigGridSearchCV(small("multiclass"), {"alpha": [0.0, 0.0, 0.0]}, cv=drawn, scoring="neg_log_loss")
    for split in ("split0_test_score", "split1_test_score"):
        assert np.ptp(fitted(search, X, WORDS).cv_results_[split]) < 1e-9


def test_a_splitter_that_yields_nothing() -> None:
    """Without a fold there is scikit-learn's error."""
    assert "No fits were performed" in assert_same_error(small("multiclass"), GRID, {"cv": []})


GRIDS: dict[str, Any] = {
    "dict": GRID,
    "arrays": {"alpha": np.logspace(-4, 0, 3), "n_iter_no_change": np.array([1, 5])},
    "list": [{"alpha": [0.1, 1.0]}, {"learning_rate": [0.1], "optimizer": ["sgd", "adam"]}, {}],
    "one candidate": {"alpha": [1.0]},
    "the same twice": {"alpha": [0.1, 0.1]},
    "nothing": {},
    "shapes": {"hidden_layer_sizes": [(3,), (4, 2)], "activation": ["relu", "tanh"]},
    "components": {"schedule": ["constant", lambda done: 1.0 - done], "optimizer__betas": [(0.9, 0.9), (0.5, 0.99)]},
}


@pytest.mark.parametrize("name", GRIDS)
def test_grids(name: str) -> None:
    """Grids are dicts or lists of them, and masked where a candidate has no such parameter."""
    both(small("multiclass", optimizer="adam"), GRIDS[name], scoring="neg_log_loss")


@pytest.mark.parametrize("grid", [{"alpha": 1.0}, {"alpha": []}, [1], {"alpha": "abc"}, {"no_such_name": [1]}])
def test_bad_grids(grid: Any) -> None:
    """A grid that is none is the same error as in scikit-learn, and so is a parameter that does not exist."""
    assert_same_error(small("multiclass"), grid, {"error_score": 0.0})


@pytest.mark.parametrize(
    ("distributions", "seed"),
    [
        ({"learning_rate": loguniform(1e-3, 1e-1), "alpha": uniform(0, 1)}, lambda: 3),
        ({"learning_rate": loguniform(1e-3, 1e-1), "activation": ["relu", "tanh"]}, lambda: np.random.RandomState(3)),
        ([{"alpha": uniform(0, 1)}, {"dropout": [0.1, 0.2, 0.3]}], lambda: 3),
        ({"alpha": [0.0, 1.0, 2.0], "learning_rate": [0.1, 0.01]}, lambda: 3),
    ],
)
def test_random_draws(distributions: Any, seed: Callable[[], Any]) -> None:
    """A randomized search draws the candidates that scikit-learn's draws, and comes to the same."""
    settings = {"n_iter": 4, "cv": 2, "scoring": "neg_log_loss", "error_score": "raise", "return_train_score": True}
    theirs, ours = (
        fitted(kind(small("multiclass"), distributions, random_state=seed(), **settings), X, WORDS)
        for kind in (RandomizedSearchCV, BigRandomizedSearchCV)
    )
    assert_alike(theirs, ours)


# What fails.


@pytest.mark.parametrize("scoring", [["r2", "neg_mean_squared_error"], lambda *args: {"a": 1.0, "b": 2.0}])
def test_a_failure_has_a_score_by_every_name(scoring: Any) -> None:
    """With several scores each of them is `error_score` where a fit fails."""
    settings = {"cv": 2, "scoring": scoring, "refit": False, "error_score": -1.0}
    network, rates = small("regression", optimizer="sgd"), {"learning_rate": [0.01, 1e60]}
    theirs, ours = (kind(network, rates, **settings) for kind in (GridSearchCV, BigGridSearchCV))
    assert warnings_of(ours, X, VALUES) == warnings_of(theirs, X, VALUES)
    assert_alike(theirs, ours)
    assert sum(-1.0 in values for name, values in ours.cv_results_.items() if name.startswith("mean_test")) == 2


@pytest.mark.parametrize("bad", ["X", "y", "lengths"])
def test_bad_rows_are_the_same_error(bad: str) -> None:
    """Rows that cannot be trained on fail in every fit, as they do one by one."""
    rows, y = X.copy(), {"y": VALUES, "lengths": WORDS[:-1]}.get(bad, WORDS)
    rows[:, 0] = np.inf if bad == "X" else 1.0
    errors = []
    for kind in (GridSearchCV, BigGridSearchCV):
        with pytest.raises(ValueError) as caught:
            kind(small("multiclass"), GRID, cv=KFold(2)).fit(rows, y)
        lines = str(caught.value).splitlines()
        errors.append((lines[0], lines[-2:]))
    assert errors[0] == errors[1]


# What goes along with the rows.


def test_groups() -> None:
    """Groups go to the splitter."""
    both(small("multiclass"), cv=GroupKFold(3), fit={"groups": GROUPS}, scoring="neg_log_loss")
    assert_same_error(small("multiclass"), GRID, {"cv": GroupKFold(3)})


@pytest.mark.parametrize("name", ["bare", "pipeline", "list", "series"])
def test_weights(name: str) -> None:
    """A weight for each row is cut along with the rows, and reaches the network by its name in a Pipeline."""
    estimator = piped() if name == "pipeline" else small("multiclass")
    weight = {"list": WEIGHT.tolist(), "series": pd.Series(WEIGHT, index=np.arange(N_ROWS)[::-1])}.get(name, WEIGHT)
    prefix = "net__" if name == "pipeline" else ""
    grid = {f"{prefix}{key}": values for key, values in GRID.items()}
    settings = {"scoring": "neg_log_loss", "cv": KFold(3)}
    _, ours = both(estimator, grid, fit={f"{prefix}sample_weight": weight}, **settings)
    _, plain = both(estimator, grid, **settings)
    assert np.abs(ours.cv_results_["mean_test_score"] - plain.cv_results_["mean_test_score"]).min() > 1e-6


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_routed_weights(n_jobs: int | None) -> None:
    """With metadata routing a weight reaches the fits and the scores that ask for it."""
    with config_context(enable_metadata_routing=True), joblib.parallel_config("threading"):
        pipeline, grid, given = piped(), {"net__alpha": [0.0, 1.0]}, {"sample_weight": WEIGHT}
        pipeline[-1].set_fit_request(sample_weight=True)
        pipeline[0].set_fit_request(sample_weight=False)
        asking, declining = (
            make_scorer(accuracy_score).set_score_request(sample_weight=asks) for asks in (True, False)
        )
        _, ours = both(pipeline, grid, fit=given, n_jobs=n_jobs, scoring=asking)
        both(pipeline, grid, fit=given, n_jobs=n_jobs, scoring=declining)
        bare = small("multiclass").set_score_request(sample_weight=True)
        both(bare.set_fit_request(sample_weight=True), fit=given, n_jobs=n_jobs)
        both(bare.set_fit_request(sample_weight=False), fit=given | {"groups": GROUPS}, cv=GroupKFold(3))
        assert_same_error(small("multiclass"), GRID, {}, given)
    expected = []
    for train, test in StratifiedKFold(2).split(X, WORDS):
        model = fitted(piped(alpha=1.0), X[train], WORDS[train], net__sample_weight=WEIGHT[train])
        expected.append(accuracy_score(WORDS[test], model.predict(X[test]), sample_weight=WEIGHT[test]))
    assert ours.cv_results_["mean_test_score"][1] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("weighted", [False, True])
def test_validation_rows(weighted: bool) -> None:
    """Validation rows given to `fit` are those of every candidate, whole on every fold."""
    held: dict[str, Any] = {"X_val": X[:17], "y_val": WORDS[:17]}
    if weighted:
        held["sample_weight_val"] = WEIGHT[:17]
    network = small("multiclass", early_stopping=True, max_iter=6, n_iter_no_change=1, scoring="neg_log_loss")
    _, ours = both(network, {"learning_rate": [0.3, 0.01]}, fit=held, scoring="neg_log_loss")
    assert ours.best_estimator_.validation_scores_


def test_validation_rows_that_are_wrong() -> None:
    """Half a validation set, or an argument that `fit` does not have, is the error of the estimator."""
    network, settings = small("multiclass"), {"error_score": "raise"}
    assert "without y_val" in assert_same_error(network, GRID, settings, {"X_val": X[:5]})
    assert "no_such" in assert_same_error(network, GRID, settings, {"no_such": 1})


def test_named_columns() -> None:
    """The names of a frame's columns are known to the search and to what it has fitted."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    _, ours = both(piped(), {"net__alpha": [0.0, 1.0]}, frame)
    assert ours.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame[["b", "a", "c", "d"]])
