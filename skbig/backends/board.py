"""The board of a launch: a table in a file, by which the workers tell the caller that they live.

Shapes: table [workers, 4], int64: the process id (0 before it started); the deadline by which the worker has to give
the next sign of life (nanoseconds of the monotonic clock, which the processes of one machine share); the state; and
how many operations of the process group it has begun, by which one sees who waits for whom.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Seconds that a worker has for what is not its function: imports from a cold network disk take minutes.
OUTSIDE = 300.0
# Seconds from the first deadline that passes to the judgement who is silent: others may miss theirs a moment later.
SETTLING = 1.0

PID, DEADLINE, STATE, OPERATIONS = COLUMNS = range(4)


class State(IntEnum):
    STARTING = 0
    RUNNING = 1
    FAILED = 2
    RETURNED = 3


@dataclass(frozen=True)
class Slot:
    """A worker's own row of the board."""

    row: NDArray[np.int64]
    patience: float

    @classmethod
    def take(cls, path: Path, rank: int, patience: float) -> Slot:
        """Enter this process as the worker of a rank, which has `patience` seconds from sign to sign of life."""
        slot = cls(np.asarray(_map(path)[rank]), patience)
        slot.row[:] = os.getpid(), _deadline(OUTSIDE), State.STARTING, 0
        return slot

    def start(self) -> None:
        """Say that from now on there are signs of life."""
        self.beat()
        self.row[STATE] = State.RUNNING

    def beat(self) -> None:
        """Give a sign of life: a write to memory, cheap enough for every step."""
        self.row[DEADLINE] = _deadline(self.patience)

    def count(self, operations: int) -> None:
        self.row[OPERATIONS] = operations

    def leave(self, state: State) -> None:
        """Say how it ended; what is left is the end of the process."""
        self.row[DEADLINE] = _deadline(OUTSIDE)
        self.row[STATE] = state


@dataclass
class Board:
    """The caller's view of all workers. It remembers which processes are gone, for their ids may come again."""

    table: NDArray[np.int64]
    gone: set[int] = field(default_factory=set)

    @classmethod
    def create(cls, path: Path, n_workers: int) -> Board:
        np.zeros((n_workers, len(COLUMNS)), dtype=np.int64).tofile(path)
        board = cls(_map(path))
        board.table[:, DEADLINE] = _deadline(OUTSIDE)
        return board

    def alive(self) -> set[int]:
        """Return the ids of the workers that have started and not ended."""
        started = {int(pid) for pid in self.table[:, PID] if pid}
        self.gone |= {pid for pid in started - self.gone if not _exists(pid)}
        return started - self.gone

    def fallen(self) -> set[int]:
        """Return the ids of the workers that failed, or ended before their function returned."""
        alive = self.alive()
        rows = [(int(pid), state) for pid, state in self.table[:, [PID, STATE]] if pid]
        return {pid for pid, state in rows if state == State.FAILED or (state < State.FAILED and pid not in alive)}

    def silent(self) -> list[int]:
        """Return the ranks that let the others wait, if a deadline has passed.

        All are silent then, when one lets the others wait in an operation that it has not begun: so it is those that
        have begun the fewest. These may be all.
        """
        waited_for = {0, *self.alive()}
        late = time.monotonic_ns() - self.table[:, DEADLINE]
        late[[row[PID] not in waited_for for row in self.table]] = 0
        if late.max() < SETTLING * 1e9:
            return []
        fewest = self.table[late > 0, OPERATIONS].min()
        return [int(rank) for rank in np.flatnonzero((late > 0) & (self.table[:, OPERATIONS] == fewest))]

    def are_running(self, ranks: list[int]) -> bool:
        return bool((self.table[ranks, STATE] == State.RUNNING).all())

    def unreturned(self) -> list[int]:
        """Return the ranks whose function has not returned."""
        return [int(rank) for rank in np.flatnonzero(self.table[:, STATE] != State.RETURNED)]


def _map(path: Path) -> NDArray[np.int64]:
    return np.memmap(path, dtype=np.int64, mode="r+").reshape(-1, len(COLUMNS))


def _deadline(seconds: float) -> int:
    return time.monotonic_ns() + round(seconds * 1e9)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
