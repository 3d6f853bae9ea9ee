"""Ranges and choices that a parameter may take, and the one form in which a violation is reported."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

SHOWN = 200
"""Characters of a value in a message."""


class Constraint:
    """What a value must be. A subclass says it in words (`__str__`) and decides it (`accepts`)."""

    def accepts(self, value: Any) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must define accepts.")


@dataclass(frozen=True)
class Interval(Constraint):
    """A number between two bounds; `closed` names the bounds that belong to it."""

    low: float | None = None
    high: float | None = None
    closed: str = "both"
    integer: bool = False

    def accepts(self, value: Any) -> bool:
        if isinstance(value, torch.Tensor):
            return all(self.accepts(item) for item in value.flatten().tolist())
        kind = Integral if self.integer else Real
        if isinstance(value, bool) or not isinstance(value, kind) or not _is_number(value):
            return False
        return self._above(value) and self._below(value)

    def _above(self, value: Any) -> bool:
        if self.low is None:
            return bool(value > -math.inf)
        return bool(value >= self.low if self.closed in ("both", "left") else value > self.low)

    def _below(self, value: Any) -> bool:
        if self.high is None:
            return bool(value < math.inf)
        return bool(value <= self.high if self.closed in ("both", "right") else value < self.high)

    def __str__(self) -> str:
        left = "[" if self.low is not None and self.closed in ("both", "left") else "("
        right = "]" if self.high is not None and self.closed in ("both", "right") else ")"
        low = "-inf" if self.low is None else self.low
        high = "inf" if self.high is None else self.high
        return f"{'an int' if self.integer else 'a float'} in the range {left}{low}, {high}{right}"


COUNT = Interval(1, None, integer=True)
"""How many there are of something."""


@dataclass(frozen=True)
class Options(Constraint):
    """One of a few values."""

    values: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        kind = str if isinstance(value, str) else type(value)  # a grid made by NumPy holds its own kind of str
        return any(kind is type(option) and value == option for option in self.values)

    def __str__(self) -> str:
        return "one of {" + ", ".join(map(repr, self.values)) + "}"


@dataclass(frozen=True)
class Boolean(Constraint):
    """True or False."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")

    def __str__(self) -> str:
        return "a bool"


@dataclass(frozen=True)
class Each(Constraint):
    """A tuple or list of a fixed `length` (None: any) whose items all meet one constraint."""

    item: Constraint
    length: int | None = None

    def accepts(self, value: Any) -> bool:
        value = plain(value)
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        return self.length in (None, len(value)) and all(map(self.item.accepts, value))

    def __str__(self) -> str:
        count = "values" if self.length is None else f"{self.length} values"
        return f"a tuple of {count}, each {self.item}"


@dataclass(frozen=True)
class Instance(Constraint):
    """An object of some classes, which `words` describe."""

    kinds: tuple[type, ...]
    words: str

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self.kinds)

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Callable(Constraint):
    """A function."""

    def accepts(self, value: Any) -> bool:
        return callable(value)

    def __str__(self) -> str:
        return "a callable"


def plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays, as grids made by NumPy hold them, as Python's numbers and tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return plain(value.item()) if value.ndim == 0 else tuple(map(plain, value))
    if type(value) not in (tuple, list):
        return value
    items = [plain(item) for item in value]
    return value if all(map(operator.is_, items, value)) else type(value)(items)


def _is_number(value: Any) -> bool:
    """Whether a float can hold it, and it is one."""
    try:
        return not math.isnan(value)
    except OverflowError:
        return False


def check(name: str, owner: str, value: Any, *allowed: Constraint) -> None:
    """Raise ValueError unless `value` meets one of the `allowed` constraints."""
    if not any(constraint.accepts(value) for constraint in allowed):
        wanted = " or ".join(map(str, allowed))
        raise ValueError(f"The {name!r} parameter of {owner} must be {wanted}. Got {shown(value)} instead.")


def shown(value: Any) -> str:
    """Return what a message shows of a value: of a long one the beginning and the end."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}"
