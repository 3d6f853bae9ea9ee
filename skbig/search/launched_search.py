"""The caller's side of a search whose stacks are trained by workers that it starts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sklearn import get_config

from skbig.engine.train import EpochReport
from skbig.exceptions import WorkerError
from skbig.launch.launch_options import LaunchOptions
from skbig.launch.mailbox import Mailbox
from skbig.launch.portable import PortableWarning, repeat_warnings
from skbig.launch.worker_pool import WorkerPool
from skbig.search.fit_task import FitTask
from skbig.search.observer import SearchObserver
from skbig.search.partial_results import PartialResults, in_memory, known_results
from skbig.search.search_checkpoint import State
from skbig.search.stack_scheduler import SearchInterrupted

JOB = "skbig.search.search_worker:train_stacks"
LOADED_ONCE = ("skbig.search.search_worker",)

# What workers leave in the mailbox, each with the number of the evaluation, and one of its own.
DELIVERY = "delivery"
REPORTS = "reports"


@dataclass(frozen=True)
class SharedEvaluation:
    """What workers need to know.

    Attributes
    ----------
    tasks : dict of int to FitTask
        By their numbers.
    states : dict of str to State
        State dicts of trainings that go on, by the keys of the tasks.
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
    found : PartialResults
    warnings : list of PortableWarning
    printed : str
    error : Exception or None
        What has ended the search.
    """

    found: PartialResults
    warnings: list[PortableWarning]
    printed: str
    error: Exception | None = None


class LaunchedSearchRunner:
    """Workers that this process starts, once for all evaluations that go on with the same trainings.

    Parameters
    ----------
    options : LaunchOptions
    """

    def __init__(self, options: LaunchOptions) -> None:
        self._options = replace(options, modules=LOADED_ONCE)
        self._states: dict[str, State] = {}
        self._pool: WorkerPool | None = None

    def run(
        self,
        tasks: Sequence[FitTask],
        observers: Sequence[SearchObserver],
        lines: Sequence[SearchObserver],
        *,
        goes_on: bool,
    ) -> list[Any]:
        collector = Collector(tasks, lines, known_results(tasks, observers))
        try:
            if collector.missing:
                self._train(collector, observers, goes_on)
        except KeyboardInterrupt:
            raise SearchInterrupted(collector.results()) from None
        except WorkerError as error:
            raise SearchInterrupted(collector.results(), error) from None
        finally:
            for line in lines:
                line.close()
        if collector.error is not None:
            raise collector.error
        self._states = collector.found.states
        return collector.results()

    def _train(self, collector: Collector, observers: Sequence[SearchObserver], goes_on: bool) -> None:
        evaluation = self._evaluation(collector, observers, goes_on)
        if self._pool is None:
            n_workers = min(self._options.n_workers, len(evaluation.tasks))
            self._pool = WorkerPool(JOB, self._options.with_workers(n_workers))
        try:
            collector.listen_to(self._pool.mailbox, self._pool.give(evaluation))
            if self._pool.wait(collector.look):
                raise KeyboardInterrupt
            if collector.missing or not goes_on:
                self._pool.finish()
        finally:
            collector.look()
            if collector.missing or not goes_on:
                self.close()

    def _evaluation(self, collector: Collector, observers: Sequence[SearchObserver], goes_on: bool) -> SharedEvaluation:
        tasks, reports = collector.missing, bool(collector.lines)
        states = {task.key: self._states[task.key] for task in tasks.values() if task.key in self._states}
        states = {key: in_memory(state) for key, state in states.items()}
        return SharedEvaluation(tasks, states, list(observers), goes_on, reports, get_config(), list(warnings.filters))

    def close(self) -> None:
        """End the workers, if there are any."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


@dataclass
class Collector:
    """Takes in what the workers deliver in an evaluation.

    Attributes
    ----------
    tasks : sequence of FitTask
    lines : sequence of SearchObserver
        They are told of the results.
    known : dict of int to dict
        Results of an earlier run, by the numbers of the tasks.
    found : PartialResults
        What has been delivered.
    error : Exception or None
        What has ended the search.
    """

    tasks: Sequence[FitTask]
    lines: Sequence[SearchObserver]
    known: dict[int, Any]
    found: PartialResults = field(default_factory=PartialResults)
    error: Exception | None = None
    _mailbox: Mailbox | None = None
    _number: int = 0
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for line in self.lines:
            line.begin(self.tasks)
        self._take_in(PartialResults(self.known))

    @property
    def missing(self) -> dict[int, FitTask]:
        """The tasks that have no result, by their numbers."""
        return {i: task for i, task in enumerate(self.tasks) if i not in self.found.results}

    def listen_to(self, mailbox: Mailbox, number: int) -> None:
        """Take in what is delivered for the evaluation of this number."""
        self._mailbox, self._number = mailbox, number

    def look(self) -> bool:
        """Take in what is new; return whether nothing is missing, or will not come any more."""
        if self._mailbox is not None:
            for name in self._mailbox.names(f"{REPORTS}-{self._number}-") if self.lines else ():
                self._tell_epochs(self._mailbox.unread(name))
            for name in self._mailbox.names(f"{DELIVERY}-{self._number}-"):
                if name not in self._seen:
                    self._seen.add(name)
                    self._receive(self._mailbox.get(name))
        return not self.missing or self.error is not None

    def _tell_epochs(self, reports: Sequence[Any]) -> None:
        for numbers, report in reports:
            for line in self.lines:
                line.epoch([self.tasks[number] for number in numbers], EpochReport(**report))

    def _receive(self, delivery: Delivery) -> None:
        print(delivery.printed, end="")
        self.error = self.error or delivery.error
        self._take_in(delivery.found)
        repeat_warnings(delivery.warnings)

    def _take_in(self, found: PartialResults) -> None:
        self.found.add(found)
        for number, result in found.results.items():
            for line in self.lines:
                line.result(self.tasks[number], result)

    def results(self) -> list[Any]:
        """Return the result of each task, None where there is none."""
        return [self.found.results.get(i) for i in range(len(self.tasks))]
