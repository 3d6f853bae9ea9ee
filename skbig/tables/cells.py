"""Cells that may hold anything: what kind of column they make, and what is missing.

Legend: N rows.
"""

from __future__ import annotations

import datetime
import decimal
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

NUMBER, CATEGORY = "number", "category"
MISSING_TYPES = ("NoneType", "NAType", "NaTType")
DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
TEXT_WORDS = 8
"""So many words in a cell, in the mean, are a text."""


@dataclass(frozen=True)
class Levels:
    """A column of categories.

    Attributes
    ----------
    codes : ndarray (N,) of int
        Which of the levels; -1 where it is missing.
    levels : list
        str, bool, int or float; some may not occur.
    """

    codes: np.ndarray
    levels: list[Any]


def kind_of_objects(values: np.ndarray, name: str) -> str:
    """Return the kind of a column whose cells may be anything."""
    kinds = {kind for kind in set(map(type, values.tolist())) if kind.__name__ not in MISSING_TYPES}
    for kind in kinds:
        if issubclass(kind, DATES):
            raise dates_refused(name, kind.__name__)
        if not issubclass(kind, (str, Real, np.bool_, decimal.Decimal)):
            row = next(row for row, value in enumerate(values.tolist()) if type(value) is kind)
            raise TypeError(
                f"The {name} of X holds a {kind.__name__} in row {row}, and its argument must be a string or a number. "
                "Leave the column out, or make numbers or categories of it."
            )
    if not any(issubclass(kind, str) for kind in kinds):
        return NUMBER
    if _is_text(values):
        raise ValueError(
            f"The {name} of X holds texts, {str(_some_text(values))[:60]!r}, and it must hold numbers or categories. "
            "Leave it out, or make numbers of it (TfidfVectorizer and TruncatedSVD in a ColumnTransformer)."
        )
    return CATEGORY


def _is_text(values: np.ndarray) -> bool:
    """Whether most cells are different, and each has many words."""
    some = [value for value in values[:: max(1, len(values) // 1000)].tolist() if isinstance(value, str)]
    words = sum(value.count(" ") + 1 for value in some)
    return len(some) > 1 and len(set(some)) > len(some) / 2 and words >= TEXT_WORDS * len(some)


def _some_text(values: np.ndarray) -> str:
    return next(value for value in values.tolist() if isinstance(value, str))


def dates_refused(name: str, dtype: Any) -> ValueError:
    """Return the error for a column of dates or times."""
    return ValueError(
        f"The {name} of X has the type {dtype}, and it must hold numbers or categories. Make numbers of what may "
        "matter, as the year, the month, the day of the week, or the days since a date, and leave the column out."
    )


def objects_as_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return objects as float64, NaN for what is missing.

    Raises
    ------
    ValueError
        Naming column, row and value of the first that is no number.
    """
    cells = values.tolist()
    if any(type(cell).__name__ in MISSING_TYPES for cell in cells):
        cells = [np.nan if type(cell).__name__ in MISSING_TYPES else cell for cell in cells]
    try:
        return np.array(cells, dtype=np.float64)
    except (TypeError, ValueError):
        row = next(row for row, cell in enumerate(cells) if not _is_number(cell))
        raise ValueError(f"The {name} of X must hold numbers. Got {cells[row]!r} in row {row}.") from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def factorized(values: np.ndarray) -> Levels:
    """Return the levels of an array, and where each occurs."""
    if values.dtype.kind in "fiub":
        levels, codes = np.unique(values, return_inverse=True)
        missing = np.isnan(levels) if levels.dtype.kind == "f" else np.zeros(len(levels), dtype=bool)
        codes = np.where(missing[codes], -1, codes)
        return Levels(codes.astype(np.int64), [plain(level) for level in levels[~missing]])
    known: dict[Any, int] = {}
    cells = values.tolist()
    codes = np.fromiter((-1 if is_missing(cell) else known.setdefault(cell, len(known)) for cell in cells), np.int64)
    return Levels(codes, list(map(plain, known)))


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN, or pandas' own kinds."""
    return type(value).__name__ in MISSING_TYPES or value != value


def plain(level: Any) -> Any:
    """Return a level as plain Python."""
    return level.item() if isinstance(level, np.generic) else level
