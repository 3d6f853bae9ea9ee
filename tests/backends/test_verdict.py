"""Of all that happens when a launch fails, the cause is told; and of all that are silent, who is waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from skbig.backends.board import COLUMNS, DEADLINE, LOADING, SETTLING, Board, Slot, State
from skbig.backends.verdict import failure_error, silent_error

# Exit codes as the launcher sees them.
KILLED, SEGMENTATION, ENDED, ABORTED, RAISED = -9, -11, -15, -6, 1

# Name -> how ranks 0, 1, ... ended, each with the time of its exception, if it raised; and the one to blame.
STORIES = {
    "one raises, one misses it": ([(RAISED, 5.0), (RAISED, 4.0)], 1),
    "one raises, one is asked to end": ([(ENDED, None), (RAISED, 4.0)], 1),
    "one is killed, one misses it": ([(RAISED, 4.0), (KILLED, None)], 1),
    "one crashes, NCCL gives up in the other": ([(ABORTED, None), (SEGMENTATION, None)], 1),
    "one raises, NCCL gives up in the other": ([(ABORTED, None), (RAISED, 4.0)], 1),
    "one leaves, one is asked to end": ([(ENDED, None), (3, None)], 1),
    "somebody ends the first seen": ([(ENDED, None), (ENDED, None)], 0),
}


def tell(home: Path, ends: list[tuple[int, float | None]]) -> None:
    """Leave behind what the workers of a launch do, with process ids from 100."""
    (home / "ends.json").write_text(json.dumps([(rank, 100 + rank, end[0]) for rank, end in enumerate(ends)]))
    for rank, (_, moment) in enumerate(ends):
        if moment is not None:
            record = {"time": moment, "type": "OSError", "message": "no space", "traceback": "Traceback: ..."}
            (home / f"failure-{100 + rank}.json").write_text(json.dumps(record))


@pytest.mark.parametrize(("ends", "guilty"), STORIES.values(), ids=STORIES)
def test_the_cause_is_blamed(tmp_path: Path, ends: list[tuple[int, float | None]], guilty: int) -> None:
    """The error is of the rank that failed first, not of those that failed for it."""
    tell(tmp_path, ends)
    error = failure_error(tmp_path, 1, [0, 1])
    assert error.rank == guilty
    assert str(error).startswith(f"rank {guilty} ")
    assert (error.traceback is None) == (ends[guilty][1] is None)
    assert (error.signal is None) == (ends[guilty][0] > 0)


def test_the_launcher_may_be_the_one_that_fails(tmp_path: Path) -> None:
    """When no worker has ended, the error shows the end of the launcher's log."""
    (tmp_path / "launcher.log").write_text("\n".join(f"line {number}" for number in range(100)))
    error = failure_error(tmp_path, -9, [0, 1])
    assert error.rank is None
    assert "launcher was killed by SIGKILL" in str(error)
    assert str(error).endswith("line 99")
    assert "line 50" not in str(error)


def test_a_worker_may_end_in_peace_and_too_early(tmp_path: Path) -> None:
    """A function that ends its process, with success, has not returned."""
    error = failure_error(tmp_path, 0, [1])
    assert (str(error), error.rank) == ("rank 1 has ended before its function returned.", 1)


def test_silent_ranks_show_what_they_said_last(tmp_path: Path) -> None:
    """One silent rank is named by the error, several in its text; a rank that never started is said to be that."""
    for rank in range(2):
        (tmp_path / f"rank-{rank}.log").write_text(f"{rank} is here")
    both, one = (silent_error(tmp_path, ranks, True, 5) for ranks in ([0, 1], [1]))
    assert (both.rank, one.rank) == (None, 1)
    assert "ranks 0, 1 have shown no progress for 5 s" in str(both)
    assert "0 is here" in str(both)
    assert "0 is here" not in str(one)
    assert "not started" in str(silent_error(tmp_path, [1], False, 5))


def test_the_rank_that_others_wait_for_is_silent(tmp_path: Path) -> None:
    """Of the ranks that are late, those that have begun the fewest operations are told."""
    board = Board.create(tmp_path / "board", 4, 60)
    slots = [Slot.take(tmp_path / "board", rank, patience) for rank, patience in enumerate((60, 60, 60, 60))]
    for slot, operations in zip(slots, (7, 6, 7, 5), strict=True):
        slot.start()
        slot.count(operations)
    assert board.silent() == []
    let_pass(board, [0, 1, 2], 60)
    assert board.silent() == [1]
    slots[1].count(7)
    assert board.silent() == [0, 1, 2]
    for slot in slots:
        slot.leave(State.RETURNED)
    assert board.silent() == []
    assert board.unreturned() == []


def let_pass(board: Board, ranks: Sequence[int], seconds: float) -> None:
    """Let so many seconds pass for some ranks, without a sign of life, and those after which it is said."""
    for rank in ranks:
        board.table[rank * len(COLUMNS) + DEADLINE] -= round((seconds + SETTLING) * 1e9)


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_worker_that_stops_while_it_starts_is_silent(tmp_path: Path, has_begun: bool) -> None:
    """One that is not heard of in time is told, also if nothing of it ever ran; those that wait for it are not."""
    board = Board.create(tmp_path / "board", 2, 60)
    waiting = Slot.take(tmp_path / "board", 0, 60)
    if has_begun:
        Slot.take(tmp_path / "board", 1, 60)
    let_pass(board, [0, 1], 60)
    waiting.beat()
    assert board.silent() == [1]
    assert not board.are_running([1])
    board.expect(60)  # all are started again
    assert board.silent() == []


def test_loading_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as modules are loaded, a worker that starts gives signs of life; when none is any more, it does not."""
    board = Board.create(tmp_path / "board", 1, 60)
    slot = Slot.take(tmp_path / "board", 0, 60)
    loading = threading.Thread(target=slot.beat_while_loading)
    loading.start()
    for name in ("skbig_test_one", "skbig_test_two"):
        time.sleep(3 * LOADING)
        let_pass(board, [0], 60)
        assert board.silent() == [0]
        monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
        while board.silent():
            time.sleep(0.01)
    slot.start()
    loading.join()


def test_a_machine_that_slept_blames_nobody(tmp_path: Path) -> None:
    """The time in which nothing ran is nobody's."""
    board = Board.create(tmp_path / "board", 2, 60)
    for rank in range(2):
        Slot.take(tmp_path / "board", rank, 60).start()
    let_pass(board, [0, 1], 60)
    board.postpone(60 + SETTLING)
    assert board.silent() == []


def test_a_worker_that_is_gone_stays_gone(tmp_path: Path) -> None:
    """A worker that has ended is not waited for, and a new process with its id is not it."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    board = Board.create(tmp_path / "board", 1, 60)
    slot = Slot.take(tmp_path / "board", 0, 60)
    let_pass(board, [0], 60)
    assert board.silent() == [0]
    slot.table[0] = process.pid
    assert board.alive() == set() and board.silent() == []
    board.gone.add(os.getpid())
    slot.table[0] = os.getpid()
    assert board.alive() == set()
