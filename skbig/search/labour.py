"""A worker's side of a search that its caller has spread: it takes stacks, and hands over what they came to."""

from __future__ import annotations

import io
import os
import pickle
import traceback
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sklearn import config_context

from skbig.backends.context import WorkerContext
from skbig.data.packing import hand_over, unpack
from skbig.search.ledger import Ledger
from skbig.search.share import OwnShare
from skbig.search.started import DONE, ERRAND, STOP, Delivery, Errand
from skbig.search.tasks import Task
from skbig.search.watcher import Watcher
from skbig.search.workers import Workers


def train_share(folder: Path, context: WorkerContext) -> None:
    """Train what nobody else has taken, as one rank of the launch that the folder belongs to."""
    errand: Errand = unpack(folder / ERRAND)
    numbers = {task: number for number, task in errand.tasks.items()}
    share = OwnShare(context, "launch", numbers, (folder / STOP).exists, lambda i: _place(folder, i).exists())
    ledger = Ledger(numbers, errand.states, errand.goes_on, context.beat)
    with (
        config_context(**errand.config),
        redirect_stdout(io.StringIO()) as said,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.filters = errand.filters
        messenger = Messenger(folder, ledger, numbers, said, caught)
        workers = Workers(watchers=[ledger, *errand.watchers, messenger], share=share)
        messenger.deliver(f"rest-{os.getpid()}", _outcome(workers, list(numbers), context.rank))


def _outcome(workers: Workers, tasks: Sequence[Task], rank: int) -> Exception | None:
    """Run the workers; return the error that ends the search, in a form that can be sent."""
    try:
        workers.run(tasks)
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


class Messenger(Watcher):
    """Hands over what has come, as soon as a stack is finished.

    Parameters
    ----------
    folder : Path
    ledger : Ledger
    numbers : dict of Task to int
    said : StringIO
        What is printed.
    caught : list
        What is warned of.
    """

    def __init__(
        self, folder: Path, ledger: Ledger, numbers: dict[Task, int], said: io.StringIO, caught: list[Any]
    ) -> None:
        self._folder, self._ledger, self._numbers, self._said, self._caught = folder, ledger, numbers, said, caught

    def finished(self, tasks: Sequence[Task], results: Sequence[dict[str, Any]]) -> None:
        self.deliver(str(self._numbers[tasks[0]]))

    def deliver(self, name: str | int, error: Exception | None = None) -> None:
        warned = [(entry.message, entry.category, entry.filename, entry.lineno) for entry in self._caught]
        self._caught.clear()
        said = self._said.getvalue()
        self._said.seek(0)
        self._said.truncate()
        hand_over(Delivery(self._ledger.take(), warned, said, error), _place(self._folder, name))
        if error is not None:
            (self._folder / STOP).touch()


def _place(folder: Path, name: str | int) -> Path:
    return folder / f"{DONE}-{name}"
