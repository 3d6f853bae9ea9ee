"""The training loop: one, behind every door.

`fit`, `partial_fit` and `warm_start` all come to ``train(members, rows, recipe)``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skbig.data.rows import Rows
from skbig.engine.epochs import Clock, EpochResult, epochs_of
from skbig.engine.execution import thread_count, useful_threads
from skbig.engine.history import History, Judge
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.exceptions import InterruptedWarning


@dataclass(frozen=True)
class EpochReport:
    """What an observer is told after each epoch; numbers are means over the members.

    Attributes
    ----------
    epoch, max_epochs : int
        Epochs of this training, counted from 1.
    loss, rate, seconds : float
    validation_score : float or None
    n_rows : int
        Rows read in the epoch.
    """

    epoch: int
    max_epochs: int
    loss: float
    validation_score: float | None
    rate: float
    n_rows: int
    seconds: float


Observer = Callable[[EpochReport], "bool | None"]
"""Told of each epoch; true ends the training."""

Validation = Callable[[Members, Recipe], "tuple[np.ndarray, np.ndarray]"]
"""Gives loss and score (higher is better) of each member on the validation rows."""


def train(
    members: Members,
    rows: Rows,
    recipe: Recipe,
    *,
    validation: Validation | None = None,
    judge: Judge | None = None,
    history: History | None = None,
    observers: Sequence[Observer] = (),
    first_epoch: int | None = None,
) -> History:
    """Train the members in place and return the history.

    Parameters
    ----------
    members, rows, recipe
        Where we are, the data, and what to do.
    validation : Validation or None
    judge : Judge or None
        One that has seen earlier epochs, to go on with.
    history : History or None
        One to which to add; it stays complete when training fails.
    observers : sequence of Observer
    first_epoch : int or None
        The epoch at which the schedule began; now, by default.

    Raises
    ------
    DivergenceError
        When the loss is not finite any more; the members keep the last finite weights.
    """
    clock = Clock(time.perf_counter(), recipe.max_time)
    judge = Judge(members, recipe) if judge is None else judge
    history = History() if history is None else history
    first_epoch = members.epochs if first_epoch is None else first_epoch
    with thread_count(useful_threads(members, recipe.batch_size)):
        epochs = epochs_of(members, rows, recipe, clock, first_epoch)
        try:
            history.stop_reason = _loop(epochs.run, members, rows, recipe, clock, validation, judge, history, observers)
        except KeyboardInterrupt:
            history.stop_reason = "interrupted"
            warnings.warn("Training interrupted by user; the model so far is kept.", InterruptedWarning, stacklevel=2)
    if recipe.keep_best or members.n_members > 1:
        judge.restore_best()
    return history


def _loop(
    run_epoch: Callable[[], EpochResult],
    members: Members,
    rows: Rows,
    recipe: Recipe,
    clock: Clock,
    validation: Validation | None,
    judge: Judge,
    history: History,
    observers: Sequence[Observer],
) -> str:
    """Run epochs until there is a reason to stop, and return it."""
    for epoch in range(1, recipe.max_epochs + 1):
        began = time.perf_counter()
        result = run_epoch()
        loss, score = (None, None) if validation is None else validation(members, recipe)
        _record(history, result, loss, score)
        judge.see(result.loss, score, result.rate, result.converged)
        seconds = time.perf_counter() - began
        report = EpochReport(
            epoch, recipe.max_epochs, float(result.loss.mean()), None if score is None else float(score.mean()),
            float(result.rate.mean()), rows.n_rows, seconds,
        )  # fmt: skip
        wishes = [observer(report) for observer in observers]  # every observer hears of every epoch
        if judge.stopped.all():
            return "converged"
        if any(wishes):
            return "callback"
        if clock.fraction >= 1.0:
            return "max_time"
    return "max_iter"


def _record(history: History, result: EpochResult, loss: np.ndarray | None, score: np.ndarray | None) -> None:
    history.loss.append(result.loss)
    history.rate.append(result.rate)
    if loss is not None and score is not None:
        history.validation_loss.append(loss)
        history.validation_score.append(score)
