"""The benchmarks run, and their tables say what was measured."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer
from threadpoolctl import threadpool_info
from torch.utils.flop_counter import FlopCounterMode

import skbig
from benchmarks import __main__ as command
from benchmarks import accuracy, ranks, serving, stream
from benchmarks.__main__ import SECTIONS
from benchmarks.datasets import load
from benchmarks.peers import (
    HAS_SKORCH,
    Task,
    make_rows,
    network,
    not_converged,
    shared,
    train_lean,
    train_skbig,
    train_sklearn,
    train_skorch,
    trained,
)
from benchmarks.search import ON_GPU, SMALL, compare, compare_on_gpu, judge, products
from benchmarks.searchers import FASTEST_SKORCH, OURS, SKORCH, THEIRS, Contender, Network, Search, workers
from benchmarks.speed import Options
from benchmarks.timing import Row, Table, in_turn, threads
from skbig.estimators import sklearn_compat

ALONE = {"gpu", "search-middle", "search-halving", "search-gpu", *stream.SECTIONS, *ranks.SECTIONS, *serving.SECTIONS}
needs_skorch = pytest.mark.skipif(not HAS_SKORCH, reason="skorch is not installed")

PEERS = [
    train_skbig,
    train_sklearn,
    train_lean,
    pytest.param(train_skorch, marks=needs_skorch),
]


def test_every_section_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The smoke run prints each section and keeps every single time of every contender."""
    file = tmp_path / "times.json"
    command.main(["--quick", "--threads", "1", "--json", str(file)])
    printed = capsys.readouterr().out
    assert all(f"[{section}]" in printed for section in SECTIONS)
    report = json.loads(file.read_text())
    left_out = ["gpu", "search-gpu"] * (not torch.cuda.is_available())
    left_out += ["search-halving"] * (not hasattr(skbig, "BigHalvingGridSearchCV"))
    assert [table["section"] for table in report["tables"]] == [name for name in SECTIONS if name not in left_out]
    for table in report["tables"]:
        assert len(table["rows"]) > 1
        assert all(row["seconds"] and min(row["seconds"]) > 0 for row in table["rows"])
        names = {row["name"].removesuffix(", n_jobs=2") for row in table["rows"]}
        assert "MLPClassifier" in names or table["section"] in ALONE
    assert ("skorch is not installed" in printed) is not HAS_SKORCH


def test_only_what_is_asked_for_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """A single section can be chosen."""
    command.main(["--quick", "--threads", "1", "--only", "one-row"])
    printed = capsys.readouterr().out
    assert [name for name in SECTIONS if f"[{name}]" in printed] == ["one-row"]


@pytest.mark.parametrize("validation", [False, True], ids=["", "validation"])
def test_everybody_trains_the_same_thing(validation: bool) -> None:
    """After some epochs all contenders have come to about the same loss, far below that of a guess."""
    task = Task(5, (16,), 32, n_rows=960, n_epochs=15, n_classes=3, validation=validation)
    X, y = make_rows(task)
    peers = [train_skbig, train_sklearn, train_lean, *[train_skorch] * HAS_SKORCH]
    with threads(1):
        losses = np.array([train(task, X, y) for train in peers])
    assert losses.max() < 0.9 * np.log(3)
    assert losses.max() / losses.min() < 1.2


@pytest.mark.parametrize("validation", [False, True], ids=["", "validation"])
@pytest.mark.parametrize("train", PEERS[2:])
def test_steps_are_as_many_as_stated(
    train: Callable[..., float], validation: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number by which the time is divided is the number of updates."""
    steps: list[int] = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *args, **more: (steps.append(1), step(*args, **more))[1])
    task = Task(5, (4,), 32, n_rows=101, n_epochs=3, validation=validation)
    with threads(1):
        train(task, *make_rows(task))
    assert len(steps) == task.n_steps


def test_a_training_that_stops_early_does_not_count() -> None:
    """A model that ran fewer epochs than the others would look fast, so it is an error."""

    class Stopped:
        n_iter_ = 2

        def fit(self, X: Any, y: Any) -> None:
            pass

    task = Task(5, (4,), 32, n_rows=64, n_epochs=3)
    with pytest.raises(RuntimeError, match="Stopped ran 2 epochs of 3"):
        trained(Stopped(), task, *make_rows(task))


def test_contenders_take_turns() -> None:
    """Each repeat runs everybody once, in order."""
    calls: list[str] = []
    timed = in_turn({name: (lambda name=name: calls.append(name)) for name in "abc"}, 3, collect=False)
    assert calls == list("abc") * 3
    assert {name: len(seconds) for name, (seconds, _) in timed.items()} == {"a": 3, "b": 3, "c": 3}


def test_contenders_are_made_ready_once() -> None:
    """What comes before a contender's first run comes right before it, and not again."""
    calls: list[str] = []
    runs = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    in_turn(runs, 2, collect=False, before_first=lambda name: calls.append(f"ready {name}"))
    assert calls == ["ready a", "a", "ready b", "b", "a", "b"]


def test_what_comes_before_a_run_is_not_timed() -> None:
    """It comes before every run, and knows whose; its own time does not count."""
    calls: list[str] = []

    def before(name: str) -> None:
        calls.append(f"before {name}")
        time.sleep(0.05)

    runs = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    timed = in_turn(runs, 2, collect=False, before_each=before)
    assert calls == ["before a", "a", "before b", "b"] * 2
    assert max(seconds for each, _ in timed.values() for seconds in each) < 0.05


def test_a_table_judges_by_medians() -> None:
    """The ratio is the other's median over ours, and the verdict follows from it."""
    rows = [Row("ours", [1.0, 9.0, 2.0]), Row("slow", [5.0, 5.0, 0.1], 2.5), Row("fast", [3.0, 3.0, 3.0], 2.0)]
    printed = str(Table("A task", 1000, "step", rows)).splitlines()
    assert printed[0] == "A task"
    assert printed[2].split() == ["ours", "2", "2000"]
    assert printed[3].split() == ["slow", "5", "5000", "2.50", ">=", "2.5", "ok"]
    assert printed[4].split() == ["fast", "3", "3000", "1.50", ">=", "2", "short"]


def test_a_table_says_what_is_extrapolated() -> None:
    """A part's time is scaled to that of the whole, marked, and has no first run; other times have one."""
    rows = [Row("ours", [4.0, 2.0, 1.0], result=0.5), Row("a part", [3.0, 5.0, 4.0], 10, scale=8.0)]
    printed = str(Table("A task", 1000, "step", rows, judged_by="score", shows_first=True)).splitlines()
    assert printed[1].split() == ["seconds", "first", "us/step", "score", "other/ours", "wanted"]
    assert printed[2].split() == ["ours", "2", "4", "2000", "0.5000"]
    assert printed[3].split() == ["a", "part", "~32", "3.2e+04", "16.00", ">=", "10", "ok"]


def test_threads_are_given_back() -> None:
    """The number of threads holds for torch and for BLAS, and only for the run."""

    def blas() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    before = torch.get_num_threads(), blas()
    with threads(1):
        assert (torch.get_num_threads(), blas()) == (1, {1})
    assert (torch.get_num_threads(), blas()) == before


@pytest.mark.parametrize(
    "kind", [THEIRS, *(pytest.param(kind, marks=needs_skorch) for kind in (SKORCH, FASTEST_SKORCH))]
)
def test_everybody_searches_the_same(kind: Network) -> None:
    """Each network is given the same rates and penalties, all of them, and learns about as much by each."""
    task = Task(8, (16,), 32, n_rows=600, n_epochs=10, n_classes=3)
    search, X, y = Search("clouds", task, n_rates=2, n_alphas=2, n_folds=2).with_rows(None)
    with threads(1):
        theirs, ours = (scores(Contender(each).run(search, X, y)) for each in (kind, OURS))
    assert theirs.keys() == ours.keys()
    assert len(theirs) == search.n_candidates
    fast = [candidate for candidate in ours if max(candidate) == max(map(max, ours))]
    assert len(fast) == 2
    assert min(ours[candidate] for candidate in fast) > 0.8
    assert max(abs(theirs[candidate] - ours[candidate]) for candidate in fast) < 0.05


def scores(search: Any) -> dict[tuple[float, ...], float]:
    """Return the score of each candidate, by its two values."""
    found = search.cv_results_
    return {
        tuple(sorted(candidate.values())): score
        for candidate, score in zip(found["params"], found["mean_test_score"], strict=True)
    }


@pytest.mark.parametrize("n_run", [1, 2])
def test_search_steps_are_as_many_as_stated(n_run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number by which the time is divided is the number of updates of all candidates and folds, also of a part."""
    steps: list[int] = []
    step = AdamOptimizer.update_params
    monkeypatch.setattr(AdamOptimizer, "update_params", lambda *args: (steps.append(1), step(*args))[1])
    task = Task(8, (4,), 32, n_rows=150, n_epochs=2, n_classes=2)
    search, X, y = Search("clouds", task, n_rates=2, n_alphas=3, n_folds=3).with_rows(None)
    contender = Contender(THEIRS, n_run=n_run)
    with threads(1):
        contender.run(search, X, y)
    assert len(steps) == contender.part_of(search).n_steps
    assert len(steps) * 6 == search.n_steps * n_run


def test_a_part_of_a_search_is_extrapolated() -> None:
    """The time of a part counts as often as the part is in the whole, and a note and the missing score say so."""
    contenders = {"ours": Contender(OURS), "MLP": Contender(THEIRS, n_run=1)}
    with threads(1):
        table, search, found = compare(SMALL, Options(repeats=2, quick=True), contenders)
    ours, part = table.rows
    assert (ours.scale, part.scale) == (1, search.n_candidates)
    assert (len(found["ours"].cv_results_["params"]), len(found["MLP"].cv_results_["params"])) == (2, 1)
    assert ours.result == found["ours"].best_score_
    assert part.result is None
    assert table.notes == ["MLP: extrapolated from 1 of 2 candidates."]


def test_worker_processes_share_the_threads() -> None:
    """Two workers have together as many threads as this process, so nobody computes on more cores than others."""
    with threads(4), workers(2):
        assert effective_n_jobs(None) == 2
        assert Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(2)) == ["2", "2"]
    with workers(None):
        assert effective_n_jobs(None) == 1


def test_a_search_on_a_gpu_is_compared_with_its_limit() -> None:
    """The section that needs a GPU runs where there is none, but for its name, and says how fast products are."""
    on_cpu = replace(ON_GPU, task=replace(ON_GPU.task, device="cpu"))
    with threads(1):
        table = compare_on_gpu(on_cpu, Options(repeats=1, quick=True))
    assert len(table.rows) == 2 + 2 * HAS_SKORCH
    assert "steps of a member per second" in table.notes[-1 - (not HAS_SKORCH)]


def test_products_are_counted() -> None:
    """The stated number of floating point operations is the one that torch counts in a forward and backward pass."""
    search = Search("clouds", Task(5, (7, 6), 8, n_rows=24, n_epochs=1, n_classes=4), n_rates=1, n_alphas=1, n_folds=3)
    with FlopCounterMode(display=False) as counter:
        for batch in torch.zeros(16, 5).split(8):
            network(search.task)(batch).sum().backward()
    folds = 3
    assert products(search) == folds * counter.get_total_flops()


@pytest.mark.parametrize(("best", "verdict"), [(0.9, "ok"), (0.89, "ok"), (0.85, "short")])
def test_halving_is_judged_by_a_standard_error(best: float, verdict: str) -> None:
    """A best score that is lower by less than a standard error of the full grid's is as good."""
    folds = np.array([0.88, 0.90, 0.92])  # the error of their mean is 0.0115
    full = SimpleNamespace(best_score_=folds.mean(), best_index_=1, cv_results_={"std_test_score": [9, folds.std()]})
    assert judge(SimpleNamespace(best_score_=best), full, n_folds=3).endswith(verdict)


def test_files_hold_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file has as many rows as its task, each with the class of its piece, and is gone afterwards."""
    monkeypatch.setattr(stream, "PIECE_ROWS", 30)
    task = Task(3, (4,), 8, n_rows=100, n_epochs=1, n_classes=4)
    with stream.stored(task, tmp_path) as rows:
        X, y = np.array(rows.X), rows.y
        assert stream.forget(rows.path) == hasattr(os, "posix_fadvise")
        np.testing.assert_array_equal(rows.X, X)  # what was forgotten is on the disk
    assert (X.shape, y.shape, X.dtype) == ((100, 3), (100,), np.float32)
    np.testing.assert_array_equal(X[30:], X[:-30])
    np.testing.assert_array_equal(y[30:], y[:-30])
    assert len(np.unique(y)) == 4
    assert not list(tmp_path.iterdir())


def test_rows_in_a_file_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training from a file reads it, although it is small, and later ones may load theirs again."""
    limits: list[float] = []
    monkeypatch.setattr(stream, "train_skbig", lambda task, X, y: (limits.append(sklearn_compat.LOADED_BYTES), 0.5)[1])
    before = sklearn_compat.LOADED_BYTES
    stream.train_from_file(Options(repeats=2, quick=True, scratch=tmp_path))
    assert limits == [0, before] * 2
    assert sklearn_compat.LOADED_BYTES != 0


def test_a_large_file_needs_room(tmp_path: Path) -> None:
    """Where the disk has no room for the file, its section is a message."""
    assert "no room for 1e+09 GB" in stream.fit_large_file(Options(gigabytes=1e9, scratch=tmp_path))
    assert not list(tmp_path.iterdir())


def test_ranks_train_what_one_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All who train on the same rows learn about the same, two ranks of ours just what one process does."""
    monkeypatch.setattr(ranks, "TOGETHER", Task(5, (256,), 64, n_rows=32 * 64, n_epochs=1, n_classes=3))
    with threads(1):
        table = ranks.train_by_ranks(Options(repeats=7, scratch=tmp_path))
    learnt = {row.name: row.result for row in table.rows}
    assert learnt[ranks.OURS] == pytest.approx(learnt["skbig, alone, 1 threads"], abs=1e-3)
    assert learnt.keys() > {ranks.OURS, ranks.OURS_APART, ranks.INDEPENDENT, ranks.BY_HAND}
    assert 0.6 < min(learnt.values()) <= max(learnt.values()) < min(learnt.values()) + 0.1
    assert {len(row.seconds) for row in table.rows} == {7}
    assert not list(tmp_path.iterdir())


def test_epochs_of_a_contender_are_those_of_a_fit() -> None:
    """What is timed epoch by epoch is the training of the estimator."""
    task = Task(5, (16,), 32, n_rows=100, n_epochs=3, n_classes=3)
    X, y, _ = ranks.made_rows(task)
    contender = ranks.Ours(task, X, y)
    losses = [contender.epoch().loss.item() for _ in range(3)]
    with not_converged():
        fitted = skbig.BigMLPClassifier(**shared(task), device="cpu").fit(X, y)
    np.testing.assert_allclose(losses, fitted.loss_curve_, rtol=1e-6)


@pytest.mark.parametrize(("seconds", "verdict"), [(1.0, "ok"), (1.02, "ok"), (1.2, "short")])
def test_steps_apart_are_judged_beside_the_independent(seconds: float, verdict: str) -> None:
    """Two processes that meet now and then may take little longer than two that never do."""
    rows = {name: Row(name, [time]) for name, time in ((ranks.INDEPENDENT, 1.0), (ranks.OURS_APART, seconds))}
    assert ranks.judged_apart(rows).endswith(f": {verdict}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small data sets: classes with an official split and missing categories, integer classes, a regression."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=120), "colour": rng.choice(["red", "blue", None], 120)})
    table["kind"] = np.where(table["size"] > 0, "large", "small")
    table["split"] = np.where(np.arange(120) < 80, "train", "test")
    table["shelf"] = 1 + (table["size"] > 0)
    table["price"] = 100 + 50 * table["size"]
    for name, target, task, split in (
        ("shop", "kind", "binary", ["split"]),
        ("shelves", "shelf", "multiclass 2", []),
        ("prices", "price", "regression", []),
    ):
        (tmp_path / name).mkdir()
        table[["size", "colour", target, *split]].to_csv(tmp_path / name / "data.csv", index=False)
        meta = {"files": ["data.csv"], "target": target, "task": task, "numeric": ["size"], "categorical": ["colour"]}
        (tmp_path / name / "meta.json").write_text(json.dumps(meta))
    return tmp_path


def test_accuracy_compares_like_with_like(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both learn what can be learned, and a line per data set and setting says so."""
    small = {"hidden_layer_sizes": (8,), "batch_size": 8, "max_iter": 60}
    monkeypatch.setattr(accuracy, "SETTINGS", {"small": small})
    accuracy.main(["--data", str(folder), "--only", "shop", "shelves", "prices", "--seeds", "2", "--threads", "1"])
    head, shop, shelves, prices = capsys.readouterr().out.splitlines()
    assert "2 seeds" in head
    for line, kind, largest in ((shop, "wrong", 0.1), (shelves, "wrong", 0.1), (prices, "RMSE", 15.0)):
        words = line.split()
        assert words[2] == kind
        theirs, ours = float(words[3]), float(words[6])
        assert max(theirs, ours) < largest


def test_splits_are_fair(folder: Path) -> None:
    """Training and test rows never meet, an official test part is kept, and the training part can be limited."""
    shop, prices = load(folder / "shop"), load(folder / "prices")
    train, test = shop.split(seed=1, max_train=None)
    assert (set(train), set(test)) == (set(range(80)), set(range(80, 120)))
    train, test = prices.split(seed=1, max_train=50)
    assert len(train) == 50
    assert len(test) == 24
    assert not set(train) & set(test)
    assert set(shop.X["colour"]) == {"red", "blue", "missing"}


def test_searches_take_real_rows(folder: Path) -> None:
    """The rows of a search are the training part of a set, scaled and coded, and the search is told their shape."""
    search = Search("shop", Task(99, (4,), 8, n_rows=70, n_epochs=1, n_classes=9))
    search, X, y = search.with_rows(folder)
    assert X.dtype == np.float32
    assert X.shape == (70, 4)  # a number and three kinds of colour
    assert (search.task.n_rows, search.task.n_features, search.task.n_classes) == (70, 4, 2)
    assert set(y) == {0, 1}
    assert abs(X[:, 0].mean()) < 0.2
    assert set(np.unique(X[:, 1:].sum(1))) == {1.0}
