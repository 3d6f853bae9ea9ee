"""The values of a parameter that was searched: which there are, in which order, how far apart, and in short words."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

WIDEST_LABEL = 24
"""Of a line, in letters; a label may have two."""
LEAST_RATIO_OF_A_LOG_SCALE = 4.0


class NotSet:
    """What a candidate has for a parameter that its grid does not name."""

    def __repr__(self) -> str:
        return "not set"


NOT_SET = NotSet()


@dataclass(frozen=True, eq=False)
class Levels:
    """The distinct values of a parameter in order, and for each candidate the index of its own."""

    values: tuple[Any, ...]
    index: np.ndarray

    @classmethod
    def of(cls, values: Sequence[Any]) -> Levels:
        """Sort numbers by size, then tuples of numbers by length and size; words stay as they appear, behind them."""
        distinct: dict[Hashable, Any] = {}
        for value in values:
            distinct.setdefault(identity(value), plain(value))
        order = sorted(distinct, key=lambda key: _rank(distinct[key]))
        place = {key: number for number, key in enumerate(order)}
        return cls(tuple(distinct[key] for key in order), np.array([place[identity(v)] for v in values], dtype=int))

    @property
    def numeric(self) -> bool:
        return all(map(is_number, self.values))

    def scale(self) -> str:
        """Return "linear" or "log", or "levels" where equal distances show the values best."""
        if not self.numeric:
            return "levels"
        numbers = np.array(self.values, dtype=float)
        if _geometric(numbers):
            return "log"
        # None, and then decades: no scale of numbers holds both.
        return "levels" if numbers[0] == 0 and _geometric(numbers[1:]) else "linear"

    def positions(self) -> np.ndarray:
        """Return where each level stands on its scale."""
        return np.arange(len(self.values), dtype=float) if self.scale() == "levels" else np.array(self.values, float)

    def labels(self) -> list[str]:
        """Return short labels, as long as they must be to differ."""
        for digits, length in ((3, 2 * WIDEST_LABEL), (6, 4 * WIDEST_LABEL)):
            labels = [shorten(value, digits, length) for value in self.values]
            if len(set(labels)) == len(labels):
                return labels
        return [shorten(value, 17, 10**6) for value in self.values]


def _rank(value: Any) -> tuple[int, int, tuple[float, ...]]:
    if is_number(value):
        return 0, 0, (float(value),)
    if isinstance(value, list | tuple | np.ndarray) and all(map(is_number, map(plain, value))):
        return 1, len(value), tuple(float(number) for number in value)  # layer sizes, betas
    return (3 if value is NOT_SET else 2), 0, ()


def _geometric(numbers: np.ndarray) -> bool:
    """Say whether sorted numbers are spread more evenly by their ratios than by their differences."""
    if len(numbers) < 2 or numbers[0] <= 0 or numbers[-1] < LEAST_RATIO_OF_A_LOG_SCALE * numbers[0]:
        return False
    return _unevenness(np.log(numbers)) <= _unevenness(numbers)


def _unevenness(numbers: np.ndarray) -> float:
    gaps = np.diff(numbers)
    return float(gaps.std() / gaps.mean())


def plain(value: Any) -> Any:
    """Return Python's own scalar for one of NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def is_number(value: Any) -> bool:
    """Say whether a value has a place on an axis."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def identity(value: Any) -> Hashable:
    """Return a key that two values share when they are the same choice: 1 and 1.0 are, 1 and True are not."""
    value = plain(value)
    if isinstance(value, float) and math.isnan(value):
        return float, "nan"  # it equals nothing, not even itself
    try:
        hash(value)
    except TypeError:
        return type(value), repr(value)
    return isinstance(value, bool), value


def shorten(value: Any, digits: int = 3, length: int = 2 * WIDEST_LABEL) -> str:
    """Return a value in few words: a number in some digits, a component with what differs from its defaults."""
    value = plain(value)
    if is_number(value):
        return _number(value, digits)
    text = _words(value, digits)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _number(value: Any, digits: int) -> str:
    if isinstance(value, Integral):
        return str(value)
    text = f"{float(value):.{max(digits, 5) if 1e3 <= abs(value) < 1e5 else digits}g}"
    return re.sub(r"e\+?(-?)0*", r"e\1", text)


def _words(value: Any, digits: int) -> str:
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        inner = ", ".join(shorten(item, digits) for item in value)
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{comma})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}({', '.join(_changed(value, digits))})"
    name = getattr(value, "__name__", None)  # of a class or a function
    return name if isinstance(name, str) else " ".join(repr(value).split())


def _changed(value: Any, digits: int) -> list[str]:
    """Return the fields of a dataclass that are not at their defaults."""
    fields = [(field.name, getattr(value, field.name), field.default) for field in dataclasses.fields(value)]
    return [f"{name}={shorten(own, digits)}" for name, own, usual in fields if identity(own) != identity(usual)]
