"""The laws of privacy.

Legend: M members, R rows, P parameters of one member.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skbig._utils.random import step_keys
from skbig.components.losses.regression import SquaredError
from skbig.components.optimizers.sgd import SGD
from skbig.components.privacy import DPSGD
from skbig.components.schedules.decays import Constant
from skbig.data.batch import Batch
from skbig.engine.members import make_members
from skbig.engine.private_step import add_noise, clipped_gradient
from skbig.engine.recipe import Recipe
from skbig.engine.step import flattened
from skbig.networks.mlp import MLP
from skbig.testing.laws import check_members, expect, normal

SEEDS = [3, 4]
N_ROWS, N_FEATURES = 5, 3


def check_privacy(privacy: DPSGD) -> None:
    """Check that no row moves the sum by more than it may, whatever its numbers, and that members stay apart."""
    for scale in (0.0, 1e-3, 1.0, 1e6):
        for row in range(N_ROWS):
            moved = _sums(privacy, slice(0, 1), torch.float64, scale, only=row)
            law = "must not let a row move the sum of gradients by more than max_grad_norm."
            expect(torch.linalg.vector_norm(moved) <= privacy.max_grad_norm * (1 + 1e-9), privacy, law)
    check_members(privacy, lambda some, members, dtype: _sums(some, members, dtype, noisy=True), "step")


def _sums(
    privacy: DPSGD,
    members: slice,
    dtype: torch.dtype,
    scale: float = 1.0,
    *,
    only: int | None = None,
    noisy: bool = False,
) -> Tensor:
    """Return the summed gradients of some of the members, (M, P); of one row alone, or with noise, where asked for."""
    seeds = SEEDS[members]
    recipe = _recipe(privacy)
    made = make_members(recipe.network, seeds, recipe.network.initial(seeds), torch.device("cpu"), dtype)
    X = normal(2, N_ROWS, N_FEATURES)[members].to(dtype) * scale
    y, share = X.sum(-1, keepdim=True), torch.ones(len(seeds), N_ROWS, dtype=dtype)
    if only is not None:
        share = share * (torch.arange(N_ROWS) == only)
    one = len(seeds) == 1
    X, y, share = (tensor.squeeze(0) if one else tensor for tensor in (X, y, share))
    batch = Batch(X, y, share, n_whole=1)
    gradient = flattened(clipped_gradient(made, batch, recipe, None)[1], made)
    if noisy:
        add_noise(gradient, recipe, torch.from_numpy(step_keys(seeds, 0, 1)[0]), None, 1)
    return gradient.squeeze(1)


def _recipe(privacy: DPSGD) -> Recipe:
    return Recipe(
        network=MLP((4,), activation="tanh").of_shape(N_FEATURES, 1),
        loss=SquaredError(),
        penalty=None,
        optimizer=SGD(),
        schedule=Constant(),
        clipping=None,
        augmentation=None,
        alpha=0.0,
        rate=0.01,
        batch_size=N_ROWS,
        max_epochs=1,
        schedule_epochs=1,
        privacy=privacy,
    )
