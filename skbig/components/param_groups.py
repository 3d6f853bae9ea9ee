"""Parameters that are trained at a rate, or with a weight decay, of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any, ClassVar

from skbig._utils.component import Component, hyperparameter
from skbig._utils.validation import Constraint, Each, Interval

FACTOR = Interval(0, None)
KEYS = ("learning_rate", "weight_decay")
SEVERAL_ROLES = ("weight", "head", "bias", "scale", "offset", "embedding")
"""Roles that any network may have: one that has none of them leaves nothing to be said of them."""


@dataclass(frozen=True)
class ParamGroups(Component):
    """Of some groups of parameters, by which numbers their rate and their weight decay are multiplied.

    Parameters
    ----------
    names : tuple of tuple of str
        The parameters of each group; none is in two of them.
    rates, decays : tuple of float
        The factors of each group.

    Examples
    --------
    >>> from skbig.components.param_groups import groups_of
    >>> groups_of({"bias": 10.0, "*0": {"weight_decay": 0.0}}, {"weight0": "weight", "bias0": "bias"})
    ParamGroups(names=(('bias0',), ('weight0',)), rates=(10.0, 1.0), decays=(1.0, 0.0))
    """

    kind: ClassVar[str] = "param_groups"

    names: tuple[tuple[str, ...], ...] = ()
    rates: tuple[float, ...] = hyperparameter((), Each(FACTOR), varies=True)
    decays: tuple[float, ...] = hyperparameter((), Each(FACTOR), varies=True)

    def group_of(self, name: str) -> int | None:
        """Return the number of a parameter's group, or None for those of none."""
        return next((i for i, own in enumerate(self.names) if name in own), None)

    @property
    def changes_decay(self) -> bool:
        """Whether a weight decay is another than the optimizer's own."""
        return any(not isinstance(decay, Real) or decay != 1 for decay in self.decays)


class GroupFactors(Constraint):
    """Factors by role or pattern of names, as a user gives them."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, Mapping) and all(isinstance(key, str) and _is_group(own) for key, own in value.items())

    def __str__(self) -> str:
        return (
            "a dict whose keys are roles or patterns of parameter names, and whose values are factors of the rate, "
            "numbers >= 0, or dicts of factors with the keys 'learning_rate' and 'weight_decay'"
        )


def _is_group(value: Any) -> bool:
    if isinstance(value, Mapping):
        return len(value) > 0 and set(value) <= set(KEYS) and all(map(FACTOR.accepts, value.values()))
    return FACTOR.accepts(value)


def groups_of(value: Mapping[str, Any] | None, roles: Mapping[str, str]) -> ParamGroups | None:
    """Return the groups of parameters, whose roles are given by name; each is in the first group that fits.

    Raises
    ------
    ValueError
        When a key is no role, and a pattern of no name.
    """
    if not value:
        return None
    left, names = dict(roles), []
    for key in value:
        if key not in SEVERAL_ROLES and not any(_fits(key, name, role) for name, role in roles.items()):
            raise ValueError(_unmatched(key, roles))
        own = tuple(name for name, role in left.items() if _fits(key, name, role))
        left = {name: role for name, role in left.items() if name not in own}
        names.append(own)
    factors = [own if isinstance(own, Mapping) else {"learning_rate": own} for own in value.values()]
    rates, decays = (tuple(float(own.get(key, 1.0)) for own in factors) for key in KEYS)
    return ParamGroups(tuple(names), rates, decays)


def _fits(key: str, name: str, role: str) -> bool:
    return key == role or fnmatchcase(name, key)


def _unmatched(key: str, roles: Mapping[str, str], most: int = 12) -> str:
    shown = ", ".join(list(roles)[:most]) + (f", ... ({len(roles)} in all)" if len(roles) > most else "")
    return (
        f"{key!r} of the 'param_groups' parameter is no role of a parameter of this network and matches none of their "
        f"names. Roles: {', '.join(dict.fromkeys(roles.values()))}. Names: {shown}."
    )
