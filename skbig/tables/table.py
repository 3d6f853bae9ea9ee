"""A table: what can be asked of its columns, whatever holds it.

Legend: N rows, C columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from skbig.tables.cells import Levels


class Table(ABC):
    """Rows and columns.

    Attributes
    ----------
    names : list of str, or None
        Of the columns, where they have any.
    n_rows, n_columns : int
    """

    names: list[str] | None
    n_rows: int
    n_columns: int

    @abstractmethod
    def kind(self, column: int) -> str:
        """Return 'number' or 'category', or raise ValueError for what is neither."""

    @abstractmethod
    def numbers(self, column: int) -> np.ndarray:
        """Return a column as float64, NaN where it is missing."""

    @abstractmethod
    def categories(self, column: int) -> Levels:
        """Return a column as levels."""

    def name(self, column: int) -> str:
        """Return what errors call a column."""
        return f"column {column}" if self.names is None else f"column {self.names[column]!r}"

    def place(self, name: Any) -> int:
        """Return the number of a column, given by its number or its name."""
        if isinstance(name, str):
            if self.names is None or name not in self.names:
                raise ValueError(f"X has no column {name!r}. Its columns are {self.names or self.n_columns}.")
            return self.names.index(name)
        if not 0 <= int(name) < self.n_columns:
            raise ValueError(f"X has no column {name}: it has {self.n_columns} columns.")
        return int(name)


def columns_named(table: Table, wanted: Sequence[str]) -> list[int]:
    """Return where the wanted columns are.

    Raises
    ------
    ValueError
        In scikit-learn's words, when there are others, or fewer.
    """
    if table.names is None:
        return list(range(table.n_columns))
    unseen = [name for name in table.names if name not in set(wanted)]
    absent = [name for name in wanted if name not in set(table.names)]
    message = "The feature names should match those that were passed during fit.\n"
    if unseen:
        message += "Feature names unseen at fit time:\n" + _listed(unseen)
    if absent:
        message += "Feature names seen at fit time, yet now missing:\n" + _listed(absent)
    if unseen or absent:
        raise ValueError(message)
    return [table.names.index(name) for name in wanted]


def _listed(names: Sequence[str]) -> str:
    shown = sorted(names)[:5]
    return "".join(f"- {name}\n" for name in shown) + ("- ...\n" if len(names) > len(shown) else "")
