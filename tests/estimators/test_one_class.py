"""One class in y: it trains, and predicts that class, as MLPClassifier does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import BaggingClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier

from skbig import BigLinearClassifier, BigMLPClassifier
from tests.fitting import BINARY, WORDS, X, fitted, small

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ONE: dict[str, Any] = {"word": np.full(60, "only"), "number": np.full(60, 7), "object": np.full(60, "x", dtype=object)}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "hinge"},
        {"n_members": 3},
        {"early_stopping": True},
        {"class_weight": "balanced"},
        {"loss": "focal"},
    ],
    ids=str,
)
def test_one_class_is_predicted(name: str, changes: dict[str, Any]) -> None:
    """Whatever the raw prediction, the class is the only one, and its probability one."""
    y = ONE[name]
    model = fitted(small("binary", **changes), X, y)
    for rows in (X, X * 1e6, -X * 1e6):
        assert (model.predict(rows) == y).all()
        if model._loss.probabilistic:
            np.testing.assert_array_equal(model.predict_proba(rows), np.ones((60, 1)))
            np.testing.assert_array_equal(model.predict_log_proba(rows), np.zeros((60, 1)))
    assert model.classes_.tolist() == [y[0]]
    assert model.score(X, y) == 1.0


@pytest.mark.parametrize("scoring", [None, "accuracy", "loss"])
def test_one_class_is_scored(scoring: Any) -> None:
    """Early stopping scores one class as any others."""
    model = fitted(small("binary", early_stopping=True, scoring=scoring), X, np.ones(60))
    assert np.isfinite(model.validation_scores_).all()


def test_one_class_that_weights_leave() -> None:
    """Where all rows of the other class have weight zero, one class is left."""
    assert fitted(small("binary"), X, BINARY, 1 - BINARY).classes_.tolist() == [0]


def test_partial_fit_to_one_class() -> None:
    """One class may be all that will ever occur."""
    model = small("binary").partial_fit(X, np.ones(60), classes=[1]).partial_fit(X, np.ones(60))
    assert model.n_iter_ == 2 and model.predict(X).tolist() == [1] * 60


@pytest.mark.parametrize("kind", [BigMLPClassifier, BigLinearClassifier])
def test_rare_classes_in_meta_estimators(kind: Any) -> None:
    """A column of one class, and a bag without one of the classes, train as the others do."""
    base = kind(max_iter=3, random_state=0)
    columns = np.c_[BINARY, np.zeros(60, dtype=int), 1 - BINARY]
    for meta in (MultiOutputClassifier(base), ClassifierChain(base)):
        assert (meta.fit(X, columns).predict(X)[:, 1] == 0).all()
    rare = np.where(np.arange(60) == 3, "once", WORDS)
    bag = BaggingClassifier(base, n_estimators=4, max_samples=4, random_state=0).fit(X, rare)
    assert min(len(one.classes_) for one in bag.estimators_) < 4
    assert np.isfinite(bag.predict_proba(X)).all()


def test_other_libraries_get_one_class() -> None:
    """A module of torch is as sure; scikit-learn's own has two probabilities, and is refused."""
    model = fitted(small("binary"), X, np.ones(60))
    assert (model.to_torch()(torch.from_numpy(X)).detach().numpy() == model.predict_proba(X)).all()
    with pytest.raises(ValueError, match="but one class"):
        model.to_sklearn()
