"""What every component is: a frozen choice with a name, hyperparameters and no state.

A component is a frozen dataclass. Its fields are its hyperparameters, each declared with `hyperparameter`, which
says what the field may be and whether it may differ between the members of a population. Everything that changes
while training lives elsewhere.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from skbig._utils.validation import Constraint, check, plain, shown

C = TypeVar("C", bound="Component")

_REGISTRY: dict[str, dict[str, type[Component]]] = {}
_LATE: dict[str, dict[str, tuple[str, str]]] = {}
"""Of each kind the names that are known before their classes are loaded: module and class of each."""

_registered: list[str] = []


def hyperparameter(default: Any, *allowed: Constraint, varies: bool = False) -> Any:
    """Declare a field: its default, what it must be, and whether members of one stack may differ in it.

    A field that varies may hold a tensor `[members, 1, 1]` in place of a float, so its formula must broadcast. The
    tensor has the dtype of the numbers that the component is given, but for optimizers and schedules, whose tensors are
    float64: what is computed beforehand, for many steps, is computed in double precision.
    """
    return dataclasses.field(default=default, metadata={"allowed": allowed, "varies": varies})


@dataclasses.dataclass(frozen=True)
class Component:
    """A hyperparameter with hyperparameters of its own: an optimizer, a loss, a schedule, ...

    Subclass the interface of its kind (`Optimizer`, `Loss`, ...) as a frozen dataclass. Give it a ``name`` to use it
    by that name: ``class Mine(Optimizer, name="mine")``. Where its formula neither looks at the value of a tensor, nor
    leaves torch, nor keeps anything in Python, say so, and a step is recorded once and replayed, which is faster:
    ``class Mine(Optimizer, recordable=True)``; `skbig.testing.check_component` verifies it.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str | None] = None
    recordable: ClassVar[bool] = False

    def __init_subclass__(cls, name: str | None = None, recordable: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name, cls.recordable = name, recordable
        if name is not None:
            late = _LATE.get(cls.kind, {}).get(name)
            if late != (cls.__module__, cls.__name__):
                registered(cls.kind, name)  # loads the class whose place this one takes, which would else come later
                _registered.append(name)
            _REGISTRY.setdefault(cls.kind, {})[name] = cls

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the hyperparameters by name, as scikit-learn's ``get_params`` does."""
        del deep  # components do not nest
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def replace(self: C, **changes: Any) -> C:
        """Return a copy with some hyperparameters changed."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise ValueError(
                    f"Invalid parameter {name!r} for {self.kind} {type(self).__name__}. "
                    f"{_suggestion(name, known)}Valid parameters are: {known}."
                )
        return dataclasses.replace(self, **changes)

    def plain(self: C) -> C:
        """Return the component with NumPy's numbers and arrays, in declared fields, as Python's numbers and tuples."""
        declared = [field.name for field in dataclasses.fields(self) if field.metadata.get("allowed")]
        values = {name: getattr(self, name) for name in declared}
        changed = {name: plain(value) for name, value in values.items() if plain(value) is not value}
        return dataclasses.replace(self, **changed) if changed else self

    def check(self) -> None:
        """Raise ValueError when a hyperparameter is out of its range."""
        for field in dataclasses.fields(self):
            allowed = field.metadata.get("allowed", ())
            if allowed:
                check(field.name, type(self).__name__, getattr(self, field.name), *allowed)

    def signature(self) -> tuple[Any, ...]:
        """What two components must share to be stacked: their class and the fields that may not vary."""
        own: Any = type(self)
        return (own, *[(name, getattr(self, name)) for name in _field_names(own, fixed=True)])


def constraints_of(owner: type, name: str) -> tuple[Constraint, ...]:
    """Return what a declared hyperparameter, or a parameter of an estimator, may be."""
    allowed: tuple[Constraint, ...] = vars(owner)["__dataclass_fields__"][name].metadata["allowed"]
    return allowed


PLAIN = (bool, int, float, str, type(None))
"""Types of values that are what they are, and never change."""


def is_plain(value: Any) -> bool:
    """Whether a value can be compared with another for good: a number, a text, None, or a tuple of such."""
    return type(value) in PLAIN or (type(value) is tuple and all(map(is_plain, value)))


def form_of(value: Any) -> tuple[Any, ...] | None:
    """Return what a component does as a value to be compared: its class and fields, or a plain value in their place.

    It is None where that is not known: of components of a user's, whose formulas may read what is no field, and of
    fields that are not plain.
    """
    if is_plain(value):
        return (value,)
    own = type(value)
    if not (dataclasses.is_dataclass(own) and own.__module__.startswith("skbig.")):
        return None
    try:
        known = _forms.get(value)
    except TypeError:  # a field that has no hash is not plain
        return None
    if known is not None:
        return known
    values = tuple([getattr(value, name) for name in _field_names(own)])
    if not is_plain(values):
        return None
    if len(_forms) >= MOST_FORMS:
        _forms.clear()
    _forms[value] = (own, values)
    return own, values


MOST_FORMS = 256
"""So many forms are kept: a fit asks for those of all its components, which are the same from fit to fit."""

_forms: dict[Any, tuple[Any, ...]] = {}


@lru_cache(maxsize=1024)
def _field_names(cls: Any, fixed: bool = False) -> tuple[str, ...]:
    """Return the names of a component's fields, or those alone that may not vary."""
    return tuple(f.name for f in dataclasses.fields(cls) if not (fixed and f.metadata.get("varies", False)))


def late_components(package: str, catalogue: Mapping[str, Mapping[str, Mapping[str, str]]]) -> dict[str, list[str]]:
    """Make the components of a package known by their names, each of which is loaded when it is asked for.

    Parameters
    ----------
    package : str
    catalogue : mapping
        By kind, and then by module within the package: the class of each name.

    Returns
    -------
    homes : dict of list of str
        The classes of each module.
    """
    homes = {}
    for kind, modules in catalogue.items():
        for module, classes in modules.items():
            homes[module] = [*classes.values()]
            late = {name: (f"{package}.{module}", each) for name, each in classes.items()}
            _LATE.setdefault(kind, {}).update(late)
    return homes


def registered(kind: str, name: Any) -> Any:
    """Return the class of a registered name now; a class that is defined anew takes the place of the old one."""
    if not isinstance(name, str):
        return None
    found = _REGISTRY.get(kind, {}).get(name)
    late = _LATE.get(kind, {}).get(name)
    return found if found is not None or late is None else getattr(import_module(late[0]), late[1])


def n_registered() -> int:
    """Return how often a class was registered so far: as long as it is the same, a name stands for the same class."""
    return len(_registered)


def names(kind: str) -> list[str]:
    """Return the registered names of a kind."""
    return sorted({*_REGISTRY.get(kind, {}), *_LATE.get(kind, {})})


def resolve(interface: type[C], value: Any, *, optional: bool = False) -> C | None:
    """Turn a name, a class or an instance into a component of the kind of `interface`.

    None is a choice of its own where `optional`: no penalty, no clipping, no augmentation.
    """
    if isinstance(value, interface):
        return value
    if isinstance(value, type) and issubclass(value, interface):
        return value()
    if (named := registered(interface.kind, value)) is not None:
        return named()
    if value is None and optional:
        return None
    raise ValueError(_unresolved(interface, value, optional))


def stack(components: Sequence[C]) -> C:
    """Return one component for many members: fields that differ become tensors `[members, 1, 1]`, in float64."""
    first = components[0]
    for other in components[1:]:
        if other.signature() != first.signature():
            raise ValueError(f"{first!r} and {other!r} differ in more than numbers, so they cannot be stacked.")
    varying = [field.name for field in dataclasses.fields(first) if field.metadata.get("varies", False)]
    return first.replace(**{name: stack_values([getattr(c, name) for c in components]) for name in varying})


def stack_values(values: Sequence[Any]) -> Any:
    """Return the one value that all members have, else their numbers as a tensor `[members, 1, 1]`, item by item."""
    if all(value == values[0] for value in values[1:]):
        return values[0]
    if isinstance(values[0], (tuple, list)):
        return tuple(stack_values(column) for column in zip(*values, strict=True))
    return torch.tensor([float(value) for value in values], dtype=torch.float64).view(-1, 1, 1)


def place(component: C, like: Tensor) -> C:
    """Return the component with the tensors of its fields in the dtype and on the device of `like`.

    A step then mixes neither dtypes nor devices. Optimizers and schedules stay in float64, since their tables are
    computed in it; on an accelerator an optimizer is placed beside a float64 tensor there, so that `update` copies
    nothing from the host.
    """
    values = {field.name: getattr(component, field.name) for field in dataclasses.fields(component)}
    placed = {name: _place_value(value, like) for name, value in values.items() if _holds_tensor(value)}
    return component.replace(**placed) if placed else component


def _place_value(value: Any, like: Tensor) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_place_value(item, like) for item in value)
    if not isinstance(value, Tensor):
        return value
    return value.to(like) if value.is_floating_point() else value.to(like.device)


def _holds_tensor(value: Any) -> bool:
    return any(map(_holds_tensor, value)) if isinstance(value, (tuple, list)) else isinstance(value, Tensor)


def _unresolved(interface: type[Component], value: Any, optional: bool) -> str:
    known = names(interface.kind)
    hint = _suggestion(value, known) if isinstance(value, str) else ""
    none = ", None" if optional else ""
    return (
        f"The {interface.kind!r} parameter must be one of {known}{none}, or an instance of {interface.__name__}. "
        f"{hint}Got {shown(value)} instead."
    )


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""
