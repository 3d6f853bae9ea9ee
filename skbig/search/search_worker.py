"""A worker's side of a search that its caller has launched: it takes stacks, and delivers their results."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sklearn import config_context

from skbig.engine.train import EpochReport
from skbig.launch.mailbox import STOP, Mailbox
from skbig.launch.portable import note_rank, portable_error, portable_warnings, recorded_warnings
from skbig.launch.worker_context import WorkerContext
from skbig.search.fit_task import FitTask
from skbig.search.launched_search import DELIVERY, REPORTS, Delivery, SharedEvaluation
from skbig.search.observer import SearchObserver
from skbig.search.partial_results import ResultRecorder
from skbig.search.stack_scheduler import StackScheduler
from skbig.search.work_queue import SharedQueue


def train_stacks(folder: Path, context: WorkerContext) -> None:
    """Train as one rank of a launch: of each evaluation the stacks that no other rank has taken."""
    mailbox = Mailbox(folder)
    for number, evaluation in mailbox.tasks(context):
        _evaluate(evaluation, number, mailbox, context)


def _evaluate(evaluation: SharedEvaluation, number: int, mailbox: Mailbox, context: WorkerContext) -> None:
    numbers = {task: i for i, task in evaluation.tasks.items()}
    queue = SharedQueue(
        context,
        str(number),
        numbers,
        is_over=partial(mailbox.is_set, STOP),
        is_done=lambda i: mailbox.has(f"{DELIVERY}-{number}-{i}"),
    )
    recorder = ResultRecorder(numbers, evaluation.states, evaluation.goes_on, context.beat)
    with (
        config_context(**evaluation.config),
        redirect_stdout(io.StringIO()) as printed,
        recorded_warnings(evaluation.filters) as recorded,
    ):
        messenger = Messenger(mailbox, number, recorder, numbers, printed, recorded)
        observers = [recorder, *evaluation.observers, messenger]
        if evaluation.reports:
            observers.append(Reporter(mailbox, f"{REPORTS}-{number}-{os.getpid()}", numbers))
        error = _run(StackScheduler(observers=observers, queue=queue), numbers, context.rank)
        messenger.deliver(f"rest-{os.getpid()}", error)
    if error is not None:
        mailbox.set(STOP)


def _run(scheduler: StackScheduler, numbers: Mapping[FitTask, int], rank: int) -> Exception | None:
    """Train; return the error that ends the search, in a form that can be sent."""
    try:
        scheduler.run(list(numbers))
    except KeyboardInterrupt:
        return None
    except Exception as error:
        note_rank(error, rank)
        return portable_error(error)
    return None


class Reporter(SearchObserver):
    """Reports each epoch, and of which tasks."""

    def __init__(self, mailbox: Mailbox, name: str, numbers: Mapping[FitTask, int]) -> None:
        self._mailbox, self._name, self._numbers = mailbox, name, numbers

    def epoch(self, tasks: Sequence[FitTask], report: EpochReport) -> None:
        self._mailbox.append(self._name, [[self._numbers[task] for task in tasks], asdict(report)])


class Messenger(SearchObserver):
    """Delivers what has been found, as soon as a stack is finished.

    Parameters
    ----------
    mailbox : Mailbox
    number : int
        The evaluation's.
    recorder : ResultRecorder
    numbers : mapping of FitTask to int
    printed : StringIO
        What is printed.
    recorded : list of WarningMessage
        The warnings that are given.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        number: int,
        recorder: ResultRecorder,
        numbers: Mapping[FitTask, int],
        printed: io.StringIO,
        recorded: list[warnings.WarningMessage],
    ) -> None:
        self._mailbox, self._number, self._recorder, self._numbers = mailbox, number, recorder, numbers
        self._printed, self._recorded = printed, recorded

    def finished(self, tasks: Sequence[FitTask], results: Sequence[dict[str, Any]]) -> None:
        self.deliver(str(self._numbers[tasks[0]]))

    def deliver(self, name: str, error: Exception | None = None) -> None:
        warned = portable_warnings(self._recorded)
        self._recorded.clear()
        printed = self._printed.getvalue()
        self._printed.seek(0)
        self._printed.truncate()
        delivery = Delivery(self._recorder.take(), warned, printed, error)
        self._mailbox.put(f"{DELIVERY}-{self._number}-{name}", delivery)
