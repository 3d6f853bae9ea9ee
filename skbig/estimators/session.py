"""A training of an estimator, from what the user hands over to what the estimator keeps.

``check -> where to start from -> split -> recipe -> rows -> members``, and then ``train -> keep``. What `fit` does with
a session a search does too, only later, and with others at its side.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from skbig._utils.device import SingleDevice, choose_backend, plain_torch
from skbig.components.privacy import DPSGD
from skbig.engine.checkpoint import Checkpoint, CheckpointDirectory
from skbig.engine.history import History, continued_history
from skbig.engine.members import Members
from skbig.engine.privacy_ledger import Spent
from skbig.engine.recipe import Recipe
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import Observer
from skbig.estimators.advice import warn_of_the_end
from skbig.estimators.checkpointing import Saver, check_complete, directory_of, go_on_from, has_ended
from skbig.estimators.choices import Choices, device_of, resolve_choices
from skbig.estimators.estimator_training import EstimatorTraining
from skbig.estimators.finite_predictions import check_predictions
from skbig.estimators.fit_runners import LOCAL, FitRunner, runner_of
from skbig.estimators.fitted_state import continued_members, curve_means, export_progress, import_tracker
from skbig.estimators.given import Given
from skbig.estimators.inputs import (
    check_memory,
    input_dtypes,
    make_recipe,
    new_members,
    placed,
    seeds_of,
)
from skbig.estimators.interface import EstimatorInterface
from skbig.estimators.private_fit import (
    Ledger,
    check_private,
    ledger_after,
    ledger_before,
    privately,
    steps_forgotten,
)
from skbig.estimators.progress import ProgressLine
from skbig.estimators.rank_training import RankValidation
from skbig.estimators.row_checks import check_weight
from skbig.estimators.sklearn_compat import callback_observer, inside_loop_of_fits
from skbig.estimators.validation import Validation, validation_of
from skbig.estimators.validation_sets import checked_validation, held_out
from skbig.exceptions import DivergenceError
from skbig.networks.network import BuiltNetwork


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
            if epochs or (steps and isinstance(error, DivergenceError)):  # what has been learnt is kept
                self.keep()
            else:
                put_back(self.estimator, self.before)
            raise
        self.keep()

    def keep(self) -> None:
        """Make the estimator a fitted one, as training stands now."""
        for name, value in self.attributes().items():
            setattr(self.estimator, name, value)

    def attributes(self) -> dict[str, Any]:
        """Return every fitted attribute as training stands now."""
        self.catch_up()
        history, network, tracker = self.history, self.recipe.network, self.tracker
        loss = self._means("loss", "loss_curve_")
        scores = self._means("validation_score", "validation_scores_")
        return {
            **self.estimator._public_weights(network, self.shown.arrays()),
            "loss_curve_": loss,
            "loss_": loss[-1] if loss else np.nan,
            "best_loss_": None if self.recipe.keep_best or self.privacy else float(tracker.best_loss.mean()),
            "validation_loss_curve_": self._means("validation_loss", "validation_loss_curve_") or None,
            "validation_scores_": scores or None,
            "validation_curves_": self._validation_curves(),
            "best_validation_score_": float(tracker.best_score.mean()) if scores else None,
            "learning_rates_": self._means("rate", "learning_rates_"),
            "n_iter_": self.members.epochs - self.first_epoch,
            "t_": self.members.rows,
            "n_outputs_": network.n_outputs,
            "stop_reason_": history.stop_reason,
            "device_": str(self.backend.device),
            "executor_": history.executor,
            "_dtype": str(self.backend.dtype).removeprefix("torch."),
            "_network": network,
            "_loss": self.recipe.loss,
            "_ledger": self._ledger(),
            "_progress": export_progress(self.members, tracker, self.recipe, self.incremental),
            "_curves": {name: list(curve) for name, curve in history.curves().items()},
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

    def _means(self, name: str, public: str) -> list[float]:
        old = self.before.get("_curves", {}).get(name, [])
        return curve_means(getattr(self.history, name), old, self.before.get(public))

    def _validation_curves(self) -> dict[str, dict[str, list[float]]] | None:
        validation = self.validation
        return validation.curves(self.history) if isinstance(validation, Validation | RankValidation) else None

    def conclude(self) -> None:
        """Warn of what the user should know of a training that has ended, or fail where it predicts no numbers."""
        check_predictions(self)
        warn_of_the_end(
            self,
            self.n_epochs,
            ran_out=self.ran_out,
            incremental=self.incremental,
            standardizable=getattr(self.estimator, "standardize_target", True) is False,
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


def prepare(
    estimator: EstimatorInterface, given: Given, held: Given, *, incremental: bool = False, classes: Any = None
) -> Session:
    """Do all of a fit that comes before the training; of the estimator, only the facts about its input are written."""
    before, random = dict(vars(estimator)), estimator.random_state
    state = random.get_state() if isinstance(random, np.random.RandomState) else None
    try:
        with plain_torch():
            return _prepare(estimator, before, given, held, incremental=incremental, classes=classes)
    except BaseException:
        put_back(estimator, before)
        if isinstance(random, np.random.RandomState) and state is not None:  # what failed has drawn nothing
            random.set_state(state)
        raise


def put_back(estimator: Any, before: dict[str, Any]) -> None:
    """Give back the attributes from before: fitted values are replaced, never changed in place."""
    for name in [name for name in vars(estimator) if name.endswith("_") and name not in before]:
        delattr(estimator, name)
    vars(estimator).update(before)


class _Resolved(NamedTuple):
    """What is known of a fit before it is known where it starts from."""

    choices: Choices
    targets: Any
    checked: Given
    validation: dict[str, Given] | None
    network: BuiltNetwork
    backend: SingleDevice
    home: SingleDevice


def _prepare(
    estimator: EstimatorInterface, before: dict[str, Any], given: Given, held: Given, *, incremental: bool, classes: Any
) -> Session:
    goes_on = estimator.__sklearn_is_fitted__() and (incremental or estimator.warm_start)
    wanted, runner = resolve_choices(estimator), runner_of(estimator)  # in this order: choices say what is wrong best
    resolved = _resolve(
        estimator, wanted, given, held, runner, goes_on=goes_on, incremental=incremental, classes=classes
    )
    choices, targets, checked, validation, network, backend, home = resolved
    check_private(estimator, choices, checked, network, backend, judged=validation is not None)
    saves = None if incremental else directory_of(estimator, checked, validation)
    saved = _newest(saves, runner)
    seeds = _seeds(estimator, choices["n_members"], goes_on, saved, runner)
    if validation is None and choices["early_stopping"]:
        checked, validation = held_out(estimator, checked, seeds[0], incremental)
    checked = _weighted(estimator, checked, targets, incremental)
    resolved = resolved._replace(checked=checked, validation=validation)
    ledger = ledger_before(estimator, choices, goes_on=goes_on)
    recipe = _recipe(estimator, resolved, ledger, goes_on=goes_on, incremental=incremental)
    members, tracker = _members(estimator, resolved, recipe, seeds, goes_on=goes_on, incremental=incremental)
    recipe = replace(recipe, steps_forgotten=steps_forgotten(ledger, members))
    first_epoch = 0 if incremental else members.epochs
    judge = validation_of(estimator, validation, targets, choices.loss, home, first_epoch)
    session = Session(
        estimator=estimator,
        before=before,
        given=given,
        targets=targets,
        members=members,
        rows=_rows(estimator, resolved, recipe),
        recipe=recipe,
        backend=backend,
        tracker=tracker,
        history=_history(estimator, judge, goes_on),
        validation=judge,
        first_epoch=first_epoch,
        incremental=incremental,
        n_epochs=choices["max_iter"],
        held=validation,
        runner=runner,
        stacks=runner.stacks,
        privacy=choices.privacy,
        ledger=ledger,
        steps_before=members.steps,
    )
    return _checkpointed(session, saves, saved, choices)


def _recipe(
    estimator: EstimatorInterface, resolved: _Resolved, ledger: Ledger | None, *, goes_on: bool, incremental: bool
) -> Recipe:
    """Say what to do: what is asked for, what a fit goes on with, and what keeps rows private."""
    choices, X, judged = resolved.choices, resolved.checked.X, resolved.validation is not None
    recipe = make_recipe(choices, resolved.backend, resolved.network, X, one_epoch=incremental, judged=judged)
    recipe = replace(recipe, keeps_zeros=goes_on and bool(estimator._progress.get("keeps_zeros", False)))
    return privately(recipe, choices, X.shape[0], ledger, one_epoch=incremental)


def _rows(estimator: EstimatorInterface, resolved: _Resolved, recipe: Recipe) -> Any:
    """Put the rows where they are trained on."""
    checked, targets = resolved.checked, resolved.targets
    return placed(
        checked,
        checked.encoded(targets.encode),
        resolved.home,
        at_once=recipe.batch_size >= checked.X.shape[0],
        row_lengths=estimator._row_lengths(checked.X),
    )


def _resolve(
    estimator: EstimatorInterface,
    choices: Choices,
    given: Given,
    held: Given,
    runner: FitRunner,
    *,
    goes_on: bool,
    incremental: bool,
    classes: Any,
) -> _Resolved:
    """Check what is given, and let parameters, rows and network meet."""
    checked, backend = _checked_rows(estimator, given, runner, reset=not goes_on)
    targets = estimator._make_targets(checked.y, classes, goes_on, incremental, choices.loss)
    choices, checked, backend = estimator._met(choices, checked, targets.n_outputs, backend, goes_on=goes_on)
    home = runner.home(backend)
    validation = checked_validation(estimator, held, checked.X.dtype, choices)
    facts = {"goes_on": goes_on, "judged": validation is not None, "incremental": incremental}
    choices, targets = estimator._settled(choices, checked, targets, **facts)
    network = estimator._shaped(choices.network, checked.X.shape[1], targets.n_outputs)
    if choices.backend is not None:
        choices.backend.check_network(network)
    check_memory(network, choices["n_members"], choices.optimizer, home, averaged=choices.average is not None)
    return _Resolved(choices, targets, checked, validation, network, backend, home)


def _members(
    estimator: EstimatorInterface,
    resolved: _Resolved,
    recipe: Recipe,
    seeds: list[int],
    *,
    goes_on: bool,
    incremental: bool,
) -> tuple[Members, StoppingTracker]:
    """Go on with the fitted weights, or begin with drawn ones, or those that the estimator has for a beginning."""
    choices, targets, checked, _, network, _, home = resolved
    if goes_on:
        arrays, n_members = estimator._network_arrays(), choices["n_members"]
        members = continued_members(recipe, home, arrays, estimator._progress, n_members, incremental)
        return members, import_tracker(members, recipe, estimator._progress, incremental)
    first = estimator._begun(network, network.first_values(seeds), checked, targets, choices.loss)
    members = new_members(recipe, home, seeds, first)
    return members, StoppingTracker(members, recipe)


def _newest(saves: CheckpointDirectory | None, runner: FitRunner) -> Checkpoint | None:
    """Return the checkpoint to go on from, if there is one."""
    saved = None if saves is None else runner.first(saves.newest)
    if saved is not None:
        check_complete(saved)
    return saved


def _checkpointed(
    session: Session, saves: CheckpointDirectory | None, saved: Checkpoint | None, choices: Choices
) -> Session:
    """Let a session go on from a checkpoint, and write others."""
    if saved is not None:
        go_on_from(session, saved)
        session.limit(session.n_before if has_ended(session) else choices["max_iter"], choices["max_iter"])
    if saves is not None:
        session.saver = Saver(saves, choices["checkpoint_every"], session)
    return session


def _checked_rows(
    estimator: EstimatorInterface, given: Given, runner: FitRunner, *, reset: bool
) -> tuple[Given, SingleDevice]:
    """Return checked rows without those of weight zero, and on what and in which numbers they are trained."""
    device = runner.device(device_of(estimator.device, type(estimator).__name__))
    dtypes = input_dtypes(device, estimator.precision)
    X, y = estimator._check_training_rows(given.X, given.y, given.weight, dtypes, reset=reset)
    backend = choose_backend(device, estimator.precision, X.dtype == np.float64)
    return Given(X, y, check_weight(given.weight, X.shape[0]), given.soft).without_weightless(), backend


def _seeds(
    estimator: EstimatorInterface, n_members: int, goes_on: bool, saved: Checkpoint | None, runner: FitRunner
) -> list[int]:
    """Return a seed per member: those of the training that goes on, or newly drawn ones."""
    if goes_on:
        return list(estimator._progress["seeds"])
    drawn = seeds_of(estimator.random_state, n_members)  # a RandomState moves on, however often it is killed
    return runner.first(lambda: drawn) if saved is None else list(saved.facts["seeds"])


def _history(estimator: EstimatorInterface, validation: Validation | None, goes_on: bool) -> History:
    more = [] if validation is None else validation.more
    return continued_history(estimator._curves if goes_on else {}, more)


def _weighted(estimator: EstimatorInterface, checked: Given, targets: Any, incremental: bool) -> Given:
    """Return rows with the weights of their classes; a class may have the weight zero."""
    weight = check_weight(estimator._weights(checked, targets, incremental), checked.X.shape[0])
    return replace(checked, weight=weight).without_weightless()
