"""Of all workers that show no progress, those are found that the others wait for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from skbig.launch.heartbeat import COLUMNS, DEADLINE, LOADING, SETTLING, Heartbeat, HeartbeatTable, Phase


def test_the_rank_that_others_wait_for_is_silent(tmp_path: Path) -> None:
    """Of the ranks that are late, those that have begun the fewest operations are told."""
    table = HeartbeatTable.create(tmp_path / "table", 4, 60)
    heartbeats = [Heartbeat.start(tmp_path / "table", rank, timeout) for rank, timeout in enumerate((60, 60, 60, 60))]
    for heartbeat, operations in zip(heartbeats, (7, 6, 7, 5), strict=True):
        heartbeat.run()
        heartbeat.count(operations)
    assert table.silent() == []
    let_pass(table, [0, 1, 2], 60)
    assert table.silent() == [1]
    heartbeats[1].count(7)
    assert table.silent() == [0, 1, 2]
    for heartbeat in heartbeats:
        heartbeat.end(Phase.RETURNED)
    assert table.silent() == []
    assert table.unreturned() == []


def let_pass(table: HeartbeatTable, ranks: Sequence[int], seconds: float) -> None:
    """Let so many seconds pass for some ranks, without a sign of life, and those after which it is said."""
    for rank in ranks:
        table.table[rank * len(COLUMNS) + DEADLINE] -= round((seconds + SETTLING) * 1e9)


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_worker_that_stops_while_it_starts_is_silent(tmp_path: Path, has_begun: bool) -> None:
    """One that is not heard of in time is told, also if nothing of it ever ran; those that wait for it are not."""
    table = HeartbeatTable.create(tmp_path / "table", 2, 60)
    waiting = Heartbeat.start(tmp_path / "table", 0, 60)
    if has_begun:
        Heartbeat.start(tmp_path / "table", 1, 60)
    let_pass(table, [0, 1], 60)
    waiting.beat()
    assert table.silent() == [1]
    assert not table.are_running([1])
    table.expect(60)  # all are started again
    assert table.silent() == []


def test_loading_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as modules are loaded, a worker that starts gives signs of life; when none is any more, it does not."""
    table = HeartbeatTable.create(tmp_path / "table", 1, 60)
    heartbeat = Heartbeat.start(tmp_path / "table", 0, 60)
    loading = threading.Thread(target=heartbeat.beat_while_loading)
    loading.start()
    for name in ("skbig_test_one", "skbig_test_two"):
        time.sleep(3 * LOADING)
        let_pass(table, [0], 60)
        assert table.silent() == [0]
        monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
        while table.silent():
            time.sleep(0.01)
    heartbeat.run()
    loading.join()


def test_a_machine_that_slept_blames_nobody(tmp_path: Path) -> None:
    """The time in which nothing ran is nobody's."""
    table = HeartbeatTable.create(tmp_path / "table", 2, 60)
    for rank in range(2):
        Heartbeat.start(tmp_path / "table", rank, 60).run()
    let_pass(table, [0, 1], 60)
    table.postpone(60 + SETTLING)
    assert table.silent() == []


def test_a_worker_that_is_gone_stays_gone(tmp_path: Path) -> None:
    """A worker that has ended is not waited for, and a new process with its id is not it."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    table = HeartbeatTable.create(tmp_path / "table", 1, 60)
    heartbeat = Heartbeat.start(tmp_path / "table", 0, 60)
    let_pass(table, [0], 60)
    assert table.silent() == [0]
    heartbeat.table[0] = process.pid
    assert table.alive() == set() and table.silent() == []
    table.ended.add(os.getpid())
    heartbeat.table[0] = os.getpid()
    assert table.alive() == set()
