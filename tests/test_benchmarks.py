"""The benchmarks run, and their tables say what was measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import issparse
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer
from threadpoolctl import threadpool_info
from torch.utils.flop_counter import FlopCounterMode

import skbig
from benchmarks import __main__ as command
from benchmarks import (
    accuracy,
    categories,
    compression,
    environment,
    federation,
    gpu,
    gpu_speed,
    increments,
    pairs,
    privacy,
    ranks,
    raw_tables,
    serving,
    small,
    stream,
    surroundings,
    table_growth,
    timing,
)
from benchmarks.__main__ import PAIRS, ROWS, SECTIONS, TABLES
from benchmarks.datasets import load
from benchmarks.environment import Limits, hobbles, kernels, measured_limits
from benchmarks.options import Options
from benchmarks.pairs import Pair, PairTable, timed_pair
from benchmarks.peers import (
    HAS_SKORCH,
    Task,
    flops_of_training,
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
from benchmarks.timing import Row, Table, in_turn, threads
from skbig.estimators import row_checks

ALONE = {
    "gpu",
    "search-middle",
    "search-pipelines",
    "search-halving",
    "search-gpu",
    *stream.SECTIONS,
    *ranks.SECTIONS,
    *serving.SECTIONS,
}
needs_skorch = pytest.mark.skipif(not HAS_SKORCH, reason="skorch is not installed")

PEERS = [
    train_skbig,
    train_sklearn,
    train_lean,
    pytest.param(train_skorch, marks=needs_skorch),
]


@pytest.mark.thorough
def test_every_section_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The smoke run prints each section and keeps every single time of every contender."""
    file = tmp_path / "times.json"
    command.main(["--quick", "--threads", "1", "--json", str(file)])
    printed = capsys.readouterr().out
    assert all(f"[{section}]" in printed for section in SECTIONS)
    report = json.loads(file.read_text())
    left_out = ["gpu", "search-gpu"] * (not torch.cuda.is_available())
    left_out += ["search-halving"] * (not hasattr(skbig, "BigHalvingGridSearchCV"))
    left_out += serving.SECTIONS  # whose tables are texts
    assert [table["section"] for table in report["tables"]] == [name for name in SECTIONS if name not in left_out]
    assert report["limits"].keys() == {"NumPy float32", "torch float32", "torch bf16"}
    assert report["kernels"] == {
        name: kernel for name, kernel in report["kernels"].items() if f"{name}: {kernel}" in printed
    }
    pairs = [table for table in report["tables"] if table["section"] in PAIRS]
    assert [f"{table['section']}/{row['name']}" for table in pairs for row in table["rows"]] == ROWS
    assert all(row["ours"] for table in pairs for row in table["rows"])
    for table in [table for table in report["tables"] if table["section"] in privacy.SECTIONS]:
        assert [(row["peer_name"], len(row["ours"]), len(row["peer"])) for row in table["rows"]] == [("plain", 1, 1)]
    for table in [table for table in report["tables"] if table["section"] in TABLES.keys() - privacy.SECTIONS.keys()]:
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


def test_single_rows_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A row runs alone, in the table of its section, and a section that is named as a whole runs as a whole."""
    command.main(["--quick", "--threads", "1", "--only", "lbfgs/iris", "small-data/wine-10", "lbfgs/made-200"])
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert [line[0] for line in lines if line and line[0] in {row.partition("/")[2] for row in ROWS}] == [
        *("iris", "made-200", "wine-10")
    ]
    assert command.chosen(["busy", "lbfgs/iris", "busy/quiet"]) == {"busy": [], "lbfgs": ["iris"]}


def test_an_unknown_row_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is wrong by a letter is answered with those it resembles."""
    with pytest.raises(SystemExit):
        command.main(["--only", "smal-data/iris-10"])
    assert "Did you mean small-data/iris-10 " in capsys.readouterr().err
    command.main(["--list"])
    assert capsys.readouterr().out.split() == [*SECTIONS, *ROWS]


@pytest.mark.thorough
def test_what_holds_a_contender_back_is_cleared() -> None:
    """A run under variables that choose kernels begins again without them, says so, and once."""
    held = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "1024", "PYTHONPATH": str(stream.ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list"],
        env=held,
        cwd=stream.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    first, *names = done.stdout.splitlines()
    assert first.startswith("cleared, for this program and its workers: ")
    assert {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} <= {*first.partition(": ")[2].split(", ")}
    assert names == [*SECTIONS, *ROWS]


def test_a_program_starts_again_without_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same command, in the same environment but for them; without such variables nothing happens."""
    started: list[Any] = []
    monkeypatch.setattr(os, "environ", {"HOME": "/", "MKL_DEBUG_CPU_TYPE": "5", "ONEDNN_MAX_CPU_ISA": "AVX2"})
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(sys, "argv", ["x", "--quick"])
    assert hobbles(os.environ) == ["MKL_DEBUG_CPU_TYPE", "ONEDNN_MAX_CPU_ISA"]
    monkeypatch.setattr(environment, "hobbles", lambda: hobbles(os.environ))
    environment.begin_again_without_hobbles("benchmarks")
    ((program, arguments, variables),) = started
    assert (program, arguments) == (sys.executable, [sys.executable, "-m", "benchmarks", "--quick"])
    assert variables == {"HOME": "/", environment.CLEARED: "1"}
    monkeypatch.setattr(os, "environ", variables)
    environment.begin_again_without_hobbles("benchmarks")
    assert len(started) == 1


def test_kernels_are_those_of_the_libraries() -> None:
    """Of each contender the library, its kernels and its threads are told, as threadpoolctl finds them."""
    with threads(1):
        told = kernels()
    loaded = [library for library in threadpool_info() if library["user_api"] == "blas"]
    assert any(
        f"{library['version']}, {library.get('architecture')}, 1 threads" in told["MLPClassifier"] for library in loaded
    )
    assert f"torch {torch.__version__}" in told["skbig, skorch, lean torch"]
    assert told["skbig, skorch, lean torch"].endswith(", 1 threads")


def test_the_most_is_that_of_the_fastest_library() -> None:
    """What the machine does at most is a rate of products that was measured."""
    limits = measured_limits(quick=True)
    assert limits.float32 == max(limits.found["NumPy float32"], limits.found["torch float32"])
    assert limits.bf16 == limits.found["torch bf16"] > 0
    assert str(limits).count(" float32 ") == 2


def test_a_row_tells_its_share_of_the_most() -> None:
    """The share is the operations in products over the time, of what the machine does at most in that number format."""
    limits = Limits(float32=100e9, bf16=400e9, found={})
    rows = [Row("ours", [2.0]), Row("in bf16", [0.5], in_bf16=True)]
    table = Table("A task", 10, "step", rows, flops=100e9, limits=limits)
    assert [table.share(row) for row in rows] == [0.5, 0.5]
    head, ours, bf16 = (line.split() for line in str(table).splitlines()[1:])
    assert head[2:4] == ["of", "most"]
    assert (ours[3], bf16[4]) == ("50.0%", "50.0%")


@pytest.mark.parametrize(
    ("pair", "verdict"),
    [
        (Pair("a", [1.0, 9.0, 2.0], [4.0], wanted=2.0), "ok"),
        (Pair("a", [1.0, 9.0, 2.0], [3.9], wanted=2.0), "short"),
        (Pair("a", [1.0], [4.0], wanted=2.0, losses=(0.5, 0.5)), "ok"),
        (Pair("a", [1.0], [4.0], wanted=2.0, losses=(0.51, 0.5)), "short"),  # sooner, at a worse loss
        (Pair("a", [1.0], [4.0], wanted=2.0, losses=(0.0009, 0.0001)), "ok"),
        (Pair("a", [0.002], limit=0.001), "short"),
        (Pair("a", [0.0005], limit=0.001), "ok"),
        (Pair("a", [1.0], [4.0]), ""),
    ],
)
def test_a_pair_is_judged(pair: Pair, verdict: str) -> None:
    """A row is as it should be when the peer takes so many times longer, ours is small enough, and no worse."""
    assert pair.cells()[6] == verdict


def test_pairs_stand_in_columns() -> None:
    """A row shows ours, the peer, their ratio and what is wanted, in units that can be read."""
    rows = [Pair("first", [2e-3], [5e-3], "MLP", wanted=2.0), Pair("cost", [3e-5], limit=5e-5, note="why")]
    title, head, first, cost = str(PairTable("A title", rows)).splitlines()
    assert title == "A title"
    assert head.split() == ["ours", "peer", "peer/ours", "wanted"]
    assert first.split() == ["first", "2", "ms", "5", "ms", "MLP", "2.50", ">=", "2", "ok"]
    assert cost.split() == ["cost", "30", "us", "<=", "50", "us", "ok", "why"]


@pytest.mark.thorough
def test_a_pair_runs_in_turn(clock: Clock) -> None:
    """Both run once before, then in turn; seconds are those of one unit, and losses those that came back."""
    calls: list[str] = []

    def run(name: str, loss: float) -> float:
        calls.append(name)
        clock.sleep(1.0)
        return loss

    pair = timed_pair(
        "a",
        lambda: run("ours", 1.0),
        lambda: run("peer", 2.0),
        "peer",
        Options(repeats=3),
        n_units=10,
        n_peer_units=5,
        compares_losses=True,
    )
    assert calls == ["ours", "peer"] * 4
    assert (pair.ours, pair.peer) == ([0.1] * 3, [0.2] * 3)
    assert pair.losses == (1.0, 2.0)


def test_what_no_step_accounts_for_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of times that are a fixed one, one an epoch and one a step, the first two are found again."""
    monkeypatch.setattr(small, "seconds_of", lambda hidden, n, epochs: 0.004 + epochs * (0.0003 + n * 0.00008))
    fixed, epoch = small.beside_the_steps((100,), Options())
    np.testing.assert_allclose(fixed, 0.004)
    np.testing.assert_allclose(epoch, 0.0003)


def test_slower_calls_are_noticed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose calls take longer the more there were does not count as flat."""
    calls: list[Any] = []
    monkeypatch.setattr(increments, "models", lambda hidden, **settings: (calls, [1]))

    def slower(model: list[Any]) -> None:
        if model is calls:
            model.append([])
        clock.sleep(len(model))

    pair = increments.flatness("flat", slower, {}, 24, Options())
    assert (pair.ours, pair.peer) == ([21.5 / 9.5], [1.0])
    assert pair.is_met is False


def test_small_fits_that_stop_early_do_not_count() -> None:
    """A fit of fewer epochs than were asked for would look fast, so it is an error."""
    model = skbig.BigMLPClassifier((2,), max_iter=9, tol=10.0, n_iter_no_change=1, device="cpu")
    with pytest.raises(RuntimeError, match=r"BigMLPClassifier ran \d epochs of 9"):
        small.fit(lambda: model, *small.rows_of("iris"), 9)


def test_categories_are_sparse_rows() -> None:
    """The table has the columns of adult, which come to the network as CSR, or dense where that is asked for."""
    X, y, numbers, words = categories.table(None, 3000)
    assert (len(numbers), len(words), {*np.unique(y)}) == (6, 8, {0, 1})
    for sparse in (True, False):
        columns = categories.pipeline(None, numbers, words, sparse)[:-1].fit_transform(X)
        assert issparse(columns) is sparse
        assert columns.shape == (3000, 108)


def test_busy_programs_end() -> None:
    """They run while they are needed, and leave nothing behind."""
    with surroundings.busy_loops(2):
        loops = [child for child in psutil.Process().children() if "while True" in " ".join(child.cmdline())]
        assert len(loops) == 2
    assert not any(loop.is_running() for loop in loops)


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


def test_operations_of_a_training_are_counted() -> None:
    """The operations in products are those that torch counts in forward and backward passes."""
    task = Task(5, (7, 6), 8, n_rows=24, n_epochs=2, n_classes=4)
    with FlopCounterMode(display=False) as counter:
        for batch in torch.zeros(48, 5).split(8):
            network(task)(batch).sum().backward()
    assert flops_of_training(task) == counter.get_total_flops()


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


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the benchmarks read."""
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    for module in (pairs, increments):
        monkeypatch.setattr(module, "perf_counter", clock.perf_counter)
    return clock


def test_what_comes_before_a_run_is_not_timed(clock: Clock) -> None:
    """It comes before every run, and knows whose; its own time does not count."""
    calls: list[str] = []

    def before(name: str) -> None:
        calls.append(f"before {name}")
        clock.sleep(5.0)

    def run(name: str) -> None:
        calls.append(name)
        clock.sleep(1.0)

    timed = in_turn({name: partial(run, name) for name in "ab"}, 2, collect=False, before_each=before)
    assert calls == ["before a", "a", "before b", "b"] * 2
    assert {name: seconds for name, (seconds, _) in timed.items()} == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


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


@pytest.mark.thorough
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
    monkeypatch.setattr(stream, "train_skbig", lambda task, X, y: (limits.append(row_checks.LOADED_BYTES), 0.5)[1])
    before = row_checks.LOADED_BYTES
    stream.train_from_file(Options(repeats=2, quick=True, scratch=tmp_path))
    assert limits == [0, before] * 2
    assert row_checks.LOADED_BYTES != 0


def test_a_large_file_needs_room(tmp_path: Path) -> None:
    """Where the disk has no room for the file, its section is a message."""
    assert "no room for 1e+09 GB" in stream.fit_large_file(Options(gigabytes=1e9, scratch=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
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
    table = pd.DataFrame({"size": rng.normal(size=150), "colour": rng.choice(["red", "blue", None], 150)})
    table["kind"] = np.where(table["size"] > 0, "large", "small")
    table["split"] = np.where(np.arange(150) < 80, "train", "test")
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


def test_raw_tables_are_compared_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line per table and method says what it came to; ours is better than chance, and has intervals for numbers."""
    options = ["--seeds", "1", "--threads", "1", "--methods", "skbig fast", "--set", '{"max_iter": 80}']
    raw_tables.main(["--data", str(folder), "--only", "shop", "prices", *options])
    head, shop, prices = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[-2:] == ["coverage", "seconds"]
    assert shop[:3] == ["shop", "skbig", "fast"]
    assert max(float(shop[3]), float(prices[3])) < 0.4
    assert 0 < float(prices[5]) <= 1


@pytest.mark.thorough
def test_a_table_grows(capsys: pytest.CaptureFixture[str]) -> None:
    """Each size is a line: what it took, and no less memory than the table itself."""
    table_growth.main(["--rows", "300", "--threads", "1"])
    head, line = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[0] == "rows"
    n_rows, seconds, epochs, _, table, peak = (float(word) for word in line)
    assert n_rows == 300
    assert min(seconds, epochs) > 0
    assert 0 < table < peak
    X, y = table_growth.made(2_000)
    assert X.shape == (2_000, 30)
    assert 0.05 < X["number 0"].isna().mean() < 0.15
    assert 0.3 < y.mean() < 0.7


def test_choosing_reads_no_test_row(folder: Path) -> None:
    """What is chosen is judged on a part of the training rows."""
    table = raw_tables.table_of(folder, "shop")
    train, test = table.rows(0, 1000, choose=False)
    kept, judged = table.rows(0, 1000, choose=True)
    assert not set(kept) & set(judged)
    assert {*kept, *judged} == {*train}
    assert not set(judged) & set(test)
    assert table.X["colour"].isna().any()


def test_splits_are_fair(folder: Path) -> None:
    """Training and test rows never meet, an official test part is kept, and the training part can be limited."""
    shop, prices = load(folder / "shop"), load(folder / "prices")
    train, test = shop.split(seed=1, max_train=None)
    assert (set(train), set(test)) == (set(range(80)), set(range(80, 150)))
    train, test = prices.split(seed=1, max_train=50)
    assert len(train) == 50
    assert len(test) == 30
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_the_report_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The program for cards ends at once where there is none, and what it says stands in the report."""
    gpu.main(["--out", str(tmp_path)])
    assert "There is no CUDA device." in capsys.readouterr().out
    assert (tmp_path / "gpu.txt").read_text().endswith("There is no CUDA device.\n")
    assert list(gpu.SECTIONS) == ["ceilings", "small", "large", "predict", "search", "phases"]


OWN_SECTIONS = """
import os, subprocess, sys, time
from benchmarks import gpu_section, gpu_speed

def fails(seconds_left, quick):
    raise RuntimeError("no kernel")

def dies(seconds_left, quick):
    os._exit(7)

def works(seconds_left, quick):
    return gpu_speed.Facts({"rate": 5, "quick": quick})

def hangs(seconds_left, quick):
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open("PIDS", "w").write(str(worker.pid))
    time.sleep(60)

gpu_section.SECTIONS = {"fails": fails, "dies": dies, "works": works, "hangs": hangs}
gpu_section.main()
"""


def test_a_report_of_a_card_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that fails is told of, and takes nothing along; one that is too slow is stopped, with its workers."""
    pids = tmp_path / "pids"
    code = OWN_SECTIONS.replace("PIDS", str(pids))
    monkeypatch.setattr(gpu, "SECTION", [sys.executable, "-W", "ignore", "-c", code])
    monkeypatch.setattr(gpu, "SECTIONS", ["fails", "dies", "works", "hangs", "is left out"])
    monkeypatch.setattr(gpu, "machine", lambda: {"card": "none"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    run, limits = gpu.run_group, iter([60, 60, 60, 12])

    monkeypatch.setattr(gpu, "run_group", lambda command, seconds: run(command, next(limits)))
    gpu.main(["--out", str(tmp_path), "--no-tests", "--quick"])
    text = (tmp_path / "gpu.txt").read_text()
    order = [
        "RuntimeError: no kernel",
        "[dies] failed:\nits process ended with 7",
        "rate: 5",
        "[hangs] was stopped, and",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places) and "is left out" not in text
    found = {"machine": {"card": "none"}, "works": {"rate": 5, "quick": True}}
    assert json.loads((tmp_path / "gpu.json").read_text()) == found
    assert has_ended(int(pids.read_text()))


def has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_tests_of_a_card_are_stopped_with_their_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When they take too long nothing of them goes on beside what is measured next."""
    code = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(worker.pid))\n"
        "time.sleep(60)\n"
    )
    run = gpu.run_group
    monkeypatch.setattr(gpu, "run_group", lambda command, seconds: run([sys.executable, "-c", code], 3))
    gpu.run_tests(gpu.Report(tmp_path, time.monotonic() + 100))
    assert "The tests were stopped: one of them takes too long." in (tmp_path / "gpu.txt").read_text()
    assert has_ended(int((tmp_path / "pid").read_text()))


def test_tests_of_a_card_that_die_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they had found another time, in the same folder, is not what they have found."""
    (tmp_path / "gpu-tests.json").write_text('{"counts": {"passed": 9}, "seconds": 1, "failed": []}')
    run = gpu.run_group
    dies = [sys.executable, "-c", "import os; os._exit(7)"]
    monkeypatch.setattr(gpu, "run_group", lambda command, seconds: run(dies, 60))
    gpu.run_tests(gpu.Report(tmp_path, time.monotonic() + 100))
    text = (tmp_path / "gpu.txt").read_text()
    assert text == "The tests did not come to their end: their process ended with 7.\n"


def test_a_quick_search_is_told_of_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rates are those of the steps that were taken, not of the whole search."""
    quick = gpu_speed.SEARCH.quick()
    table = timing.Table("search", quick.n_steps, "step", [Row("BigGridSearchCV", [2.0])])
    monkeypatch.setattr(gpu_speed, "compare", lambda *_: (table, quick, {}))
    monkeypatch.setattr(gpu_speed, "product_rate", lambda _: 1e12)
    (note,) = gpu_speed.search(100.0, quick=True).notes
    used = quick.n_steps * gpu_speed.work_of_step(quick.task) / 2.0
    assert f"{quick.n_steps / 2:,.0f} steps of a member a second, {used / 1e12:.1%} of the product rate" in note


@pytest.mark.parametrize(("share", "judgement"), [(0.551, "55% are wanted: ok"), (0.5, "55% are wanted: short")])
def test_the_rate_of_products_is_judged(monkeypatch: pytest.MonkeyPatch, share: float, judgement: str) -> None:
    """Of a large network it is not only compared how fast others are, but what the card can do."""
    facts = {"skbig, bf16": {"share of the product rate": share}}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(
        gpu_speed, "compared", lambda *_: gpu_speed.Speeds("large", 1, "step", [], ["first"], facts=facts)
    )
    first, last = gpu_speed.large(1.0, quick=True).notes
    assert first == "first" and last.endswith(judgement)


@pytest.mark.parametrize("seconds", [100, -1])
def test_tests_of_a_card_end_by_themselves(tmp_path: Path, seconds: int) -> None:
    """Each failure is printed and kept; when the time is over no more tests are begun, by pytest-xdist, either."""
    (tmp_path / "conftest.py").write_text("from tests.gpu.conftest import pytest_runtest_setup\n")
    (tmp_path / "test_some.py").write_text("def test_good(): pass\ndef test_bad(): assert 1 == 2\n")
    code = (
        "from pathlib import Path\n"
        "from benchmarks import gpu_tests\n"
        f"gpu_tests.TESTS, gpu_tests.N_PROCESSES = Path({str(tmp_path)!r}), 1\n"
        f"gpu_tests.main(['--seconds', '{seconds}', '--out', {str(tmp_path)!r}])\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=stream.ROOT, timeout=120, check=True)
    found = json.loads((tmp_path / "gpu-tests.json").read_text())
    assert found["counts"] == ({"passed": 1, "failed": 1} if seconds > 0 else {"skipped": 2})
    assert [result["test"].endswith("test_bad") for result in found["failed"]] == [True] * (seconds > 0)
    assert ("assert 1 == 2" in done.stdout) is (seconds > 0)


def test_speeds_of_a_card_need_no_installation() -> None:
    """What `make gpu` runs is imported where torch, scikit-learn and pytest are, and none of our other extras."""
    missing = ("pandas", "polars", "pyarrow", "skorch", "optuna", "matplotlib", "psutil", "tqdm", "rich", "h5py")
    code = (
        "import sys, importlib.util as util\n"
        f"missing, find = {missing}, util.find_spec\n"
        "sys.modules.update(dict.fromkeys(missing))\n"
        "util.find_spec = lambda name, *package: None if name in missing else find(name, *package)\n"
        "import benchmarks.gpu, benchmarks.gpu_tests, tests.gpu.test_estimators, tests.gpu.test_steps\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=stream.ROOT, timeout=120)
    assert done.returncode == 0, done.stderr


def test_federation_is_beside_central_training() -> None:
    """One client that has all rows comes near to what central training comes to."""
    wanted, mean, _ = federation.compare(lambda y, random: [np.arange(len(y))], 10, 1, 0.0, 1)
    assert min(wanted, mean) > 0.8


def test_a_setting_is_chosen_one_after_the_other() -> None:
    """It begins with the first of each, and goes on with the best so far."""
    asked = []

    def loss(setting: dict[str, Any]) -> float:
        asked.append((setting["a"], setting["b"]))
        return float((setting["a"] - 2) ** 2 + setting["b"])

    assert compression.chosen({"a": (1, 2, 3), "b": (0, -1, 5)}, loss) == {"a": 2, "b": -1}
    assert asked == [(1, 0), (2, 0), (3, 0), (2, -1), (2, 5)]


def test_students_are_chosen_without_the_test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What chooses learns and scores training rows alone; the test rows are scored once for each of three models."""
    learnt, scored = [], []
    whole = compression.digits(None, 0)
    split = whole[0][:120], whole[1][:50], whole[2][:120], whole[3][:50]
    lesson = compression.Lesson(
        lambda seed, max_iter: compression.network(4, seed=seed, max_iter=max_iter, batch_size=24),
        lambda seed: compression.network(8, seed=seed, max_iter=1, batch_size=24),
        lambda folder, seed: split,
        max_iter=1,
    )
    monkeypatch.setattr(compression, "SETTINGS", {"n_made": (1, 0), "epochs": (1, 2)})
    of, scores = compression.School.of, compression.scores
    monkeypatch.setattr(compression.School, "of", lambda *given: (learnt.append(given[2]), of(*given))[1])
    monkeypatch.setattr(compression, "scores", lambda model, X, y: (scored.append(X), scores(model, X, y))[1])
    found, settings = compression.taught(lesson, None, 0)
    assert found.shape == (3, 2) and set(settings[0]) == {"epochs"} and set(settings[1]) == {"n_made", "epochs"}
    assert [len(rows) for rows in learnt] == [96, 120]
    assert [len(X) for X in scored] == [24] * 5 + [50] * 3
    known = {row.tobytes() for row in learnt[0]}
    assert not any(row.tobytes() in known for row in scored[0])
    learnt.clear(), scored.clear()
    assert compression.taught(replace(lesson, tuned=False), None, 0)[1] == [{}, {}]
    assert [len(rows) for rows in learnt] == [120] and [len(X) for X in scored] == [50] * 3


def test_numbers_that_a_smaller_model_has() -> None:
    """Zeros do not count as numbers of a model."""
    model = skbig.BigMLPClassifier((4,)).initialize(n_features=3, classes=range(3))
    n = compression.numbers(model)
    weights = model.get_weights()
    weights[0][:] = 0.0
    model.set_weights(weights)
    assert compression.numbers(model) == n - 12
