"""The law of what is recorded: replayed steps come to what the steps as written come to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.component import Component
from skbig.components.losses.classification import LogLoss
from skbig.components.losses.regression import SquaredError
from skbig.components.optimizers.sgd import SGD
from skbig.components.schedules.base import Schedule
from skbig.components.schedules.decays import Constant
from skbig.data.rows import Rows, place_rows
from skbig.engine.members import Members, make_members
from skbig.engine.recipe import Recipe
from skbig.engine.train import train
from skbig.networks.mlp import MLP
from skbig.networks.network import Network
from skbig.testing.laws import expect

N_ROWS, N_FEATURES = 22, 4


def check_recordable(component: Component) -> None:
    """Check that some epochs give the same parameters whether their steps are recorded or not, where it is claimed."""
    if not component.recordable or isinstance(component, Schedule):
        return
    unclaimed = type(type(component).__name__, (type(component),), {})  # a subclass has to claim it for itself
    for n_members in (1, 2):
        recorded = _trained(component, n_members)
        written = _trained(unclaimed(**component.get_params()), n_members)
        law = "must give the same when its steps are recorded and replayed, or not be recordable."
        expect(torch.allclose(recorded, written, rtol=1e-9, atol=1e-12, equal_nan=True), component, law)


def _trained(component: Component, n_members: int) -> Tensor:
    """Return the parameters after three epochs of small batches, the last of which is short."""
    recipe = _recipe(component)
    arrays = recipe.network.initial(range(n_members)) | recipe.network.initial_statistics(n_members)
    members: Members = make_members(recipe.network, list(range(n_members)), arrays, torch.device("cpu"), torch.float64)
    members.start(recipe.optimizer, recipe.average, anchored=recipe.anchored)
    train(members, _rows(recipe.loss.for_classes), recipe)
    return members.flat


def _recipe(component: Component) -> Recipe:
    for_classes = bool(getattr(component, "for_classes", False))
    network = component if isinstance(component, Network) else MLP((5,), activation="tanh")
    choices: dict[str, Any] = {
        "loss": LogLoss() if for_classes else SquaredError(),
        "penalty": None,
        "optimizer": SGD(),
        "clipping": None,
        "augmentation": None,
        "average": None,
    }
    if component.kind in choices:
        choices[component.kind] = component
    return Recipe(
        network=network.of_shape(N_FEATURES, choices["loss"].columns_per_target),
        schedule=Constant(),
        alpha=0.01,
        rate=0.01,
        batch_size=8,
        max_epochs=3,
        schedule_epochs=3,
        **choices,
    )


def _rows(for_classes: bool) -> Rows:
    """Return rows of two classes, or of targets that are positive, as some losses need."""
    random = np.random.default_rng(0)
    X, y = random.uniform(size=(N_ROWS, N_FEATURES)), random.integers(2, size=(N_ROWS, 1)).astype(float)
    return place_rows(X, y if for_classes else y + 1, None, torch.device("cpu"), torch.float64)
