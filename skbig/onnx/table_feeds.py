"""Tables as a graph reads them: an input for each column, of the type that the estimator has made of it.

Legend: N rows.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from skbig.tables.categories import Categories
from skbig.tables.cells import Levels
from skbig.tables.encoding import TableEncoding, read_numbers
from skbig.tables.table import Table


def table_inputs(encoding: TableEncoding, table: Table, dtype: str) -> dict[str, np.ndarray]:
    """Return the columns that were fitted by their names, or as "x0", "x1": each (N, 1).

    Numbers alone that have no names are one input, "X".

    Numbers are of the dtype given, NaN where they are missing. Categories are texts, of which "" stands for a missing
    one; or int64, where all levels are whole numbers and none is missing; or numbers.
    """
    names = encoding.names or [f"x{i}" for i in range(encoding.n_columns)]
    inputs = {}
    for name, column, place in zip(names, encoding.columns, encoding.places(table), strict=True):
        if isinstance(column, Categories):
            inputs[name] = _categories(column, table.categories(place), dtype)[:, None]
        else:
            inputs[name] = read_numbers(table, place).astype(dtype)[:, None]
    if encoding.names is None and not any(isinstance(column, Categories) for column in encoding.columns):
        return {"X": np.hstack(list(inputs.values()))}
    return inputs


def _categories(column: Categories, given: Levels, dtype: str) -> np.ndarray:
    """Return a column of categories, (N,), of texts or numbers as the levels are that it was fitted to."""
    known = [level for level in column.levels if level is not None]
    if not known or not all(isinstance(level, Real) for level in known):
        return np.array([*map(str, given.levels), ""], dtype=object)[given.codes]  # -1 is the last
    unknown = max(map(int, known)) + 1
    levels: list[Any] = [level if isinstance(level, Real) else unknown for level in given.levels]
    may_miss = None in column.levels or bool((given.codes < 0).any())
    if not may_miss and all(float(level).is_integer() and abs(level) < 2**63 for level in (*known, *levels)):
        return np.array([*map(int, levels), 0], dtype=np.int64)[given.codes]
    return np.array([*map(float, levels), np.nan])[given.codes].astype(dtype)
