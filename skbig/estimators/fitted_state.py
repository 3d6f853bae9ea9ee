"""From members to what a fitted estimator keeps, and back: NumPy arrays and plain Python, no torch object.

Legend: M members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from skbig._utils.component import Component, form_of
from skbig._utils.device import SingleDevice
from skbig.components.optimizers.base import Optimizer
from skbig.engine.blocks import Block, blocks_of
from skbig.engine.members import Members, first_state, make_members, to_array
from skbig.engine.recipe import Recipe
from skbig.engine.state_dict import storable
from skbig.engine.stopping import StoppingTracker, everything, load_everything


def export_progress(
    members: Members, tracker: StoppingTracker, recipe: Recipe, incremental: bool, *, shared: bool = False
) -> dict[str, Any]:
    """Return what training needs to go on exactly; of early stopping, only `partial_fit` leaves the best weights.

    The optimizer's state is copied, unless it is not trained with any more, and its memory may be `shared`.
    """
    latest = tracker.latest if _goes_on_from_latest(members, recipe, incremental) else None
    averaged = members.averaged
    return {
        "seeds": list(members.seeds),
        "counts": [members.steps, members.epochs, members.rows],
        "rate_scale": members.rate_scale.copy(),
        "optimizer": _identity(recipe.optimizer),
        "averaged": None if latest is None or averaged is None else to_array(everything(averaged)),
        "state": [_to_arrays(state, shared=shared) for state in members.state],
        "line_search": [_to_arrays(storable(search)) for search in members.line_search],
        "anchor": None if members.anchor is None else to_array(members.anchor),
        "keeps_zeros": recipe.keeps_zeros,
        "tracker": {
            "best_loss": tracker.best_loss,
            "best_score": tracker.best_score,
            "stalled": tracker.stalled,
            "stopped": tracker.stopped,
            "best": None if tracker.best is None else to_array(tracker.best),
            "latest": None if latest is None else to_array(latest),
        },
    }


def _goes_on_from_latest(members: Members, recipe: Recipe, incremental: bool) -> bool:
    """Whether training goes on from the weights of its last step, though the fitted ones are others."""
    return incremental if recipe.keep_best else members.averaged is not None


def import_progress(members: Members, recipe: Recipe, kept: Mapping[str, Any], incremental: bool) -> None:
    """Put back counts and optimizer state; another optimizer than before starts afresh.

    All calls of `partial_fit` are one training, held near where the first began; a `fit` is held near its own start.
    """
    members.steps, members.epochs, members.rows = kept["counts"]
    members.rate_scale = np.array(kept["rate_scale"])
    state = _continued_state(members, recipe, kept)
    members.start(recipe.optimizer, recipe.average, anchored=recipe.anchored, state=state)
    if members.anchor is not None and incremental and kept.get("anchor") is not None:
        members.anchor.copy_(torch.from_numpy(np.array(kept["anchor"])))
    if state is None:
        members.steps = 0
        return
    if recipe.optimizer.full_batch:
        members.line_search = [_to_tensors(state, members) for state in kept["line_search"]]


def _continued_state(members: Members, recipe: Recipe, kept: Mapping[str, Any]) -> list[dict[str, torch.Tensor]] | None:
    """Return the optimizer's state that was kept, copied, or None where it is another optimizer's."""
    if kept["optimizer"] != _identity(recipe.optimizer):
        return None
    form = [] if recipe.optimizer.full_batch else _form_of_state(members, recipe.optimizer)
    if not _same_names(form, kept["state"]):
        return None
    device = members.flat.device
    return [
        {name: torch.from_numpy(np.array(old[name])).to(device, dtype) for name, dtype in own.items()}
        for own, old in zip(form, kept["state"], strict=True)
    ]


def _form_of_state(members: Members, optimizer: Optimizer) -> Sequence[Mapping[str, torch.dtype]]:
    """Return the names and dtypes of what an optimizer keeps, block by block."""
    blocks, flat = tuple(blocks_of(members.network, optimizer)), members.flat
    if form_of(optimizer) is None:  # a user's may look at values
        return _dtypes(first_state(optimizer, blocks, flat))
    return _known_form_of_state(optimizer, blocks, flat.shape, flat.dtype)


@lru_cache(maxsize=64)
def _known_form_of_state(
    optimizer: Optimizer, blocks: tuple[Block, ...], shape: torch.Size, dtype: torch.dtype
) -> Sequence[Mapping[str, torch.dtype]]:
    return _dtypes(first_state(optimizer, blocks, torch.empty(shape, dtype=dtype, device="meta")))


def _dtypes(states: Sequence[Mapping[str, torch.Tensor]]) -> Sequence[Mapping[str, torch.dtype]]:
    return [{name: value.dtype for name, value in state.items()} for state in states]


def import_tracker(members: Members, recipe: Recipe, kept: Mapping[str, Any], incremental: bool) -> StoppingTracker:
    """Put back what an earlier training had judged.

    Calls of `partial_fit` with early stopping are one training, also over its end and with weights that are not yet
    the best. Any other call is a wish to go on.
    """
    tracker = StoppingTracker(members, recipe)
    for name in ("best_loss", "best_score", "stalled", "stopped"):
        setattr(tracker, name, np.array(kept["tracker"][name]))
    for name in ("best", "latest"):
        weights = kept["tracker"][name]
        setattr(tracker, name, None if weights is None else torch.from_numpy(np.array(weights)).to(members.flat))
    if _goes_on_from_latest(members, recipe, incremental) and not _was_given_weights(members, tracker):
        tracker.restore_latest()
        averaged = kept.get("averaged")
        if members.averaged is not None:
            now = everything(members) if averaged is None else torch.from_numpy(np.array(averaged)).to(members.flat)
            load_everything(members.averaged, now)
    tracker.latest = None
    if not (incremental and recipe.keep_best):
        tracker.stalled[tracker.stopped] = 0  # who asks for more after a stop is given as much patience again
        tracker.stopped[:] = False
        tracker.looks_again = recipe.keep_best
    return tracker


def _was_given_weights(members: Members, tracker: StoppingTracker) -> bool:
    """Whether averaged members have other weights than those they ended with: the user has set them since."""
    if members.averaged is None or tracker.best is None:
        return False
    return not torch.equal(everything(members), tracker.best)


def continued_members(
    recipe: Recipe,
    backend: SingleDevice,
    arrays: Mapping[str, np.ndarray],
    progress: Mapping[str, Any],
    n_members: int,
    incremental: bool,
) -> Members:
    """Go on with fitted weights.

    Raises
    ------
    ValueError
        When the parameters now ask for another network than the fitted one.
    """
    shapes = recipe.network.shapes | recipe.network.statistics_shapes
    if {name: value.shape for name, value in arrays.items()} != {
        name: (n_members, *shape) for name, shape in shapes.items()
    }:
        raise ValueError(
            "The fitted network has other layers than the parameters and the data now ask for (hidden_layer_sizes, "
            "normalization, n_members, or the number of outputs of y). Keep them to go on training, or call fit with "
            "warm_start=False."
        )
    members = make_members(recipe.network, progress["seeds"], arrays, backend.device, backend.dtype)
    import_progress(members, recipe, progress, incremental)
    return members


def _identity(component: Component) -> str:
    """What tells whether an optimizer's state fits another: its class and the choices that shape the state."""
    fixed = component.signature()[1:]
    return f"{type(component).__module__}.{type(component).__qualname__}{fixed!r}"


def _same_names(states: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> bool:
    return [set(state) for state in states] == [set(state) for state in others]


def _to_arrays(state: Mapping[str, Any], *, shared: bool = False) -> dict[str, Any]:
    return {
        name: to_array(value, shared=shared) if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }


def _to_tensors(state: Mapping[str, Any], members: Members) -> dict[str, Any]:
    return {
        name: _like(torch.from_numpy(np.array(value)), members.flat) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }


def _like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return tensor.to(other) if tensor.is_floating_point() else tensor.to(other.device)
