"""Give an estimator weights that were trained elsewhere: it is then a fitted one, and can go on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from skbig._utils.device import SingleDevice
from skbig.data.rows import place_rows
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.engine.history import History
from skbig.engine.members import make_members
from skbig.engine.stopping import StoppingTracker
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.choices import resolve_choices
from skbig.estimators.given import Given
from skbig.estimators.inputs import make_recipe, seeds_of
from skbig.estimators.session import Session


def initialize(
    estimator: NetworkEstimator,
    targets: ClassTargets | RegressionTargets,
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
    estimator : NetworkEstimator
        Changed in place; its parameters must ask for such a network.
    targets : ClassTargets or RegressionTargets
    n_features : int
    arrays : mapping of ndarray of shape (n_members, *shape)
        Parameters and running statistics by the network's names.
    loss_curve : list of float
    n_iter, t : int
        Epochs done and rows seen.
    """
    first = next(iter(arrays.values()))
    dtype, n_members = first.dtype, len(first)
    backend = SingleDevice(torch.device("cpu"), torch.float32 if dtype == np.float32 else torch.float64)
    X, y = np.zeros((2, n_features), dtype=dtype), np.zeros((2, targets.n_outputs))  # of one, there are no moments
    choices = resolve_choices(estimator)
    network = choices.network.of_shape(n_features, targets.n_outputs)
    recipe = make_recipe(choices.with_parameters(batch_size="auto"), backend, network, X, one_epoch=False, judged=False)
    seeds = seeds_of(estimator.random_state, n_members)
    members = make_members(recipe.network, seeds, arrays, backend.device, backend.dtype)
    members.start(recipe.optimizer)
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
        history=History(loss=[np.full(n_members, value) for value in loss_curve]),
        validation=None,
        first_epoch=0,
        incremental=False,
        n_epochs=choices["max_iter"],
    ).keep()
