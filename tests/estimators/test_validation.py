"""Validation: which rows are scored, by what, when training stops, and with which weights."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, get_scorer, log_loss, mean_squared_error
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tests.fitting import (
    ANY_TASK,
    BINARY,
    BOTH,
    MULTICLASS,
    MULTILABEL,
    VALUES,
    WORDS,
    X,
    fitted,
    small,
    state_of,
    target,
    trained,
    weights_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X_VAL = np.random.RandomState(7).normal(size=(40, 4))
OVERFITS = {"early_stopping": True, "learning_rate": 0.1, "max_iter": 200, "n_iter_no_change": 5, "batch_size": 20}


def noisy(task: str) -> Any:
    """Return validation targets that cannot be learnt, so that training stops early."""
    return np.random.RandomState(8).permutation(target(task))[: len(X_VAL)]


def spying(score: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return a scorer, and the list of rows and targets that it is given."""
    seen: list[tuple[Any, Any]] = []

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        seen.append((X, y))
        return float(score(estimator, X, y))

    return scorer, seen


@ANY_TASK
def test_rows_held_out_are_as_good_as_rows_given(task: str) -> None:
    """Early stopping on a fraction of the rows is early stopping on those rows, given as X_val and y_val."""
    scorer, seen = spying(lambda estimator, X, y: estimator.score(X, y))
    model = trained(task, early_stopping=True, validation_fraction=0.25, scoring=scorer)
    held, y_held = seen[0]
    assert held.shape == (15, 4)
    assert model.t_ == model.n_iter_ * 45
    rest = np.array([row.tobytes() not in {one.tobytes() for one in held} for row in X])
    given = fitted(
        small(task, early_stopping=True, scoring=None), X[rest], target(task)[rest], X_val=held, y_val=y_held
    )
    assert weights_of(given).tobytes() == weights_of(model).tobytes()
    assert given.validation_scores_ == model.validation_scores_


def test_the_rows_held_out_have_all_classes() -> None:
    """A classifier holds out rows in the proportions of the classes, however y is shaped."""
    scorer, seen = spying(lambda estimator, X, y: estimator.score(X, y))
    rare = np.r_[np.zeros(6, dtype=int), np.ones(54, dtype=int)]
    fitted(small("binary", early_stopping=True, validation_fraction=0.5, scoring=scorer), X, rare)
    assert np.bincount(seen[0][1]).tolist() == [3, 27]
    first = seen[0][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a column of labels is taken, with scikit-learn's warning
        fitted(small("binary", early_stopping=True, validation_fraction=0.5, scoring=scorer), X, rare[:, None])
    assert np.array_equal(seen[-1][0], first)


@ANY_TASK
@pytest.mark.parametrize("scoring", ["loss", None])
def test_the_best_weights_are_kept(task: str, scoring: Any) -> None:
    """Training stops once the score has not improved for long enough, and the weights are those of the best score."""
    y_val = noisy(task)
    model = fitted(small(task, **OVERFITS, scoring=scoring), X, target(task), X_val=X_VAL, y_val=y_val)
    assert model.stop_reason_ == "converged"
    assert model.n_iter_ < 200
    best = int(np.argmax(model.validation_scores_))
    assert best < model.n_iter_ - 1
    assert model.best_validation_score_ == model.validation_scores_[best]
    assert model.best_loss_ is None
    until_then = small(task, **OVERFITS, scoring=scoring).set_params(max_iter=best + 1)
    fitted(until_then, X, target(task), X_val=X_VAL, y_val=y_val)
    assert weights_of(model).tobytes() == weights_of(until_then).tobytes()


def last_score(model: Any, y_val: Any, scoring: Any, weight: Any) -> float:
    """Score a fitted model on the validation rows without its help."""
    if scoring == "loss":
        if hasattr(model, "classes_"):
            return -log_loss(y_val, model.predict_proba(X_VAL), sample_weight=weight)
        return -mean_squared_error(y_val, model.predict(X_VAL), sample_weight=weight) / 2
    scorer = scoring if callable(scoring) else get_scorer(scoring) if scoring else type(model).score
    return scorer(model, X_VAL, y_val, **({} if weight is None else {"sample_weight": weight}))


def close_enough(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    return float(np.average(np.abs(estimator.predict(X) - y) < 0.5, weights=sample_weight))


@pytest.mark.crossed
@pytest.mark.parametrize(
    ("task", "scoring"),
    [
        *[
            ("binary", name)
            for name in ("loss", None, "accuracy", "roc_auc", "neg_log_loss", "average_precision", close_enough)
        ],
        *[("multiclass", name) for name in ("loss", None, "accuracy", "roc_auc_ovr", "neg_log_loss", close_enough)],
        *[("regression", name) for name in ("loss", None, "neg_mean_absolute_error", "r2", close_enough)],
        *[("multi-output", name) for name in ("loss", None, "neg_mean_absolute_error")],
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_score_is_what_the_scorer_says(task: str, scoring: Any, weighted: bool) -> None:
    """The best validation score is the one that the fitted model gets from the scorer, with the rows' weights."""
    weight = np.random.RandomState(9).uniform(0.5, 2, size=len(X_VAL)) if weighted else None
    y_val = noisy(task)
    model = fitted(
        small(task, **OVERFITS, scoring=scoring), X, target(task), X_val=X_VAL, y_val=y_val, sample_weight_val=weight
    )
    assert model.best_validation_score_ == pytest.approx(last_score(model, y_val, scoring, weight), rel=1e-9)
    if scoring == "loss":
        assert model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]


def test_labels_are_encoded_for_validation_too() -> None:
    """Words as labels stop training in the same epoch as numbers do, in whatever container they come."""
    numbers = fitted(small("multiclass", **OVERFITS), X, MULTICLASS, X_val=X_VAL, y_val=noisy("multiclass"))
    words = np.array(["low", "mid", "top"])[noisy("multiclass")]
    for y_val in (words, words.tolist(), words.astype(object), pd.Series(words, dtype="category")):
        model = fitted(small("multiclass", **OVERFITS), X, WORDS, X_val=X_VAL, y_val=y_val)
        assert model.n_iter_ == numbers.n_iter_ < 200
        assert model.validation_loss_curve_ == numbers.validation_loss_curve_


@pytest.mark.parametrize(
    "convert", [sparse.csr_array, sparse.csc_matrix, pd.DataFrame, np.ndarray.tolist, np.asfortranarray]
)
def test_validation_rows_come_in_any_container(convert: Any) -> None:
    """Sparse, data frame or list: the validation rows are the same rows."""
    plain = fitted(small("binary", early_stopping=True), X, BINARY, X_val=X_VAL, y_val=noisy("binary"))
    model = fitted(small("binary", early_stopping=True), X, BINARY, X_val=convert(X_VAL), y_val=noisy("binary"))
    np.testing.assert_allclose(model.validation_loss_curve_, plain.validation_loss_curve_, rtol=1e-12)


@ANY_TASK
def test_validation_weights_count_rows(task: str) -> None:
    """In validation a row of weight two is two rows, and a row of weight zero is none."""
    weight = np.random.RandomState(5).randint(3, size=len(X_VAL))
    y_val = noisy(task)
    model = small(task, early_stopping=True)
    fitted(model, X, target(task), X_val=X_VAL, y_val=y_val, sample_weight_val=weight)
    repeated = fitted(
        small(task, early_stopping=True), X, target(task), X_val=X_VAL.repeat(weight, 0), y_val=y_val.repeat(weight, 0)
    )
    np.testing.assert_allclose(model.validation_scores_, repeated.validation_scores_, rtol=1e-12)


@ANY_TASK
def test_watching_changes_nothing(task: str) -> None:
    """Without early_stopping X_val is scored but decides nothing."""
    watched = fitted(small(task, n_iter_no_change=1, max_iter=6), X, target(task), X_val=X_VAL, y_val=noisy(task))
    assert weights_of(watched).tobytes() == weights_of(trained(task, n_iter_no_change=1, max_iter=6)).tobytes()
    assert len(watched.validation_scores_) == len(watched.validation_loss_curve_) == watched.n_iter_
    alone = trained(task)
    assert alone.validation_scores_ is alone.validation_loss_curve_ is alone.best_validation_score_ is None


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"X_val": X_VAL}, "X_val was given without y_val"),
    ({"y_val": BINARY}, "y_val was given without X_val"),
    ({"sample_weight_val": np.ones(40)}, "sample_weight_val was given without X_val"),
    ({"X_val": X_VAL, "y_val": BINARY[:30]}, "inconsistent numbers of samples: [40, 30]"),
    ({"X_val": X_VAL[:, :3], "y_val": BINARY[:40]}, "X has 3 features, but BigMLPClassifier is expecting 4"),
    ({"X_val": X_VAL[0], "y_val": BINARY[:40]}, "Expected 2D array, got 1D array"),
    ({"X_val": X_VAL * np.nan, "y_val": BINARY[:40]}, "Input X_val contains NaN"),
    ({"X_val": X_VAL * 1e300, "y_val": BINARY[:40]}, "Input X_val contains a value too large"),
    ({"X_val": X_VAL, "y_val": BINARY[:40] + 1}, "y has the classes [2], which are not in `classes_`: [0, 1]"),
    ({"X_val": X_VAL, "y_val": np.where(BINARY[:40], np.nan, 0)}, "Input y_val contains NaN"),
    ({"X_val": X_VAL, "y_val": WORDS[:40]}, "which are not in `classes_`"),
    ({"X_val": X_VAL, "y_val": MULTILABEL[:40]}, "y should be a 1d array"),
    ({"X_val": X_VAL, "y_val": BINARY[:40], "sample_weight_val": -np.ones(40)}, "`sample_weight_val`: row 0"),
    ({"X_val": X_VAL, "y_val": BINARY[:40], "sample_weight_val": np.zeros(40)}, "`sample_weight_val` are zero"),
    ({"X_val": X_VAL, "y_val": BINARY[:40], "sample_weight_val": np.ones(3)}, "sample_weight_val.shape == (3,)"),
]


@pytest.mark.parametrize(("held", "message"), WRONG, ids=[message for _, message in WRONG])
@pytest.mark.parametrize("before", ["unfitted", "fitted"])
def test_wrong_validation_rows_are_refused(held: dict[str, Any], message: str, before: str) -> None:
    """What is wrong with the validation rows is said, and the estimator stays as it was."""
    model = small("binary", early_stopping=True) if before == "unfitted" else trained("binary", warm_start=True)
    state = state_of(model)
    with pytest.raises(ValueError) as error:
        fitted(model, X, BINARY, **held)
    assert message in str(error.value)
    assert state_of(model) == state


@pytest.mark.parametrize(
    ("task", "y_val", "message"),
    [
        ("multilabel", MULTILABEL[:40, :2], "3 columns"),
        ("multilabel", BINARY[:40], "3 columns"),
        ("multilabel", MULTILABEL[:40] * 7, "zeros and ones"),
        ("regression", np.c_[VALUES, VALUES][:40], "y has 2 output(s), and the model has 1"),
        ("multi-output", VALUES[:40], "y has 1 output(s), and the model has 2"),
        ("regression", np.full(40, 1e300), "loss of the validation rows is not finite"),
        ("regression", WORDS[:40], "arrays of bytes/strings"),
    ],
)
def test_validation_targets_are_like_the_training_targets(task: str, y_val: Any, message: str) -> None:
    """Validation targets of another kind, number or range are refused, and never broadcast."""
    model = small(task, early_stopping=True)
    state = state_of(model)
    with pytest.raises(ValueError) as error:
        fitted(model, X, target(task), X_val=X_VAL, y_val=y_val)
    assert message in str(error.value)
    assert state_of(model) == state


def test_the_range_of_a_loss_holds_for_validation_too() -> None:
    """A loss that takes no negative targets takes none in validation."""
    with pytest.raises(ValueError, match="out of the valid range of the loss"):
        fitted(small("regression", loss="poisson"), X, np.abs(VALUES), X_val=X_VAL, y_val=VALUES[:40])


@pytest.mark.parametrize("scoring", [lambda e, X, y: np.nan, lambda e, X, y: 1 / 0, accuracy_score])
def test_a_scorer_that_gives_no_score_is_an_error(scoring: Any) -> None:
    """A score that is no number, an error of a scorer, or a metric in its place end fit, and leave no model."""
    model = small("regression", early_stopping=True, scoring=scoring)
    with pytest.raises((ValueError, ZeroDivisionError)):
        fitted(model, X, VALUES)
    assert not hasattr(model, "coefs_")
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("n_rows", [1, 2, 8])
@BOTH
def test_a_validation_set_may_be_too_small(task: str, n_rows: int) -> None:
    """Where too few rows can be held out, the message speaks of validation_fraction."""
    rows = np.r_[np.flatnonzero(BINARY)[: n_rows // 2], np.flatnonzero(BINARY == 0)[: n_rows - n_rows // 2]]
    with pytest.raises(ValueError, match=r"validation_fraction|greater than one"):
        fitted(small(task, early_stopping=True), X[rows], target(task)[rows])


@BOTH
def test_partial_fit_stops_across_calls(task: str) -> None:
    """Calls of partial_fit are judged together: they stop where fit stops, and then change nothing."""
    held = {"X_val": X_VAL, "y_val": noisy(task)}
    whole = fitted(small(task, **OVERFITS), X, target(task), **held)
    model = small(task, **OVERFITS)
    first = {"classes": [0, 1]} if task == "binary" else {}
    for _ in range(whole.n_iter_):
        model.partial_fit(X, target(task), **held, **(first if not hasattr(model, "coefs_") else {}))
    assert model.validation_scores_ == whole.validation_scores_
    assert model.best_validation_score_ == whole.best_validation_score_
    assert weights_of(model).tobytes() == weights_of(whole).tobytes()
    state = state_of(model)
    with pytest.warns(ConvergenceWarning, match="Early stopping has ended"):
        model.partial_fit(X, target(task), **held)
    assert state_of(model) == state


def test_partial_fit_cannot_hold_out() -> None:
    """With early_stopping partial_fit needs X_val, because each call would hold out other rows."""
    with pytest.raises(ValueError, match="partial_fit with early_stopping=True needs X_val and y_val"):
        small("binary", early_stopping=True).partial_fit(X, BINARY, classes=[0, 1])


@BOTH
def test_a_pipeline_transforms_the_validation_rows(task: str) -> None:
    """With transform_input a pipeline scales X_val as it scales X."""
    scaler = StandardScaler().fit(X * 5 + 3)
    held = {"y_val": noisy(task), "X_val": X_VAL * 5 + 3}
    by_hand = fitted(
        small(task, early_stopping=True), scaler.transform(X * 5 + 3), target(task),
        X_val=scaler.transform(held["X_val"]), y_val=held["y_val"],
    )  # fmt: skip
    with config_context(enable_metadata_routing=True):
        net = small(task, early_stopping=True).set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("net", net)], transform_input=["X_val"])
        fitted(pipeline, X * 5 + 3, target(task), **held)
    assert pipeline[-1].validation_scores_ == by_hand.validation_scores_
