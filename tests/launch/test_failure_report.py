"""Of all that happens when a launch fails, the cause is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skbig.launch.failure_report import failure_error, silent_error

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
