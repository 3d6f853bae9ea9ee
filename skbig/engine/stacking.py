"""Several trainings as one: put members, recipes, stopping trackers and curves side by side, and give them back.

Legend: M members of the stack, P parameters of one member.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.component import Component, place, stack, stack_values
from skbig.data.rows import Rows
from skbig.data.stacked_rows import StackedRows, same_rows
from skbig.engine.curve import Curve
from skbig.engine.history import History, history_of
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import Training
from skbig.networks.network import BuiltNetwork

COMPONENTS = ("loss", "penalty", "optimizer", "schedule", "clipping", "augmentation", "average", "privacy")
PLACED = ("loss", "penalty", "clipping", "augmentation", "privacy")
SHARED = ("shuffle", "keep_best", "bf16", "anchored", "keeps_zeros", "rows_at_once", "steps_forgotten")


def cohort(training: Training) -> tuple[Any, ...]:
    """What trainings must have in common to be stacked, as a value to be compared: shapes, kinds and counts of steps.

    All else may differ: the numbers that components declare as varying, rate, alpha, dropout, seeds, epochs, patience.
    """
    recipe, rows = training.recipe, training.rows
    assert isinstance(rows, Rows)
    whole = recipe.batch_size >= rows.n_rows
    # An augmentation draws partners among the rows of a batch, so none may be padding.
    length = rows.n_rows if recipe.augmentation is not None else -(-rows.n_rows // recipe.batch_size)
    return (
        (recipe.network.network.signature(), recipe.network.n_features, recipe.network.n_outputs),
        tuple(_signature(getattr(recipe, name)) for name in COMPONENTS),
        _signature(recipe.param_groups),
        tuple(getattr(recipe, name) for name in SHARED),
        None if whole and recipe.privacy is None else recipe.batch_size,  # noise is over the rows of a batch
        length,
        None if training.validation is None else tuple(training.validation.more),
        training.members.epochs,
        training.members.flat.dtype,
        training.members.flat.device,
        rows.X.dtype,
    )


def stackable(training: Training) -> bool:
    """Whether a training may be stacked with others at all."""
    recipe, rows = training.recipe, training.rows
    return (
        training.stacks
        and isinstance(rows, Rows)
        and recipe.stackable
        and recipe.max_time is None
        and not recipe.optimizer.full_batch
    )


def _signature(component: Component | None) -> Any:
    return None if component is None else component.signature()


def stacked(trainings: Sequence[Training], max_epochs: int) -> Training:
    """Return one training of all members, over at most so many epochs; those with the same rows must be neighbours."""
    parts = [training.members for training in trainings]
    copies = [part.n_members for part in parts]
    recipe = stack_recipes([training.recipe for training in trainings], copies, max_epochs, parts[0].flat)
    members = stack_members(parts, recipe)
    tracker = _stack_trackers([training.tracker for training in trainings], members, recipe)
    return Training(
        members=members,
        rows=_stack_rows([training.rows for training in trainings], copies),
        recipe=recipe,
        tracker=tracker,
        history=_stack_histories([training.history for training in trainings]),
        validation=None if trainings[0].validation is None else trainings[0].validation.together(trainings),
        first_epoch=trainings[0].first_epoch,
    )


def give_back(whole: Training, trainings: Sequence[Training]) -> None:
    """Write what the stack has come to into the trainings that it was made of."""
    start = 0
    for training in trainings:
        own = slice(start, start + training.members.n_members)
        _give_members(whole.members, training.members, own)
        _give_tracker(whole.tracker, training.tracker, own)
        curves = whole.history.curves()
        training.history.take({name: Curve(values[own].copy() for values in curve) for name, curve in curves.items()})
        training.history.executor = whole.history.executor
        start = own.stop


# Members.


def stack_members(parts: Sequence[Members], recipe: Recipe) -> Members:
    """Return new members that begin where the parts are."""
    first = parts[0]
    seeds = [seed for part in parts for seed in part.seeds]
    statistics = {
        name: torch.cat([_with_axis(part, part.statistics[name]) for part in parts]) for name in first.statistics
    }
    members = Members(recipe.network, seeds, torch.cat([part.flat for part in parts]), statistics)
    members.start(recipe.optimizer, recipe.average)
    members.anchor = torch.cat([_anchor(part) for part in parts]) if recipe.anchored else None
    for i, state in enumerate(members.state):
        _fill(state, [part.state[i] for part in parts], [part.n_members for part in parts])
    if members.averaged is not None:
        averages = [part.shown for part in parts]
        members.averaged.flat.copy_(torch.cat([part.flat for part in averages]))
        for name, value in members.averaged.statistics.items():
            value.copy_(torch.cat([_with_axis(part, part.statistics[name]) for part in averages]))
    members.steps, members.epochs = first.steps, first.epochs
    members.rows = np.concatenate([np.broadcast_to(part.rows, part.n_members) for part in parts])
    members.rate_scale = np.concatenate([part.rate_scale for part in parts])
    for part in parts:
        part.beginning = None  # it will be given what the stack comes to
    return members


def _anchor(part: Members) -> Tensor:
    assert part.anchor is not None
    return part.anchor


def _fill(state: dict[str, Tensor], parts: Sequence[dict[str, Tensor]], copies: Sequence[int]) -> None:
    """Copy the parts' states; one without momentum has no velocity, and is left with the first one, zero."""
    for name, tensor in state.items():
        for target, part in zip(tensor.split(list(copies)), parts, strict=True):
            if name in part:
                target.copy_(part[name])


def _give_members(whole: Members, part: Members, own: slice) -> None:
    _give_weights(whole, part, own)
    if whole.averaged is not None and part.averaged is not None:
        _give_weights(whole.averaged, part.averaged, own)
    for i, state in enumerate(whole.state):
        for name, tensor in part.state[i].items():
            tensor.copy_(state[name][own])
    part.steps, part.epochs, part.rows = whole.steps, whole.epochs, int(whole.rows[own][0])
    part.rate_scale = whole.rate_scale[own].copy()


def _give_weights(whole: Members, part: Members, own: slice) -> None:
    part.flat.copy_(whole.flat[own])
    for name, value in part.statistics.items():
        value.copy_(whole.statistics[name][own].view_as(value))


def _with_axis(part: Members, value: Tensor) -> Tensor:
    return value.view(part.n_members, *(value.shape if part.n_members == 1 else value.shape[1:]))


# Recipes and rows.


def stack_recipes(recipes: Sequence[Recipe], copies: Sequence[int], max_epochs: int, like: Tensor) -> Recipe:
    """Return one recipe in which numbers that differ are tensors (M, 1, 1), or arrays (M,) where they count epochs."""
    every = [recipe for recipe, n in zip(recipes, copies, strict=True) for _ in range(n)]
    return dataclasses.replace(
        every[0],
        **{name: _stack_components([getattr(recipe, name) for recipe in every], name, like) for name in COMPONENTS},
        param_groups=_stack_components([recipe.param_groups for recipe in every], "optimizer", like),
        network=_stack_networks([recipe.network for recipe in every], like),
        alpha=stack_values([recipe.alpha for recipe in every]),
        rate=stack_values([recipe.rate for recipe in every]),
        fedprox=_placed_value(stack_values([recipe.fedprox for recipe in every]), like),
        batch_size=max(recipe.batch_size for recipe in every),
        max_epochs=max_epochs,
        **{
            name: _one_or_array([getattr(recipe, name) for recipe in every])
            for name in ("schedule_epochs", "tol", "patience")
        },
    )


def _stack_components(components: Sequence[Any], name: str, like: Tensor) -> Any:
    if components[0] is None:
        return None
    together = stack(components)
    if name == "optimizer":
        return place(together, _of_doubles(like))
    return place(together, like) if name in PLACED else together


def _stack_networks(networks: Sequence[BuiltNetwork], like: Tensor) -> BuiltNetwork:
    """Return one network for all members: numbers that differ, as a dropout, are tensors (M, 1, 1) in float64."""
    together = stack([built.network for built in networks])
    return dataclasses.replace(networks[0], network=place(together, _of_doubles(like)))


def _of_doubles(like: Tensor) -> Tensor:
    """Return a tensor of float64 where `like` is, so that a step copies nothing from the host; Apple's have none."""
    return torch.empty((), dtype=torch.float64, device="cpu" if like.device.type == "mps" else like.device)


def _placed_value(value: Any, like: Tensor) -> Any:
    return value.to(like) if isinstance(value, Tensor) else value


def _one_or_array(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else np.array(values, dtype=float)


def _stack_rows(sets: Sequence[Any], copies: Sequence[int]) -> Rows | StackedRows:
    distinct: list[Rows] = []
    counts: list[int] = []
    for rows, n in zip(sets, copies, strict=True):
        if distinct and (rows is distinct[-1] or same_rows(rows, distinct[-1])):
            counts[-1] += n
        else:
            distinct.append(rows)
            counts.append(n)
    return distinct[0] if len(distinct) == 1 else StackedRows(tuple(distinct), tuple(counts))


# Stopping trackers and curves.


def _stack_trackers(trackers: Sequence[StoppingTracker], members: Members, recipe: Recipe) -> StoppingTracker:
    whole = StoppingTracker(members, recipe)
    for name in ("best_loss", "best_score", "stalled", "stopped"):
        setattr(whole, name, np.concatenate([getattr(tracker, name) for tracker in trackers]))
    if all(tracker.best is not None for tracker in trackers):
        whole.best = torch.cat([tracker.best for tracker in trackers if tracker.best is not None])
    return whole


def _give_tracker(whole: StoppingTracker, tracker: StoppingTracker, own: slice) -> None:
    for name in ("best_loss", "best_score", "stalled", "stopped"):
        setattr(tracker, name, getattr(whole, name)[own].copy())
    tracker.best = None if whole.best is None else whole.best[own].clone()


def _stack_histories(histories: Sequence[History]) -> History:
    names = histories[0].curves()
    return history_of(
        {
            name: [np.concatenate(values) for values in zip(*(h.curves()[name] for h in histories), strict=True)]
            for name in names
        }
    )
