"""The mailbox of a launch: what a caller and its workers tell each other, as files of the launch's private folder.

A *value* is there whole or not at all; a *flag* is set or not; *lines* are appended, and read as they come. Of the
values, tasks are numbered: the caller gives one when the one before is done.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skbig.launch.serialization import pack, unpack
from skbig.launch.worker_context import WorkerContext

TASK = "task"
STOP = "stop"
"""A flag: what is under way shall come to an end."""
CLOSED = "closed"
"""A flag: no other task will come."""

UNFINISHED = ".part"

# Seconds between two looks.
INTERVAL = 0.02


class Mailbox:
    """One end of the exchange; the other is made of the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        self._read: dict[str, int] = {}  # bytes of lines that `unread` has returned

    # Values.

    def put(self, name: str, value: Any) -> None:
        """Leave a value, in the place of one of the same name."""
        unfinished, path = self._folder / f"{name}{UNFINISHED}", self._folder / name
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)
        pack(value, unfinished)
        unfinished.rename(path)

    def has(self, name: str) -> bool:
        return (self._folder / name).exists()

    def get(self, name: str) -> Any:
        """Return a value; its large arrays are read-only memory maps, as long as it is not removed."""
        return unpack(self._folder / name)

    def remove(self, name: str) -> None:
        shutil.rmtree(self._folder / name)

    def names(self, beginning: str) -> list[str]:
        """Return the names of the values, or of the lines, that begin so."""
        return sorted(path.name for path in self._folder.glob(f"{beginning}*") if path.suffix != UNFINISHED)

    # Flags.

    def set(self, flag: str) -> None:
        (self._folder / flag).touch()

    def is_set(self, flag: str) -> bool:
        return (self._folder / flag).exists()

    # Lines.

    def append(self, name: str, item: Any) -> None:
        """Append a line that holds an item, in JSON."""
        with open(self._folder / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(item) + "\n")

    def lines(self, name: str) -> list[Any]:
        """Return all items that have been appended."""
        return [json.loads(line) for line in self._complete_lines(name, 0)]

    def unread(self, name: str) -> list[Any]:
        """Return the items that have been appended since the last call."""
        lines = self._complete_lines(name, self._read.get(name, 0))
        self._read[name] = self._read.get(name, 0) + sum(map(len, lines))
        return [json.loads(line) for line in lines]

    def _complete_lines(self, name: str, start: int) -> list[bytes]:
        if not self.has(name):
            return []
        with open(self._folder / name, "rb") as file:
            file.seek(start)
            return [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]

    # Tasks.

    def put_task(self, number: int, task: Any) -> None:
        self.put(f"{TASK}-{number}", task)

    def tasks(self, context: WorkerContext) -> Iterator[tuple[int, Any]]:
        """Yield the tasks, with their numbers, as they come; who starts late, or again, begins with the newest."""
        known = [int(name.rpartition("-")[2]) for name in self.names(f"{TASK}-")]
        for number in itertools.count(max(known, default=0)):
            while not self._has_come(number):
                context.beat()
                time.sleep(INTERVAL)
            if not self.has(f"{TASK}-{number}"):
                return
            yield number, self.get(f"{TASK}-{number}")

    def _has_come(self, number: int) -> bool:
        """Whether a task is there, or will never be: it was put before the mailbox was closed."""
        closed = self.is_set(CLOSED)
        return closed or self.has(f"{TASK}-{number}")
