"""What becomes of a column of categories: a code for each level, and 0 for all that is not known.

Legend: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skbig.tables.cells import Levels

MAX_LEVELS = 2**14
"""More levels of a column are not told apart: the rarest are one."""

MIN_WEIGHT = 2.0
"""A level that is rarer stands for those that will be met for the first time."""


@dataclass(frozen=True)
class Categories:
    """A column of categories, fitted.

    Attributes
    ----------
    levels : list
        The levels that have codes, from 1 on. None among them is what is missing. Code 0 stands for all others: rare
        ones, those that the training rows do not have, and what is missing where nothing was.
    """

    levels: list[Any]

    @property
    def n_codes(self) -> int:
        return len(self.levels) + 1

    @property
    def is_constant(self) -> bool:
        """Whether nothing can be learnt from it."""
        return not self.levels

    @cached_property
    def _code_of(self) -> dict[Any, int]:
        return {level: code for code, level in enumerate(self.levels, 1)}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what follows from the levels."""
        return {"levels": self.levels}

    def codes(self, column: Levels) -> np.ndarray:
        """Return the code of each row, (N,) of int."""
        known = [self._code_of.get(level, 0) for level in column.levels]
        return np.array([*known, self._code_of.get(None, 0)], dtype=np.int64)[column.codes]  # -1 is the last


def fit_categories(column: Levels, weight: np.ndarray) -> Categories:
    """Fit a column of categories; rows of weight zero count for nothing."""
    n_levels = len(column.levels)
    counts = np.bincount(np.where(column.codes < 0, n_levels, column.codes), weight, minlength=n_levels + 1)
    found = {level: count for level, count in zip([*column.levels, None], counts.tolist(), strict=True) if count > 0}
    if len(found) < 2:
        return Categories([])
    often = sorted(found, key=lambda level: (-found[level], *_order(level)))
    kept = [level for level in often[:MAX_LEVELS] if found[level] >= MIN_WEIGHT]
    return Categories(sorted(kept, key=_order))


def _order(level: Any) -> tuple[str, Any]:
    """Sort levels of several types: their order must not depend on that of the rows."""
    kind = "" if level is None else "str" if isinstance(level, str) else "number"
    return kind, 0 if level is None else level
