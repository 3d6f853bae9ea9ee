"""A worker's side of a search that its caller has spread: it takes stacks, and hands over what they came to."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sklearn import config_context

from skbig.backends.context import WorkerContext
from skbig.data.packing import hand_over, unpack
from skbig.engine.train import EpochReport
from skbig.search.fit_task import FitTask
from skbig.search.ledger import Ledger
from skbig.search.observer import SearchObserver
from skbig.search.share import OwnShare
from skbig.search.shift import DONE, ERRAND, INTERVAL, OVER, REPORTS, STOP
from skbig.search.stack_scheduler import StackScheduler
from skbig.search.started import Delivery, Errand


def train_shares(folder: Path, context: WorkerContext) -> None:
    """Train as one rank of the launch that the folder belongs to: of each errand, what nobody else has taken."""
    for number in _errands(folder, context):
        train_share(folder, context, number)


def _errands(folder: Path, context: WorkerContext) -> Iterator[int]:
    """Yield the numbers of errands as they come; who is started again begins with the newest."""
    known = [int(path.name.rpartition("-")[2]) for path in folder.glob(f"{ERRAND}-*") if not path.suffix]
    for number in itertools.count(max(known, default=0)):
        while not (folder / f"{ERRAND}-{number}").exists():
            if (folder / OVER).exists():
                return
            context.beat()
            time.sleep(INTERVAL)
        yield number


def train_share(folder: Path, context: WorkerContext, number: int) -> None:
    """Train what nobody else has taken of an errand."""
    errand: Errand = unpack(folder / f"{ERRAND}-{number}")
    place = f"{folder / DONE}-{number}"
    numbers = {task: i for i, task in errand.tasks.items()}
    share = OwnShare(context, str(number), numbers, (folder / STOP).exists, lambda i: Path(f"{place}-{i}").exists())
    ledger = Ledger(numbers, errand.states, errand.goes_on, context.beat)
    with (
        config_context(**errand.config),
        redirect_stdout(io.StringIO()) as said,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.filters = errand.filters
        messenger = Messenger(place, ledger, numbers, said, caught)
        observers = [ledger, *errand.observers, messenger]
        if errand.reports:
            observers.append(Reporter(folder / f"{REPORTS}-{number}-{os.getpid()}", numbers))
        error = _outcome(StackScheduler(observers=observers, share=share), numbers, context.rank)
        messenger.deliver(f"rest-{os.getpid()}", error)
    if error is not None:
        (folder / STOP).touch()


def _outcome(scheduler: StackScheduler, numbers: Mapping[FitTask, int], rank: int) -> Exception | None:
    """Run the workers; return the error that ends the search, in a form that can be sent."""
    try:
        scheduler.run(list(numbers))
    except KeyboardInterrupt:
        return None
    except Exception as error:
        error.add_note(f"In rank {rank}:\n{''.join(traceback.format_exception(error))}")
        return sendable(error)
    return None


def sendable(error: Exception) -> Exception:
    """Return an error, or one that says the same where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Reporter(SearchObserver):
    """Writes down each epoch, and of which tasks."""

    def __init__(self, path: Path, numbers: Mapping[FitTask, int]) -> None:
        self._path, self._numbers = path, numbers

    def epoch(self, tasks: Sequence[FitTask], report: EpochReport) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps([[self._numbers[task] for task in tasks], asdict(report)]) + "\n")


class Messenger(SearchObserver):
    """Hands over what has come, as soon as a stack is finished.

    Parameters
    ----------
    place : str
        How the names of what is handed over begin.
    ledger : Ledger
    numbers : mapping of FitTask to int
    said : StringIO
        What is printed.
    caught : list
        What is warned of.
    """

    def __init__(
        self, place: str, ledger: Ledger, numbers: Mapping[FitTask, int], said: io.StringIO, caught: list[Any]
    ) -> None:
        self._place, self._ledger, self._numbers, self._said, self._caught = place, ledger, numbers, said, caught

    def finished(self, tasks: Sequence[FitTask], results: Sequence[dict[str, Any]]) -> None:
        self.deliver(str(self._numbers[tasks[0]]))

    def deliver(self, name: str, error: Exception | None = None) -> None:
        warned = [(entry.message, entry.category, entry.filename, entry.lineno) for entry in self._caught]
        self._caught.clear()
        said = self._said.getvalue()
        self._said.seek(0)
        self._said.truncate()
        hand_over(Delivery(self._ledger.take(), warned, said, error), Path(f"{self._place}-{name}"))
