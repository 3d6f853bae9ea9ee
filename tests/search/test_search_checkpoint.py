"""`checkpoint_dir` of a search: killed and repeated, it finds what it would have found, and repeats little."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import FitFailedWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skbig import BigGridSearchCV, BigHalvingGridSearchCV, BigRandomizedSearchCV
from skbig.engine import checkpoint as checkpoint_module
from skbig.engine.line_search import LineSearchEpochs
from skbig.engine.minibatch import MiniBatchEpochs
from skbig.exceptions import CheckpointWarning
from skbig.search import search_checkpoint as saving
from skbig.search.search_checkpoint import SearchCheckpoints
from tests.fitting import BINARY, N_ROWS, VALUES, WORDS, X
from tests.killing import Died, Nursery, begun, needs_fork, nursery
from tests.searching import estimator_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EPOCHS = 4
RATES = [0.003, 0.01, 0.03, 0.1]
GRID = {"learning_rate": RATES, "alpha": [0.0, 1.0]}
FOLDS = 2


def network(task: str = "binary", **parameters: Any) -> Any:
    return estimator_of(task, **{"max_iter": EPOCHS, **parameters})


def grid_search(path: Any, estimator: Any = None, grid: Any = None, **settings: Any) -> BigGridSearchCV:
    options = {"cv": FOLDS, "scoring": "neg_log_loss", "refit": False} | settings
    estimator = network() if estimator is None else estimator
    return BigGridSearchCV(estimator, GRID if grid is None else grid, checkpoint_dir=path, **options)


def halving_search(path: Any, estimator: Any = None, **settings: Any) -> BigHalvingGridSearchCV:
    options = {"cv": FOLDS, "scoring": "neg_log_loss", "refit": False, "random_state": 0} | settings
    estimator = network() if estimator is None else estimator
    return BigHalvingGridSearchCV(estimator, GRID, checkpoint_dir=path, **options)


def scores_of(search: Any) -> dict[str, Any]:
    """Return what a search has found, but not how long it took."""
    return {name: values for name, values in search.cv_results_.items() if not name.endswith("_time")}


def assert_same_scores(actual: Any, expected: Any) -> None:
    """Those of a training that goes on in another stack are the same to rounding."""
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        if name.startswith(("split", "mean", "std")):
            np.testing.assert_allclose(actual[name], values, rtol=1e-7, atol=1e-9, err_msg=name)
        elif not name.startswith("rank"):
            assert repr(actual[name]) == repr(values), name


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings are saved after each epoch."""
    monkeypatch.setattr(saving, "SECONDS_BETWEEN_SAVES", 0.0)


@contextmanager
def dying_after(n_saves: int) -> Iterator[None]:
    """Let a search die once it has been saved so many times."""
    saves: list[int] = []
    save = SearchCheckpoints._save

    def counted(self: Any, *arguments: Any) -> None:
        if len(saves) < n_saves:
            save(self, *arguments)
        saves.append(1)
        if len(saves) >= n_saves:
            raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchCheckpoints, "_save", counted)
        yield


def kill(search: Any, n_saves: int, X: Any = X, y: Any = BINARY, **fit: Any) -> None:
    with dying_after(n_saves), pytest.raises(Died):
        search.fit(X, y, **fit)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count epochs of members, and tasks that are scored."""
    count: Counter[str] = Counter()

    def counted(run: Any) -> Any:
        def function(self: Any) -> Any:
            count["epochs"] += self._members.n_members
            return run(self)

        return function

    monkeypatch.setattr("skbig.engine.epochs_ahead.BLOCK_PRODUCTS", 0)  # each epoch is run by itself
    for epochs in (MiniBatchEpochs, LineSearchEpochs):
        monkeypatch.setattr(epochs, "run", counted(epochs.run))
    monkeypatch.setattr(SearchCheckpoints, "result", lambda self, task, result: count.update(results=1))
    monkeypatch.setattr("skbig.search.fit_task.FitTask.score", _counting_scores(count))
    return count


def _counting_scores(count: Counter[str]) -> Any:
    from skbig.search.fit_task import FitTask

    score = FitTask.score

    def counted(task: FitTask) -> Any:
        count["scored"] += 1
        return score(task)

    return counted


# Killed and repeated.


@pytest.mark.parametrize("n_saves", [1, 3, EPOCHS, EPOCHS + 1])
@pytest.mark.usefixtures("every_epoch")
def test_a_stack_goes_on_where_it_was(n_saves: int, trained: Counter[str], tmp_path: Path) -> None:
    """No epoch that was saved is trained again, and a candidate that is finished is not even scored again."""
    expected = scores_of(grid_search(None, n_jobs=1).fit(X, BINARY))
    n_members = len(RATES) * 2 * FOLDS
    assert (trained["epochs"], trained["scored"]) == (n_members * EPOCHS, n_members)
    with one_stack():
        kill(grid_search(tmp_path), n_saves)
        trained.clear()
        assert_same_scores(scores_of(grid_search(tmp_path).fit(X, BINARY)), expected)
    assert trained["epochs"] == n_members * max(EPOCHS - n_saves, 0)
    assert trained["scored"] == (0 if n_saves > EPOCHS else n_members)


@contextmanager
def one_stack() -> Iterator[None]:
    """Train on one thread, so that there is one stack at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skbig.search.work_queue.side_by_side", lambda tasks, n_threads: 1)
        yield


@pytest.mark.parametrize("around", [GridSearchCV, BigGridSearchCV, "cross_val_score"])
def test_a_directory_is_not_for_the_searches_of_a_cross_validation(around: Any, tmp_path: Path) -> None:
    """Each fold would make a search of its own: that is refused for every fold, and nothing is written."""
    search = grid_search(tmp_path / "one", refit=True)
    with pytest.raises(ValueError, match="holds the checkpoints of one search"):
        if around == "cross_val_score":
            cross_val_score(search, X, BINARY, cv=2)
        else:
            around(search, {"estimator__alpha": [0.0, 1.0]}, cv=2).fit(X, BINARY)
    assert not (tmp_path / "one").exists()


KINDS = {
    "grid": (grid_search, {}),
    "halving": (halving_search, {}),
    "line search": (grid_search, {"optimizer": "lbfgs", "batch_size": "auto"}),
    "halving of line searches": (halving_search, {"optimizer": "lbfgs", "batch_size": "auto"}),
    "early stopping": (grid_search, {"early_stopping": True, "n_iter_no_change": 1, "validation_fraction": 0.25}),
    "ensembles": (grid_search, {"n_members": 2, "dropout": 0.2}),
    "noise": (grid_search, {"normalization": "batch", "augmentation": "mixup", "schedule": "cosine"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("every_epoch")
def test_a_search_that_dies_again_and_again(kind: str, tmp_path: Path) -> None:
    """Every kind of search comes to the scores of one that is not disturbed."""
    search, parameters = KINDS[kind]
    whole = search(None, network(**parameters)).fit(X, BINARY)
    for n_saves in (2, 3):
        kill(search(tmp_path, network(**parameters)), n_saves)
    assert_same_scores(scores_of(search(tmp_path, network(**parameters)).fit(X, BINARY)), scores_of(whole))


def test_a_finished_search_is_not_repeated(trained: Counter[str], tmp_path: Path) -> None:
    """Repeated, it gives the same results, times included, and fits the best candidate to all rows."""
    first = grid_search(tmp_path, refit=True, return_train_score=True).fit(X, BINARY)
    trained.clear()
    again = grid_search(tmp_path, refit=True, return_train_score=True).fit(X, BINARY)
    assert trained["scored"] == 0 and trained["epochs"] == EPOCHS
    assert repr(again.cv_results_) == repr(first.cv_results_)
    assert_same_scores(scores_of(again), scores_of(first))
    np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))


@pytest.mark.parametrize("n_epochs", [0, 1])
@pytest.mark.usefixtures("every_epoch")
def test_rungs_that_are_done(n_epochs: int, trained: Counter[str], tmp_path: Path) -> None:
    """Killed in its second rung, a halving search trains on from there; those that were left behind are left."""
    whole = halving_search(None, n_jobs=1).fit(X, BINARY)
    assert whole.n_candidates_ == [8, 3] and whole.n_resources_ == [1, 3]
    assert trained["epochs"] == FOLDS * (8 * 1 + 3 * 2)
    with one_stack():
        kill(halving_search(tmp_path), 1 + 1 + n_epochs)  # an epoch, the end of the rung, and more
        trained.clear()
        resumed = halving_search(tmp_path).fit(X, BINARY)
    assert trained["epochs"] == FOLDS * 3 * (2 - n_epochs) and trained["scored"] == FOLDS * 3
    assert_same_scores(scores_of(resumed), scores_of(whole))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_rungs_with_a_directory(optimizer: str, tmp_path: Path) -> None:
    """What a rung has saved is not taken for the training of another one: rungs of more rows train anew."""
    options: dict[str, Any] = {"resource": "n_samples", "min_resources": 20, "cv": 2, "return_train_score": True}
    estimator = network(optimizer=optimizer, batch_size="auto")
    expected = halving_search(None, estimator, **options).fit(X, BINARY)
    assert len(expected.n_resources_) > 1
    for _ in range(2):
        assert_same_scores(
            scores_of(halving_search(tmp_path, estimator, **options).fit(X, BINARY)), scores_of(expected)
        )


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_of_joblib(backend: str, tmp_path: Path) -> None:
    """What this process has begun, workers may end, and the other way round."""
    grid = {"alpha": [0.0, 1.0], "hidden_layer_sizes": [(4,), (5,)]}
    expected = scores_of(grid_search(None, grid=grid).fit(X, BINARY))
    with one_stack():
        kill(grid_search(tmp_path, grid=grid), 1)
    n_before = len(list(tmp_path.iterdir()))
    with joblib.parallel_config(backend):
        assert_same_scores(scores_of(grid_search(tmp_path, grid=grid, n_jobs=2).fit(X, BINARY)), expected)
    assert len(list(tmp_path.iterdir())) > n_before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MiniBatchEpochs, "run", None)  # nothing is left to train
        assert_same_scores(scores_of(grid_search(tmp_path, grid=grid).fit(X, BINARY)), expected)


def log_loss(estimator: Any, X: Any, y: Any) -> float:
    return float(np.log(estimator.predict_proba(X)[np.arange(len(y)), y]).mean())


def several(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    return {"likelihood": log_loss(estimator, X, y), "epochs": np.int64(estimator.n_iter_), "half": np.float32(0.1)}


SCORINGS = {
    "own": (None, True),
    "a name": ("roc_auc", True),
    "names": (["accuracy", "neg_log_loss"], "accuracy"),
    "a function": (log_loss, True),
    "a function of several": (several, "likelihood"),
    "functions by name": ({"mine": log_loss, "theirs": "accuracy"}, "mine"),
}


@pytest.mark.parametrize("name", SCORINGS)
@pytest.mark.usefixtures("every_epoch")
def test_scores_of_every_kind_are_kept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One score, several, and what functions return: all come back from the directory as they were."""
    monkeypatch.setattr("skbig.search.stack_planning.MAX_ON_CPU", 4)
    scoring, refit = SCORINGS[name]
    options = {"scoring": scoring, "refit": refit, "return_train_score": True}
    expected = grid_search(None, **options).fit(X, BINARY)
    with dying_after(EPOCHS + 2), pytest.raises(Died):  # one of two stacks is finished
        grid_search(tmp_path, **options).fit(X, BINARY)
    actual = grid_search(tmp_path, **options).fit(X, BINARY)
    assert_same_scores(scores_of(actual), scores_of(expected))
    assert actual.best_index_ == expected.best_index_
    np.testing.assert_array_equal(actual.predict(X), expected.predict(X))


FAILING = {
    "divergence": ({"optimizer": "sgd", "activation": "identity"}, {"learning_rate": [1e-3, 1e6, 1e-2]}),
    "a value out of range": ({}, {"alpha": [-1.0, 0.1, 1.0]}),
    "a line search that diverges": (
        {"optimizer": "lbfgs", "batch_size": "auto", "activation": "identity"},
        {"loss": ["poisson", "squared_error"]},
    ),
}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.usefixtures("every_epoch")
def test_candidates_that_fail(name: str, tmp_path: Path) -> None:
    """A failure is a result like others: it is kept with its message, and warned of by every run."""
    parameters, grid = FAILING[name]
    options = {"grid": grid, "scoring": "neg_mean_squared_error", "error_score": -9.0}
    estimator = network("regression", **parameters)
    rows, y = X * (1e5 if "line search" in name else 1.0), np.abs(VALUES)

    def run(path: Any) -> tuple[dict[str, Any], list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search = grid_search(path, estimator, **options).fit(rows, y)
        return scores_of(search), [str(w.message) for w in caught if issubclass(w.category, FitFailedWarning)]

    expected, _ = run(None)
    assert (expected["split0_test_score"] == -9.0).any()
    for n_saves in (1, 4):
        try:
            with dying_after(n_saves), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                grid_search(tmp_path, estimator, **options).fit(rows, y)
        except Died:
            pass
    for _ in range(2):
        actual, messages = run(tmp_path)
        assert_same_scores(actual, expected)
        assert len(messages) == 1 and "Traceback" in messages[0]


@pytest.mark.usefixtures("every_epoch")
def test_rows_of_every_kind(tmp_path: Path) -> None:
    """Lists, frames and texts are told apart by what they hold."""
    texts = [" ".join(f"w{i}" for i in np.flatnonzero(row > 0)) + " all" for row in X]
    forms = {
        "lists": (network(), X.tolist(), BINARY.tolist()),
        "frame": (network(), pd.DataFrame(X, columns=list("abcd")), pd.Series(WORDS)),
        "mixed": (make_pipeline(Selected(), network()), pd.DataFrame(X).assign(when=pd.Timestamp("2020")), WORDS),
        "texts": (make_pipeline(TfidfVectorizer(), network()), texts, WORDS),
    }
    for name, (estimator, rows, y) in forms.items():
        search = grid_search(tmp_path / name, estimator, {last(estimator, "alpha"): [0.0, 1.0]})
        expected = scores_of(clone(search).set_params(checkpoint_dir=None).fit(rows, y))
        kill(clone(search), 3, rows, y)
        assert_same_scores(scores_of(clone(search).fit(rows, y)), expected)
        with pytest.raises(ValueError, match="got those of another: y is"):
            clone(search).fit(rows, y[::-1])
        with pytest.raises(ValueError, match="got those of another: X is"):
            clone(search).fit(rows[::-1], y)


class Selected(TransformerMixin, BaseEstimator):
    """Selects the columns of numbers."""

    def fit(self, X: Any, y: Any = None) -> Selected:
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> np.ndarray:
        return np.asarray(X.select_dtypes("float"))


def last(estimator: Any, name: str) -> str:
    return f"{estimator.steps[-1][0]}__{name}" if hasattr(estimator, "steps") else name


class Shaken(Selected):
    """Adds noise that nobody has given a seed."""

    def transform(self, X: Any) -> np.ndarray:
        return X + 0.01 * np.random.default_rng().normal(size=X.shape)


@pytest.mark.parametrize(
    ("estimator", "share"),
    [
        (make_pipeline(StandardScaler(), network()), 1),
        (make_pipeline(Shaken(), network()), 0),
        (network(random_state=None), 1),
        (network(random_state=None, early_stopping=True, validation_fraction=0.25), 0),
    ],
    ids=["same rows", "other rows", "no seed", "no seed for rows that are held out"],
)
@pytest.mark.usefixtures("every_epoch")
def test_a_training_goes_on_with_its_own_rows_only(
    estimator: Any, share: int, trained: Counter[str], tmp_path: Path
) -> None:
    """Where the rows that were trained on are not there any more, a training begins anew, rather than mix them."""
    grid = {last(estimator, "alpha"): [0.0, 1.0]}
    with one_stack():
        kill(grid_search(tmp_path, estimator, grid), 3)
        seeds = seeds_in(tmp_path)
        trained.clear()
        grid_search(tmp_path, estimator, grid).fit(X, BINARY)
    assert trained["epochs"] == 2 * FOLDS * (EPOCHS - 3 * share)
    assert len(seeds) == 2 * FOLDS and all(seeds.values())


def seeds_in(path: Path) -> dict[str, list[int]]:
    """Return the seeds of all trainings that are saved."""
    reader = SearchCheckpoints(path, checkpoint_identity(path))
    return {name: facts["seeds"] for name, (_, facts) in reader._states.items()}


def checkpoint_identity(path: Path) -> dict[str, str]:
    facts = next(path.rglob("facts.json"))
    return dict(json.loads(facts.read_text())["identity"])


@pytest.mark.usefixtures("every_epoch")
def test_seeds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a seed, a training that goes on has the seeds of its first run."""
    used: list[list[int]] = []
    monkeypatch.setattr(
        SearchCheckpoints,
        "finished",
        lambda self, tasks, results: used.extend(list(task.session.members.seeds) for task in tasks),
    )
    with one_stack():
        kill(grid_search(tmp_path, network(random_state=None)), 3)
        before = seeds_in(tmp_path)
        grid_search(tmp_path, network(random_state=None)).fit(X, BINARY)
    assert len({seeds[0] for seeds in used}) == len(used) == len(RATES) * 2 * FOLDS
    assert sorted(used) == sorted(before.values())


# Another search.


def weighted(estimator: Any, X: Any, y: Any) -> float:
    return 2 * log_loss(estimator, X, y)


WEIGHT = np.linspace(1, 2, N_ROWS)
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "rows": ({"X": X + 1}, "X is"),
    "targets": ({"y": 1 - BINARY}, "y is"),
    "weights": ({"fit": {"sample_weight": WEIGHT}}, "sample_weight of fit is missing there"),
    "a candidate more": ({"grid": {**GRID, "alpha": [0.0, 1.0, 2.0]}}, "candidates is"),
    "another candidate": ({"grid": {**GRID, "alpha": [0.0, 2.0]}}, "candidates is"),
    "folds": ({"cv": 3}, "folds is"),
    "shuffled folds": ({"cv": KFold(2, shuffle=True, random_state=0)}, "folds is"),
    "a parameter": ({"estimator": network(dropout=0.5)}, r"parameter dropout is '0\.0' there and '0\.5' here"),
    "a component": ({"estimator": network(optimizer__betas=(0.5, 0.9))}, "parameter optimizer is"),
    "an estimator": ({"estimator": network("regression"), "scoring": "r2"}, "estimator is .*; parameter class_weight"),
    "a pipeline": ({"estimator": make_pipeline(network()), "grid": [{}]}, "estimator is"),
    "a score": ({"scoring": "accuracy"}, "scoring is"),
    "a scoring function": ({"scoring": weighted}, "scoring is"),
    "the score of failures": ({"error_score": 0.0}, "error_score is"),
    "training scores": ({"return_train_score": True}, "return_train_score is"),
}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which a search was killed."""
    path = tmp_path_factory.mktemp("taken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "SECONDS_BETWEEN_SAVES", 0.0)
        kill(grid_search(path), 2)
    return path


@pytest.mark.parametrize("name", OTHERS)
def test_another_search_is_refused(name: str, taken: Path) -> None:
    """An error names what differs, before anything is trained or written."""
    changes, words = dict(OTHERS[name][0]), OTHERS[name][1]
    before = sorted(map(str, taken.rglob("*")))
    rows, y, fit = changes.pop("X", X), changes.pop("y", BINARY), changes.pop("fit", {})
    with pytest.raises(ValueError, match=f"got those of another: (.*; )?{words}") as caught:
        grid_search(taken, **changes).fit(rows, y, **fit)
    assert str(taken) in str(caught.value)
    assert sorted(map(str, taken.rglob("*"))) == before


def test_a_step_of_a_pipeline_is_a_part_of_the_search(tmp_path: Path) -> None:
    """Its kind and its parameters are compared by name."""
    grid = {"bigmlpclassifier__alpha": [0.0, 1.0]}
    grid_search(tmp_path, make_pipeline(MinMaxScaler(), network()), grid).fit(X, BINARY)
    for step, words in (
        (MinMaxScaler(feature_range=(0, 2)), r"parameter minmaxscaler__feature_range is '\[0, 1\]' there and"),
        (StandardScaler(), "parameter minmaxscaler is 'MinMaxScaler' there and missing here"),
    ):
        with pytest.raises(ValueError, match=words):
            grid_search(tmp_path, make_pipeline(step, network()), grid).fit(X, BINARY)


def test_other_rungs_are_refused(tmp_path: Path) -> None:
    """Schedules run to the last rung, so its epochs are a part of the search."""
    halving_search(tmp_path, min_resources=1, max_resources=4).fit(X, BINARY)
    halving_search(tmp_path, min_resources=1, max_resources=5).fit(X, BINARY)  # the last rung is the same
    with pytest.raises(ValueError, match="another: epochs of the last rung is '3' there and '4' here"):
        halving_search(tmp_path, min_resources=1, factor=2).fit(X, BINARY)


@pytest.mark.parametrize("seed", [0, None])
def test_candidates_that_are_drawn(seed: int | None, tmp_path: Path) -> None:
    """Drawn with a seed they are the same in every run; without one they are others, which is said."""
    options = {"n_iter": 3, "cv": 2, "refit": False, "checkpoint_dir": tmp_path, "random_state": seed}
    searches = [BigRandomizedSearchCV(network(), {"alpha": loguniform(0.01, 1)}, **options) for _ in range(2)]
    first = scores_of(searches[0].fit(X, BINARY))
    if seed is None:
        with pytest.raises(ValueError, match="got those of another: candidates is"):
            searches[1].fit(X, BINARY)
    else:
        assert_same_scores(scores_of(searches[1].fit(X, BINARY)), first)


def test_what_does_not_matter(trained: Counter[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How a search is run, shown and refitted may change from run to run."""
    expected = scores_of(grid_search(tmp_path).fit(X, BINARY))
    trained.clear()
    again = grid_search(str(tmp_path), network(verbose=1, device="cpu"), verbose=1, refit=True, pre_dispatch=1)
    assert_same_scores(scores_of(again.fit(X, BINARY)), expected)
    assert trained["scored"] == 0
    capsys.readouterr()


def test_other_things_in_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are neither read nor touched, and the directory stays where it was when the program moves."""
    others = ["2024-06-photos-1", "3d-plots", "notes-1", "0001-x"]
    for name in others:
        (tmp_path / "here" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    search = grid_search("here", scoring=moving(tmp_path / "here"))
    expected = scores_of(search.fit(X, BINARY))
    monkeypatch.chdir(tmp_path)
    assert_same_scores(scores_of(search.fit(X, BINARY)), expected)
    assert {*others} < {path.name for path in (tmp_path / "here").iterdir()}
    assert not (tmp_path / "here" / "here").exists()


def moving(path: Path) -> Any:
    def scorer(estimator: Any, X: Any, y: Any) -> float:
        os.chdir(path)
        return log_loss(estimator, X, y)

    return scorer


# Damage, a disk that fails, Ctrl-C.


@pytest.mark.usefixtures("every_epoch")
def test_a_damaged_checkpoint_costs_an_epoch(trained: Counter[str], tmp_path: Path) -> None:
    """It is named in a warning, and the stack goes on from the one before."""
    expected = scores_of(grid_search(None).fit(X, BINARY))
    with one_stack():
        kill(grid_search(tmp_path), 3)
        damaged = sorted(tmp_path.glob("*/checkpoint-*"))[-1]
        (damaged / "arrays.safetensors").write_bytes(b"nothing")
        trained.clear()
        with pytest.warns(CheckpointWarning, match=re.escape(str(damaged))):
            assert_same_scores(scores_of(grid_search(tmp_path).fit(X, BINARY)), expected)
    assert trained["epochs"] == len(RATES) * 2 * FOLDS * (EPOCHS - 2)


@pytest.mark.parametrize("n_writes", [1, 8])
@pytest.mark.usefixtures("every_epoch")
def test_a_disk_that_fails(n_writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the search with an error, and when there is space again, the search goes on."""
    expected = scores_of(grid_search(None).fit(X, BINARY))
    writes: list[int] = []

    def full(path: Any, mode: str) -> Any:
        writes.append(mode != "rb")
        if sum(writes) >= n_writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "open", full, raising=False)
        with pytest.raises(OSError, match="Could not write a checkpoint to .*No space left"):
            grid_search(tmp_path).fit(X, BINARY)
    assert_same_scores(scores_of(grid_search(tmp_path).fit(X, BINARY)), expected)


def test_ctrl_c_keeps_what_is_finished(trained: Counter[str], tmp_path: Path) -> None:
    """Stacks that were finished before are not trained again."""
    grid = {"hidden_layer_sizes": [(3,), (4,), (5,), (6,)]}
    expected = scores_of(grid_search(None, grid=grid, scoring=log_loss).fit(X, BINARY))
    trained.clear()

    def pressed(estimator: Any, X: Any, y: Any) -> float:
        if trained["scored"] == 2 * FOLDS + 1:
            os.kill(os.getpid(), signal.SIGINT)
        return log_loss(estimator, X, y)

    with one_stack():
        with pytest.raises(KeyboardInterrupt):
            grid_search(tmp_path, grid=grid, scoring=pressed).fit(X, BINARY)
        trained.clear()
        again = grid_search(tmp_path, grid=grid, scoring=pressed).fit(X, BINARY)
    assert trained["scored"] == 2 * FOLDS
    assert_same_scores(scores_of(again), expected)


# Processes.


SLOW_GRID = {"learning_rate": RATES, "hidden_layer_sizes": [(5,), (6,)]}


def slow_search(kind: str, path: Any) -> Any:
    """Return a search of about a second."""
    if kind == "halving":
        return BigHalvingGridSearchCV(network(max_iter=90), SLOW_GRID, cv=FOLDS, refit=False, checkpoint_dir=path)
    optimizer = {"optimizer": "lbfgs", "batch_size": "auto", "tol": 0.0} if kind == "line search" else {}
    return grid_search(path, network(max_iter=150, **optimizer), SLOW_GRID)


def search_until_killed(kind: str, path: str, result: str) -> None:
    """Be a process that searches, and writes down what it has found."""
    saving.SECONDS_BETWEEN_SAVES = 0.02
    begun()
    joblib.dump(scores_of(slow_search(kind, path).fit(X, BINARY)), result)


@pytest.fixture(scope="module")
def processes() -> Iterator[Nursery]:
    with nursery() as opened:
        yield opened


@needs_fork
@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["grid", "halving", "line search"])
def test_kill_9_at_random_moments(kind: str, processes: Nursery, tmp_path: Path) -> None:
    """Processes that are killed at three random moments, one after another, find what one finds that is not."""
    expected = scores_of(slow_search(kind, None).fit(X, BINARY))
    n_kills = n_chains = 0
    while n_kills < 3:
        n_chains += 1
        path, result = tmp_path / str(n_chains), tmp_path / f"{n_chains}.joblib"
        while not result.exists():
            processes.begin(search_until_killed, kind, path, result)
            if n_kills < 3:
                time.sleep(random.uniform(0.05, 0.4))
            code = processes.end(signal.SIGKILL if n_kills < 3 else 0)
            assert code in (0, -signal.SIGKILL)
            n_kills += code == -signal.SIGKILL
        assert_same_scores(joblib.load(result), expected)
        assert any(path.iterdir())
