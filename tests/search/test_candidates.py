"""What can be searched: steps, whole estimators, those of others, and a word with the scorers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skbig import BigGridSearchCV, BigMLPClassifier
from tests.fitting import WORDS, X, fitted, small, weights_of
from tests.search.alike import GRID, assert_alike, both, piped

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# What is searched.


def test_steps_of_a_pipeline() -> None:
    """The steps before the network can be searched, alone and with its parameters."""
    scalers = [StandardScaler(), MinMaxScaler(), "passthrough", None]
    both(piped(), {"scaler": scalers, "net__alpha": [0.0, 1.0]}, scoring="neg_log_loss")
    both(piped(), {"scaler__with_mean": [True, False], "net__dropout": [0.0, 0.3]}, scoring="neg_log_loss")


def test_steps_that_write_into_their_rows() -> None:
    """A step that changes rows in place does so for its own candidate only."""
    scalers = [StandardScaler(copy=False), MinMaxScaler(copy=False), "passthrough"]
    grid = {"scaler": scalers, "net__alpha": [0.0, 1.0]}
    both(piped(), grid, scoring="neg_log_loss", refit=False)
    frame = pd.DataFrame(X, columns=list("abcd"))
    both(piped(), grid, frame, scoring="neg_log_loss", refit=False)


def test_steps_that_write_into_their_rows_with_a_memory(tmp_path: Any) -> None:
    """It is so with a memory of the user's too."""
    scalers = [StandardScaler(copy=False), MinMaxScaler(copy=False), "passthrough"]
    settings = {"param_grid": {"scaler": scalers}, "cv": 2, "scoring": "neg_log_loss", "refit": False}
    theirs = fitted(GridSearchCV(piped(), **settings), X, WORDS)
    ours = fitted(BigGridSearchCV(piped().set_params(memory=str(tmp_path)), **settings), X, WORDS)
    assert_alike(theirs, ours)


def test_the_last_step() -> None:
    """Networks and other estimators can take turns as the last step."""
    nets = [small("multiclass", alpha=1.0), LogisticRegression(), small("multiclass", optimizer="lbfgs")]
    both(piped(), {"net": nets, "scaler": [StandardScaler(), "passthrough"]}, scoring="neg_log_loss")
    both(piped(), [{"net": nets, "net__random_state": [0, 1]}, {"net__dropout": [0.5]}], scoring="neg_log_loss")


def test_a_pipeline_in_a_pipeline() -> None:
    """A Pipeline may end in a Pipeline."""
    nested = Pipeline([("outer", MinMaxScaler()), ("inner", piped())])
    grid = {"inner__net__alpha": [0.0, 1.0], "inner__scaler": [StandardScaler(), "passthrough"]}
    both(nested, grid, scoring="neg_log_loss")


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (LogisticRegression(), {"C": [0.1, 1.0, 1e4]}),
        (RandomForestClassifier(5, random_state=0, n_jobs=2, max_samples=0.5), {"max_depth": [1, 3]}),
        (Pipeline([("scaler", StandardScaler()), ("net", LogisticRegression())]), {"net__C": [0.1, 1.0]}),
        (GridSearchCV(small("multiclass"), {"alpha": [0.0, 1.0]}, cv=2), {"estimator__dropout": [0.0, 0.3]}),
        (BigGridSearchCV(small("multiclass"), {"alpha": [0.0, 1.0]}, cv=2), {"estimator__dropout": [0.0, 0.3]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_estimators_of_others(estimator: Any, grid: Any) -> None:
    """Any estimator can be searched, also one that has a search or joblib inside."""
    both(estimator, grid, scoring="neg_log_loss")


class Doubled(BigMLPClassifier):
    """Trains on every row twice, in a `fit` of its own."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Doubled:
        super().fit(np.concatenate([X, X[:20]]), np.concatenate([y, y[:20]]))
        self.extra_ = 20
        return self


class Renamed(BigMLPClassifier):
    """Has only some parameters."""

    def __init__(self, alpha: float = 1e-4, random_state: Any = None) -> None:
        super().__init__(hidden_layer_sizes=(3,), max_iter=3, alpha=alpha, random_state=random_state)


@pytest.mark.parametrize("estimator", [Doubled((3,), max_iter=3, random_state=0), Renamed(random_state=0)])
def test_subclasses(estimator: Any) -> None:
    """A subclass is trained by its own `fit`, and by its own parameters."""
    _, ours = both(estimator, {"alpha": [0.0, 1.0, 10.0]}, scoring="neg_log_loss")
    assert type(ours.best_estimator_) is type(estimator)
    assert getattr(ours.best_estimator_, "extra_", 20) == 20


def test_numbers_that_are_drawn() -> None:
    """With a generator as random_state every fit begins with a copy of it; with None each search draws anew."""
    both(small("multiclass", random_state=np.random.RandomState(3)), scoring="neg_log_loss")
    free = BigGridSearchCV(small("multiclass", random_state=None), GRID, cv=2, scoring="neg_log_loss")
    scores = [fitted(clone(free), X, WORDS).cv_results_["mean_test_score"] for _ in range(2)]
    assert not np.allclose(*scores, rtol=1e-9)


def test_scorers_get_an_estimator_like_any_other() -> None:
    """A scorer can pickle, clone and fit what it is given, and keep it."""
    kept = []

    def curious(estimator: Any, X: Any, y: Any) -> float:
        again = pickle.loads(pickle.dumps(estimator))
        kept.append(estimator)
        np.testing.assert_array_equal(again.predict(X), estimator.predict(X))
        assert not {"fit", "set_params"} & vars(estimator).keys()
        return -float(np.abs(fitted(clone(estimator).set_params(net__alpha=3.0), X, y).predict_proba(X)).max())

    both(piped(), {"net__alpha": [0.0, 1.0]}, scoring=curious, cv=2)
    for estimator in kept:
        before = weights_of(estimator[-1])
        assert not np.array_equal(weights_of(fitted(estimator.set_params(net__alpha=9.0), X, WORDS)[-1]), before)


def test_scorers_of_early_stopping_see_the_configuration() -> None:
    """scikit-learn's configuration is the caller's wherever a network is judged."""
    seen = []

    def tracker(estimator: Any, X: Any, y: Any) -> float:
        seen.append(get_config()["assume_finite"])
        return 0.0

    network = small("multiclass", early_stopping=True, scoring=tracker)
    with config_context(assume_finite=True):
        BigGridSearchCV(network, GRID, cv=2, error_score="raise").fit(X, WORDS)
    assert seen and all(seen)
