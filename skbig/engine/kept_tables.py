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


def form_of_tables(members: Members, recipe: Recipe) -> Any:
    """Return all that decides what the tables of a training hold but their place in it; None: more than numbers do."""
    others = (recipe.augmentation, recipe.average, recipe.privacy)
    if members.n_members > 1 or members.rate_scale[0] != 1.0 or recipe.draws_noise or others != (None, None, None):
        return None
    parts = (form_of(recipe.optimizer), form_of(recipe.schedule))
    return None if None in parts else (*parts, recipe.rate, members.flat.dtype, members.flat.device)


def kept_table(form: Any, place: tuple[int, ...], make: Callable[[], StepTable]) -> StepTable:
    """Return a table that was made before, or make it; `place` is all that tells where in a training its steps are."""
    table = _kept.get((form, place))
    if table is None:
        if len(_kept) >= MOST:
            _kept.clear()
        table = _kept[form, place] = make()
    return table
