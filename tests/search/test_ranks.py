"""Searches whose stacks are spread over workers of their own, and over the ranks of a launch by others."""

from __future__ import annotations

import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from torch import distributed

from skbig import DDP, BigGridSearchCV, BigMLPClassifier
from skbig._utils.threads import thread_count
from skbig.exceptions import WorkerError
from skbig.launch import worker_pool
from skbig.launch.launch_options import LaunchOptions
from skbig.launch.launcher import launch
from skbig.launch.worker_context import WorkerContext
from skbig.search.fit_task import FitTask
from skbig.search.joblib_backend import collecting
from skbig.search.launched_search import LaunchedSearchRunner
from skbig.search.search_runners import runner_of
from skbig.search.stack_planning import largest_first
from skbig.search.work_queue import SharedQueue
from tests.distributed.test_launched_fits import temporary  # noqa: F401
from tests.fitting import WORDS, X
from tests.laws.test_ranks_agree import assert_equal
from tests.once import once
from tests.search.rank_jobs import MIXED, RATES, SEARCHES, TWO, Acting, die, found, heard, net, saved

TOLERANCE = 1e-6
ERRORS = {
    "an error": "(DivergenceError|ValueError): ",
    "other rows": "ValueError: All ranks must fit a search with the same rows.*Rank 1 got another y than rank 0",
    "other candidates": "ValueError: All.*Rank 1 got another candidates than rank 0.*an int as random_state",
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with thread_count(1):
        yield


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many workers each evaluation has asked for."""
    asked: list[int] = []

    def noted(job: str, folder: Path, options: LaunchOptions, *more: Any) -> None:
        asked.append(options.n_workers)
        launch(job, folder, options, *more)

    monkeypatch.setattr(worker_pool, "launch", noted)
    return asked


def wait_for(folder: Path, pattern: str, seconds: float = 60) -> None:
    last = time.monotonic() + seconds
    while not list(folder.glob(pattern)):
        assert time.monotonic() < last, f"There is no {pattern}."
        time.sleep(0.01)


# Workers of its own: each of these tests starts some, which takes seconds.


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("failing", {}),
        pytest.param("pipeline, weights", {"refit": False}, marks=pytest.mark.thorough),
        pytest.param("halving, early stopping", {"refit": False}, marks=pytest.mark.thorough),
    ],
)
@pytest.mark.usefixtures("temporary", "unchanged_globals")
def test_two_workers_find_what_one_process_finds(name: str, settings: dict[str, Any], launches: list[int]) -> None:
    """Scores, errors, warnings and the best network are those of one process; all fits but the last are one launch."""
    actual, expected = (
        heard(lambda backend=backend: found(SEARCHES[name](backend, **settings))) for backend in (TWO, None)
    )
    assert_equal(actual[0], expected[0], TOLERANCE)
    assert actual[1] == expected[1]
    assert launches == [2] * (1 + settings.get("refit", True))


@pytest.mark.usefixtures("temporary", "unchanged_globals")
def test_an_error_of_a_fit_is_raised() -> None:
    """With ``error_score="raise"`` the error comes out as it does in one process, and says where it was."""
    raised = []
    for backend in (TWO, None):
        search = BigGridSearchCV(net(backend), {"alpha": [1.0, -1.0]}, cv=2, error_score="raise")
        with pytest.raises(ValueError) as caught:
            search.fit(X, WORDS)
        raised.append(caught)
    assert str(raised[0].value) == str(raised[1].value)
    assert raised[0].value.__notes__[0].startswith("In rank ")


@pytest.mark.usefixtures("temporary")
def test_a_killed_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names rank and signal, and what was finished is kept; with a restart the search goes on from there."""
    one_fold = [(np.arange(40), np.arange(40, 60))]
    marks, calls = (tmp_path / "first", tmp_path / "second"), tmp_path / "calls"
    search = BigGridSearchCV(net(TWO), MIXED, cv=one_fold, refit=False, verbose=2)
    # There are 14 fits, in stacks of up to three.
    with pytest.raises(WorkerError, match=r"rank \d was killed by SIGKILL") as caught:
        search.set_params(scoring=Acting(die, marks[0], fits=7)).fit(X, WORDS)
    assert caught.value.rank in (0, 1) and caught.value.signal == "SIGKILL"
    assert 4 <= len(search.cv_results_["params"]) == capsys.readouterr().out.count("[CV] END") < 14
    search.set_params(estimator__backend=DDP(2, max_restarts=1), scoring=Acting(die, marks[1], fits=7, calls=calls))
    scores = search.fit(X, WORDS).cv_results_["mean_test_score"]
    assert marks[1].exists() and 14 < len(calls.read_text()) <= 14 + 2 * 3
    assert capsys.readouterr().out.count("[CV] END") == 14
    np.testing.assert_allclose(
        scores, search.set_params(estimator__backend=None).fit(X, WORDS).cv_results_["mean_test_score"]
    )


def test_ctrl_c_keeps_what_is_finished(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """The line shows how far the workers are; candidates scored on every fold are in `cv_results_`, with the best."""

    def press() -> None:
        for number in (0, 1):
            wait_for(temporary, f"*/delivery-0-{number}")
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    grid = [
        {"hidden_layer_sizes": [(200,)], "max_iter": [200]},
        {"hidden_layer_sizes": [(1,)], "max_iter": [20_000], "batch_size": [1], "n_iter_no_change": [20_000]},
    ]
    threading.Thread(target=press).start()
    search = BigGridSearchCV(net(TWO), grid, cv=2, verbose=1)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, WORDS)
    assert [candidate["max_iter"] for candidate in search.cv_results_["params"]] == [200]
    assert search.best_params_["max_iter"] == 200 and not hasattr(search, "best_estimator_")
    assert re.search(r"of 2 candidates training, epoch \d", capsys.readouterr().err)


@pytest.mark.thorough
@pytest.mark.usefixtures("temporary")
def test_a_search_that_is_saved(tmp_path: Path, launches: list[int]) -> None:
    """Workers save in the search's directory, from which one process, or nobody, has to train anything again."""
    searches = [saved(tmp_path, backend, refit=False) for backend in (TWO, TWO, None)]
    for search in searches[1:]:
        assert_equal(found(search), found(searches[0]), 0.0)
    assert launches == [2]
    assert_equal(found(saved(tmp_path / "other", None, refit=False)), found(searches[0]), TOLERANCE)


# Without workers.


class Hearing:
    """A callback of scikit-learn's that hears, and does nothing."""

    def setup(self, estimator: Any, context: Any) -> None: ...

    def teardown(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        return False


def test_what_cannot_be_done_starts_nothing(launches: list[int]) -> None:
    """A device that workers could not have for themselves is an error before anything is started."""
    search = BigGridSearchCV(net(TWO, device="cuda:0"), RATES)
    with pytest.raises(ValueError, match="gives each worker a device of its own"):
        search.fit(X, WORDS)
    assert launches == []


def test_who_takes_part_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a backend that says so spreads a search, and only fits of which no callback here wants to hear."""

    def runner(own: Any, **parameters: list[Any]) -> Any:
        search = BigGridSearchCV(own if hasattr(own, "fit") else net(own), parameters, refit=False)
        tasks: list[FitTask] = []

        def noting(calls: Any) -> list[Any]:
            tasks.extend(FitTask(call) for call in calls)
            raise InterruptedError

        with pytest.raises(InterruptedError), collecting(noting):
            GridSearchCV.fit(search, X, WORDS)
        return runner_of(search.estimator, tasks)

    assert runner(None) is None and runner(None, backend=["ddp"]) is None
    for launched in (runner(TWO, alpha=[0.0]), runner("ddp", backend=[None, TWO])):
        assert isinstance(launched, LaunchedSearchRunner)
    assert runner(TWO, device=["cpu", "auto"]) is None
    if hasattr(net(TWO), "set_callbacks"):
        assert runner(net(TWO).set_callbacks(Hearing()), alpha=[0.0]) is None
    monkeypatch.setattr(DDP, "spreads_searches", False)
    assert runner(TWO, alpha=[0.0]) is None


def test_n_jobs_beside_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of the backend share the search, and a warning says that those of joblib do not."""

    def run(self: Any, tasks: Any, *others: Any, **options: Any) -> Any:
        raise InterruptedError

    monkeypatch.setattr(LaunchedSearchRunner, "run", run)
    with pytest.warns(UserWarning, match="n_jobs=2 is ignored"), pytest.raises(InterruptedError):
        BigGridSearchCV(net(TWO), RATES, n_jobs=2).fit(X, WORDS)


def test_the_largest_are_taken_first() -> None:
    """Groups come in the order of their likely cost, whatever else their parameters say."""

    class Costing:
        def __init__(self, *parameters: Any) -> None:
            names = ("hidden_layer_sizes", "max_iter", "n_members")
            self.last = BigMLPClassifier(**dict(zip(names, parameters, strict=False))) if parameters else None

    groups: Any = [[Costing(*parameters)] for parameters in [(), ("no",), (5, 9, 1), ((5, 5), 9, 1), ((5,), 9, 9)]]
    assert [groups.index(group) for group in largest_first(groups)] == [4, 3, 2, 0, 1]


# Ranks of a launch by others.


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, bool]]:
    """Let two ranks run all searches; return what they have found, and whether both have the same."""
    return once(tmp_path_factory, "searching-ranks", _launched)


def _launched(folder: Path) -> tuple[dict[str, Any], dict[str, bool]]:
    launch("tests.search.rank_jobs:search_all", folder, LaunchOptions(2, threads_per_worker=1))
    results: tuple[dict[str, Any], dict[str, bool]] = pickle.loads((folder / "results").read_bytes())
    return results


@pytest.mark.parametrize("name", SEARCHES)
def test_ranks_find_what_one_process_finds(name: str, ranks: Any) -> None:
    """Each rank trains its share, and all have the scores and the best network of one process."""
    results, alike = ranks
    assert_equal(results[name], heard(lambda: found(SEARCHES[name](None)))[0], TOLERANCE)
    assert alike[name]


@pytest.mark.parametrize("name", ERRORS)
def test_ranks_fail_alike(name: str, ranks: Any) -> None:
    """All ranks meet an error, so that none waits for another."""
    results, alike = ranks
    assert re.match(ERRORS[name], results[name]), results[name]
    assert alike[name]


def test_ctrl_c_in_one_rank(ranks: Any) -> None:
    """All ranks end when one hears Ctrl-C, and keep the same candidates."""
    results, alike = ranks
    kept = results["Ctrl-C in one rank"]
    assert kept["interrupted"] and 0 < len(kept["mean_test_score"]) < 20
    assert alike["Ctrl-C in one rank"]


def test_ranks_that_save(ranks: Any) -> None:
    """What ranks have saved they find again."""
    results, alike = ranks
    assert_equal(results["saved"][0], results["saved"][1], 0.0)
    assert alike["saved"]


def test_others_that_show_no_progress() -> None:
    """A rank does not wait forever for those that are gone."""
    context = WorkerContext(0, 0, 2, torch.device("cpu"))
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        queue = SharedQueue(context, "test", {})
        with pytest.raises(RuntimeError, match=r"no progress for 0\.1 s"):
            queue.wait_for_others(0.1)
    finally:
        distributed.destroy_process_group()
