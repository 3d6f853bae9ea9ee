"""Which tasks of a search are trained together, and how many at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stacking import COMPONENTS, stackable
from skbig.estimators.base import Session
from skbig.estimators.hints import PARAMETERS
from skbig.estimators.parameters import resolve_choices
from skbig.search.fit_task import Task

LARGE_STEP = 3_000_000
"""Rows of a batch times parameters: from here on a CPU computes members in turn as fast as together."""

MAX_ON_CPU = 64
"""More members in a stack gain nothing."""

WORK_OF_STACK = 24_000_000
"""Rows of a batch times parameters of all members: a larger stack leaves the caches."""

MAX_ON_GPU = 1024

SHARE_OF_MEMORY = 0.5

FIXED = ("activation", "normalization", "batch_size", "shuffle", "early_stopping", "precision", "device", "max_time")


def likely_cohorts(tasks: Sequence[Task]) -> list[list[Task]]:
    """Group tasks whose parameters differ in nothing but numbers; what cannot join others is a group of its own.

    It is known only with the rows whether all of a group may be stacked, so this is a first sorting.
    """
    kinds: list[Any] = []
    groups: list[list[Task]] = []
    for task in tasks:
        kind = _kind(task)
        known = next((i for i, other in enumerate(kinds) if kind is not None and other == kind), None)
        if known is None:
            kinds.append(kind)
            groups.append([task])
        else:
            groups[known].append(task)
    return groups


def _kind(task: Task) -> Any:
    """What tasks of a group share; None for one that stays alone."""
    last = task.last
    if last is None:
        return None
    parameters = {name: getattr(last, name) for name in PARAMETERS if hasattr(last, name)}
    try:
        choices = resolve_choices(parameters, type(last).__name__, for_classes=last._for_classes)
    except Exception:
        return None
    components = [getattr(choices, name) for name in COMPONENTS]
    signatures = tuple(None if component is None else component.signature() for component in components)
    return (type(last), choices.hidden, signatures, tuple(parameters.get(name) for name in FIXED))


def largest_first(groups: Sequence[list[Task]]) -> list[list[Task]]:
    """Return groups in the order of what one of their tasks is likely to cost: who ends last then has a small one."""
    return sorted(groups, key=lambda group: max(map(_likely_cost, group)), reverse=True)


def _likely_cost(task: Task) -> float:
    """Return about how many products a training takes; nothing for what is not known, or cannot be trained."""
    last: Any = task.last
    try:
        widths = [1, *np.atleast_1d(last.hidden_layer_sizes), 1]
        return float(last.max_iter * last.n_members * sum(a * b for a, b in pairwise(widths)))
    except (AttributeError, TypeError, ValueError):
        return 0.0


def stack_size(session: Session, n_members: int, n_tasks: int, n_side_by_side: int) -> int:
    """Return how many trainings like this one, of so many members, are stacked, so that all workers have as much to do.

    On a CPU it is a matter of the work in a step: a small step costs mostly the calls of its operations, which a stack
    makes once for all; a large one is bound by its products, which a stack makes no faster. The sizes are a function of
    the work alone, not of a clock: the same search must always give the same bits. On a GPU it is a matter of memory.
    """
    if not stackable(session):
        return 1
    members, recipe = session.members, session.recipe
    if members.flat.device.type == "cuda":
        most = min(MAX_ON_GPU, _fitting_in_memory(members, recipe))
    else:
        work = recipe.batch_size * _n_parameters(members)
        most = 1 if work >= LARGE_STEP else min(MAX_ON_CPU, WORK_OF_STACK // work)
    most = max(1, most // n_members)
    rounds = -(-n_tasks // (most * n_side_by_side))
    return max(1, -(-n_tasks // (rounds * n_side_by_side)))


def _n_parameters(members: Members) -> int:
    return members.flat.numel() // members.n_members


def _fitting_in_memory(members: Members, recipe: Recipe) -> int:
    """How many members fit in half of the free memory: weights, gradients, state and copies, and the activations."""
    free, _ = torch.cuda.mem_get_info(members.flat.device)
    n_states = sum(tensor.numel() for state in members.state for tensor in state.values()) // members.n_members
    widths = recipe.network.n_features + 4 * sum((*recipe.network.hidden, recipe.network.n_outputs))
    numbers = 6 * _n_parameters(members) + 3 * n_states + 2 * recipe.batch_size * widths
    return int(free * SHARE_OF_MEMORY) // (numbers * members.flat.element_size())
