"""The law of every kind: a component is a value."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
from collections.abc import Callable
from typing import Any

from sklearn.base import clone

from skbig._utils.component import Component
from skbig.testing.laws import expect


def check_value(component: Component) -> None:
    """Check that a component is frozen, stores what it is given, is legal, and copies by value."""
    cls = type(component)
    own = vars(cls).get("__dataclass_params__")
    expect(own is not None and own.frozen, component, "must be decorated with @dataclass(frozen=True).")
    fields, values = [field.name for field in dataclasses.fields(component)], component.get_params()
    expect(list(values) == fields, component, "must return exactly its fields from get_params.")
    made = cls(**values)
    untouched = all(getattr(made, name) is value for name, value in values.items())
    expect(untouched, component, "must store its parameters as they are given; check() is the place to judge them.")
    _check_legal(component)
    for name, copied in _ways_to_copy(component).items():
        other = copied(component)
        by_value = other == component and hash(other) == hash(component) and repr(other) == repr(component)
        expect(by_value, component, f"must go by value: {name} must be equal, with the same hash and repr.")


def _check_legal(component: Component) -> None:
    try:
        component.check()
    except ValueError as error:
        raise AssertionError(f"{type(component).__name__} must accept itself in check(), but says: {error}") from error


def _ways_to_copy(component: Component) -> dict[str, Callable[[Component], Component]]:
    ways = {"a copy": copy.copy, "a deep copy": copy.deepcopy, "a clone": clone, "a replaced one": _replaced}
    functions = [value for value in component.get_params().values() if callable(value)]
    if all(map(_is_importable, [type(component), *functions])):
        ways["an unpickled one"] = _repickled
    return ways


def _replaced(component: Component) -> Component:
    return component.replace(**component.get_params())


def _repickled(component: Component) -> Component:
    return pickle.loads(pickle.dumps(component))


def _is_importable(thing: Any) -> bool:
    """Whether a class or function is found by its name in its module, as pickle looks for it."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    return getattr(sys.modules.get(module or ""), name, None) is thing
