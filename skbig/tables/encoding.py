"""The encoding of a table: what its columns become, fitted to the training rows.

Legend: N rows, C columns, F features of the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skbig.tables.categories import Categories, fit_categories
from skbig.tables.cells import CATEGORY, NUMBER
from skbig.tables.numbers import Numbers, fit_numbers
from skbig.tables.table import Table, columns_named


@dataclass(frozen=True)
class Layout:
    """What the columns of an encoded matrix are: first codes, then numbers, then flags.

    Attributes
    ----------
    n_codes : tuple of int
        Of each column of codes how many there are, code 0 counted; rising.
    n_numbers : int
    n_flags : int
        Columns of zeros and ones that say which numbers were missing.
    """

    n_codes: tuple[int, ...]
    n_numbers: int
    n_flags: int

    @property
    def n_features(self) -> int:
        return self.n_numbers + self.n_flags + len(self.n_codes)


@dataclass(frozen=True)
class TableEncoding:
    """What becomes of each column of a table.

    Attributes
    ----------
    names : list of str, or None
        Of the columns, in their order when it was fitted.
    n_columns : int
    columns : list of (Numbers or Categories)
    bins : bool
        Whether a number becomes its place among bins, and not a scaled number.
    n_bins : int
        Bins of a number; one that has fewer is placed in the first of them.
    """

    names: list[str] | None
    n_columns: int
    columns: list[Numbers | Categories]
    bins: bool
    n_bins: int

    @property
    def kinds(self) -> list[str]:
        """'number' or 'category' for each column."""
        return [NUMBER if isinstance(column, Numbers) else CATEGORY for column in self.columns]

    @cached_property
    def parts(self) -> tuple[list[tuple[int, Categories]], list[tuple[int, Numbers]], list[tuple[int, Numbers]]]:
        """Return the columns of categories, of numbers, and those of numbers with missing ones, with their places."""
        numbers = [(i, column) for i, column in enumerate(self.columns) if isinstance(column, Numbers)]
        categories = [(i, column) for i, column in enumerate(self.columns) if isinstance(column, Categories)]
        codes = sorted((each for each in categories if not each[1].is_constant), key=lambda each: each[1].n_codes)
        varied = [each for each in numbers if not each[1].is_constant]
        flags = [each for each in numbers if each[1].has_missing]
        if not codes and not varied and not flags:  # a network must read something
            return (categories[:1], [], []) if not numbers else ([], numbers[:1], [])
        return codes, varied, flags

    @property
    def layout(self) -> Layout:
        """What the columns of the matrix are."""
        codes, numbers, flags = self.parts
        return Layout(tuple(column.n_codes for _, column in codes), len(numbers), len(flags))

    def sources(self) -> list[int]:
        """Return of each feature of the matrix from which column of the table it comes."""
        return [place for part in self.parts for place, _ in part]

    def encode(self, table: Table, dtype: Any) -> np.ndarray:
        """Return a table as a matrix (N, F).

        Raises
        ------
        ValueError
            When columns are missing or there are others, or when a cell holds what its column cannot hold.
        """
        places = self.places(table)
        codes, numbers, flags = self.parts
        X = np.empty((table.n_rows, self.layout.n_features), dtype=dtype)
        for feature, (place, levels) in enumerate(codes):
            X[:, feature] = levels.codes(table.categories(places[place]))
        flag_of = {place: len(codes) + len(numbers) + i for i, (place, _) in enumerate(flags)}
        feature_of = {place: len(codes) + i for i, (place, _) in enumerate(numbers)}
        for place in feature_of | flag_of:
            values = read_numbers(table, places[place])
            if place in feature_of:
                column = self.columns[place]
                assert isinstance(column, Numbers)
                X[:, feature_of[place]] = column.placed(values) if self.bins else column.scaled(values)
            if place in flag_of:
                X[:, flag_of[place]] = np.isnan(values)
        return X

    def places(self, table: Table) -> list[int]:
        """Return where each column is now: by name, if it has one."""
        if self.names is not None and table.names is not None:
            return columns_named(table, self.names)
        if table.n_columns != self.n_columns:
            raise ValueError(f"X has {table.n_columns} features, but {self.n_columns} features were fitted.")
        return list(range(self.n_columns))


def fit_encoding(
    table: Table,
    weight: np.ndarray | None,
    categorical: Any = "from_dtype",
    n_bins: int = 32,
    few_levels: int = 0,
    *,
    bins: bool = True,
) -> TableEncoding:
    """Fit the encoding of a table.

    Parameters
    ----------
    table : Table
    weight : ndarray (N,) or None
        Rows of weight zero count for nothing, one of weight two counts twice.
    categorical : 'from_dtype', None, or array-like
        Which columns are categories: those of a type of words or categories; or a mask of bool, numbers or names of
        columns besides.
    n_bins : int
        Bins of a number.
    few_levels : int
        A number of up to so many levels has a place for each, though there be more bins then.
    bins : bool
        Whether a number becomes its place among bins.

    Raises
    ------
    ValueError
        Naming the column, when one holds what can be made neither.
    """
    weight = np.ones(table.n_rows) if weight is None else weight
    asked = categorical_columns(table, categorical)
    columns: list[Numbers | Categories] = []
    for i in range(table.n_columns):
        if i in asked or table.kind(i) == CATEGORY:
            columns.append(fit_categories(table.categories(i), weight))
        else:
            columns.append(fit_numbers(read_numbers(table, i), weight, n_bins, few_levels))
    n_bins = max([n_bins, *(column.n_bins for column in columns if isinstance(column, Numbers))])
    columns = [column.among(n_bins) if isinstance(column, Numbers) else column for column in columns]
    return TableEncoding(table.names, table.n_columns, columns, bins, n_bins)


def categorical_columns(table: Table, categorical: Any) -> set[int]:
    """Return the columns that a user has said to be categories."""
    if categorical is None or (isinstance(categorical, str) and categorical == "from_dtype"):
        return set()
    given = np.asarray(categorical) if not isinstance(categorical, Sequence) else categorical
    if np.asarray(given).dtype == bool:
        if len(given) != table.n_columns:
            raise ValueError(
                f"categorical_features is a mask of {len(given)} columns, and X has {table.n_columns} columns."
            )
        return set(np.flatnonzero(given).tolist())
    return {table.place(name) for name in np.asarray(given, dtype=object).tolist()}


def read_numbers(table: Table, column: int) -> np.ndarray:
    """Return a column of numbers.

    Raises
    ------
    ValueError
        Naming column and row, where one is infinite.
    """
    values = table.numbers(column)
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise ValueError(
            f"Input X contains infinity or a value too large: the {table.name(column)} has {values[row]} in row {row}. "
            "Make a missing value (NaN) of it, or a large number."
        )
    return values
