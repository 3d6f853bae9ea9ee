"""From what the user hands over to a session: all of a fit that comes before its training.

``check -> where to start from -> split -> recipe -> rows -> members``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skbig._utils.device import SingleDevice, choose_backend, plain_torch
from skbig._utils.threads import thread_count
from skbig.data.folded_rows import folded
from skbig.data.rows import Rows
from skbig.data.tensor_rows import TensorRows
from skbig.engine.history import continued_history
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stopping import StoppingTracker
from skbig.estimators.checkpointing import Saver, check_complete, directory_of, go_on_from, has_ended
from skbig.estimators.choices import Choices, device_of, resolve_choices
from skbig.estimators.fit_runners import LOCAL, FitRunner, runner_of
from skbig.estimators.fitted_state import continued_members, import_tracker
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
    ledger_before,
    privately,
    steps_forgotten,
)
from skbig.estimators.session import Session, put_back
from skbig.estimators.tensor_checks import checked_weight
from skbig.estimators.tensors import on_host
from skbig.estimators.validation import Validation, validation_of
from skbig.estimators.validation_sets import FOLDS, check_folds, checked_validation, held_out, left_out_by_members
from skbig.networks.network import BuiltNetwork

if TYPE_CHECKING:
    from skbig.engine.checkpoint import Checkpoint, CheckpointDirectory


@dataclass(frozen=True)
class _Call:
    """A call of `fit` or `partial_fit`.

    Attributes
    ----------
    estimator : EstimatorInterface
    given, held : Given
        Training and validation rows as the user gave them.
    classes : object
        All labels that there will be, where the user has named them.
    incremental : bool
        Whether it is `partial_fit`.
    goes_on : bool
        Whether it goes on with what was fitted before.
    """

    estimator: EstimatorInterface
    given: Given
    held: Given
    classes: Any
    incremental: bool
    goes_on: bool


class _Checked(NamedTuple):
    """What is known once all that was given is checked, and parameters, rows and network have met."""

    choices: Choices
    targets: Any
    rows: Given
    validation: dict[str, Given] | None
    network: BuiltNetwork
    backend: SingleDevice
    runner: FitRunner
    home: SingleDevice
    """Where this process itself puts rows and members."""


class _Start(NamedTuple):
    """Where training starts from: a seed per member, a checkpoint, and what was spent before of the privacy."""

    seeds: list[int]
    saves: CheckpointDirectory | None
    saved: Checkpoint | None
    ledger: Ledger | None


class _Split(NamedTuple):
    """The rows to train on, those to judge by, and which of the former the member of a seed does not read."""

    rows: Given
    validation: dict[str, Given] | None
    left_out: Mapping[int, np.ndarray]


def prepare(
    estimator: EstimatorInterface, given: Given, held: Given, *, incremental: bool = False, classes: Any = None
) -> Session:
    """Do all of a fit that comes before the training; of the estimator, only the facts about its input are written."""
    before, random = dict(vars(estimator)), estimator.random_state
    state = random.get_state() if isinstance(random, np.random.RandomState) else None
    goes_on = estimator.__sklearn_is_fitted__() and (incremental or estimator.warm_start)
    try:
        with plain_torch():
            return _prepare(_Call(estimator, given, held, classes, incremental, goes_on), before)
    except BaseException:
        put_back(estimator, before)
        if isinstance(random, np.random.RandomState) and state is not None:  # what failed has drawn nothing
            random.set_state(state)
        raise


def _prepare(call: _Call, before: dict[str, Any]) -> Session:
    checked = _check(call)
    start = _start(call, checked)
    split = _split(call, checked, start.seeds)
    recipe = _recipe(call, checked, split, start.ledger)
    rows = _rows(call, checked, split, recipe)
    with thread_count(1):  # numbers are only moved: beside other programs threads would wait for each other
        members, tracker = _members(call, checked, split, recipe, start.seeds)
    if start.ledger is not None:
        recipe = replace(recipe, steps_forgotten=steps_forgotten(start.ledger, members))
    first_epoch = 0 if call.incremental else members.epochs
    judge = None if split.validation is None else _judge(call, checked, split, first_epoch)
    more: Sequence[str] = [] if judge is None else judge.more
    history = continued_history(call.estimator._curves if call.goes_on else {}, more)
    session = Session(
        estimator=call.estimator,
        before=before,
        given=call.given,
        targets=checked.targets,
        members=members,
        rows=rows,
        recipe=recipe,
        backend=checked.backend,
        tracker=tracker,
        history=history,
        validation=judge,
        first_epoch=first_epoch,
        incremental=call.incremental,
        n_epochs=checked.choices["max_iter"],
        held=split.validation,
        runner=checked.runner,
        stacks=checked.runner.stacks,
        privacy=checked.choices.privacy,
        ledger=start.ledger,
        steps_before=members.steps,
    )
    return session if start.saves is None else _checkpointed(session, start.saves, start.saved, checked.choices)


def _check(call: _Call) -> _Checked:
    """Check what is given, and let parameters, rows and network meet."""
    estimator, goes_on, incremental = call.estimator, call.goes_on, call.incremental
    choices = resolve_choices(estimator)
    runner = runner_of(estimator, choices.backend)
    device = runner.device(device_of(estimator.device, type(estimator).__name__))
    # Tensors of this device are rows as they are; on a CPU they are arrays.
    there = device if runner is LOCAL and estimator._reads_tensors else torch.device("cpu")
    given = call.given.on_device(there, "X", "y", "sample_weight")
    rows, backend = _checked_rows(estimator, given, device, reset=not goes_on, incremental=incremental)
    targets = estimator._make_targets(rows.y, call.classes, goes_on, incremental, choices.loss)
    choices, rows, backend = estimator._met(choices, rows, targets.n_outputs, backend, goes_on=goes_on)
    validation = checked_validation(estimator, call.held, rows.X.dtype, choices, there)
    judged, home = validation is not None, runner.home(backend)
    choices, targets = estimator._settled(
        choices, rows, targets, goes_on=goes_on, judged=judged, incremental=incremental
    )
    network = estimator._shaped(choices.network, rows.X.shape[1], targets.n_outputs)
    if choices.backend is not None:
        choices.backend.check_network(network)
    if choices.privacy is not None:
        check_private(estimator, choices, rows, network, backend, judged=judged)
    check_memory(network, choices["n_members"], choices.optimizer, home, averaged=choices.average is not None)
    return _Checked(choices, targets, rows, validation, network, backend, runner, home)


def _start(call: _Call, checked: _Checked) -> _Start:
    """Decide where to start from: afresh, from a checkpoint, or from what was fitted before."""
    estimator, runner = call.estimator, checked.runner
    saves, saved = None, None
    path = None if call.incremental else checked.choices.parameters.get("checkpoint_dir")
    if path is not None:
        saves = directory_of(path, estimator, checked.rows, checked.validation)
        saved = runner.first(saves.newest)
    if saved is not None:
        check_complete(saved)
    if call.goes_on:
        ledger = ledger_before(estimator, checked.choices)
        return _Start(list(estimator._progress["seeds"]), saves, saved, ledger)
    drawn = seeds_of(estimator.random_state, checked.choices["n_members"])  # a RandomState moves on, come what may
    seeds = runner.first(lambda: drawn) if saved is None else list(saved.facts["seeds"])
    return _Start(seeds, saves, saved, None)


def _split(call: _Call, checked: _Checked, seeds: list[int]) -> _Split:
    """Hold out rows for early stopping, where the user gives none, and leave aside what has no weight."""
    estimator, rows, validation = call.estimator, checked.rows, checked.validation
    holds_out = checked.choices["early_stopping"] if validation is None else False
    if holds_out and holds_out != FOLDS:
        rows, validation = held_out(estimator, rows, seeds[0], call.incremental)
    weight, weighted = estimator._weights(rows, checked.targets, call.incremental), rows
    if weight is not rows.weight:  # a class may have the weight zero
        weight = checked_weight(weight, rows.X.shape[0])
        weighted = replace(rows, weight=weight).without_weightless()
    if holds_out != FOLDS:
        return _Split(weighted, validation, {})
    check_folds(len(seeds), incremental=call.incremental, alone=checked.runner is LOCAL)
    left_out, validation = left_out_by_members(estimator, rows, weight, seeds)
    return _Split(weighted, validation, left_out)


def _recipe(call: _Call, checked: _Checked, split: _Split, ledger: Ledger | None) -> Recipe:
    """Say what to do: what is asked for, what a fit goes on with, and what keeps rows private."""
    choices, X, judged = checked.choices, split.rows.X, split.validation is not None
    recipe = make_recipe(choices, checked.backend, checked.network, X, one_epoch=call.incremental, judged=judged)
    if call.goes_on and call.estimator._progress.get("keeps_zeros", False):
        recipe = replace(recipe, keeps_zeros=True)
    if choices.privacy is None:
        return recipe
    return privately(recipe, choices, choices.privacy, X.shape[0], ledger, one_epoch=call.incremental)


def _rows(call: _Call, checked: _Checked, split: _Split, recipe: Recipe) -> Any:
    """Put the rows where they are trained on."""
    rows = placed(
        split.rows,
        split.rows.encoded(checked.targets.encode),
        checked.home,
        at_once=recipe.batch_size >= split.rows.X.shape[0],
        row_lengths=call.estimator._row_lengths(split.rows.X),
    )
    if not split.left_out:
        return rows
    if not isinstance(rows, Rows) or rows.is_sparse:
        raise ValueError("early_stopping='folds' needs dense rows in memory. Use early_stopping=True.")
    return folded(rows, split.left_out)


def _members(
    call: _Call, checked: _Checked, split: _Split, recipe: Recipe, seeds: list[int]
) -> tuple[Members, StoppingTracker]:
    """Go on with the fitted weights, or begin with drawn ones, or those that the estimator has for a beginning."""
    estimator, choices, network, home = call.estimator, checked.choices, checked.network, checked.home
    if not call.goes_on:
        first = estimator._begun(network, network.first_values(seeds), split.rows, checked.targets, choices.loss)
        begin = partial(new_members, recipe, home, seeds, first)
        members = begin()
        if checked.runner is LOCAL:
            members.beginning = lambda: begin().changing()
        return members, StoppingTracker(members, recipe)
    arrays, n_members = estimator._network_arrays(), choices["n_members"]
    make = partial(continued_members, recipe, home, arrays, estimator._progress, n_members, call.incremental)
    members = make()
    if call.incremental and recipe.average is None and not recipe.keep_best:  # else others take their place at once
        members.beginning = lambda: make().changing()
    return members, import_tracker(members, recipe, estimator._progress, call.incremental)


def _judge(call: _Call, checked: _Checked, split: _Split, first_epoch: int) -> Validation | None:
    """Return what judges the members by the rows that there are for it."""
    n_folds, loss = max(1, len(split.left_out)), checked.choices.loss
    return validation_of(call.estimator, split.validation, checked.targets, loss, checked.home, first_epoch, n_folds)


def _checkpointed(session: Session, saves: CheckpointDirectory, saved: Checkpoint | None, choices: Choices) -> Session:
    """Let a session go on from a checkpoint, and write others."""
    if saved is not None:
        go_on_from(session, saved)
        session.limit(session.n_before if has_ended(session) else choices["max_iter"], choices["max_iter"])
    session.saver = Saver(saves, choices["checkpoint_every"], session)
    return session


def _checked_rows(
    estimator: EstimatorInterface, given: Given, device: torch.device, *, reset: bool, incremental: bool
) -> tuple[Given, SingleDevice]:
    """Return checked rows without those of weight zero, and on what and in which numbers they are trained."""
    dtypes = input_dtypes(device, estimator.precision)
    facts = {"reset": reset, "incremental": incremental}
    X, y = estimator._check_training_rows(given.X, given.y, given.weight, dtypes, **facts)
    backend = choose_backend(device, estimator.precision, X.dtype == np.float64)
    weight = given.weight
    if weight is None:
        return Given(X, y, None, given.soft), backend
    if isinstance(weight, Tensor) and not isinstance(X, TensorRows):  # which were to be looked at on the host
        weight = on_host(weight, "sample_weight")
    return Given(X, y, checked_weight(weight, X.shape[0]), given.soft).without_weightless(), backend
