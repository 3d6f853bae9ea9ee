"""Tables of steps that are kept by what they follow from: the next fit of the same length need not compute them.

They hold rates and an optimizer's factors, no random numbers and nothing that depends on the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skbig._utils.component import form_of
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.step_inputs import StepTable

MOST = 64
"""So many tables, each of some kilobytes, are kept."""

_kept: dict[Any, StepTable] = {}


def kept_table(members: Members, recipe: Recipe, place: tuple[int, ...], make: Callable[[], StepTable]) -> StepTable:
    """Return a table that was made before, or make it; `place` is all that tells where in a training its steps are."""
    form = _form(members, recipe, place)
    table = None if form is None else _kept.get(form)
    if table is not None:
        return table
    table = make()
    if form is not None:
        if len(_kept) >= MOST:
            _kept.clear()
        _kept[form] = table
    return table


def _form(members: Members, recipe: Recipe, place: tuple[int, ...]) -> Any:
    """Return all that decides what a table holds, or None where that is more than numbers."""
    others = (recipe.augmentation, recipe.average, recipe.privacy)
    if members.n_members > 1 or members.rate_scale[0] != 1.0 or recipe.draws_noise or others != (None, None, None):
        return None
    parts = (form_of(recipe.optimizer), form_of(recipe.schedule))
    return None if None in parts else (*parts, recipe.rate, place, members.flat.dtype, members.flat.device)
