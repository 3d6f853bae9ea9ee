"""The heartbeats of a launch: a table in a file, in which each worker shows the caller that it makes progress.

Shapes: table [workers, 4], int64, stored flat: the process id (0 before the worker has started); the deadline of the
next heartbeat (nanoseconds of the monotonic clock, which the processes of one machine share); the phase; and how many
operations of the process group the worker has begun, which shows who waits for whom.

The launcher and the workers load this file without the package, which would load torch: a worker shows that it is
alive before that, and the launcher never needs torch. So this file imports the standard library only.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

# Seconds from the first missed deadline to the decision who is silent: others may miss theirs a moment later.
SETTLING = 1.0
# Seconds between two looks at what a worker has loaded.
LOADING = 0.1

PID, DEADLINE, PHASE, OPERATIONS = COLUMNS = range(4)


class Phase(IntEnum):
    """How far a worker is."""

    STARTING = 0
    READY = 1  # everything is loaded; it waits for the other workers
    RUNNING = 2
    FAILED = 3
    RETURNED = 4


@dataclass(frozen=True)
class Heartbeat:
    """A worker's own row of the table; it may read the others'."""

    table: memoryview
    rank: int
    timeout: float

    @classmethod
    def start(cls, path: Path, rank: int, timeout: float) -> Heartbeat:
        """Enter this process as the worker of a rank, which must beat at least once in `timeout` seconds."""
        heartbeat = cls(_map(path), rank, timeout)
        heartbeat._write(PID, os.getpid())
        heartbeat.beat()
        return heartbeat

    @property
    def phase(self) -> Phase:
        return Phase(self.table[len(COLUMNS) * self.rank + PHASE])

    def beat_while_loading(self) -> None:
        """Beat as long as one module after another is loaded; to be called on a thread."""
        n_modules = 0
        while self.phase == Phase.STARTING:
            if len(sys.modules) != n_modules:
                n_modules = len(sys.modules)
                self.beat()
            time.sleep(LOADING)

    def wait_for_others(self) -> None:
        """Report that everything is loaded, and wait until all workers have reported it."""
        self._write(PHASE, Phase.READY)
        while min(_column(self.table, PHASE)) < Phase.READY:
            self.beat()
            time.sleep(LOADING / 10)
        self.beat()

    def run(self) -> None:
        """Report that the function begins."""
        self.beat()
        self._write(PHASE, Phase.RUNNING)

    def beat(self) -> None:
        """Show progress: a write to memory, cheap enough for every step."""
        self._write(DEADLINE, _deadline(self.timeout))

    def count(self, operations: int) -> None:
        self._write(OPERATIONS, operations)

    def end(self, phase: Phase) -> None:
        """Report how the function ended; what is left is the end of the process."""
        self.beat()
        self._write(PHASE, phase)

    def _write(self, column: int, value: int) -> None:
        self.table[len(COLUMNS) * self.rank + column] = value


@dataclass
class HeartbeatTable:
    """All workers' heartbeats. The caller's table remembers which processes have ended, as process ids are reused."""

    table: memoryview
    ended: set[int] = field(default_factory=set)

    @classmethod
    def create(cls, path: Path, n_workers: int, timeout: float) -> HeartbeatTable:
        path.touch(mode=0o600)
        path.write_bytes(bytes(8 * len(COLUMNS) * n_workers))
        heartbeats = cls(_map(path))
        heartbeats.expect(timeout)
        return heartbeats

    @classmethod
    def open(cls, path: Path) -> HeartbeatTable:
        return cls(_map(path))

    def expect(self, timeout: float) -> None:
        """Wait for new workers, each of which must beat for the first time within `timeout` seconds."""
        row = (0, _deadline(timeout), Phase.STARTING, 0)
        for start in range(0, len(self.table), len(COLUMNS)):
            for column, value in zip(COLUMNS, row, strict=True):
                self.table[start + column] = value

    def postpone(self, seconds: float) -> None:
        """Move all deadlines by the time in which the machine did nothing."""
        for place in range(DEADLINE, len(self.table), len(COLUMNS)):
            self.table[place] += round(seconds * 1e9)

    def alive(self) -> set[int]:
        """Return the process ids of the workers that have started and not ended."""
        started = {pid for pid in _column(self.table, PID) if pid}
        self.ended |= {pid for pid in started - self.ended if not _exists(pid)}
        return started - self.ended

    def silent(self) -> list[int]:
        """Return the ranks that keep the others waiting, if a deadline has passed.

        When one worker has not begun an operation of the group, all the others wait for it and are silent too. So the
        silent ones are those that have begun the fewest operations; these may be all.
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
        """Return the process ids of some ranks, of those that are alive."""
        return {_column(self.table, PID)[rank] for rank in ranks} & self.alive()

    def are_running(self, ranks: list[int]) -> bool:
        return all(_column(self.table, PHASE)[rank] == Phase.RUNNING for rank in ranks)

    def unreturned(self) -> list[int]:
        """Return the ranks whose function has not returned."""
        return [rank for rank, phase in enumerate(_column(self.table, PHASE)) if phase != Phase.RETURNED]


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
    except PermissionError:  # of a caller with fewer rights than it had
        pass
    return True
