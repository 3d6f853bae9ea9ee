"""Give an estimator weights that were trained elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from skbig.backends.single import SingleDevice
from skbig.data.rows import place_rows
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.engine.history import History
from skbig.engine.members import make_members
from skbig.engine.stopping import StoppingTracker
from skbig.estimators.base import BaseBigMLP, Session
from skbig.estimators.fitted_state import network_arrays
from skbig.estimators.inputs import Given, make_recipe, seeds_of
from skbig.estimators.parameters import resolve_choices


def adopt_network(
    estimator: BaseBigMLP,
    targets: ClassTargets | RegressionTargets,
    coefs: list[np.ndarray],
    intercepts: list[np.ndarray],
    *,
    loss_curve: list[float],
    n_iter: int,
    t: int,
) -> None:
    """Make the estimator a fitted one with these weights, as if it had trained them on a CPU.

    Parameters
    ----------
    estimator : BaseBigMLP
        Changed in place; its parameters must ask for such a network.
    targets : ClassTargets or RegressionTargets
    coefs, intercepts : list of ndarray of shape (n_in, n_out) and (n_out,)
    loss_curve : list of float
    n_iter, t : int
        Epochs done and rows seen.
    """
    dtype = coefs[0].dtype
    backend = SingleDevice(torch.device("cpu"), torch.float32 if dtype == np.float32 else torch.float64)
    parameters = SimpleNamespace(**{**estimator.get_params(deep=False), "batch_size": "auto"})
    choices = resolve_choices(vars(parameters), type(estimator).__name__, for_classes=estimator._for_classes)
    X, y = np.zeros((1, coefs[0].shape[0]), dtype=dtype), np.zeros((1, targets.n_outputs))
    recipe = make_recipe(parameters, choices, backend, X, targets.n_outputs, one_epoch=False, judged=False)
    seeds, arrays = seeds_of(parameters.random_state, 1), network_arrays(coefs, intercepts, {})
    members = make_members(recipe.network, seeds, arrays, backend.device, backend.dtype)
    members.start(recipe.optimizer)
    members.epochs, members.rows = n_iter, t
    session = Session(
        given=Given(X, y),
        targets=targets,
        members=members,
        rows=place_rows(X, y, None, backend.device, backend.dtype),
        recipe=recipe,
        backend=backend,
        tracker=StoppingTracker(members, recipe),
        history=History(loss=[np.array([value]) for value in loss_curve]),
        validation=None,
        first_epoch=0,
        incremental=False,
    )
    estimator._keep(estimator._fitted(session))
