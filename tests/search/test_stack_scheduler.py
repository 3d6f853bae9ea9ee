"""How the fits of a search are run: steps that are shared, workers of joblib, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import joblib
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from skbig import BigGridSearchCV, BigHalvingGridSearchCV
from skbig._utils.threads import thread_count
from skbig.engine.population import Population
from skbig.search.pipeline_cache import content_hash
from tests.fitting import BINARY, WORDS, X, fitted, small, weights_of
from tests.search.alike import assert_alike, both, fitted_names, negative_loss
from tests.searching import noting

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Steps that are shared.


class Counting(StandardScaler):
    """A scaler that counts its fits by their rows and setting."""

    fits: ClassVar[Counter[Any]] = Counter()

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Counting:
        Counting.fits[joblib.hash(X), self.with_mean] += 1
        return super().fit(X, y, sample_weight)


@pytest.fixture(autouse=True)
def fits() -> Iterator[Counter[Any]]:
    """Count from zero."""
    Counting.fits.clear()
    yield Counting.fits


def counted(**parameters: Any) -> Pipeline:
    return Pipeline([("scaler", Counting()), ("net", small("multiclass", **parameters))])


def test_a_step_is_fitted_once_per_fold(fits: Counter[Any]) -> None:
    """Candidates of one kind and of several share the fitted steps before them; the refit has its own."""
    grid = {"net__alpha": [0.0, 1.0], "net__hidden_layer_sizes": [(3,), (4,)], "net__optimizer": ["adam", "lbfgs"]}
    fitted(BigGridSearchCV(counted(), grid, cv=3), X, WORDS)
    assert sorted(fits.values()) == [1, 1, 1, 1]


def test_a_step_is_fitted_once_per_fold_and_setting(fits: Counter[Any]) -> None:
    """Each setting of the step's own is fitted once per fold, however many networks come after it."""
    grid = {"net__alpha": [0.0, 1.0, 2.0], "scaler__with_mean": [True, False]}
    fitted(BigGridSearchCV(counted(), grid, cv=2, refit=False), X, WORDS)
    assert len(fits) == 4 and set(fits.values()) == {1}


def test_a_setting_that_cannot_be_pickled_is_shared_too(fits: Counter[Any]) -> None:
    """Steps made of lambdas are told apart by their code, and shared by all candidates that have the same."""
    halves, cubes = FunctionTransformer(lambda rows: rows / 2), FunctionTransformer(lambda rows: rows**3)
    pipeline = Pipeline([("first", halves), *counted().steps])
    grid = {"first": [halves, cubes], "net__alpha": [0.0, 1.0]}
    both(pipeline, grid, scoring="neg_log_loss")
    assert sorted(fits.values()) == [1 + 1, 2 + 1, 2 + 1, 2 + 1, 2 + 1]  # scikit-learn fits them for each network


@pytest.mark.parametrize("kind", ["path", "object"])
def test_a_memory_of_the_users(kind: str, fits: Counter[Any], tmp_path: Any) -> None:
    """A Pipeline's own memory is used, kept, and finds again what an earlier search has fitted."""
    memory = str(tmp_path) if kind == "path" else joblib.Memory(tmp_path, verbose=0)
    grid = {"net__alpha": [0.0, 1.0]}
    for _ in range(2):
        search = BigGridSearchCV(counted().set_params(memory=memory), grid, cv=2)
        assert repr(fitted(search, X, WORDS).best_estimator_.memory) == repr(memory)
        assert sorted(fits.values()) == [1, 1, 1]


def test_weights_are_a_setting_of_a_step(fits: Counter[Any]) -> None:
    """Steps that are given weights are fitted with those of the fold."""
    weight = np.linspace(0.5, 2.0, len(X))
    fit = {"scaler__sample_weight": weight, "net__sample_weight": weight}
    both(counted(), {"net__alpha": [0.0, 1.0]}, fit=fit, scoring="neg_log_loss")
    assert sorted(fits.values()) == [1 + 1, 2 + 1, 2 + 1]


def test_steps_after_a_step_that_is_searched(fits: Counter[Any]) -> None:
    """A chain of steps is shared up to the first that differs."""
    last = Pipeline([("second", MinMaxScaler()), ("net", small("multiclass"))])
    nested = Pipeline([("scaler", Counting()), ("rest", last)])
    grid = {"rest__second": [MinMaxScaler(), StandardScaler(), "passthrough"], "rest__net__alpha": [0.0, 1.0]}
    both(nested, grid, scoring="neg_log_loss", refit=False)
    assert sorted(fits.values()) == [6 + 1, 6 + 1]


class Broken(StandardScaler):
    """Fails where it is told to."""

    def __init__(self, *, broken: bool = False, with_mean: bool = True) -> None:
        super().__init__(with_mean=with_mean)
        self.broken = broken

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Broken:
        if self.broken:
            raise RuntimeError("broken on purpose")
        return super().fit(X, y, sample_weight)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite:UserWarning")
def test_a_step_that_fails() -> None:
    """Candidates whose steps cannot be fitted fail, and the others do not notice."""
    pipeline = Pipeline([("scaler", Broken()), ("net", small("multiclass"))])
    _, ours = both(pipeline, {"scaler__broken": [True, False], "net__alpha": [0.0, 1.0]}, error_score=np.nan)
    assert np.isnan(ours.cv_results_["mean_test_score"]).tolist() == [True, False] * 2


def test_steps_with_workers_of_their_own() -> None:
    """A step that works in parallel does so while it is shared, and while it is refitted."""
    columns = ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", MinMaxScaler(), [2, 3])], n_jobs=2)
    pipeline = Pipeline([("columns", columns), ("net", small("multiclass"))])
    with joblib.parallel_config("threading"):
        both(pipeline, {"net__alpha": [0.0, 1.0]}, scoring="neg_log_loss")


def test_what_is_equal_has_one_name() -> None:
    """Values are told apart by what they are, also functions by what they do, and not by where they are in memory."""
    scales = [lambda rows, scale=scale: rows * scale for scale in (1, 2)]
    values = [1, "a", StandardScaler(), StandardScaler(with_mean=False), *scales, lambda rows: rows, lambda rows: -rows]
    assert len({content_hash(value) for value in values}) == len(values)
    assert content_hash({"a": scales[0], "b": [clone(values[2])]}) == content_hash({"a": scales[0], "b": [values[2]]})


# Workers of joblib.


GRID = {"net__learning_rate": [0.1, 0.03, 0.01], "net__hidden_layer_sizes": [(4,), (3,)], "net__dropout": [0.0, 0.3]}
PIPELINE = Pipeline([("scaler", StandardScaler()), ("net", small("multiclass"))])


def scores_of(n_jobs: int | None, pipeline: Any = PIPELINE, grid: Any = GRID, **settings: Any) -> list[np.ndarray]:
    """Return the scores of a search, and the weights of its best network."""
    settings = {"cv": 3, "scoring": "neg_log_loss", "error_score": "raise", "return_train_score": True} | settings
    search = fitted(BigGridSearchCV(clone(pipeline), grid, n_jobs=n_jobs, **settings), X, WORDS)
    scores = [values for name, values in search.cv_results_.items() if name.startswith("split")]
    return [*scores, weights_of(search.best_estimator_[-1])]


def assert_same_bits(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [values.tobytes() for values in actual] == [values.tobytes() for values in expected]


@pytest.fixture(scope="module")
def alone() -> list[np.ndarray]:
    return scores_of(None)


@pytest.mark.parametrize("n_jobs", [1, 2, 3, -1])
def test_threads_give_the_same_bits(n_jobs: int, alone: list[np.ndarray]) -> None:
    """Spread over threads by joblib, a search gives the same bits."""
    with joblib.parallel_config("threading"):
        assert_same_bits(scores_of(n_jobs), alone)
    with joblib.parallel_config("threading", n_jobs=n_jobs):
        assert_same_bits(scores_of(None), alone)


def test_processes_give_the_same_bits(alone: list[np.ndarray]) -> None:
    """Spread over processes, a search gives the same bits, also with a step that only the caller's process knows."""
    assert_same_bits(scores_of(2, pre_dispatch=1), alone)
    local = Pipeline([("half", FunctionTransformer(lambda rows: rows / 2)), ("net", small("multiclass"))])
    few = {"net__alpha": [0.0, 1.0]}
    assert_same_bits(scores_of(2, local, few), scores_of(None, local, few))


def only_there(estimator: Any, X: Any, y: Any) -> float:
    """Score, on a worker of Dask's only."""
    import distributed

    distributed.get_worker()
    return negative_loss(estimator, X, y)


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cluster_gives_the_same_bits(n_jobs: int | None) -> None:
    """Under joblib's Dask backend the workers of a cluster train, and the search gives the same bits."""
    distributed = pytest.importorskip("distributed")
    expected = scores_of(None, scoring=negative_loss)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster), joblib.parallel_config("dask"):
        assert_same_bits(scores_of(n_jobs, scoring=only_there), expected)


def test_workers_have_the_callers_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under metadata routing candidates are trained together on joblib's workers too."""
    sizes: list[int] = []
    monkeypatch.setattr("skbig.search.stack_scheduler.Population", noting(sizes))
    pipeline, weight = clone(PIPELINE), np.linspace(0.5, 2.0, len(X))
    with config_context(enable_metadata_routing=True), joblib.parallel_config("threading"):
        pipeline[0].set_fit_request(sample_weight=True)
        pipeline[-1].set_fit_request(sample_weight=True)
        settings = {"scoring": make_scorer(accuracy_score).set_score_request(sample_weight=False), "n_jobs": 2}
        both(pipeline, {"net__alpha": [0.0, 1.0, 2.0]}, fit={"sample_weight": weight}, **settings)
    assert sum(sizes) == 6


def test_scorers_and_refits_have_joblib_for_themselves() -> None:
    """What a scorer, or the refit, does in parallel is done by the backend that is active around the search."""
    backends = []

    def by_two(estimator: Any, X: Any, y: Any) -> float:
        backends.append(type(joblib.parallel.get_active_backend()[0]).__name__)
        parts = joblib.Parallel(n_jobs=2)(joblib.delayed(estimator.score)(X[i::2], y[i::2]) for i in range(2))
        return float(np.mean(parts))

    with joblib.parallel_config("threading"):
        both(small("multiclass"), {"alpha": [0.0, 1.0]}, scoring=by_two)
    assert set(backends) == {"ThreadingBackend"}


# Scores.


def test_no_stack_waits_for_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a network is scored, the next one is trained already."""
    begun: list[int] = []
    second = threading.Event()

    class Telling(Population):
        def train(self) -> None:
            begun.append(1)
            if len(begun) == 2:
                second.set()
            super().train()

    def score(estimator: Any, X: Any, y: Any) -> float:
        assert second.wait(30)
        return negative_loss(estimator, X, y)

    monkeypatch.setattr("skbig.search.stack_scheduler.Population", Telling)
    grid = {"hidden_layer_sizes": [(3,), (4,), (5,)]}
    settings = {"cv": 2, "scoring": score, "error_score": "raise", "refit": False}
    with thread_count(1):
        fitted(BigGridSearchCV(small("multiclass"), grid, **settings), X, WORDS)
    assert len(begun) == 3


@pytest.mark.parametrize(("n_side_by_side", "expected"), [(2, 1), (1, 3)])
def test_scores_leave_the_cores_to_the_stacks(
    n_side_by_side: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where stacks are trained side by side a score takes one thread; where one takes its turn, it has all of them."""
    monkeypatch.setattr("skbig.search.work_queue.side_by_side", lambda tasks, n_threads: n_side_by_side)
    seen = []

    def score(estimator: Any, X: Any, y: Any) -> float:
        seen.append(torch.get_num_threads())
        return negative_loss(estimator, X, y)

    with thread_count(3):
        fitted(BigGridSearchCV(small("multiclass"), {"alpha": [0.0, 1.0]}, cv=2, scoring=score), X, WORDS)
        assert torch.get_num_threads() == 3
    assert seen == [expected] * 4


# Ctrl-C.


def press() -> None:
    """Press Ctrl-C where this thread gets the signal, and give the main thread the time to hear of it."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    time.sleep(0.5)


class Presser:
    """A score that stands for a user who presses Ctrl-C once `when` is true, and counts what comes after."""

    def __init__(self, when: Callable[[Presser, Any], bool]) -> None:
        self.when, self.calls, self.after, self.pressed = when, 0, 0, False

    def __deepcopy__(self, memo: Any) -> Presser:
        return self  # a clone of its estimator is watched too

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        self.calls += 1
        self.after += self.pressed
        if not self.pressed and self.when(self, X):
            self.pressed = True
            press()
        return float(self.calls)


def long(presser: Presser | None = None, **parameters: Any) -> Any:
    """Return a network that trains for long, and is judged after each epoch."""
    patient = {"max_iter": 400, "n_iter_no_change": np.inf, "early_stopping": presser is not None}
    return small("binary", **patient | {"scoring": presser} | parameters)


KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "a stack": ({"alpha": [0.0, 1.0, 2.0]}, X),
    "several stacks": ({"hidden_layer_sizes": [(3,), (4,), (5,)]}, X),
    "one network": ({"alpha": [0.0]}, X),
    "a line search": ({"alpha": [0.0, 1.0], "optimizer": ["lbfgs"]}, X),
    "sparse rows": ({"alpha": [0.0, 1.0]}, sparse.csr_array(X)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("unchanged_globals")
def test_ctrl_c_ends_a_search(kind: str) -> None:
    """KeyboardInterrupt comes out after at most one more epoch of what is trained, and the next fit works."""
    grid, rows = KINDS[kind]
    presser = Presser(lambda presser, X: presser.calls == 20)
    search = BigGridSearchCV(long(presser), grid, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(rows, BINARY)
    assert presser.after <= 2 * 6  # of each training an epoch that had begun, and a last one
    assert not fitted_names(search) - {"n_splits_"}
    search.set_params(estimator__max_iter=2)
    assert fitted(search, rows, BINARY).score(rows, BINARY) >= 0


def interrupted_after(n_scores: int, grid: Any, **settings: Any) -> tuple[BigGridSearchCV, Counter[Any]]:
    """Return a search that was interrupted, and how many folds of each candidate had been scored before."""
    scored: Counter[Any] = Counter()

    def score(estimator: Any, X: Any, y: Any) -> float:
        if scored.total() == n_scores:
            press()
        scored[estimator.hidden_layer_sizes] += 1
        return negative_loss(estimator, X, y)

    search = BigGridSearchCV(small("multiclass"), grid, cv=2, scoring=score, **settings)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, WORDS)
    return search, scored


def test_what_is_finished_is_kept() -> None:
    """The candidates that were scored on every fold before Ctrl-C are in `cv_results_`, and the best of them known."""
    grid = {"hidden_layer_sizes": [(3,), (4,), (5,)]}
    search, scored = interrupted_after(5, grid)
    finished = [sizes for sizes in grid["hidden_layer_sizes"] if scored[sizes] == 2]
    assert 1 <= len(finished) < 3
    expected = GridSearchCV(small("multiclass"), {"hidden_layer_sizes": finished}, cv=2, scoring=negative_loss)
    fitted(expected.set_params(refit=False), X, WORDS)
    assert search.cv_results_["params"] == expected.cv_results_["params"]
    for name in ("mean_test_score", "split1_test_score", "std_test_score", "rank_test_score"):
        np.testing.assert_allclose(search.cv_results_[name], expected.cv_results_[name], rtol=1e-6)
    assert (search.best_index_, search.best_params_) == (expected.best_index_, expected.best_params_)
    assert search.best_score_ == search.cv_results_["mean_test_score"][search.best_index_]
    assert not hasattr(search, "best_estimator_")
    fresh = fitted(clone(search).set_params(scoring=negative_loss), X, WORDS)
    assert_alike(fresh, fitted(search.set_params(scoring=negative_loss), X, WORDS))


def test_nothing_of_an_earlier_fit_is_mixed_in() -> None:
    """A search that was fitted before does not predict by the old model after an interrupted fit."""
    grid = {"hidden_layer_sizes": [(3,), (4,), (5,)]}
    calls = []

    def score(estimator: Any, X: Any, y: Any) -> float:
        calls.append(1)
        if len(calls) == 6 + 6:
            press()
        return negative_loss(estimator, X, y)

    search = fitted(BigGridSearchCV(small("multiclass"), grid, cv=2, scoring=score), X, WORDS)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X[:50], WORDS[:50])
    assert len(search.cv_results_["params"]) == 2
    assert not hasattr(search, "best_estimator_")


def test_what_fails_is_finished_too() -> None:
    """A candidate that has failed is kept with its error score, by every name of the others' scores."""
    scored = []

    def scores(estimator: Any, X: Any, y: Any) -> dict[str, float]:
        scored.append(1)
        if len(scored) == 5:
            press()
        return {"loss": negative_loss(estimator, X, y), "one": 1.0}

    grid = [{"alpha": [-1.0]}, {"hidden_layer_sizes": [(3,), (4,), (5,)]}]
    search = BigGridSearchCV(small("multiclass"), grid, cv=2, scoring=scores, refit="loss", error_score=-9.0)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, WORDS)
    if {"alpha": -1.0} in search.cv_results_["params"]:
        assert search.cv_results_["mean_test_one"][search.cv_results_["params"].index({"alpha": -1.0})] == -9.0
    assert 1.0 in search.cv_results_["mean_test_one"]


def test_ctrl_c_while_the_best_is_refitted() -> None:
    """When all candidates are evaluated, Ctrl-C costs the refit only."""
    presser = Presser(lambda presser, X: len(X) == 15)  # a quarter of all rows
    network = long(presser, max_iter=5, validation_fraction=0.25)
    search = BigGridSearchCV(network, {"alpha": [0.0, 1.0]}, cv=2, scoring="neg_log_loss")
    with pytest.warns(match="interrupted"), pytest.raises(KeyboardInterrupt):
        search.fit(X, BINARY)
    assert presser.pressed
    assert len(search.cv_results_["params"]) == 2 and not hasattr(search, "best_estimator_")


def test_ctrl_c_at_an_estimator_of_others() -> None:
    """A search over other estimators is interrupted like any."""

    class Pressing(LogisticRegression):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            if self.C == 2.0:
                press()
            return super().fit(X, y, sample_weight)

    search = BigGridSearchCV(Pressing(), {"C": [1.0, 2.0, 3.0]}, cv=2)
    with thread_count(1), pytest.raises(KeyboardInterrupt):
        search.fit(X, WORDS)
    assert search.cv_results_["params"] == [{"C": 1.0}]


def test_ctrl_c_at_a_rung() -> None:
    """Of a halving search the rungs that were finished are kept, and the next fit works."""
    presser = Presser(lambda presser, X: presser.calls == 4 * 2 * 2 + 3)
    network = long(presser, max_iter=400)
    grid = {"learning_rate": [0.1, 0.03, 0.01, 0.003]}
    search = BigHalvingGridSearchCV(network, grid, cv=2, factor=2, min_resources=2, scoring="accuracy")
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, BINARY)
    assert search.cv_results_["iter"].tolist() == [0, 0, 0, 0]
    assert search.cv_results_["n_resources"].tolist() == [2, 2, 2, 2]
    assert search.best_params_ in search.cv_results_["params"]
    assert search.resource == "max_iter" and search.max_resources == "auto"
    assert fitted(search.set_params(max_resources=4), X, BINARY).n_candidates_ == [4, 2]
