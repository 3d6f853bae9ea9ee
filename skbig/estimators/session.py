"""A training of an estimator, and what the estimator keeps of it: ``train -> keep``.

What `fit` does with a session, once it is prepared, a search does too, only later, and with others at its side.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skbig._utils.device import plain_torch
from skbig.components.privacy import DPSGD
from skbig.engine.curve import mean_of
from skbig.engine.privacy_ledger import Spent
from skbig.engine.train import Observer
from skbig.estimators.advice import warn_of_the_end
from skbig.estimators.checkpointing import has_ended
from skbig.estimators.estimator_training import EstimatorTraining
from skbig.estimators.finite_predictions import check_predictions
from skbig.estimators.fit_runners import LOCAL, FitRunner
from skbig.estimators.fitted_state import export_progress
from skbig.estimators.given import Given
from skbig.estimators.private_fit import (
    Ledger,
    ledger_after,
)
from skbig.estimators.progress import ProgressLine
from skbig.estimators.rank_training import RankValidation
from skbig.estimators.sklearn_compat import callback_observer, inside_loop_of_fits
from skbig.estimators.validation import Validation
from skbig.exceptions import DeviceError, DivergenceError


@dataclass(kw_only=True)
class Session(EstimatorTraining):
    """A training of an estimator that is ready to run.

    Attributes
    ----------
    before : dict
        The estimator's attributes before the call.
    given : Given
        Rows, targets and weights as the user gave them.
    incremental : bool
        Whether it is one call of `partial_fit`.
    n_epochs : int
        Epochs of the whole training: `max_iter`, or what it was settled to be.
    runner : FitRunner
        What carries the training out.
    privacy : DPSGD or None
        As the user asked for it; that of the recipe has its noise settled.
    ledger : Ledger or None
        What earlier calls have spent of it.
    steps_before : int
        Steps of each member that they have taken.
    """

    before: dict[str, Any]
    given: Given
    incremental: bool
    n_epochs: int
    runner: FitRunner = LOCAL
    privacy: DPSGD | None = None
    ledger: Ledger | None = None
    steps_before: int = 0

    @property
    def has_stopped(self) -> bool:
        """Whether early stopping has ended the model's training before this call of `partial_fit`."""
        return self.incremental and self.recipe.keep_best and bool(self.tracker.stopped.all())

    @property
    def n_before(self) -> int:
        """Epochs that earlier runs of this fit have done."""
        return 0 if self.incremental else self.members.epochs - self.first_epoch

    @property
    def ran_out(self) -> bool:
        """Whether `max_iter` ended it before it converged, and no schedule was to end there."""
        by_plan = self.incremental or self.recipe.schedule.ends or self.privacy is not None
        return self.history.stop_reason == "max_iter" and not by_plan

    def limit(self, n_epochs: int, schedule_epochs: int) -> None:
        """Train up to so many epochs in all, of a schedule that may go on further."""
        left = n_epochs - (self.members.epochs - self.first_epoch)
        self.recipe = replace(self.recipe, max_epochs=left, schedule_epochs=schedule_epochs)

    def fit(self, observers: Sequence[Observer] = ()) -> None:
        """Train and keep; on failure keep what has been learnt, or else leave the estimator as it was."""
        start = self._reached()
        try:
            self._train(observers)
        except BaseException as error:
            epochs, steps = np.greater(self._reached(), start)
            learnt = epochs or (steps and isinstance(error, DivergenceError))
            if learnt and not isinstance(error, DeviceError):  # what has been learnt is kept
                self.keep()
            else:
                put_back(self.estimator, self.before)
            raise
        self.keep(for_good=self.runner is LOCAL)

    def keep(self, *, for_good: bool = False) -> None:
        """Make the estimator a fitted one, as training stands now."""
        for name, value in self.attributes(for_good=for_good).items():
            setattr(self.estimator, name, value)

    def attributes(self, *, for_good: bool = False) -> dict[str, Any]:
        """Return every fitted attribute as training stands now; weights are not copied when it has ended `for_good`."""
        self.catch_up()
        history, network, tracker = self.history, self.recipe.network, self.tracker
        return {
            **self.estimator._public_weights(network, self.shown.arrays(shared=for_good)),
            "loss_": history.loss.latest(),
            "best_loss_": None if self.recipe.keep_best or self.privacy else mean_of(tracker.best_loss),
            "best_validation_score_": mean_of(tracker.best_score) if history.validation_score else None,
            "n_iter_": self.members.epochs - self.first_epoch,
            "t_": self.members.rows,
            "n_outputs_": network.n_outputs,
            "stop_reason_": history.stop_reason,
            "device_": str(self.backend.device),
            "executor_": history.executor,
            "_dtype": str(self.backend.dtype).removeprefix("torch."),
            "_network": network,
            "_loss": self.recipe.loss,
            "_ledger": self._ledger() if self.ledger or self.privacy else None,
            "_progress": export_progress(self.members, tracker, self.recipe, self.incremental, shared=for_good),
            "_curves": history.curves(),
            "_names_of_curves": self._names_of_curves(),
            **self.estimator._describe(self.targets, self.recipe),
            **self.estimator._concluded(self, self.targets, self.held),
        }

    def spent(self) -> tuple[Spent, float, str]:
        """Return what this training has spent, with `delta` and accountant."""
        assert self.privacy is not None and self.recipe.privacy is not None
        rate = min(1.0, self.recipe.batch_size / self.rows.n_rows)
        n_steps = (self.members.steps - self.steps_before) * self.members.n_members
        return Spent(float(self.recipe.privacy.noise), rate, n_steps), self.privacy.delta, self.privacy.accountant

    def _ledger(self) -> Ledger | None:
        n_steps = (self.members.steps - self.steps_before) * self.members.n_members
        return ledger_after(self.ledger, self.privacy, self.recipe, self.rows.n_rows, n_steps)

    def _names_of_curves(self) -> dict[str, dict[str, str]] | None:
        validation = self.validation
        return validation.names_of_curves() if isinstance(validation, Validation | RankValidation) else None

    def conclude(self) -> None:
        """Warn of what the user should know of a training that has ended, or fail where it predicts no numbers."""
        check_predictions(self)
        warn_of_the_end(
            self,
            self.n_epochs,
            ran_out=self.ran_out,
            incremental=self.incremental,
            standardizable=vars(self.estimator).get("standardize_target", True) is False,
        )
        if self.history.stop_reason == "interrupted" and inside_loop_of_fits():
            raise KeyboardInterrupt

    def _reached(self) -> tuple[int, int]:
        """How far the training is: epochs noted down, and steps."""
        return len(self.history.loss), self.members.steps

    def _train(self, more: Sequence[Observer]) -> None:
        """Have it trained, with the best weights in the end."""
        given, n_epochs = self.given, self.recipe.max_epochs
        with ExitStack() as stack:
            stack.enter_context(plain_torch())
            stack.enter_context(self.backend.products())
            calls = callback_observer(self.estimator, given.X, given.y, given.weight, n_epochs, self.attributes)
            observers = [stack.enter_context(calls), *self._observers(stack), *more]
            if n_epochs:  # none are left of a fit that an earlier run has ended
                self.runner.train(self, [observer for observer in observers if observer is not None])
                if self.saver is not None and has_ended(self):
                    self.runner.first(self.saver.save)

    def _observers(self, stack: ExitStack) -> list[Observer]:
        observers: list[Observer] = []
        if self.saver is not None:
            stack.enter_context(self.saver.on_sigterm())
            observers.append(self.saver)
        if self.estimator.verbose:
            left = None if self.recipe.max_time is None else self.recipe.max_time - self.elapsed
            in_turn = self.members.n_members > 1 and not self.recipe.network.stacks
            line = ProgressLine(scoring=self.estimator.scoring, max_time=left, n_before=self.n_before, in_turn=in_turn)
            stack.callback(line.close)
            observers.append(line)
        return observers


def put_back(estimator: Any, before: dict[str, Any]) -> None:
    """Give back the attributes from before: fitted values are replaced, never changed in place."""
    for name in [name for name in vars(estimator) if name.endswith("_") and name not in before]:
        delattr(estimator, name)
    vars(estimator).update(before)
