"""What candidates share is for each of them as if it had it alone; and what is shared is in memory once."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import check_random_state

from skbig import BigGridSearchCV, BigMLPClassifier
from tests.fitting import X, fitted, small
from tests.search.alike import both, piped
from tests.searching import noting

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ALPHAS = {"net__alpha": [0.0, 0.0, 1.0, 1.0]}
SCORED: dict[str, Any] = {"scoring": "neg_log_loss", "return_train_score": True, "refit": False}


class Noisy(TransformerMixin, BaseEstimator):
    """Adds noise that goes on from call to call."""

    def __init__(self, random_state: Any = None) -> None:
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Noisy:
        self.random_ = check_random_state(self.random_state)
        return self

    def transform(self, X: Any) -> Any:
        return X + self.random_.normal(scale=0.3, size=np.shape(X))


class Locked(Noisy):
    """Cannot be copied once it is fitted."""

    def fit(self, X: Any, y: Any = None) -> Locked:
        self.lock_ = threading.Lock()
        return super().fit(X, y)  # type: ignore[return-value]


def holey() -> np.ndarray:
    rows = X.copy()
    rows[::7, 1] = rows[3::5, 2] = np.nan
    return rows


STATEFUL = {
    "noise": (Noisy(0), X),
    "noise of a shared generator": (Noisy(np.random.RandomState(3)), X),
    "what cannot be copied": (Locked(0), X),
    "sampled imputation": (IterativeImputer(sample_posterior=True, max_iter=2, random_state=0), holey()),
}


@pytest.mark.parametrize("name", STATEFUL)
def test_every_candidate_has_a_step_as_it_was_after_its_fit(name: str) -> None:
    """Equal candidates score the same, and as in scikit-learn's search, also where a step changes when it is used."""
    step, rows = STATEFUL[name]
    pipeline = Pipeline([("first", StandardScaler()), ("step", step), ("net", small("multiclass"))])
    _, ours = both(pipeline, ALPHAS, rows, **SCORED)
    for part in ("test", "train"):
        scores = ours.cv_results_[f"mean_{part}_score"]
        assert scores[0] == pytest.approx(scores[1], rel=1e-6) and scores[2] == pytest.approx(scores[3], rel=1e-6)


def test_a_network_may_be_a_step_before_the_network() -> None:
    """A step that fits a network is fitted at once, and shared; the last one is trained with others."""

    class Embedding(TransformerMixin, BaseEstimator):
        def fit(self, X: Any, y: Any = None) -> Embedding:
            self.net_ = fitted(small("multiclass"), X, y)
            return self

        def transform(self, X: Any) -> Any:
            return np.hstack([X, self.net_.predict_proba(X)])

    both(Pipeline([("embedding", Embedding()), ("net", small("multiclass"))]), ALPHAS, **SCORED)


def test_a_candidate_that_fails_leaves_shared_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that cannot be prepared is fitted by scikit-learn, on steps of its own."""
    sizes: list[int] = []
    monkeypatch.setattr("skbig.search.stack_scheduler.Population", noting(sizes))
    pipeline = Pipeline([("step", Noisy(0)), ("net", small("multiclass"))])
    grid = {"net__alpha": [-1.0, 0.0, 1.0]}
    with pytest.warns(match="fits failed"), pytest.warns(match="non-finite"):
        both(pipeline, grid, **SCORED, error_score=np.nan)
    assert sum(sizes) == 4


# What is in memory.


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a fold count as large."""
    monkeypatch.setattr("skbig.search.pipeline_cache.MAX_KEPT_BYTES", 0)
    monkeypatch.setattr("skbig.search.stack_planning.MAX_KEPT_BYTES", 0)


SPARSE = sparse.csr_array(X)
LARGE: dict[str, tuple[str, Any, bool]] = {
    "bare": ("bare", X.astype(np.float32), False),
    "bare, sparse": ("bare", SPARSE, True),
    "pipeline": ("pipeline", X, False),
    "pipeline, sparse": ("pipeline", SPARSE, True),
    "early stopping": ("early stopping", X, False),
    "early stopping, sparse": ("early stopping", SPARSE, True),
    "early stopping, sparse and short": ("early stopping", SPARSE, False),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.usefixtures("large")
def test_large_rows_are_searched_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only two folds are in memory at a time, scores are those of scikit-learn's search."""
    kind, rows, stays_sparse = LARGE[name]
    if stays_sparse:
        monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    parameters: dict[str, Any] = {"early_stopping": True, "validation_fraction": 0.25} if kind.startswith("e") else {}
    estimator = small("multiclass", **parameters)
    grid = {"alpha": [0.0, 1.0, 2.0], "hidden_layer_sizes": [(3,), (4,)]}
    if kind == "pipeline":
        steps = [("scaler", StandardScaler(with_mean=False)), ("net", estimator)]
        estimator, grid = Pipeline(steps), {f"net__{name}": values for name, values in grid.items()}
    both(estimator, grid | ({"scaler__with_std": [True, False]} if kind == "pipeline" else {}), rows, cv=4)


@pytest.mark.usefixtures("large")
def test_a_stack_of_large_rows_has_one_set() -> None:
    """Members of a stack then have the same fold and the same setting of the steps before the network."""
    sets: list[int] = []
    sizes: list[int] = []

    class Counting(noting(sizes)):  # type: ignore[misc]
        def __init__(self, trainings: Any, *args: Any) -> None:
            sets.append(len({id(training.rows.X) for training in trainings}))
            super().__init__(trainings, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skbig.search.stack_scheduler.Population", Counting)
        grid = {"net__alpha": [0.0, 1.0, 2.0, 3.0], "scaler__with_mean": [True, False]}
        both(piped(), grid, cv=3)
    assert set(sets) == {1} and sum(sizes) == 8 * 3


def test_rows_that_are_held_out_alike_are_there_once() -> None:
    """Candidates that hold out the same rows, by the same seed, have one copy of what is left."""
    seen: list[set[tuple[int, int]]] = []

    class Looking(noting([])):  # type: ignore[misc]
        def __init__(self, trainings: Any, *args: Any) -> None:
            seen.append({(t.rows.X.data_ptr(), t.validation.sets[0].rows.X.data_ptr()) for t in trainings})
            super().__init__(trainings, *args)

    network = small("multiclass", early_stopping=True, validation_fraction=0.25, scoring="neg_log_loss")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skbig.search.stack_scheduler.Population", Looking)
        patch.setattr("skbig.search.work_queue.side_by_side", lambda tasks, n_threads: 1)
        both(network, {"alpha": [0.0, 0.5, 1.0, 2.0]}, cv=3, scoring="neg_log_loss")
    assert [len(addresses) for addresses in seen] == [3]


def peak_of(search: Any, rows: np.ndarray, y: np.ndarray) -> int:
    """Return the largest number of bytes of arrays, beyond those from before, that a fit had in memory."""
    tracemalloc.start()
    try:
        fitted(search, rows, y)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["bare", "pipeline"])
def test_memory_does_not_grow_with_the_folds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search has at most three copies of the rows beyond scikit-learn's in memory, however many folds there are."""
    monkeypatch.setattr("skbig.search.pipeline_cache.MAX_KEPT_BYTES", 0)
    monkeypatch.setattr("skbig.search.stack_planning.MAX_KEPT_BYTES", 0)
    random = np.random.RandomState(0)
    rows, y = random.normal(size=(1000, 256)), random.randint(2, size=1000)
    network = BigMLPClassifier((4,), max_iter=1, random_state=0)
    pipeline = Pipeline([("half", FunctionTransformer(lambda rows: rows / 2)), ("net", network)])
    estimator, name = (network, "alpha") if kind == "bare" else (pipeline, "net__alpha")
    settings: dict[str, Any] = {"cv": 8, "refit": False, "return_train_score": True}
    theirs, ours = (
        peak_of(search(estimator, {name: [0.0, 1.0]}, **settings), rows, y)
        for search in (GridSearchCV, BigGridSearchCV)
    )
    assert ours <= theirs + 3 * rows.nbytes
