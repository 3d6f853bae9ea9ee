"""A student learns what its teacher says."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbig import BigLinearClassifier, BigLinearRegressor, BigMLPClassifier, BigMLPRegressor, BigTabularClassifier
from skbig.components import DPSGD, FocalLoss, LogLoss
from skbig.compress import Distilled
from skbig.compress.made_rows import made_rows
from skbig.compress.soft_loss import SoftLoss
from tests.small import data

pytestmark = pytest.mark.filterwarnings("ignore:.*hasn't converged:sklearn.exceptions.ConvergenceWarning")

X, CLASSES = data("multiclass", 60)
TWO, LABELS = data("binary", 60)[1][:, 0].astype(int), data("multilabel", 60)[1].astype(int)
VALUES = data("multi-output", 60)[1]
NAMES = np.array(["low", "mid", "top"])[CLASSES]
FOREST = RandomForestClassifier(10, random_state=0)


def student(**more: Any) -> BigMLPClassifier:
    return BigMLPClassifier((8,), **{"learning_rate": 0.02, "max_iter": 5, "random_state": 0} | more)


@pytest.mark.crossed
@parametrize_with_checks(
    [
        Distilled(BigLinearClassifier(optimizer="lbfgs"), LogisticRegression(solver="newton-cholesky")),
        Distilled(BigLinearRegressor(optimizer="lbfgs"), DecisionTreeRegressor(max_depth=3, random_state=0)),
    ]
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    """Distillation is an estimator of scikit-learn's, with its checks."""
    check(estimator)


def test_half_of_the_way_to_the_teacher() -> None:
    """On digits, a student of eight units comes at least half of the way from its own score to an ensemble's."""
    features, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(features / 16, y, random_state=0, stratify=y)
    common: dict[str, Any] = {"schedule": "cosine", "learning_rate": 0.01, "n_iter_no_change": np.inf}
    teacher = BigMLPClassifier((64,), n_members=4, max_iter=30, random_state=1, **common).fit(X_train, y_train)
    small = BigMLPClassifier((8,), max_iter=40, random_state=0, **common)
    taught = Distilled(small, FrozenEstimator(teacher), share=1.0, n_made=5, random_state=0).fit(X_train, y_train)
    alone = clone(small).fit(X_train, y_train).score(X_test, y_test)
    assert taught.score(X_test, y_test) >= (alone + teacher.score(X_test, y_test)) / 2


@pytest.mark.parametrize("y", [TWO, CLASSES, NAMES, LABELS], ids=["binary", "multiclass", "strings", "multilabel"])
@pytest.mark.parametrize("teacher", [FOREST, FrozenEstimator], ids=["fitted", "frozen"])
def test_every_kind_of_classes(y: np.ndarray, teacher: Any) -> None:
    """The student predicts the teacher's classes, is an ordinary estimator, and goes on with labels alone."""
    teacher = FrozenEstimator(clone(FOREST).fit(X, y)) if teacher is FrozenEstimator else teacher
    distilled = Distilled(student(loss=FocalLoss(), early_stopping=True), teacher).fit(X, y, X_unlabeled=X[:7])
    assert is_classifier(distilled) and not is_regressor(distilled)
    assert distilled.predict(X).shape == y.shape and set(np.ravel(distilled.predict(X))) <= set(np.ravel(y))
    assert distilled.predict_proba(X).shape[0] == len(X)
    kept = pickle.loads(pickle.dumps(distilled.student_))
    assert kept.get_params()["loss"] == FocalLoss() == kept._loss
    kept.set_params(early_stopping=False).partial_fit(X, y)
    np.testing.assert_array_equal(distilled.predict(X), distilled.student_.predict(X))


def test_a_student_learns_its_teacher_by_heart() -> None:
    """With the whole loss the teacher's, the student comes to the teacher's probabilities at any temperature."""
    teacher = LogisticRegression().fit(X, CLASSES)
    for temperature in (1.0, 3.0):
        model = BigLinearClassifier(optimizer="lbfgs", alpha=0.0, max_iter=500, tol=1e-8)
        distilled = Distilled(model, FrozenEstimator(teacher), share=1.0, temperature=temperature).fit(X, CLASSES)
        np.testing.assert_allclose(distilled.predict_proba(X), teacher.predict_proba(X), atol=1e-4)


def test_without_a_share_the_teacher_says_nothing() -> None:
    """A share of zero is a fit alone, to the bits."""
    alone = student().fit(X, CLASSES)
    np.testing.assert_allclose(
        Distilled(student(), FOREST, share=0.0).fit(X, CLASSES).predict_proba(X), alone.predict_proba(X), rtol=1e-12
    )


def test_weights_are_repetitions() -> None:
    """A row of weight two counts as two, and one of weight zero as none."""
    teacher = FrozenEstimator(LogisticRegression().fit(X, CLASSES))
    model = BigLinearClassifier(optimizer="lbfgs", max_iter=300)
    weight = np.arange(60) % 3
    weighted = Distilled(model, teacher).fit(X, CLASSES, sample_weight=weight)
    repeated = Distilled(model, teacher).fit(np.repeat(X, weight, 0), np.repeat(CLASSES, weight))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("cv", [None, [(np.arange(60), np.arange(60))]], ids=["no folds", "one fold"])
@pytest.mark.parametrize("nested", [False, True])
def test_weights_reach_the_last_step_of_a_teacher(nested: bool, cv: Any) -> None:
    """A teacher in a Pipeline, or in one within one, is fitted with the weights, also where it answers out of fold."""
    teacher: Any = make_pipeline(StandardScaler(), LogisticRegression())
    teacher = make_pipeline("passthrough", teacher) if nested else teacher
    weight = 1.0 + 9.0 * (CLASSES[0] == CLASSES)
    distilled = Distilled(BigLinearClassifier(max_iter=1, tol=0.0), teacher, cv=cv)
    with pytest.warns(ConvergenceWarning):
        distilled.fit(X, CLASSES, sample_weight=weight)
    alone = LogisticRegression().fit(StandardScaler().fit_transform(X), CLASSES, weight)
    last = distilled.teacher_[-1][-1] if nested else distilled.teacher_[-1]
    np.testing.assert_allclose(last.coef_, alone.coef_)


def test_a_regressor_has_no_classes_of_a_fit_before() -> None:
    """Where student and teacher become regressors, `classes_` of the classifier is gone after the next fit."""
    distilled = Distilled(student(), FOREST).fit(X, CLASSES)
    assert len(distilled.classes_) > 1
    numbers = BigMLPRegressor((4,), max_iter=5, random_state=0)
    distilled.set_params(student=numbers, teacher=RandomForestRegressor(5, random_state=0)).fit(X, VALUES)
    assert not hasattr(distilled, "classes_")


@pytest.mark.parametrize("y", [VALUES, VALUES[:, 0]], ids=["outputs", "one"])
def test_numbers(y: np.ndarray) -> None:
    """A regressor is fitted to the mean of what the teacher says and y, by their shares."""
    teacher = RandomForestRegressor(5, random_state=0)
    model = BigMLPRegressor((8,), max_iter=5, random_state=0)
    distilled = Distilled(model, teacher, share=0.7).fit(X, y)
    said = clone(teacher).fit(X, y).predict(X)
    expected = clone(model).fit(X, 0.7 * said + 0.3 * y).predict(X)
    np.testing.assert_allclose(distilled.predict(X), expected, rtol=1e-9, atol=1e-12)
    assert is_regressor(distilled) and not hasattr(distilled, "predict_proba")


def test_folds_answer_for_rows_they_have_not_seen() -> None:
    """With `cv` the soft targets are scikit-learn's out-of-fold predictions."""
    said = cross_val_predict(RandomForestRegressor(5, random_state=0), X, VALUES, cv=3)
    model = BigMLPRegressor((8,), max_iter=5, random_state=0)
    distilled = Distilled(model, RandomForestRegressor(5, random_state=0), share=1.0, cv=3).fit(X, VALUES)
    np.testing.assert_array_equal(distilled.predict(X), clone(model).fit(X, said).predict(X))


def test_pipelines_tables_and_sparse_rows() -> None:
    """Student and teacher read what each of them takes: texts, data frames, sparse rows."""
    texts = [f"word{c} word{i % 7} again" for i, c in enumerate(CLASSES)]
    teacher = make_pipeline(TfidfVectorizer(analyzer="char"), LogisticRegression())
    distilled = Distilled(make_pipeline(TfidfVectorizer(), student()), teacher)
    assert distilled.fit(texts, NAMES, X_unlabeled=texts[:5]).predict(texts).shape == (60,)
    frame = pd.DataFrame(X, columns=list("abcd")).assign(e=pd.Categorical(NAMES))
    tables = BigTabularClassifier("fast", max_iter=2, random_state=0)
    distilled = Distilled(tables, tables, n_made=1, random_state=0).fit(frame, TWO)
    assert distilled.feature_names_in_.tolist() == ["a", "b", "c", "d", "e"] and distilled.n_features_in_ == 5
    assert Distilled(student(), FOREST).fit(sparse.csr_array(X), TWO).predict(sparse.csr_array(X)).shape == (60,)


def test_a_search_over_what_distils() -> None:
    """Parameters of the student and of distillation are searched by scikit-learn's names."""
    distilled = Distilled(make_pipeline(StandardScaler(), student()), FOREST)
    grid = {"temperature": [1.0, 3.0], "student__bigmlpclassifier__hidden_layer_sizes": [(4,)]}
    search = GridSearchCV(distilled, grid, cv=2).fit(X, CLASSES)
    assert search.best_estimator_.student_[-1].coefs_[0].shape == (4, 4)


@pytest.mark.parametrize(
    ("distilled", "y", "error", "message"),
    [
        (Distilled(LogisticRegression(), FOREST), CLASSES, TypeError, "The student must be an estimator of this"),
        (Distilled(student(), LinearRegression()), CLASSES, ValueError, "both be classifiers"),
        (Distilled(student(), SVC()), CLASSES, ValueError, "must have predict_proba, and SVC has not"),
        (Distilled(student(), FOREST, share=1.1), CLASSES, ValueError, "'share' parameter of Distilled"),
        (Distilled(student(), FOREST, temperature=0.0), CLASSES, ValueError, "'temperature' parameter of Distilled"),
        (Distilled(student(), FOREST, n_made=-1), CLASSES, ValueError, "'n_made' parameter of Distilled"),
        (Distilled(student(), FOREST, cv=1), CLASSES, ValueError, "'cv' parameter of Distilled"),
        (Distilled(student(loss="hinge"), FOREST), CLASSES, ValueError, "probabilities"),
        (Distilled(student(), FrozenEstimator(FOREST), cv=2), CLASSES, ValueError, "frozen teacher"),
        (Distilled(BigMLPRegressor(), LinearRegression(), temperature=2.0), VALUES, ValueError, "is a regressor"),
        (Distilled(student(privacy=DPSGD()), FOREST), CLASSES, ValueError, "needs a frozen teacher"),
        (Distilled(student(privacy=DPSGD()), FrozenEstimator(FOREST), n_made=1), CLASSES, ValueError, "n_made=0"),
    ],
)
def test_what_cannot_be_distilled(distilled: Any, y: Any, error: type[Exception], message: str) -> None:
    """Errors say what is wrong, and leave nothing fitted."""
    with pytest.raises(error, match=message):
        distilled.fit(X, y)
    assert not hasattr(distilled, "student_") and not hasattr(distilled, "classes_")


def test_classes_of_a_frozen_teacher() -> None:
    """A teacher may know more classes than y has, and must know those."""
    teacher = FrozenEstimator(clone(FOREST).fit(X, NAMES))
    some = NAMES != "mid"
    assert Distilled(student(), teacher).fit(X[some], NAMES[some]).predict_proba(X).shape == (60, 2)
    with pytest.raises(ValueError, match=r"classes \['new'\], which the teacher does not know"):
        Distilled(student(), teacher).fit(X, np.where(some, NAMES, "new"))


@pytest.mark.parametrize("cv", [None, 2])
def test_a_label_that_no_row_has(cv: Any) -> None:
    """Of a label that all rows have, or none, trees say one number; the student learns it as it is."""
    y = LABELS.copy()
    y[:, 0], y[:, 1] = 0, 1
    distilled = Distilled(student(max_iter=60), FOREST, share=1.0, cv=cv).fit(X, y)
    p = distilled.predict_proba(X).mean(axis=0)
    assert p[0] < 0.1 and p[1] > 0.9


# The loss, and made rows.


@pytest.mark.parametrize("multiclass", [True, False])
def test_the_loss_is_its_formula(multiclass: bool) -> None:
    """The loss of a row is the blend of its label's and of the cross-entropy with the teacher at a temperature."""
    raw = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    soft = torch.softmax(raw.flip(0), -1)
    hard = torch.tensor([0, 1, 2, 1, 0]) if multiclass else (soft > 0.3).double()
    loss = SoftLoss(LogLoss(), multiclass, temperature=2.0, share=0.75)
    columns = hard.double()[:, None] if multiclass else hard
    own = LogLoss().per_row(raw, hard)
    if multiclass:
        taught = -(soft * torch.log_softmax(raw / 2, -1)).sum(-1)
    else:
        p = torch.sigmoid(raw / 2)
        taught = -(soft * p.log() + (1 - soft) * (1 - p).log()).sum(-1)
    torch.testing.assert_close(loss.per_row(raw, torch.cat([soft, columns], -1)), 0.25 * own + 3 * taught)
    torch.testing.assert_close(loss.per_row(raw, hard), own)


def test_made_rows_are_near_rows() -> None:
    """Made rows have the columns and types of the rows, and values of two neighbours; the same seed makes the same."""
    frame = pd.DataFrame({"a": X[:, 0], "b": np.arange(60) % 5, "c": pd.Categorical(NAMES), "d": X[:, 1]})
    frame.loc[3, "a"] = np.nan
    made = made_rows(frame, 3, seed=0)
    assert made.shape == (180, 4) and (made.dtypes == frame.dtypes).all()
    assert set(made["b"]) <= set(range(5)) and set(made["c"]) == set(NAMES)
    pd.testing.assert_frame_equal(made, made_rows(frame, 3, seed=0))
    assert np.abs(np.tile(X, (3, 1)) - made_rows(X, 3, seed=0)).mean() < X.std()
    twice = np.repeat(X[:30], 2, axis=0)
    np.testing.assert_array_equal(made_rows(twice, 1, seed=0), twice)
    names = pd.DataFrame({"name": [f"name{i}" for i in range(60)]})
    assert set(made_rows(names, 2, seed=0)["name"]) <= set(names["name"])
    assert made_rows(frame.assign(e=np.nan), 1, seed=0)["e"].isna().all()
    with pytest.raises(ValueError, match="n_made needs X as a dense array or a data frame"):
        made_rows(sparse.csr_array(X), 1, seed=0)


def test_a_copy_of_a_fitted_one() -> None:
    """A fitted distillation is copied and cloned as any estimator."""
    distilled = Distilled(student(), FOREST).fit(X, CLASSES)
    np.testing.assert_array_equal(copy.deepcopy(distilled).predict(X), distilled.predict(X))
    assert not hasattr(clone(distilled), "student_")
