"""Ensembles of a search: chosen greedily by out-of-fold predictions, and one estimator that predicts with all."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import d2_pinball_score, get_scorer, log_loss, r2_score
from sklearn.model_selection import KFold, RepeatedStratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import (
    BigGridSearchCV,
    BigHalvingGridSearchCV,
    BigMLPClassifier,
    BigMLPRegressor,
    BigRandomizedSearchCV,
    BigTabularClassifier,
    trusted_types,
)
from skbig.components import Quantile
from skbig.search.ensemble import greedy_weights

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(90, 4))
SIGNAL = np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * RANDOM.normal(size=90)
LABELS = np.array(["low", "middle", "high"])[np.digitize(SIGNAL, [-0.7, 0.7])]
SMALL: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 8, "batch_size": 16, "random_state": 0}
GRID = {"learning_rate": [0.003, 0.03, 0.1], "hidden_layer_sizes": [(4,), (12,)]}


def test_greedy_selection_is_that_of_every_ensemble_on_the_way() -> None:
    """Each step is the best of all that one more candidate gives, and the best of the steps is taken."""
    values = RANDOM.normal(size=(5, 40)) + SIGNAL[:40]
    weights, score = greedy_weights(values, lambda mean: float(r2_score(SIGNAL[:40], mean)), 12)
    assert 1 <= weights.sum() <= 12
    assert score == pytest.approx(r2_score(SIGNAL[:40], np.average(values, axis=0, weights=weights)))
    assert score > max(r2_score(SIGNAL[:40], own) for own in values)
    alone, best = greedy_weights(values, lambda mean: float(r2_score(SIGNAL[:40], mean)), 1)
    assert alone.sum() == 1 and best == max(r2_score(SIGNAL[:40], own) for own in values)


def test_a_candidate_without_a_score_never_joins() -> None:
    """What scores NaN is left out."""
    values = np.stack([np.full(4, np.inf), np.zeros(4)])
    with np.errstate(invalid="ignore"):
        weights, _ = greedy_weights(values, lambda mean: float(-np.abs(mean - 1).mean() * 0 + mean[0] * 0), 3)
    assert weights[0] == 0


@pytest.mark.parametrize("scoring", ["neg_log_loss", None, "accuracy"])
def test_predicts_by_the_weighted_mean_of_candidates_fitted_on_all_rows(scoring: Any) -> None:
    """Weights, score and probabilities are those that scikit-learn's own functions come to."""
    cv = KFold(3, shuffle=True, random_state=1)
    model = BigMLPClassifier(**SMALL)
    search = BigGridSearchCV(model, GRID, cv=cv, scoring=scoring, ensemble_size=5).fit(X, LABELS)
    weights, candidates = search.ensemble_weights_, search.cv_results_["params"]
    assert len(weights) == len(candidates) == 6 and weights.sum() == pytest.approx(1)
    chosen = [clone(model).set_params(**candidates[i]) for i in np.flatnonzero(weights)]
    own = weights[weights > 0]
    fitted = [estimator.fit(X, LABELS).predict_proba(X) for estimator in chosen]
    np.testing.assert_allclose(search.predict_proba(X), np.average(fitted, axis=0, weights=own), atol=1e-10)
    np.testing.assert_array_equal(search.predict(X), search.classes_[search.predict_proba(X).argmax(axis=1)])
    held = [cross_val_predict(estimator, X, LABELS, cv=cv, method="predict_proba") for estimator in chosen]
    mean = np.average(held, axis=0, weights=own)
    right = (search.classes_[mean.argmax(axis=1)] == LABELS).mean()
    expected = -log_loss(LABELS, mean) if scoring == "neg_log_loss" else right
    assert search.ensemble_score_ == pytest.approx(expected, rel=1e-6)
    assert search.score(X, LABELS) == pytest.approx(get_scorer(scoring or "accuracy")(search, X, LABELS))
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


def test_is_better_than_its_best_candidate_on_the_rows_left_out() -> None:
    """The ensemble begins with a best candidate, so that its score is never below it."""
    model, settings = BigMLPRegressor(**SMALL), {"cv": 3, "scoring": "neg_mean_squared_error"}
    grid = {"learning_rate": [0.01, 0.03, 0.1]}
    search = BigGridSearchCV(model, grid, **settings, ensemble_size=10).fit(X, SIGNAL)
    one = BigGridSearchCV(model, grid, **settings, ensemble_size=1).fit(X, SIGNAL)
    assert search.ensemble_score_ >= one.ensemble_score_ == pytest.approx(one.best_score_)
    assert search.best_params_ == one.best_params_
    np.testing.assert_allclose(one.predict(X), clone(model).set_params(**one.best_params_).fit(X, SIGNAL).predict(X))


@pytest.mark.parametrize(
    "kind",
    [
        "two classes",
        "multilabel",
        "hinge",
        "two outputs",
        "quantiles",
        "a pipeline",
        "forest",
        "a label that no row has",
    ],
)
def test_every_task(kind: str) -> None:
    """Whatever estimators predict is averaged: probabilities, decision values, numbers, quantiles."""
    two = np.where(SIGNAL > 0, "yes", "no")
    both = np.column_stack([SIGNAL > 0, X[:, 2] > 0]).astype(int)
    rates = {"learning_rate": [0.01, 0.1]}
    cases: dict[str, tuple[Any, dict[str, list[Any]], Any]] = {
        "two classes": (BigMLPClassifier(**SMALL), rates, two),
        "multilabel": (BigMLPClassifier(**SMALL), rates, both),
        "hinge": (BigMLPClassifier(**SMALL, loss="hinge"), rates, LABELS),
        "two outputs": (BigMLPRegressor(**SMALL), rates, np.column_stack([SIGNAL, -SIGNAL])),
        "quantiles": (BigMLPRegressor(**SMALL, loss=Quantile([0.2, 0.8])), rates, SIGNAL),
        "a pipeline": (
            make_pipeline(StandardScaler(), BigMLPClassifier(**SMALL)),
            {"bigmlpclassifier__learning_rate": [0.01, 0.1]},
            two,
        ),
        "forest": (RandomForestClassifier(random_state=0), {"n_estimators": [3, 6]}, both),
    }
    cases["a label that no row has"] = (RandomForestClassifier(random_state=0), {"n_estimators": [3, 6]}, both * [1, 0])
    model, grid, y = cases[kind]
    search = BigGridSearchCV(model, grid, cv=2, ensemble_size=3).fit(X, y)
    assert search.predict(X).shape == search.best_estimator_.estimators_[0].predict(X).shape
    if kind == "quantiles":
        pairs = zip(search.predict(X).T, (0.2, 0.8), strict=True)
        expected = np.mean([d2_pinball_score(y, own, alpha=level) for own, level in pairs])
        assert search.score(X, y) == pytest.approx(expected)
    else:
        assert search.score(X, y) > 0.2
    assert set(np.unique(search.predict(X))) <= set(np.unique(y)) or kind in ("two outputs", "quantiles")


def test_random_and_halving_searches() -> None:
    """The other searches end with an ensemble too; of a halving search, of its last rung."""
    drawn = BigRandomizedSearchCV(
        BigMLPClassifier(**SMALL),
        {"learning_rate": loguniform(1e-3, 1e-1)},
        n_iter=4,
        cv=2,
        random_state=0,
        ensemble_size=3,
    ).fit(X, LABELS)
    assert drawn.ensemble_weights_.shape == (4,) and drawn.score(X, LABELS) > 0.4
    halving = BigHalvingGridSearchCV(
        BigMLPClassifier(**SMALL), {"learning_rate": [0.003, 0.01, 0.03, 0.1]}, factor=2, cv=2, ensemble_size=3
    ).fit(X, LABELS)
    last = halving.cv_results_["iter"] == halving.n_iterations_ - 1
    assert halving.ensemble_weights_[~last].sum() == 0 and halving.ensemble_weights_[last].sum() == pytest.approx(1)
    assert halving.score(X, LABELS) > 0.4


def test_several_metrics_weights_of_rows_and_repeated_folds() -> None:
    """The metric of refit decides, weights reach every fit, and a row may be left out more than once."""
    search = BigGridSearchCV(
        BigMLPClassifier(**SMALL),
        {"learning_rate": [0.01, 0.1]},
        cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
        scoring=["accuracy", "neg_log_loss"],
        refit="neg_log_loss",
        ensemble_size=4,
    ).fit(X, LABELS, sample_weight=np.where(LABELS == "low", 0.01, 1.0))
    assert search.predict_proba(X)[:, search.classes_.tolist().index("low")].mean() < 0.25
    assert search.ensemble_score_ < 0


def test_workers_and_checkpoints_bring_predictions_along(tmp_path: Path) -> None:
    """Workers of joblib hand predictions over, and a search that is repeated reads them."""
    settings = {"cv": 2, "scoring": "neg_log_loss", "ensemble_size": 4}
    grid = {"learning_rate": [0.01, 0.1]}
    plain = BigGridSearchCV(BigMLPClassifier(**SMALL), grid, **settings).fit(X, LABELS)
    for more in ({"n_jobs": 2}, {"checkpoint_dir": tmp_path}, {"checkpoint_dir": tmp_path}):
        with parallel_config("threading"):
            other = BigGridSearchCV(BigMLPClassifier(**SMALL), grid, **settings, **more).fit(X, LABELS)
        np.testing.assert_allclose(other.ensemble_weights_, plain.ensemble_weights_)
        np.testing.assert_allclose(other.predict_proba(X), plain.predict_proba(X), atol=1e-6)
    with pytest.raises(ValueError, match="another"):
        BigGridSearchCV(BigMLPClassifier(**SMALL), grid, cv=2, scoring="neg_log_loss", checkpoint_dir=tmp_path).fit(
            X, LABELS
        )


def test_a_fit_without_an_ensemble_forgets_that_of_an_earlier_one() -> None:
    """What is left of an ensemble goes with it."""
    search = BigGridSearchCV(BigMLPClassifier(**SMALL), {"learning_rate": [0.01, 0.1]}, cv=2, ensemble_size=2)
    search.fit(X, LABELS).set_params(ensemble_size=None).fit(X, LABELS)
    assert not hasattr(search, "ensemble_weights_") and isinstance(search.best_estimator_, BigMLPClassifier)


def test_a_tuned_ensemble_of_tables_is_three_lines() -> None:
    """The search space of tables, drawn from, ends with an ensemble."""
    model = BigTabularClassifier("fast", max_iter=2, random_state=0)
    search = BigRandomizedSearchCV(model, model.search_space(), n_iter=2, cv=2, random_state=0, ensemble_size=2)
    assert search.fit(X, LABELS).score(X, LABELS) > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ensemble_size": 0}, "'ensemble_size' parameter of BigGridSearchCV must be .* Got 0"),
        ({"ensemble_size": "all"}, "'ensemble_size' parameter of BigGridSearchCV"),
        ({"ensemble_size": 2, "refit": False}, "needs refit=True"),
        ({"ensemble_size": 2, "scoring": ["accuracy", "f1_macro"], "refit": lambda results: 0}, "needs refit=True"),
    ],
    ids=["none", "a word", "no refit", "a refit of another kind"],
)
def test_what_cannot_be_is_named(settings: dict[str, Any], message: str) -> None:
    """A size that is none, and a search without a refit, are refused before anything is trained."""
    with pytest.raises(ValueError, match=message):
        BigGridSearchCV(LogisticRegression(), {"C": [1, 10]}, cv=2, **settings).fit(X, LABELS)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_candidates_that_fail_are_left_out() -> None:
    """A candidate whose fit fails is in no ensemble; where all lack a class, the error says so."""
    grid = {"learning_rate": [0.05, 1e200]}
    search = BigGridSearchCV(BigMLPRegressor(**SMALL), grid, cv=2, ensemble_size=3).fit(X, SIGNAL)
    np.testing.assert_array_equal(search.ensemble_weights_, [1, 0])
    order = np.argsort(LABELS)
    hinge = BigMLPClassifier(**SMALL, loss="hinge")
    with pytest.raises(ValueError, match="a fold lacks a class"):
        BigGridSearchCV(hinge, {"alpha": [0, 1]}, cv=KFold(3), ensemble_size=2).fit(X[order], np.sort(LABELS))


def test_skops_loads_it() -> None:
    """An ensemble is among the types that a file of skops may hold."""
    skops = pytest.importorskip("skops.io")
    search = BigGridSearchCV(BigMLPRegressor(**SMALL), {"learning_rate": [0.01, 0.1]}, cv=2, ensemble_size=3)
    ensemble = search.fit(X, SIGNAL).best_estimator_
    loaded = skops.loads(skops.dumps(ensemble), trusted=trusted_types())
    np.testing.assert_array_equal(loaded.predict(X), ensemble.predict(X))
