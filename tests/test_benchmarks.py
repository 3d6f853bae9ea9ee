"""The benchmarks run, and their tables say what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_info

from benchmarks import __main__ as command
from benchmarks import accuracy
from benchmarks.datasets import load
from benchmarks.peers import (
    HAS_SKORCH,
    Task,
    make_rows,
    train_lean,
    train_skbig,
    train_sklearn,
    train_skorch,
    trained,
)
from benchmarks.speed import SECTIONS
from benchmarks.timing import Row, Table, in_turn, threads

PEERS = [
    train_skbig,
    train_sklearn,
    train_lean,
    pytest.param(train_skorch, marks=pytest.mark.skipif(not HAS_SKORCH, reason="skorch is not installed")),
]


def test_every_section_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The smoke run prints each section and keeps every single time of every contender."""
    file = tmp_path / "times.json"
    command.main(["--quick", "--threads", "1", "--json", str(file)])
    printed = capsys.readouterr().out
    assert all(f"[{section}]" in printed for section in SECTIONS)
    report = json.loads(file.read_text())
    on_gpu = ["gpu"] * torch.cuda.is_available()
    assert [table["section"] for table in report["tables"]] == [*(name for name in SECTIONS if name != "gpu"), *on_gpu]
    for table in report["tables"]:
        assert all(row["seconds"] and min(row["seconds"]) > 0 for row in table["rows"])
        assert {row["name"] for row in table["rows"]} > {"MLPClassifier"} or table["section"] == "gpu"
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


def test_a_table_judges_by_medians() -> None:
    """The ratio is the other's median over ours, and the verdict follows from it."""
    rows = [Row("ours", [1.0, 9.0, 2.0]), Row("slow", [5.0, 5.0, 0.1], 2.5), Row("fast", [3.0, 3.0, 3.0], 2.0)]
    printed = str(Table("A task", 1000, "step", rows)).splitlines()
    assert printed[0] == "A task"
    assert printed[2].split() == ["ours", "2", "2000"]
    assert printed[3].split() == ["slow", "5", "5000", "2.50", ">=", "2.5", "ok"]
    assert printed[4].split() == ["fast", "3", "3000", "1.50", ">=", "2", "short"]


def test_threads_are_given_back() -> None:
    """The number of threads holds for torch and for BLAS, and only for the run."""

    def blas() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    before = torch.get_num_threads(), blas()
    with threads(1):
        assert (torch.get_num_threads(), blas()) == (1, {1})
    assert (torch.get_num_threads(), blas()) == before


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
