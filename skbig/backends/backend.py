"""Several processes instead of one: what the ways to train in them have in common."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, ClassVar, TypeVar

from skbig._validation import Constraint, check

B = TypeVar("B", bound="Backend")

_REGISTRY: dict[str, type[Backend]] = {}


def setting(default: Any, *allowed: Constraint) -> Any:
    """Declare a field: its default, and what it must be."""
    return dataclasses.field(default=default, metadata={"allowed": allowed})


@dataclasses.dataclass(frozen=True)
class Backend:
    """A way to train in several processes; a frozen dataclass whose fields are its settings."""

    name: ClassVar[str]

    def __init_subclass__(cls, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = name
        _REGISTRY[name] = cls

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name, as scikit-learn's ``get_params`` does."""
        del deep  # settings do not nest
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def replace(self: B, **changes: Any) -> B:
        """Return a copy with some settings changed."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {close[0]!r}? " if close else ""
                raise ValueError(
                    f"Invalid parameter {name!r} for backend {type(self).__name__}. {hint}Valid parameters are: "
                    f"{known}."
                )
        return dataclasses.replace(self, **changes)

    def check(self) -> None:
        """Raise ValueError when a setting is out of its range."""
        for field in dataclasses.fields(self):
            check(field.name, type(self).__name__, getattr(self, field.name), *field.metadata["allowed"])


def resolve_backend(value: Any) -> Backend | None:
    """Turn a name, a class or an instance into a backend; None is one process.

    Raises
    ------
    ValueError
        When it is something else, or a setting is out of its range.
    """
    if value is None:
        return None
    if isinstance(value, str) and value in _REGISTRY:
        value = _REGISTRY[value]
    if isinstance(value, type) and issubclass(value, Backend):
        value = value()
    if not isinstance(value, Backend):
        names = ", ".join(map(repr, sorted(_REGISTRY)))
        kinds = ", ".join(f"{kind.__name__}(...)" for kind in _REGISTRY.values())
        raise ValueError(f"The 'backend' parameter must be one of None, {names}, {kinds}. Got {value!r} instead.")
    value.check()
    return value
