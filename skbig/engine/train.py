"""The training loop: one, behind every door.

`fit`, `partial_fit` and `warm_start` all come to ``train(members, rows, recipe)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from skbig._utils.threads import thread_count
from skbig._utils.user_warning import warn_user
from skbig.data.rows import Rows
from skbig.engine.curve import Curve
from skbig.engine.epoch import ADVICE, Clock, EpochResult
from skbig.engine.epochs_ahead import EpochsAhead, may_go_ahead
from skbig.engine.executors.threads import useful_threads
from skbig.engine.history import History
from skbig.engine.members import Members
from skbig.engine.minibatch import MiniBatchEpochs
from skbig.engine.processes import ONE_PROCESS, AnyRows, Processes
from skbig.engine.recipe import Recipe
from skbig.engine.stopping import StoppingTracker
from skbig.exceptions import DivergenceError, InterruptedWarning

if TYPE_CHECKING:
    from skbig.engine.line_search import LineSearchEpochs


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
    last : bool
        Whether training ends with it.
    """

    epoch: int
    max_epochs: int
    loss: float
    validation_score: float | None
    rate: float
    n_rows: int
    seconds: float
    last: bool = False


Observer = Callable[[EpochReport], "bool | None"]
"""Told of each epoch; true ends the training."""


class Validated(NamedTuple):
    """What validation rows say of each member, (M,) all.

    Attributes
    ----------
    loss, score : ndarray
        NaN where a member's predictions are not finite. Of scores higher is better.
    more : dict of ndarray
        What is only noted down, by name.
    """

    loss: np.ndarray
    score: np.ndarray
    more: dict[str, np.ndarray]


class Validation(Protocol):
    """Judges the members by validation rows.

    Attributes
    ----------
    more : sequence of str
        Names of what it notes down besides.
    """

    @property
    def more(self) -> Sequence[str]: ...

    def __call__(self, members: Members, recipe: Recipe) -> Validated: ...

    def together(self, trainings: Sequence[Training]) -> Validation:
        """Return the validation of a stack; the score of a member that cannot be scored is NaN."""
        ...


def nothing() -> None:
    """A training that is trained where it is, is up to date."""


@dataclass
class Training:
    """All that `train` takes: where we are, the data, what to do, and what has been seen so far."""

    members: Members
    rows: AnyRows
    recipe: Recipe
    tracker: StoppingTracker
    history: History
    validation: Validation | None
    first_epoch: int
    elapsed: float = 0.0
    """Seconds that earlier runs of this training have taken."""
    processes: Processes = ONE_PROCESS
    """Those that train it together."""
    catch_up: Callable[[], None] = nothing
    """Brings it up to date, when it is trained in parts elsewhere."""
    stacks: bool = True
    """Whether it may be trained in a stack; not where other processes take part."""

    @property
    def shown(self) -> Members:
        """What predicts, as training stands now: at its end the best members, before it those that are scored."""
        return self.members if self.tracker.latest is not None else self.members.shown

    def run(self, observers: Sequence[Observer] = ()) -> None:
        """Train, and end with the best weights."""
        train(
            self.members,
            self.rows,
            self.recipe,
            validation=self.validation,
            tracker=self.tracker,
            history=self.history,
            observers=observers,
            first_epoch=self.first_epoch,
            elapsed=self.elapsed,
            processes=self.processes,
        )


def train(
    members: Members,
    rows: AnyRows,
    recipe: Recipe,
    *,
    validation: Validation | None = None,
    tracker: StoppingTracker | None = None,
    history: History | None = None,
    observers: Sequence[Observer] = (),
    first_epoch: int | None = None,
    failed: np.ndarray | None = None,
    elapsed: float = 0.0,
    processes: Processes = ONE_PROCESS,
) -> History:
    """Train the members in place and return the history.

    Parameters
    ----------
    members, rows, recipe
        Where we are, the data, and what to do.
    validation : Validation or None
    tracker : StoppingTracker or None
        One that has seen earlier epochs, to go on with.
    history : History or None
        One to which to add; it stays complete when training fails.
    observers : sequence of Observer
    first_epoch : int or None
        The epoch at which the schedule began; now, by default.
    failed : ndarray (M,) of bool, or None
        Where to mark members whose numbers are not finite any more, in place of an error. Then the members are also
        left with their latest weights, not the best: the training is a part of a longer one.
    elapsed : float
        Seconds of `max_time` that are gone already.
    processes : Processes
        Those that train these members together: each calls this function with the same arguments. Observers are told
        in rank 0 alone.

    Raises
    ------
    DivergenceError
        When the loss is not finite any more; the members keep the last finite weights.
    """
    run = _Run(
        members=members,
        rows=rows,
        recipe=recipe,
        clock=Clock(time.perf_counter() - elapsed, recipe.max_time, processes.agreed),
        validation=validation,
        tracker=StoppingTracker(members, recipe) if tracker is None else tracker,
        history=History() if history is None else history,
        observers=observers,
        failed=failed,
        processes=processes,
    )
    run.train(members.epochs if first_epoch is None else first_epoch)
    return run.history


@dataclass(frozen=True)
class _Run:
    """The parts of one training, and the loop over its epochs."""

    members: Members
    rows: AnyRows
    recipe: Recipe
    clock: Clock
    validation: Validation | None
    tracker: StoppingTracker
    history: History
    observers: Sequence[Observer]
    failed: np.ndarray | None
    processes: Processes

    def train(self, first_epoch: int) -> None:
        """Run the loop, once; Ctrl-C ends it early."""
        with thread_count(useful_threads(self.members, self.recipe.batch_size)):
            rows = self.processes.own_rows(self.rows, self.recipe)
            watched = self.validation is not None or bool(self.observers)
            epochs = epochs_of(
                self.members, rows, self.recipe, self.clock, first_epoch, self.failed, self.processes, watched=watched
            )
            self.history.executor = epochs.executor_name
            if self.tracker.looks_again and self.validation is not None:
                score = self.validation(self.members.shown, self.recipe).score
                self.tracker.begin(np.nan_to_num(score, nan=-np.inf))
            try:
                self.history.stop_reason = self._loop(epochs.run)
            except KeyboardInterrupt as interrupt:
                if not self.processes.all_end(interrupt):
                    raise
                self.history.stop_reason = "interrupted"
                message = "Training interrupted by user; the model so far is kept."
                warn_user(message, InterruptedWarning)
            finally:
                epochs.settle()
                self.history.executor = epochs.executor_name
        if self.failed is None and self.tracker.chooses:
            self.tracker.restore_best()

    def _loop(self, run_epoch: Callable[[], EpochResult]) -> str:
        """Run epochs until there is a reason to stop, and return it."""
        for epoch in count(1):
            began = time.perf_counter()
            result = run_epoch()
            score = self._track(result)
            reason = self._reason_to_stop(epoch)
            report = partial(self._report, epoch, result, score, time.perf_counter() - began, bool(reason))
            if self.processes.first(partial(self._tell, report)) and reason != "converged":
                return "callback"
            if reason:
                return reason
        raise AssertionError("not reached: the number of epochs is limited")

    def _tell(self, report: Callable[[], EpochReport]) -> bool:
        """Tell every observer of an epoch; return whether one of them wishes to end."""
        if not self.observers:
            return False
        told = report()
        return any([observer(told) for observer in self.observers])

    def _reason_to_stop(self, epoch: int) -> str:
        if self.tracker.stopped.all():
            return "converged"
        if self.clock.fraction >= 1.0:
            return "max_time"
        return "max_iter" if epoch == self.recipe.max_epochs else ""

    def _track(self, result: EpochResult) -> np.ndarray | None:
        """Validate, note down and judge an epoch; return its validation scores."""
        validated = None if self.validation is None else self.validation(self.members.shown, self.recipe)
        history = self.history
        history.loss = self._noted(history.loss, result.loss)
        history.rate = self._noted(history.rate, result.rate)
        if validated is not None:
            history.validation_loss = self._noted(history.validation_loss, validated.loss)
            history.validation_score = self._noted(history.validation_score, validated.score)
            for name, values in validated.more.items():
                history.more[name] = self._noted(history.more[name], values)
            self._check_validated(validated, result)
        score = None if validated is None else validated.score
        self.tracker.see(result.loss, score, result.rate, result.converged)
        return score

    def _check_validated(self, validated: Validated, result: EpochResult) -> None:
        """Raise DivergenceError, or mark members as failed, when the predictions are not finite any more."""
        diverged = np.isnan(validated.score)
        if self.failed is not None:
            self.failed[diverged] = True
        elif diverged.any():
            raise DivergenceError(
                "The predictions of the validation rows are not finite any more: after epoch "
                f"{self.members.epochs}, step {self.members.steps}, at the learning rate {result.rate.max():g}. The "
                f"weights of this epoch are kept. {ADVICE} X_val must be scaled as X is."
            )

    def _noted(self, curve: Curve, values: np.ndarray) -> Curve:
        """Return a curve with one more epoch; a member that has stopped keeps the value it stopped with."""
        stopped = self.tracker.stopped
        return curve.and_then(np.where(stopped, curve[-1], values) if curve and np.count_nonzero(stopped) else values)

    def _report(
        self, epoch: int, result: EpochResult, score: np.ndarray | None, seconds: float, last: bool
    ) -> EpochReport:
        return EpochReport(
            epoch=epoch,
            max_epochs=self.recipe.max_epochs,
            loss=float(result.loss.mean()),
            validation_score=None if score is None else float(score.mean()),
            rate=float(result.rate.mean()),
            n_rows=self.rows.n_rows,
            seconds=seconds,
            last=last,
        )


def epochs_of(
    members: Members,
    rows: AnyRows,
    recipe: Recipe,
    clock: Clock,
    first_epoch: int,
    failed: np.ndarray | None = None,
    processes: Processes = ONE_PROCESS,
    *,
    watched: bool = True,
) -> MiniBatchEpochs | LineSearchEpochs:
    """Return the kind of epochs that the optimizer takes; where the weights are not watched, short ones go ahead."""
    if recipe.optimizer.full_batch:
        from skbig.engine.line_search import LineSearchEpochs

        assert isinstance(rows, Rows) and failed is None, "members of a line search are not stacked"
        return LineSearchEpochs(members, rows, recipe, clock, first_epoch)
    alone = processes is ONE_PROCESS and failed is None and not watched
    kind = EpochsAhead if alone and may_go_ahead(members, rows, recipe) else MiniBatchEpochs
    return kind(members, rows, recipe, clock, first_epoch, failed, processes)
