"""Reading a table, whatever holds it: pandas, polars, Arrow or NumPy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from skbig.tables.cells import NUMBER, Levels, dates_refused, factorized, kind_of_objects, objects_as_numbers
from skbig.tables.frames import ArrowTable, PandasTable, PolarsTable
from skbig.tables.table import Table


def as_table(X: Any) -> Table:
    """Return what reads the columns of X.

    Raises
    ------
    ValueError
        When X is not a table of rows and columns.
    """
    if _is_of(X, "pandas", "DataFrame"):
        return PandasTable(X)
    if _is_of(X, "polars", "DataFrame"):
        return PolarsTable(X)
    if _is_of(X, "pyarrow", "Table") or _is_of(X, "pyarrow", "RecordBatch"):
        return ArrowTable(X)
    return ArrayTable(X)


def _is_of(X: Any, package: str, name: str) -> bool:
    module = sys.modules.get(package)
    return module is not None and isinstance(X, getattr(module, name))


class ArrayTable(Table):
    """An array, or lists of rows."""

    names = None

    def __init__(self, X: Any) -> None:
        self._X = X if isinstance(X, np.ndarray) else _array_of(X)
        if self._X.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {'scalar' if self._X.ndim == 0 else f'{self._X.ndim}D'} array instead:\n"
                f"array={self._X}.\nReshape your data either using array.reshape(-1, 1) if your data has a single "
                "feature or array.reshape(1, -1) if it contains a single sample."
            )
        self.n_rows, self.n_columns = self._X.shape
        if self._X.dtype.kind == "c":
            raise ValueError(f"Complex data not supported\n{self._X}\n")

    def kind(self, column: int) -> str:
        kind = self._X.dtype.kind
        if kind in "fiub":
            return NUMBER
        if kind in "mM":
            raise dates_refused(self.name(column), self._X.dtype)
        return kind_of_objects(self._X[:, column].astype(object), self.name(column))

    def numbers(self, column: int) -> np.ndarray:
        values = self._X[:, column]
        return objects_as_numbers(values, self.name(column)) if values.dtype.kind == "O" else values.astype(np.float64)

    def categories(self, column: int) -> Levels:
        return factorized(self._X[:, column])


def _array_of(X: Any) -> np.ndarray:
    """Return lists of rows as an array; where numbers and words stand together, each stays what it is."""
    array = np.asarray(X)
    return np.asarray(X, dtype=object) if array.dtype.kind in "US" else array
