"""Which tasks of a search are trained together, how many at once, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from skbig.data.rows import stays_sparse
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stacking import COMPONENTS, stackable
from skbig.estimators.choices import likely_cost, resolve_choices
from skbig.estimators.declaration import declared
from skbig.estimators.session import Session
from skbig.search.fit_task import FitTask
from skbig.search.pipeline_cache import MAX_KEPT_BYTES, bytes_of

LARGE_STEP = 12_000_000
"""Rows of a batch times products for a row: from here on a CPU computes members in turn as fast as together."""

MAX_ON_CPU = 64
"""More members in a stack gain nothing."""

WORK_OF_STACK = 96_000_000
"""Rows of a batch times products, of all members: a larger stack gains nothing more, and leaves the caches."""

PRODUCTS_OF_WEIGHT = 120
"""A step of sparse rows mostly goes over all weights, of which few rows are in need: so many products are each."""

MAX_ON_GPU = 1024

WORK_OF_STACK_ON_GPU = 2_500_000_000
"""The same on a GPU, where it takes a fraction of a millisecond, beside which launches are nothing; a larger stack
gains nothing more, and while one is trained the next can be prepared and the last be scored."""

MIN_SETS = 2
"""Large sets of training rows in memory: those that are trained on, and those that are next."""

SHARE_OF_MEMORY = 0.5


def likely_cohorts(tasks: Sequence[FitTask]) -> list[list[FitTask]]:
    """Group tasks whose parameters differ in nothing but numbers; what cannot join others is a group of its own.

    It is known only with the rows whether all of a group may be stacked, so this is a first sorting.
    """
    kinds: list[Any] = []
    groups: list[list[FitTask]] = []
    for task in tasks:
        kind = _kind(task)
        known = next((i for i, other in enumerate(kinds) if kind is not None and other == kind), None)
        if known is None:
            kinds.append(kind)
            groups.append([task])
        else:
            groups[known].append(task)
    return groups


def _kind(task: FitTask) -> Any:
    """What tasks of a group share; None for one that stays alone."""
    last = task.last
    if last is None:
        return None
    try:
        choices = resolve_choices(last)
    except Exception:
        return None
    components = [choices.network, *(getattr(choices, name) for name in COMPONENTS)]
    signatures = tuple(None if component is None else component.signature() for component in components)
    fixed = [name for name, field in declared(last).items() if not (field.metadata["stacks"] or field.metadata["kind"])]
    return (type(last), signatures, tuple(choices.parameters.get(name) for name in fixed))


def largest_first(groups: Sequence[list[FitTask]]) -> list[list[FitTask]]:
    """Return groups in the order of what one of their tasks is likely to cost: who ends last then has a small one."""
    return sorted(groups, key=lambda group: max(map(_likely_cost, group)), reverse=True)


def _likely_cost(task: FitTask) -> float:
    """Return about how many products a training takes; nothing for what is not known, or cannot be trained."""
    try:
        return 0.0 if task.last is None else likely_cost(task.last)  # rows that all share make no difference
    except (AttributeError, TypeError, ValueError):
        return 0.0


def stack_size(session: Session, n_members: int, n_tasks: int, n_side_by_side: int) -> int:
    """Return how many trainings like this one, of `n_members` each, are stacked, so that no thread has less to do.

    On a CPU it is a matter of the work in a step: a small step costs mostly the calls of its operations, which a stack
    makes once for all; a large one is bound by its products, which a stack makes no faster. The sizes are a function of
    the work alone, not of a clock: the same search must always give the same bits. On a GPU memory is a limit, too.
    """
    if not stackable(session):
        return 1
    members, recipe = session.members, session.recipe
    work = _work_of_step(session)
    if members.flat.device.type == "cuda":
        most = min(MAX_ON_GPU, WORK_OF_STACK_ON_GPU // work, _fitting_in_memory(members, recipe))
    else:
        most = 1 if work >= LARGE_STEP else min(MAX_ON_CPU, WORK_OF_STACK // work)
    most = max(1, most // n_members)
    rounds = -(-n_tasks // (most * n_side_by_side))
    return max(1, -(-n_tasks // (rounds * n_side_by_side)))


def _work_of_step(session: Session) -> int:
    """Return the rows of a batch times products for a row; of sparse rows, what takes as long."""
    network = session.recipe.network
    if session.rows.is_sparse and stays_sparse(network.n_features):
        return PRODUCTS_OF_WEIGHT * _n_parameters(session.members)
    return session.recipe.batch_size * network.n_products


def sets_in_memory(session: Session) -> int:
    """Return how many sets of training rows like this one may be in memory, trained on or ready to be.

    Small ones may be many, and a stack then has members of many folds. Of large ones there are two, one of which is
    read while the other is made ready.
    """
    if session.members.flat.device.type == "cuda":  # stacks of all folds are what makes it fast
        return MAX_ON_GPU
    return max(MIN_SETS, MAX_KEPT_BYTES // max(1, bytes_of(session.given.X)))


def stacks_of(tasks: Sequence[FitTask], size: int, n_side_by_side: int, n_sets: int) -> list[list[FitTask]]:
    """Cut a group of tasks into stacks of at most `size`, whose rows come from at most half of `n_sets` sets, or one.

    As many candidates as are trained side by side are trained on one fold after another. So stacks share their rows,
    and the first candidates are finished on all folds while the last ones wait.
    """
    rank = {number: i for i, number in enumerate(dict.fromkeys(task.candidate for task in tasks))}
    at_once = size * n_side_by_side
    sets = {key: i for i, key in enumerate(dict.fromkeys(task.rows_key for task in tasks))}
    ordered = sorted(tasks, key=lambda task: (rank[task.candidate] // at_once, task.split, sets[task.rows_key]))
    stacks: list[list[FitTask]] = []
    for task in ordered:
        own = {other.rows_key for other in stacks[-1]} | {task.rows_key} if stacks else set()
        if not stacks or len(stacks[-1]) == size or len(own) > max(1, n_sets // 2):
            stacks.append([])
        stacks[-1].append(task)
    return stacks


def _n_parameters(members: Members) -> int:
    return members.flat.numel() // members.n_members


def _fitting_in_memory(members: Members, recipe: Recipe) -> int:
    """How many members fit in half of the free memory: weights, gradients, state and copies, and the activations."""
    free, _ = torch.cuda.mem_get_info(members.flat.device)
    n_states = sum(tensor.numel() for state in members.state for tensor in state.values()) // members.n_members
    widths = 4 * recipe.network.n_units
    n_averaged = 0 if members.averaged is None else _n_parameters(members)
    numbers = 6 * _n_parameters(members) + 3 * (n_states + n_averaged) + 2 * recipe.batch_size * widths
    return int(free * SHARE_OF_MEMORY) // (numbers * members.flat.element_size())
