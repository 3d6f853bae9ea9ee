"""Give an estimator weights that it has not trained: it is then a fitted one, and can go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from skbig._utils.device import SingleDevice, plain_torch
from skbig._utils.validation import COUNT, Each, check
from skbig.data.rows import place_rows
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.engine.curve import Curve
from skbig.engine.history import History
from skbig.engine.members import make_members
from skbig.engine.stopping import StoppingTracker
from skbig.estimators.choices import Choices, resolve_choices
from skbig.estimators.given import Given
from skbig.estimators.inputs import make_recipe, seeds_of
from skbig.estimators.interface import EstimatorInterface
from skbig.estimators.session import Session, put_back
from skbig.networks.network import BuiltNetwork

Targets = ClassTargets | RegressionTargets


def initialize(
    estimator: EstimatorInterface,
    targets: Targets,
    n_features: int,
    arrays: Mapping[str, np.ndarray],
    *,
    loss_curve: list[float],
    n_iter: int,
    t: int,
) -> None:
    """Make the estimator a fitted one with these weights, as if it had trained them on a CPU.

    Parameters
    ----------
    estimator : EstimatorInterface
        Changed in place; its parameters must ask for such a network.
    targets : ClassTargets or RegressionTargets
    n_features : int
    arrays : mapping of ndarray of shape (n_members, *shape)
        Parameters and running statistics by the network's names.
    loss_curve : list of float
    n_iter, t : int
        Epochs done and rows seen.
    """
    choices = resolve_choices(estimator)
    network = estimator._shaped(choices.network, n_features, targets.n_outputs)
    seeds = seeds_of(estimator.random_state, len(next(iter(arrays.values()))))
    _keep(estimator, choices, network, targets, seeds, arrays, loss_curve=loss_curve, n_iter=n_iter, t=t)


def begin(estimator: EstimatorInterface, targets: Targets, n_features: int | Sequence[int]) -> None:
    """Make the estimator a fitted one with the weights that `fit` would begin with; of rows it has seen none.

    Parameters
    ----------
    estimator : EstimatorInterface
        Changed in place, or left as it was where this fails.
    targets : ClassTargets or RegressionTargets
    n_features : int or sequence of int
        The shape of a row; several numbers for a module alone.
    """
    before, random = dict(vars(estimator)), estimator.random_state
    state = random.get_state() if isinstance(random, np.random.RandomState) else None
    try:
        with plain_torch():
            _begin(estimator, targets, _row_shape(estimator, n_features))
    except BaseException:
        put_back(estimator, before)
        if isinstance(random, np.random.RandomState) and state is not None:
            random.set_state(state)
        raise


def _begin(estimator: EstimatorInterface, targets: Targets, shape: tuple[int, ...]) -> None:
    choices = resolve_choices(estimator)
    dtype = np.dtype(np.float64 if choices["precision"] in ("auto", "float64") else np.float32)
    choices, checked = _met_nothing(estimator, choices, targets, shape, dtype)
    network = estimator._shaped(choices.network, checked.X.shape[1], targets.n_outputs)
    seeds = seeds_of(estimator.random_state, choices["n_members"])
    first = estimator._begun(network, network.first_values(seeds), checked, targets, choices.loss)
    arrays = {name: value.astype(dtype) if value.dtype.kind == "f" else value for name, value in first.items()}
    _keep(estimator, choices, network, targets, seeds, arrays, loss_curve=[], n_iter=0, t=0)


def _met_nothing(
    estimator: EstimatorInterface, choices: Choices, targets: Targets, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[Choices, Given]:
    """Let the network meet rows of zeros; where it takes no real numbers, as one that begins with codes, whole ones."""
    kinds = [dtype, np.dtype(np.int64)] if estimator._takes_any_shape else [dtype]
    for kind in kinds:
        X, y = np.zeros((2, *shape), kind), np.zeros(2)
        X, y = estimator._check_training_rows(X, y, None, [dtype], reset=True, incremental=False)
        backend = SingleDevice(torch.device("cpu"), torch.float32 if dtype == np.float32 else torch.float64)
        try:
            met, checked, _ = estimator._met(choices, Given(X, y), targets.n_outputs, backend, goes_on=False)
        except ValueError:
            if kind is kinds[-1]:
                raise
        else:
            return met, checked
    raise AssertionError("not reached")


def _row_shape(estimator: EstimatorInterface, n_features: Any) -> tuple[int, ...]:
    several = (Each(COUNT),) if estimator._takes_any_shape else ()
    check("n_features", f"{type(estimator).__name__}.initialize", n_features, COUNT, *several)
    return tuple(map(int, n_features)) if isinstance(n_features, Sequence) else (int(n_features),)


def _keep(
    estimator: EstimatorInterface,
    choices: Choices,
    network: BuiltNetwork,
    targets: Targets,
    seeds: list[int],
    arrays: Mapping[str, np.ndarray],
    *,
    loss_curve: list[float],
    n_iter: int,
    t: int,
) -> None:
    """Write the attributes of a training that has come to these weights."""
    first = next(array for array in arrays.values() if array.dtype.kind == "f")
    backend = SingleDevice(torch.device("cpu"), torch.float32 if first.dtype == np.float32 else torch.float64)
    X, y = np.zeros((2, network.n_features), first.dtype), np.zeros((2, targets.n_outputs))  # of one, no moments
    recipe = make_recipe(choices.with_parameters(batch_size="auto"), backend, network, X, one_epoch=False, judged=False)
    members = make_members(recipe.network, seeds, arrays, backend.device, backend.dtype)
    members.start(recipe.optimizer, recipe.average)  # with no anchor: the training begins when it goes on
    members.epochs, members.rows = n_iter, t
    Session(
        estimator=estimator,
        before=dict(vars(estimator)),
        given=Given(X, y),
        targets=targets,
        members=members,
        rows=place_rows(X, y, None, backend.device, backend.dtype),
        recipe=recipe,
        backend=backend,
        tracker=StoppingTracker(members, recipe),
        history=History(loss=Curve(np.full(len(seeds), value) for value in loss_curve)),
        validation=None,
        first_epoch=0,
        incremental=False,
        n_epochs=choices["max_iter"],
    ).keep()
