"""Successive halving inside one training: scikit-learn's rungs, of trainings that go on instead of beginning again."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import HalvingGridSearchCV, KFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skbig import BigGridSearchCV, BigHalvingGridSearchCV, BigMLPClassifier
from skbig._utils.threads import thread_count
from tests.fitting import WORDS, X, fitted, small, weights_of
from tests.search.alike import assert_alike, piped
from tests.searching import noting

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GRID = {"learning_rate": [0.1, 0.01], "alpha": [0.0, 1.0]}
RUNGS: dict[str, Any] = {"factor": 2, "min_resources": 2, "max_resources": 8}


def both(estimator: Any, grid: Any = GRID, resource: str = "max_iter", **settings: Any) -> tuple[Any, Any]:
    """Fit scikit-learn's halving search and ours, compare them, and return them."""
    settings = RUNGS | {"cv": 2, "scoring": "neg_log_loss", "error_score": "raise"} | settings
    prefix, inner = "", estimator
    while isinstance(inner, Pipeline):
        prefix, inner = f"{prefix}{inner.steps[-1][0]}__", inner.steps[-1][1]
    theirs = HalvingGridSearchCV(clone(estimator), grid, resource=prefix + resource, **settings)
    ours = BigHalvingGridSearchCV(clone(estimator), grid, resource=resource, **settings)
    fitted(theirs, X, WORDS)
    fitted(ours, X, WORDS)
    assert_alike(theirs, ours)
    return theirs, ours


SETTINGS: dict[str, dict[str, Any]] = {
    "default rungs": {"factor": 3, "min_resources": "exhaust", "max_resources": 9, "scoring": None},
    "the smallest": {"min_resources": "smallest", "max_resources": 4, "return_train_score": False},
    "more rungs than needed": {"min_resources": 1, "max_resources": 30, "refit": False},
    "few resources": {"max_resources": 5, "cv": KFold(3, shuffle=True, random_state=0)},
    "eliminating at the first rung": {"aggressive_elimination": True, "max_resources": 4},
    "a factor with a fraction": {"factor": 1.5},
    "a factor above the candidates": {"factor": 7},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_rungs(name: str) -> None:
    """With a constant schedule every number is that of scikit-learn's search, which begins anew at each rung."""
    theirs, ours = both(small("multiclass", max_iter=8), **SETTINGS[name])
    if ours.refit:
        assert weights_of(ours.best_estimator_).tobytes() == weights_of(theirs.best_estimator_).tobytes()
        assert ours.best_estimator_.n_iter_ <= ours.best_params_["max_iter"] == ours.n_resources_[-1]


EARLY = {"early_stopping": True, "scoring": "loss", "validation_fraction": 0.25}
NETWORKS: dict[str, tuple[dict[str, Any], Any]] = {
    "line searches": ({"optimizer": "lbfgs"}, {"alpha": [0.0, 0.1, 1.0, 10.0]}),
    "early stopping, past the best": (
        EARLY | {"n_iter_no_change": 50, "optimizer": "sgd"},
        {"learning_rate": [3, 1]},
    ),
    "early stopping that stops": (EARLY | {"n_iter_no_change": 1, "tol": 0.05}, GRID),
    "training that converges": ({"n_iter_no_change": 1, "tol": 0.05}, GRID),
    "ensembles that converge": ({"n_iter_no_change": 1, "tol": 0.05, "n_members": 2}, GRID),
    "kinds": ({}, {"optimizer": ["adam", "sgd", "lbfgs"], "hidden_layer_sizes": [(3,), (4,)]}),
    "running moments": (
        {"normalization": "batch", "batch_size": 10},
        {"learning_rate": [0.1, 0.01], "dropout": [0, 0.3]},
    ),
    "early stopping with running moments": (EARLY | {"normalization": "batch", "n_iter_no_change": 1}, GRID),
    "plateaus": ({"schedule": "plateau", "tol": 0.05}, {"schedule__patience": [0, 1], "learning_rate": [0.1, 0.03]}),
    "lambdas of one name": ({"learning_rate": 0.1}, {"schedule": [lambda done, k=k: k for k in (1.0, 0.5, 0.1, 0.01)]}),
    "drawn numbers": ({"random_state": np.random.RandomState(5), "dropout": 0.2}, GRID),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    """It is so for every kind of training that can go on."""
    parameters, grid = NETWORKS[name]
    estimator = small("multiclass", max_iter=8, **parameters)
    both(estimator, grid, factor=2, min_resources=2, max_resources=8)


@pytest.mark.parametrize("n_threads", [1, 8])
def test_the_same_candidate_twice(n_threads: int) -> None:
    """A candidate that is there several times has as many trainings, in one stack or each in its own."""
    with thread_count(n_threads):
        both(small("multiclass"), [{"learning_rate": [0.1, 0.1, 0.01]}, {"learning_rate": [0.1]}])


def test_pipelines() -> None:
    """The network may be the last step of a Pipeline, or of one in a Pipeline, and its steps be searched."""
    grid = {
        "net__alpha": [0.0, 1.0],
        "scaler": [StandardScaler(), "passthrough", FunctionTransformer(lambda rows: -rows)],
    }
    both(piped(max_iter=8), grid)
    nested = Pipeline([("outer", StandardScaler()), ("inner", piped(max_iter=8))])
    both(nested, {"inner__net__learning_rate": [0.1, 0.03, 0.01]})


def test_the_resource_may_have_its_full_name() -> None:
    """What scikit-learn calls the epochs of a Pipeline's network is understood too."""
    grid, settings = {"net__alpha": [0.0, 1.0, 2.0]}, RUNGS | {"cv": 2}
    short, full = (
        fitted(BigHalvingGridSearchCV(piped(max_iter=8), grid, resource=name, **settings), X, WORDS)
        for name in ("max_iter", "net__max_iter")
    )
    assert_alike(short, full)
    assert (short.resource, full.resource) == ("max_iter", "net__max_iter")


def test_the_best_of_the_epochs_is_the_estimators_own() -> None:
    """Without `max_resources` the last rung has as many epochs as the estimator would train."""
    search = fitted(BigHalvingGridSearchCV(piped(max_iter=18), {"net__alpha": np.logspace(-5, 0, 9)}, cv=2), X, WORDS)
    assert (search.n_candidates_, search.n_resources_) == ([9, 3, 1], [2, 6, 18])
    assert (search.resource, search.max_resources, search.max_resources_) == ("max_iter", "auto", 18)


# Trainings that go on.


class Epochs:
    """A validation score that counts how often it is asked: once for each epoch of each member."""

    def __init__(self) -> None:
        self.calls = 0

    def __deepcopy__(self, memo: Any) -> Epochs:
        return self

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        self.calls += 1
        return 0.0


@pytest.mark.parametrize(("optimizer", "aggressive"), [("adam", False), ("adam", True), ("lbfgs", False)])
def test_nothing_is_trained_twice(optimizer: str, aggressive: bool) -> None:
    """A rung trains the epochs that the rung before it has not, and not a single one more."""
    epochs = Epochs()
    network = small("multiclass", optimizer=optimizer, early_stopping=True, scoring=epochs, n_iter_no_change=np.inf)
    settings = RUNGS | {"cv": 3, "refit": False, "aggressive_elimination": aggressive}
    grid = {"alpha": np.linspace(0.0, 1.0, 16 if aggressive else 8)}
    search = fitted(BigHalvingGridSearchCV(network, grid, **settings), X, WORDS)
    added = np.diff([0, *search.n_resources_])
    assert len(added) > 2 and (0 in added) == aggressive
    assert epochs.calls == 3 * int(np.dot(added, search.n_candidates_))


SCHEDULES = {
    "cosine": {},
    "linear": {"schedule__warmup": [0.3]},
    "one_cycle": {},
    "exponential": {"schedule__gamma": [0.5]},
    "inverse_time": {},
    "step": {"schedule__step_size": [2]},
}


@pytest.mark.parametrize(
    ("schedule", "aggressive"), [*((name, False) for name in SCHEDULES), ("cosine", True), ("one_cycle", True)]
)
def test_finalists_are_trained_as_without_rungs(schedule: str, aggressive: bool) -> None:
    """Whoever reaches the last rung has been trained as by a grid search with so many epochs."""
    grid = {"learning_rate": [0.1, 0.03, 0.01, 0.003]} | SCHEDULES[schedule]
    network, settings = small("multiclass", schedule=schedule), {"cv": 2, "scoring": "neg_log_loss"}
    last = 4 if aggressive else 8
    search = BigHalvingGridSearchCV(
        network, grid, **RUNGS | settings | {"max_resources": last, "aggressive_elimination": aggressive}
    )
    whole = BigGridSearchCV(clone(network).set_params(max_iter=last), grid, **settings)
    fitted(search, X, WORDS), fitted(whole, X, WORDS)
    places = {repr(params): i for i, params in enumerate(whole.cv_results_["params"])}
    assert search.n_resources_[-1] == last
    for i in np.flatnonzero(search.cv_results_["iter"] == search.n_iterations_ - 1):
        params = {name: value for name, value in search.cv_results_["params"][i].items() if name != "max_iter"}
        for split in range(2):
            name = f"split{split}_test_score"
            assert search.cv_results_[name][i] == pytest.approx(whole.cv_results_[name][places[repr(params)]], rel=1e-9)
    refitted = fitted(clone(network).set_params(**search.best_params_), X, WORDS)
    assert weights_of(search.best_estimator_).tobytes() == weights_of(refitted).tobytes()


def test_survivors_are_trained_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every rung those that are left make one stack for each thread."""
    sizes: list[int] = []
    monkeypatch.setattr("skbig.search.stack_scheduler.Population", noting(sizes))
    fitted(
        BigHalvingGridSearchCV(small("multiclass"), {"alpha": np.linspace(0, 1, 8)}, n_jobs=1, cv=2, **RUNGS), X, WORDS
    )
    assert sizes == [16, 8, 4]


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_any_number_of_threads(n_jobs: int) -> None:
    """How many stacks are trained side by side makes no difference."""
    grid = {"learning_rate": [0.1, 0.01], "hidden_layer_sizes": [(3,), (4,)]}
    one, other = (
        fitted(BigHalvingGridSearchCV(small("multiclass"), grid, n_jobs=n, cv=2, **RUNGS), X, WORDS)
        for n in (None, n_jobs)
    )
    assert_alike(one, other)
    assert weights_of(other.best_estimator_).tobytes() == weights_of(one.best_estimator_).tobytes()


class Counting(StandardScaler):
    """A scaler that counts its fits by their rows."""

    fits: ClassVar[Counter[bytes]] = Counter()

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Counting:
        Counting.fits[X.tobytes()] += 1
        return super().fit(X, y, sample_weight)


def test_the_steps_are_fitted_once() -> None:
    """The rungs have the same folds, so the steps before the network are fitted once for all of them."""
    Counting.fits.clear()
    pipeline = Pipeline([("scaler", Counting()), ("net", small("multiclass", max_iter=8))])
    search = BigHalvingGridSearchCV(pipeline, {"net__alpha": [0.0, 0.1, 1.0, 2.0]}, cv=2, **RUNGS)
    assert len(fitted(search, X, WORDS).n_resources_) == 3
    assert sorted(Counting.fits.values()) == [1, 1, 1]


# What fails, and what is none of ours.


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the (test|train) scores are non-finite:UserWarning")
@pytest.mark.parametrize(
    ("grid", "error_score"),
    [
        ({"learning_rate": [0.1, 1e60, 0.01, -1.0], "optimizer": ["sgd"]}, np.nan),
        ({"learning_rate": [1e60, 1e60, 1e60, 0.1], "optimizer": ["sgd"]}, -20.0),
        ({"activation": ["no such", "relu", "tanh"]}, np.nan),
    ],
)
def test_candidates_that_fail(grid: Any, error_score: float) -> None:
    """A candidate that fails has its error score at every rung that it is let to."""
    network = small("multiclass", max_iter=8, activation="identity", batch_size=10)
    both(network, grid, error_score=error_score, refit=False)


def test_other_resources() -> None:
    """Rows, or another parameter that is an integer, grow from rung to rung as in scikit-learn's search."""
    rows = {"min_resources": 20, "max_resources": 60, "random_state": 0, "scoring": "accuracy"}
    both(small("multiclass"), resource="n_samples", **rows)
    both(small("multiclass"), resource="batch_size", min_resources=8, max_resources=30)
    grows = {"min_resources": 1, "max_resources": 4}
    both(small("multiclass"), resource="n_members", **grows)


def test_default_rows() -> None:
    """With rows as the resource the default is all of them."""
    search = BigHalvingGridSearchCV(small("multiclass"), GRID, resource="n_samples", cv=2, scoring="accuracy")
    assert fitted(search, X, WORDS).max_resources_ == 60


@pytest.mark.parametrize(
    "estimator",
    [MLPClassifier((4,), random_state=0), Pipeline([("net", LogisticRegression(tol=1e-12))])],
    ids=["bare", "pipeline"],
)
def test_estimators_of_others(estimator: Any) -> None:
    """An estimator of somebody else's begins anew at every rung, as in scikit-learn's search."""
    name = "net__C" if isinstance(estimator, Pipeline) else "alpha"
    prefix = "net__" if isinstance(estimator, Pipeline) else ""
    settings = RUNGS | {"cv": 2, "scoring": "neg_log_loss", "resource": f"{prefix}max_iter"}
    theirs, ours = (
        fitted(kind(clone(estimator), {name: [0.01, 0.1, 1.0, 10.0]}, **settings), X, WORDS)
        for kind in (HalvingGridSearchCV, BigHalvingGridSearchCV)
    )
    assert_alike(theirs, ours)


def test_candidates_of_others_beside_ours() -> None:
    """Other estimators may compete with networks, and nothing is carried over that they have learnt at a rung."""
    warm = MLPClassifier((4,), warm_start=True, random_state=0, learning_rate_init=0.1)
    nets = [small("multiclass"), warm, LogisticRegression(C=1e-4), clone(warm).set_params(alpha=1.0)]
    _, ours = both(piped(), {"net": nets}, factor=1.5)
    kinds = [type(params["net"]) for params in ours.cv_results_["params"]]
    assert kinds[-1] is MLPClassifier and BigMLPClassifier in kinds


# The surface.


def test_the_signature_is_scikit_learns() -> None:
    """The parameters are those of scikit-learn's search, and the defaults but for the resource."""
    theirs, ours = (inspect.signature(kind).parameters for kind in (HalvingGridSearchCV, BigHalvingGridSearchCV))
    assert list(ours)[: len(theirs)] == list(theirs)
    assert set(ours) - set(theirs) == {"checkpoint_dir", "ensemble_size"}
    differing = {name for name in theirs if repr(ours[name].default) != repr(theirs[name].default)}
    assert differing == {"resource"}


BAD = {
    "searched": ({"max_iter": [1, 2]}, {}),
    "unknown resource": (GRID, {"resource": "no_such"}),
    "no such maximum": (GRID, {"max_resources": 0}),
    "more than there is": (GRID, {"min_resources": 9}),
    "no such minimum": (GRID, {"min_resources": "none"}),
    "folds that change": (GRID, {"cv": KFold(2, shuffle=True)}),
    "several scores": (GRID, {"scoring": ["accuracy", "neg_log_loss"]}),
    "a factor of zero": (GRID, {"factor": 0}),
}


@pytest.mark.parametrize("name", BAD)
def test_errors(name: str) -> None:
    """What scikit-learn refuses is refused with its words, and the search keeps its parameters."""
    grid, changed = BAD[name]
    said = []
    for kind in (HalvingGridSearchCV, BigHalvingGridSearchCV):
        search = kind(small("multiclass", max_iter=8), grid, **{"resource": "max_iter", "cv": 2} | RUNGS | changed)
        before = repr(search.get_params())
        with pytest.raises(ValueError) as caught:
            fitted(search, X, WORDS)
        said.append(str(caught.value).replace("BigHalving", "Halving"))
        assert repr(search.get_params()) == before
    assert said[0] == said[1]


def test_lines_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """With verbosity the rungs are told in scikit-learn's words."""
    printed = []
    for kind in (HalvingGridSearchCV, BigHalvingGridSearchCV):
        settings = RUNGS | {"cv": 2, "resource": "max_iter", "verbose": 1}
        fitted(kind(small("multiclass"), GRID, **settings), X, WORDS)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and "n_candidates: 4" in printed[1]
