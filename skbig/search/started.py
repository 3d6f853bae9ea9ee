"""The caller's side of a search whose stacks are trained by workers that it starts: it hands over files, and waits."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sklearn import get_config

from skbig.data.packing import unpack
from skbig.engine.train import EpochReport
from skbig.exceptions import WorkerError
from skbig.search.fit_task import FitTask
from skbig.search.ledger import Part, in_memory, known_results
from skbig.search.observer import SearchObserver
from skbig.search.search_checkpoint import State
from skbig.search.shift import DONE, INTERVAL, REPORTS, Shift
from skbig.search.stack_scheduler import SearchInterrupted


@dataclass(frozen=True)
class Errand:
    """What workers need to know.

    Attributes
    ----------
    tasks : dict of int to FitTask
        By their numbers.
    states : dict of str to State
        Where trainings stand that go on, by the keys of the tasks.
    observers : list of SearchObserver
    goes_on : bool
    reports : bool
        Whether the caller wants to hear of each epoch.
    config : dict
        The caller's scikit-learn settings.
    filters : list
        The caller's filters of warnings.
    """

    tasks: dict[int, FitTask]
    states: dict[str, State]
    observers: list[SearchObserver]
    goes_on: bool
    reports: bool
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
    """Workers that this process starts, once for all evaluations that go on with the same trainings.

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
        self._shift: Shift | None = None

    def run(
        self,
        tasks: Sequence[FitTask],
        observers: Sequence[SearchObserver],
        lines: Sequence[SearchObserver],
        *,
        goes_on: bool,
    ) -> list[Any]:
        foreman = Foreman(tasks, lines, known_results(tasks, observers))
        try:
            if foreman.missing:
                self._train(foreman, observers, goes_on)
        except KeyboardInterrupt:
            raise SearchInterrupted(foreman.results()) from None
        except WorkerError as error:
            raise SearchInterrupted(foreman.results(), error) from None
        finally:
            for line in lines:
                line.close()
        if foreman.error is not None:
            raise foreman.error
        self._states = foreman.part.states
        return foreman.results()

    def _train(self, foreman: Foreman, observers: Sequence[SearchObserver], goes_on: bool) -> None:
        errand = self._errand(foreman, observers, goes_on)
        if self._shift is None:
            n_workers = min(self._n_workers, len(errand.tasks))
            self._shift = Shift(self._backend, self._device_type, n_workers)
        try:
            foreman.wait(self._shift, self._shift.hand(errand))
            if foreman.missing or not goes_on:
                self._shift.end()
        except KeyboardInterrupt:
            self._shift.stop()
            self._shift.end()
            raise
        finally:
            foreman.look()
            if foreman.missing or not goes_on:
                self.close()

    def _errand(self, foreman: Foreman, observers: Sequence[SearchObserver], goes_on: bool) -> Errand:
        tasks, reports = foreman.missing, bool(foreman.lines)
        states = {task.key: self._states[task.key] for task in tasks.values() if task.key in self._states}
        states = {key: in_memory(state) for key, state in states.items()}
        return Errand(tasks, states, list(observers), goes_on, reports, get_config(), list(warnings.filters))

    def close(self) -> None:
        """End the workers, if there are any."""
        if self._shift is not None:
            self._shift.close()
            self._shift = None


@dataclass
class Foreman:
    """Takes in what the workers deliver in an evaluation.

    Attributes
    ----------
    tasks : sequence of FitTask
    lines : sequence of SearchObserver
        They are told of the results.
    known : dict of int to dict
        Results of an earlier run, by the numbers of the tasks.
    part : Part
        What has come.
    error : Exception or None
        What has ended the search.
    """

    tasks: Sequence[FitTask]
    lines: Sequence[SearchObserver]
    known: dict[int, Any]
    part: Part = field(default_factory=Part)
    error: Exception | None = None
    _from: tuple[Shift, str] | None = None
    _seen: set[str] = field(default_factory=set)
    _places: dict[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.lines:
            line.begin(self.tasks)
        self._take_in(Part(self.known))

    @property
    def missing(self) -> dict[int, FitTask]:
        """The tasks that have no result, by their numbers."""
        return {i: task for i, task in enumerate(self.tasks) if i not in self.part.results}

    def wait(self, shift: Shift, name: str) -> None:
        """Wait for what comes under a name, until nothing is missing, or will not come any more."""
        self._from = shift, name
        while self.missing and self.error is None and shift.is_on:
            self.look()
            time.sleep(INTERVAL)

    def look(self) -> None:
        if self._from is None:
            return
        shift, name = self._from
        for path in shift.folder.glob(f"{name.replace(DONE, REPORTS)}*") if self.lines else ():
            self._hear(path)
        for path in sorted(shift.folder.glob(f"{name}*")):
            if path.name not in self._seen and not path.suffix:
                self._seen.add(path.name)
                self._receive(unpack(path))

    def _hear(self, path: Path) -> None:
        """Tell the lines of the epochs that a worker has written down since the last look."""
        with open(path, encoding="utf-8") as file:
            file.seek(self._places.get(path, 0))
            lines = [line for line in file.read().splitlines(keepends=True) if line.endswith("\n")]
        self._places[path] = self._places.get(path, 0) + sum(map(len, lines))
        for numbers, report in map(json.loads, lines):
            for line in self.lines:
                line.epoch([self.tasks[number] for number in numbers], EpochReport(**report))

    def _receive(self, delivery: Delivery) -> None:
        print(delivery.said, end="")
        self.error = self.error or delivery.error
        self._take_in(delivery.part)
        for warning in delivery.warnings:
            warnings.warn_explicit(*warning)

    def _take_in(self, part: Part) -> None:
        self.part.add(part)
        for number, result in part.results.items():
            for line in self.lines:
                line.result(self.tasks[number], result)

    def results(self) -> list[Any]:
        """Return the result of each task, None where there is none."""
        return [self.part.results.get(i) for i in range(len(self.tasks))]
