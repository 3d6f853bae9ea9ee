"""A fit that saves itself: checkpoints while it trains, and the way back from the newest of them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any

from skbig.data.streaming.lazy_rows import LazyRows
from skbig.engine.fingerprint import fingerprint
from skbig.engine.state_dict import load_state_dict, missing_from, state_dict
from skbig.engine.train import EpochReport, Training
from skbig.estimators.choices import backend_of
from skbig.estimators.declaration import identifying_parameters
from skbig.estimators.given import Given
from skbig.estimators.identity import texts_of
from skbig.estimators.interface import EstimatorInterface
from skbig.estimators.sklearn_compat import inside_cross_validation
from skbig.estimators.tensors import on_host
from skbig.estimators.validation import Validation

if TYPE_CHECKING:
    from skbig.engine.checkpoint import Checkpoint, CheckpointDirectory

ENDED = ("converged", "max_iter", "max_time", "callback")
"""Reasons to stop after which nothing is left to train."""


class Saver:
    """An observer of a training that writes checkpoints.

    Parameters
    ----------
    directory : CheckpointDirectory
    every : int or float
        Epochs between checkpoints if an int, seconds if a float.
    training : Training
    """

    def __init__(self, directory: CheckpointDirectory, every: float, training: Training) -> None:
        self.directory, self.every, self._training = directory, every, training
        self._began = time.perf_counter() - training.elapsed
        self._last = (training.members.epochs, time.monotonic())
        self._terminated = threading.Event()

    @property
    def is_terminated(self) -> bool:
        """Whether SIGTERM has come and waits."""
        return self._terminated.is_set()

    def __call__(self, report: EpochReport) -> None:
        """Save, if it is time to; after SIGTERM save and let it take effect."""
        if report.last:  # the end of the training saves too: with the best weights, and with its reason
            return
        if self.is_terminated:
            self.save()
            self.let_sigterm_through()
        elif self._is_due():
            self.save()

    def let_sigterm_through(self) -> None:
        """Let SIGTERM take effect, which has come: the handler is the caller's again."""
        self._terminated.clear()
        signal.raise_signal(signal.SIGTERM)

    def save(self) -> None:
        """Write where the training stands; a failure to write is an error, and the last checkpoint stays."""
        self._training.elapsed = time.perf_counter() - self._began
        self.directory.save(*state_dict(self._training))
        self._last = (self._training.members.epochs, time.monotonic())

    def _is_due(self) -> bool:
        epoch, moment = self._last
        if isinstance(self.every, Integral):
            return self._training.members.epochs - epoch >= self.every
        return time.monotonic() - moment >= self.every

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Wait with SIGTERM for the end of the epoch, where signals can be heard: in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGTERM)

        def note(number: int, frame: Any) -> None:
            del number, frame
            signal.signal(signal.SIGTERM, before)
            self._terminated.set()

        if before is None:  # a handler that is not Python's cannot be put back
            yield
            return
        signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
            if self._terminated.is_set():  # since then no epoch has ended, or the last one
                signal.raise_signal(signal.SIGTERM)


def directory_of(
    path: Any, estimator: EstimatorInterface, given: Given, held: Mapping[str, Given] | None
) -> CheckpointDirectory:
    """Return the directory of a fit's checkpoints, and what they must agree with.

    Raises
    ------
    ValueError
        Within a cross-validation, whose fits would all write to this directory; and where a parameter cannot be
        compared with what another process is given.
    """
    if inside_cross_validation():
        raise ValueError(
            f"checkpoint_dir={str(path)!r} holds the checkpoints of one fit, and a search or a cross-validation makes "
            "many. Set checkpoint_dir=None on the estimator, and give the search a directory: "
            "BigGridSearchCV(..., checkpoint_dir=...)."
        )
    identity = texts_of({"estimator": type(estimator)})
    identity |= {f"parameter {name}": text for name, text in texts_of(identifying_parameters(estimator)).items()}
    identity |= {"X": _of_rows(given.X), "y": _of(given.y), "sample_weight": _of(given.weight)}
    if given.soft is not None:
        identity["soft targets"] = fingerprint(given.soft)
    for name, rows in ({"": Given(None, None)} if held is None else held).items():
        of = "" if held is None or len(held) == 1 else f" {name}"
        identity |= {f"X_val{of}": _of_rows(rows.X), f"y_val{of}": _of(rows.y)}
        identity |= {f"sample_weight_val{of}": _of(rows.weight)}
    backend = backend_of(getattr(estimator, "backend", None))
    if backend is not None and backend.steps_alone > 1:
        identity["parameter backend"] = repr(backend)
    from skbig.engine.checkpoint import CheckpointDirectory

    return CheckpointDirectory(path, identity)


def _of_rows(X: Any) -> str:
    """Return the fingerprint of rows, also of a selection: of the whole source, and of which are meant."""
    return fingerprint(X.source, X.rows) if isinstance(X, LazyRows) else fingerprint(X)


def _of(values: Any) -> str:
    """Return the fingerprint of targets or weights: of tensors it is that of the arrays that they hold."""
    return fingerprint(on_host(values, "y"))


def check_complete(checkpoint: Checkpoint) -> None:
    """Raise ValueError where a checkpoint lacks what a training needs, as one of another version may."""
    missing = missing_from(checkpoint.arrays, checkpoint.facts)
    if missing:
        raise ValueError(
            f"The checkpoint '{checkpoint.path}' lacks {', '.join(map(repr, missing))}: another version of skbig wrote "
            "it. Choose another directory, or delete this one to begin anew."
        )


def go_on_from(training: Training, checkpoint: Checkpoint) -> None:
    """Put a training where a checkpoint was written."""
    load_state_dict(training, checkpoint.arrays, checkpoint.facts)
    if isinstance(training.validation, Validation):
        training.validation.has_loss = bool(training.history.validation_loss)


def has_ended(training: Training) -> bool:
    """Whether a training that was put where a checkpoint was written has nothing left to do."""
    return training.history.stop_reason in ENDED
