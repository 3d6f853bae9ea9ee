"""Which stacks of a search a process trains: all of them, or those that no other process has taken before.

Processes that share a search walk through the same list of stacks, the largest first, and each takes the next that
nobody has. So all are busy until the list is at its end, whatever the stacks turn out to cost; and what is stacked with
what does not depend on which process trains it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import distributed

from skbig.launch.worker_context import WorkerContext
from skbig.search.devices import MAX_THREADS, devices_of, side_by_side
from skbig.search.fit_task import FitTask
from skbig.search.stack_planning import largest_first

# Seconds between two looks at who is ready, and between two signs of progress.
INTERVAL = 0.02
SIGN = 1.0


class WorkQueue(Protocol):
    """The stacks of a search, as one of the processes that train them sees them."""

    n_processes: int

    def devices(self, tasks: Sequence[FitTask]) -> list[str]:
        """Return where stacks of these tasks are trained in turn."""
        ...

    def side_by_side(self, tasks: Sequence[FitTask], n_threads: int) -> int:
        """Return how many stacks this process trains at once."""
        ...

    def ordered(self, groups: list[list[FitTask]]) -> list[list[FitTask]]:
        """Return groups of tasks in the order in which they are to be trained."""
        ...

    def agreed(self, group: int, size: Callable[[], int]) -> int:
        """Return how many tasks of a group are stacked: the same number in all processes."""
        ...

    def takes(self, stack: Sequence[FitTask], make_room: Callable[[], None]) -> bool:
        """Return whether this process trains a stack, which no other does then."""
        ...

    def look(self) -> None:
        """Look up from the work; raises KeyboardInterrupt when it is to end."""
        ...


class LocalQueue:
    """The stacks of a search of which this process trains all."""

    n_processes = 1

    def devices(self, tasks: Sequence[FitTask]) -> list[str]:
        return devices_of(tasks)

    def side_by_side(self, tasks: Sequence[FitTask], n_threads: int) -> int:
        return side_by_side(tasks, n_threads)

    def ordered(self, groups: list[list[FitTask]]) -> list[list[FitTask]]:
        return groups

    def agreed(self, group: int, size: Callable[[], int]) -> int:
        del group
        return size()

    def takes(self, stack: Sequence[FitTask], make_room: Callable[[], None]) -> bool:
        del stack, make_room  # it is prepared while others train
        return True

    def look(self) -> None:
        """Nobody else could want it to end."""


class SharedQueue:
    """The stacks of a search that several processes share, by a counter for each stack in the store of their group.

    Parameters
    ----------
    context : WorkerContext
        Of the process group.
    name : str
        Of this evaluation, the same in all processes and in no other evaluation.
    numbers : mapping of FitTask to int
        By which all processes name the tasks.
    is_over : callable
        ``is_over() -> bool``: whether the search is to end.
    is_done : callable
        ``is_done(number) -> bool``: whether the stack that begins with this task has its results already.
    """

    def __init__(
        self,
        context: WorkerContext,
        name: str,
        numbers: Mapping[FitTask, int],
        is_over: Callable[[], bool] | None = None,
        is_done: Callable[[int], bool] = lambda number: False,
    ) -> None:
        self.n_processes = context.world_size
        self._context, self._numbers = context, numbers
        store: Any = distributed.distributed_c10d._get_default_store()
        self._store = distributed.distributed_c10d.PrefixStore(f"skbig-search-{name}", store)
        self._is_over, self._is_done = is_over or self._is_ended, is_done
        self._signed = 0.0

    def devices(self, tasks: Sequence[FitTask]) -> list[str]:
        del tasks  # the launch has given this process its own
        return [str(self._context.device)]

    def side_by_side(self, tasks: Sequence[FitTask], n_threads: int) -> int:
        del tasks
        return 1 if self._context.device.type == "cuda" else min(MAX_THREADS, n_threads)

    def ordered(self, groups: list[list[FitTask]]) -> list[list[FitTask]]:
        return largest_first(groups)

    def agreed(self, group: int, size: Callable[[], int]) -> int:
        """Return the size that the first to ask has found; devices may differ in their free memory."""
        key = f"size-{group}"
        if not self._store.check([key]):
            self._store.compare_set(key, "", str(size()))
        return int(self._store.get(key))

    def takes(self, stack: Sequence[FitTask], make_room: Callable[[], None]) -> bool:
        make_room()  # what would have to wait here is left to others
        self.look()
        number = self._numbers[stack[0]]
        return not self._is_done(number) and self._store.add(f"taken-{number}", 1) == 1

    def look(self) -> None:
        if self._is_over():
            raise KeyboardInterrupt

    # Who waits for whom.

    def beat(self) -> None:
        """Report progress, to the caller of a launch and to the other processes."""
        self._context.beat()
        if time.monotonic() - self._signed > SIGN:
            self._signed = time.monotonic()
            self._store.add("signs", 1)

    def end(self) -> None:
        """Have all processes end what they do."""
        self._store.add("over", 1)

    def _is_ended(self) -> bool:
        return bool(self._store.add("over", 0))

    def wait_for_others(self, timeout: float) -> None:
        """Return when all processes have called this.

        Raises
        ------
        RuntimeError
            When none shows progress for so many seconds.
        """
        self._store.add("ready", 1)
        signs, since = -1, time.monotonic()
        while self._store.add("ready", 0) < self.n_processes:
            self._context.beat()
            if (now := self._store.add("signs", 0)) != signs:
                signs, since = now, time.monotonic()
            elif time.monotonic() - since > timeout:
                raise RuntimeError(f"The other ranks of this launch have shown no progress for {timeout:g} s.")
            time.sleep(INTERVAL)
