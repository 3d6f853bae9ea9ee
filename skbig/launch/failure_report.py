"""Why a launch failed: what its workers and its launcher have left behind, as one error."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import distributed

from skbig.exceptions import WorkerError

# Lines of a log that are shown in an error.
LOG_LINES = 20
# Ranks whose logs are shown.
MAX_LOGS = 4


class End(NamedTuple):
    """How a worker ended, as the launcher saw it; the exit code is that of Popen, negative for a signal.

    A worker that the launcher had to kill, since it did not end when another one failed, is not the cause and has no
    end.
    """

    rank: int
    pid: int
    exit_code: int


@contextmanager
def others_needed() -> Iterator[None]:
    """Raise a WorkerError when, in a launch by others, a rank is gone or takes no part in what all do together."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise WorkerError(
            "Another rank of this launch has ended, or does something else. All ranks must call fit with the same "
            f"rows and parameters; if one has failed, its own output says why. Here: {error}"
        ) from error


def silent_error(home: Path, ranks: list[int], started: bool, timeout: float) -> WorkerError:
    """Return the error of workers that show no progress."""
    who = f"rank {ranks[0]} has" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))} have"
    what = f"shown no progress for {timeout:g} s" if started else f"not started, or not ended, within {timeout:g} s"
    tails = "".join(tail(home, rank) for rank in ranks[:MAX_LOGS])
    return WorkerError(f"{who} {what}.{tails}", rank=ranks[0] if len(ranks) == 1 else None)


def failure_error(home: Path, exit_code: int | None, unreturned: list[int]) -> WorkerError:
    """Return the error of a launch that has ended badly.

    Parameters
    ----------
    exit_code : int or None
        The launcher's; None when it waits for another launch.
    unreturned : list of int
        The ranks whose function has not returned.
    """
    path = home / "ends.json"
    ends = [End(*end) for end in json.loads(path.read_text())] if path.exists() else []
    if not ends and not exit_code:
        rank = unreturned[0]
        return WorkerError(f"rank {rank} has ended before its function returned.{tail(home, rank)}", rank=rank)
    if not ends:
        assert exit_code is not None
        return WorkerError(f"The launcher {how_it_ended(exit_code)} before its workers.{tail(home)}")
    records = {end.pid: record(home, end.pid) for end in ends}
    cause = min(ends, key=lambda end: (distance(end, records[end.pid]), records[end.pid].get("time", 0.0)))
    if raised := records[cause.pid]:
        return raised_error(home, cause.rank, raised)
    name = signal_name(cause.exit_code)
    hint = " This is also what happens to a process when memory runs out." if name == "SIGKILL" else ""
    # Python's own message, when the worker could not even be imported, is in the launcher's log.
    last = tail(home, cause.rank) or (tail(home) if name is None else "")
    message = f"rank {cause.rank} {how_it_ended(cause.exit_code)}.{hint}{last}"
    return WorkerError(message, rank=cause.rank, signal=name)


def raised_error(home: Path, rank: int, raised: dict[str, Any]) -> WorkerError:
    message = f"rank {rank} raised {raised['type']}: {raised['message']}\n\n{raised['traceback']}{tail(home, rank)}"
    return WorkerError(message, rank=rank, error_type=raised["type"], traceback=raised["traceback"])


def distance(end: End, raised: dict[str, Any]) -> int:
    """Return how far an end is from the cause: when one worker ends, the others lose it, or are ended."""
    if raised:
        return 1
    # SIGTERM is the launcher's own, unless there is no other reason; SIGABRT is NCCL's, in a rank that lost another.
    distances: dict[str | None, int] = {"SIGTERM": 3, "SIGABRT": 2, None: 1}
    return distances.get(signal_name(end.exit_code), 0)


def record(home: Path, pid: int) -> dict[str, Any]:
    """Return what a worker has written of the exception that it raised; nothing if there is none."""
    path = home / f"failure-{pid}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def how_it_ended(exit_code: int) -> str:
    name = signal_name(exit_code)
    return f"was killed by {name}" if name else f"ended with exit code {exit_code}"


def signal_name(exit_code: int) -> str | None:
    if exit_code >= 0:
        return None
    try:
        return signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-exit_code}"


def tail(home: Path, rank: int | None = None) -> str:
    """Return the last lines of a worker's log, or of the launcher's."""
    path = home / ("launcher.log" if rank is None else f"rank-{rank}.log")
    lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:] if path.exists() else []
    return "\n".join([f"\n\nThe last lines of {path.name}:", *lines]) if lines else ""
