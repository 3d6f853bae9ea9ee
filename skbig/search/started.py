"""The caller's side of a search whose stacks are trained by workers that it starts: it hands over files, and waits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sklearn import get_config

from skbig.backends.folder import private_folder
from skbig.backends.launch import launch
from skbig.data.packing import pack, unpack
from skbig.search.ledger import Part, in_memory, known_results
from skbig.search.saving import State
from skbig.search.tasks import Task
from skbig.search.watcher import Watcher
from skbig.search.workers import Interrupted

JOB = "skbig.search.labour:train_share"

# What lies in the folder of a launch. The caller writes ERRAND, workers DONE and a number, both STOP.
ERRAND = "errand"
DONE = "done"
STOP = "stop"


@dataclass(frozen=True)
class Errand:
    """What workers need to know.

    Attributes
    ----------
    tasks : dict of int to Task
        By their numbers.
    states : dict of str to State
        Where trainings stand that go on, by the keys of the tasks.
    watchers : list of Watcher
    goes_on : bool
    config : dict
        The caller's scikit-learn settings.
    filters : list
        The caller's filters of warnings.
    """

    tasks: dict[int, Task]
    states: dict[str, State]
    watchers: list[Watcher]
    goes_on: bool
    config: dict[str, Any]
    filters: list[Any]


@dataclass(frozen=True)
class Delivery:
    """What a worker hands over.

    Attributes
    ----------
    part : Part
    warnings : list of tuple
        Message, class, file and line of each.
    said : str
        What was printed.
    error : Exception or None
        What has ended the search.
    """

    part: Part
    warnings: list[tuple[Any, type[Warning], str, int]]
    said: str
    error: Exception | None = None


class Started:
    """Workers that this process starts, for one evaluation.

    Parameters
    ----------
    backend : Backend
        One that spreads searches; it has `count`, `timeout` and `max_restarts`.
    device_type : {"cpu", "cuda"}
    """

    def __init__(self, backend: Any, device_type: str) -> None:
        self._backend, self._device_type = backend, device_type
        self._n_workers: int = backend.count(device_type)
        self._states: dict[str, State] = {}

    def run(
        self, tasks: Sequence[Task], watchers: Sequence[Watcher], lines: Sequence[Watcher], *, goes_on: bool
    ) -> list[Any]:
        foreman = Foreman(tasks, lines, known_results(tasks, watchers))
        try:
            if foreman.missing:
                self._launch(foreman, watchers, goes_on)
        except KeyboardInterrupt:
            foreman.is_interrupted = True
        finally:
            for line in lines:
                line.close()
        self._states = foreman.part.states
        return foreman.results()

    def _launch(self, foreman: Foreman, watchers: Sequence[Watcher], goes_on: bool) -> None:
        with private_folder() as folder:
            foreman.folder = folder
            pack(self._errand(foreman.missing, watchers, goes_on), folder / ERRAND)
            try:
                launch(
                    JOB,
                    folder,
                    n_workers=min(self._n_workers, len(foreman.missing)),
                    device_type=self._device_type,
                    timeout=self._backend.timeout,
                    max_restarts=self._backend.max_restarts,
                    attendant=foreman,
                )
            finally:
                foreman.look()

    def _errand(self, tasks: dict[int, Task], watchers: Sequence[Watcher], goes_on: bool) -> Errand:
        states = {task.key: self._states[task.key] for task in tasks.values() if task.key in self._states}
        states = {key: in_memory(state) for key, state in states.items()}
        return Errand(tasks, states, list(watchers), goes_on, get_config(), list(warnings.filters))


@dataclass
class Foreman:
    """Attends to the workers: takes in what they deliver.

    Attributes
    ----------
    tasks : sequence of Task
    lines : sequence of Watcher
        They are told of the results.
    known : dict of int to dict
        Results of an earlier run, by the numbers of the tasks.
    folder : Path or None
        Of the launch.
    part : Part
        What has come.
    """

    tasks: Sequence[Task]
    lines: Sequence[Watcher]
    known: dict[int, Any]
    folder: Path | None = None
    part: Part = field(default_factory=Part)
    is_interrupted: bool = False
    _seen: set[str] = field(default_factory=set)
    _error: Exception | None = None

    def __post_init__(self) -> None:
        for line in self.lines:
            line.begin(self.tasks)
        self._take_in(Part(self.known))

    @property
    def missing(self) -> dict[int, Task]:
        """The tasks that have no result, by their numbers."""
        return {i: task for i, task in enumerate(self.tasks) if i not in self.part.results}

    def look(self) -> None:
        assert self.folder is not None
        for path in sorted(self.folder.glob(f"{DONE}-*")):
            if path.name not in self._seen and not path.suffix:
                self._seen.add(path.name)
                self._receive(unpack(path))

    def interrupted(self) -> None:
        assert self.folder is not None
        self.is_interrupted = True
        (self.folder / STOP).touch()

    def _receive(self, delivery: Delivery) -> None:
        print(delivery.said, end="")
        for warning in delivery.warnings:
            warnings.warn_explicit(*warning)
        self._error = self._error or delivery.error
        self._take_in(delivery.part)

    def _take_in(self, part: Part) -> None:
        self.part.add(part)
        for number, result in part.results.items():
            for line in self.lines:
                line.result(self.tasks[number], result)

    def results(self) -> list[Any]:
        """Return the result of each task, or raise what has ended the search."""
        if self._error is not None:
            raise self._error
        results = [self.part.results.get(i) for i in range(len(self.tasks))]
        if self.is_interrupted:
            raise Interrupted(results)
        return results
