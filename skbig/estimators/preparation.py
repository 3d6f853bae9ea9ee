"""From what the user hands over to a session: all of a fit that comes before its training.

``check -> where to start from -> split -> recipe -> rows -> members``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skbig._utils.device import SingleDevice, choose_backend, plain_torch
from skbig.data.folded_rows import folded
from skbig.data.rows import Rows
from skbig.data.tensor_rows import TensorRows
from skbig.engine.checkpoint import Checkpoint, CheckpointDirectory
from skbig.engine.history import History, continued_history
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
    if choices.privacy is not None:
        check_private(estimator, choices, checked, network, backend, judged=validation is not None)
    saves = None if incremental else directory_of(estimator, checked, validation)
    saved = _newest(saves, runner)
    seeds = _seeds(estimator, choices["n_members"], goes_on, saved, runner)
    left_out: dict[int, np.ndarray] = {}
    folds = validation is None and choices["early_stopping"] == FOLDS
    if validation is None and choices["early_stopping"] and not folds:
        checked, validation = held_out(estimator, checked, seeds[0], incremental)
    unweighted, weight = checked, checked_weight(estimator._weights(checked, targets, incremental), checked.X.shape[0])
    checked = replace(checked, weight=weight).without_weightless()  # a class may have the weight zero
    if folds:
        check_folds(len(seeds), incremental=incremental, alone=runner is LOCAL)
        left_out, validation = left_out_by_members(estimator, unweighted, weight, seeds)
    resolved = resolved._replace(checked=checked, validation=validation)
    ledger = ledger_before(estimator, choices, goes_on=goes_on)
    recipe = _recipe(estimator, resolved, ledger, goes_on=goes_on, incremental=incremental)
    members, tracker = _members(estimator, resolved, recipe, seeds, goes_on=goes_on, incremental=incremental)
    if ledger is not None:
        recipe = replace(recipe, steps_forgotten=steps_forgotten(ledger, members))
    first_epoch = 0 if incremental else members.epochs
    judge = validation_of(
        estimator, validation, targets, choices.loss, home, first_epoch, n_folds=max(1, len(left_out))
    )
    session = Session(
        estimator=estimator,
        before=before,
        given=given,
        targets=targets,
        members=members,
        rows=_rows(estimator, resolved, recipe, left_out),
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
    if goes_on and estimator._progress.get("keeps_zeros", False):
        recipe = replace(recipe, keeps_zeros=True)
    if choices.privacy is None:
        return recipe
    return privately(recipe, choices, choices.privacy, X.shape[0], ledger, one_epoch=incremental)


def _rows(
    estimator: EstimatorInterface, resolved: _Resolved, recipe: Recipe, left_out: Mapping[int, np.ndarray]
) -> Any:
    """Put the rows where they are trained on."""
    checked, targets = resolved.checked, resolved.targets
    rows = placed(
        checked,
        checked.encoded(targets.encode),
        resolved.home,
        at_once=recipe.batch_size >= checked.X.shape[0],
        row_lengths=estimator._row_lengths(checked.X),
    )
    if not left_out:
        return rows
    if not isinstance(rows, Rows) or rows.is_sparse:
        raise ValueError("early_stopping='folds' needs dense rows in memory. Use early_stopping=True.")
    return folded(rows, left_out)


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
    device = runner.device(device_of(estimator.device, type(estimator).__name__))
    # Tensors of this device are rows as they are; on a CPU they are arrays.
    there = device if runner is LOCAL and estimator._reads_tensors else torch.device("cpu")
    given = given.on_device(there, "X", "y", "sample_weight")
    checked, backend = _checked_rows(estimator, given, device, reset=not goes_on, incremental=incremental)
    targets = estimator._make_targets(checked.y, classes, goes_on, incremental, choices.loss)
    choices, checked, backend = estimator._met(choices, checked, targets.n_outputs, backend, goes_on=goes_on)
    home = runner.home(backend)
    validation = checked_validation(estimator, held, checked.X.dtype, choices, there)
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
        make = partial(continued_members, recipe, home, arrays, estimator._progress, n_members, incremental)
        members = make()
        if incremental and recipe.average is None and not recipe.keep_best:  # else others take their place at once
            members.beginning = lambda: make().changing()
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
    estimator: EstimatorInterface, given: Given, device: torch.device, *, reset: bool, incremental: bool
) -> tuple[Given, SingleDevice]:
    """Return checked rows without those of weight zero, and on what and in which numbers they are trained."""
    dtypes = input_dtypes(device, estimator.precision)
    facts = {"reset": reset, "incremental": incremental}
    X, y = estimator._check_training_rows(given.X, given.y, given.weight, dtypes, **facts)
    backend = choose_backend(device, estimator.precision, X.dtype == np.float64)
    weight = given.weight
    if isinstance(weight, Tensor) and not isinstance(X, TensorRows):  # which were to be looked at on the host
        weight = on_host(weight, "sample_weight")
    return Given(X, y, checked_weight(weight, X.shape[0]), given.soft).without_weightless(), backend


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
