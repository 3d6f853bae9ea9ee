"""A fit that saves itself: checkpoints while it trains, and the way back from the newest of them."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np

from skbig.components.component import Component
from skbig.engine.checkpoint import Checkpoint, CheckpointDirectory, fingerprint
from skbig.engine.snapshot import restore, snapshot
from skbig.engine.train import EpochReport, Training
from skbig.estimators.preparation import Given

ENDED = ("converged", "max_iter", "max_time", "callback")
"""Reasons to stop after which nothing is left to train."""

_NO_MATTER = ("verbose", "device", "warm_start", "checkpoint_dir", "checkpoint_every")


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
        self._directory, self._every, self._training = directory, every, training
        self._began = time.perf_counter() - training.elapsed
        self._last = (training.members.epochs, time.monotonic())
        self._terminated = threading.Event()

    def __call__(self, report: EpochReport) -> None:
        """Save, if it is time to; after SIGTERM save and let it take effect."""
        if self._terminated.is_set():
            self.save()
            self._terminated.clear()
            signal.raise_signal(signal.SIGTERM)  # the handler is the caller's again
        elif self._is_due() and not report.last:
            self.save()

    def save(self) -> None:
        """Write where the training stands; a failure to write is an error, and the last checkpoint stays."""
        self._training.elapsed = time.perf_counter() - self._began
        self._directory.save(*snapshot(self._training))
        self._last = (self._training.members.epochs, time.monotonic())

    def _is_due(self) -> bool:
        epoch, moment = self._last
        if isinstance(self._every, float):
            return time.monotonic() - moment >= self._every
        return self._training.members.epochs - epoch >= self._every

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
            if self._terminated.is_set():  # no epoch has ended since
                signal.raise_signal(signal.SIGTERM)


def directory_of(parameters: Mapping[str, Any], given: Given, held: Given | None) -> CheckpointDirectory | None:
    """Return the directory of a fit's checkpoints, and what they must agree with; None without `checkpoint_dir`."""
    path = parameters.get("checkpoint_dir")
    if path is None:
        return None
    identity = {f"parameter {name}": _text(value) for name, value in parameters.items() if name not in _NO_MATTER}
    identity |= {"X": fingerprint(given.X), "y": fingerprint(given.y), "sample_weight": fingerprint(given.weight)}
    held = Given(None, None) if held is None else held
    identity |= {"X_val, y_val": fingerprint(held.X, held.y, held.weight)}
    return CheckpointDirectory(path, identity)


def go_on_from(training: Training, checkpoint: Checkpoint) -> None:
    """Put a training where a checkpoint was written."""
    restore(training, checkpoint.arrays, checkpoint.facts)
    if training.history.stop_reason not in ENDED:
        training.judge.restore_latest()


def has_ended(training: Training) -> bool:
    """Whether a training that was put where a checkpoint was written has nothing left to do."""
    return training.history.stop_reason in ENDED


def _text(value: Any) -> str:
    """A parameter as text that is the same in every process."""
    if isinstance(value, np.random.RandomState):
        return f"RandomState {joblib.hash(value.get_state())}"
    if isinstance(value, Component) or not callable(value):
        return without_addresses(repr(value))
    return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def without_addresses(text: str) -> str:
    """Return a text without the places of objects in memory, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
