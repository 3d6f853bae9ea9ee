"""The heartbeat of a launch: a table in a file, by which the workers tell the caller that they live.

Shapes: table [workers, 4], int64, kept flat: the process id (0 before it started); the deadline by which the worker has
to give the next sign of life (nanoseconds of the monotonic clock, which the processes of one machine share); the state;
and how many operations of the process group it has begun, by which one sees who waits for whom.

The launcher and the workers read this file without the package, which loads torch: a worker lives before that, and the
launcher never needs it. So nothing but Python's own is imported here.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

# Seconds from the first deadline that passes to the judgement who is silent: others may miss theirs a moment later.
SETTLING = 1.0
# Seconds between two looks at what a worker has loaded.
LOADING = 0.1

PID, DEADLINE, STATE, OPERATIONS = COLUMNS = range(4)


class State(IntEnum):
    STARTING = 0
    READY = 1  # everything is loaded; it waits for the others
    RUNNING = 2
    FAILED = 3
    RETURNED = 4


@dataclass(frozen=True)
class Slot:
    """A worker's own row of the table, and a look at the others'."""

    table: memoryview
    rank: int
    patience: float

    @classmethod
    def take(cls, path: Path, rank: int, patience: float) -> Slot:
        """Enter this process as the worker of a rank, which has `patience` seconds from sign to sign of life."""
        slot = cls(_map(path), rank, patience)
        slot._write(PID, os.getpid())
        slot.beat()
        return slot

    @property
    def state(self) -> State:
        return State(self.table[len(COLUMNS) * self.rank + STATE])

    def beat_while_loading(self) -> None:
        """Give signs of life as long as modules are loaded, one after another; to be called on a thread."""
        n_modules = 0
        while self.state == State.STARTING:
            if len(sys.modules) != n_modules:
                n_modules = len(sys.modules)
                self.beat()
            time.sleep(LOADING)

    def wait_for_others(self) -> None:
        """Say that everything is loaded, and wait until all workers have said so."""
        self._write(STATE, State.READY)
        while min(_column(self.table, STATE)) < State.READY:
            self.beat()
            time.sleep(LOADING / 10)
        self.beat()

    def start(self) -> None:
        """Say that the function begins."""
        self.beat()
        self._write(STATE, State.RUNNING)

    def beat(self) -> None:
        """Give a sign of life: a write to memory, cheap enough for every step."""
        self._write(DEADLINE, _deadline(self.patience))

    def count(self, operations: int) -> None:
        self._write(OPERATIONS, operations)

    def leave(self, state: State) -> None:
        """Say how it ended; what is left is the end of the process."""
        self.beat()
        self._write(STATE, state)

    def _write(self, column: int, value: int) -> None:
        self.table[len(COLUMNS) * self.rank + column] = value


@dataclass
class Board:
    """The view of all workers. The caller's remembers which processes are gone, for their ids may come again."""

    table: memoryview
    gone: set[int] = field(default_factory=set)

    @classmethod
    def create(cls, path: Path, n_workers: int, patience: float) -> Board:
        path.touch(mode=0o600)
        path.write_bytes(bytes(8 * len(COLUMNS) * n_workers))
        board = cls(_map(path))
        board.expect(patience)
        return board

    @classmethod
    def open(cls, path: Path) -> Board:
        return cls(_map(path))

    def expect(self, patience: float) -> None:
        """Wait for new workers, each of which has to give its first sign of life in time."""
        row = (0, _deadline(patience), State.STARTING, 0)
        for start in range(0, len(self.table), len(COLUMNS)):
            for column, value in zip(COLUMNS, row, strict=True):
                self.table[start + column] = value

    def postpone(self, seconds: float) -> None:
        """Put off all deadlines: for as long as the machine did nothing."""
        for place in range(DEADLINE, len(self.table), len(COLUMNS)):
            self.table[place] += round(seconds * 1e9)

    def alive(self) -> set[int]:
        """Return the ids of the workers that have started and not ended."""
        started = {pid for pid in _column(self.table, PID) if pid}
        self.gone |= {pid for pid in started - self.gone if not _exists(pid)}
        return started - self.gone

    def silent(self) -> list[int]:
        """Return the ranks that let the others wait, if a deadline has passed.

        All are silent then, when one lets the others wait in an operation that it has not begun: so it is those that
        have begun the fewest. These may be all.
        """
        waited_for, now = {0, *self.alive()}, time.monotonic_ns()
        rows = zip(*(_column(self.table, column) for column in COLUMNS), strict=True)
        late = [(rank, now - row[DEADLINE], row) for rank, row in enumerate(rows) if row[PID] in waited_for]
        late = [(rank, by, row) for rank, by, row in late if by > 0]
        if not late or max(by for _, by, _ in late) < SETTLING * 1e9:
            return []
        fewest = min(row[OPERATIONS] for _, _, row in late)
        return [rank for rank, _, row in late if row[OPERATIONS] == fewest]

    def pids(self, ranks: list[int]) -> set[int]:
        """Return the ids of the processes of some ranks, as far as they are there."""
        return {_column(self.table, PID)[rank] for rank in ranks} & self.alive()

    def are_running(self, ranks: list[int]) -> bool:
        return all(_column(self.table, STATE)[rank] == State.RUNNING for rank in ranks)

    def unreturned(self) -> list[int]:
        """Return the ranks whose function has not returned."""
        return [rank for rank, state in enumerate(_column(self.table, STATE)) if state != State.RETURNED]


def _map(path: Path) -> memoryview:
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("q")


def _column(table: memoryview, column: int) -> list[int]:
    return table[column :: len(COLUMNS)].tolist()


def _deadline(seconds: float) -> int:
    return time.monotonic_ns() + round(seconds * 1e9)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
