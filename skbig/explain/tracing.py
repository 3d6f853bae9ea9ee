"""The columns of X on their way through the steps before a network.

A prediction is explained by *inputs*: numbers of a row that can be moved. A column of numbers that is only scaled on
its way is one; what a step makes of a single column, as the zeros and ones of a category, are others. Behind them all
is linear, so that a row of the network is ``inputs @ matrix + shift``.

Legend: N rows, C columns of X, E inputs, Z features of the network.
"""

from __future__ import annotations

from collections import UserList
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline

from skbig.estimators.sklearn_compat import makes_arrays
from skbig.explain.steps import filled_columns, linear_map, sources_of


class Input(NamedTuple):
    """A number of a row.

    Attributes
    ----------
    values : ndarray or sparse matrix or DataFrame
        Of many columns.
    place : int
        Which of these columns it is.
    source : int
        The column of X that it comes from.
    own : bool
        Whether it is the number in that column itself, in its unit.
    """

    values: Any
    place: int
    source: int
    own: bool


@dataclass
class Traced:
    """Columns somewhere on the way, and how they come about.

    Attributes
    ----------
    X : array, sparse matrix or DataFrame
        The columns as scikit-learn has them there.
    matrix, shift : sparse (E, Z) or ndarray (Z,), ndarray (Z,)
        The columns are ``inputs @ matrix + shift`` or, where each is the input of its number, scaled,
        ``inputs * matrix + shift``; for texts this says only what they depend on.
    inputs : list of Input
        Shared by all columns of X, also those that went other ways.
    """

    X: Any
    matrix: Any
    shift: np.ndarray
    inputs: list[Input] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.matrix.ndim == 2:
            self.matrix = sparse.csc_array(self.matrix)

    def mapped(self, X: Any, matrix: Any, shift: np.ndarray) -> Traced:
        """Return what a linear step makes of the columns: a matrix (C, Z), or a factor for each column (C,)."""
        if np.ndim(matrix) == 1:
            if self.matrix.ndim == 1:
                return Traced(X, self.matrix * matrix, self.shift * matrix + shift, self.inputs)
            own = self._grown()
            scaled = own.data * np.repeat(matrix, np.diff(own.indptr))
            product = sparse.csc_array((scaled, own.indices, own.indptr), own.shape)
            return Traced(X, product, self.shift * matrix + shift, self.inputs)
        return Traced(X, self._grown() @ matrix, self.shift @ matrix + shift, self.inputs)

    def chosen(self, columns: Sequence[int]) -> Traced:
        """Return some of the columns."""
        columns = list(columns)
        return Traced(columns_of(self.X, columns), self._grown()[:, columns], self.shift[columns], self.inputs)

    def replaced(self, X: Any, sources: Sequence[int]) -> Traced:
        """Return new columns, each made in some way of the one whose number is given."""
        first = len(self.inputs)
        for place, source in enumerate(sources):
            self.inputs.append(Input(X, place, self._source_of(source), own=False))
        rows = range(first, len(self.inputs))
        return Traced(X, self._unit(rows), np.zeros(len(rows)), self.inputs)

    def filled(self, X: Any, kept: Sequence[int], told: Sequence[int]) -> Traced:
        """Return columns whose gaps have been filled, and then those that tell where gaps were."""
        if not _is_numeric(X):
            return self.replaced(X, [*kept, *told])
        numbers, first = dense(X), len(self.inputs)
        slopes, shifts = [], []
        for place, column in enumerate(kept):
            entry, slope = self._only_input(column)
            values = (numbers[:, [place]] - self.shift[column]) / slope  # in the unit of the input, where gaps are not
            self.inputs.append(Input(values, 0, entry.source, entry.own))
            slopes.append(slope)
            shifts.append(self.shift[column])
        for place, column in enumerate(told, len(kept)):
            self.inputs.append(Input(X, place, self._source_of(column), own=False))
        matrix = self._unit(range(first, len(self.inputs))) @ sparse.diags_array([*slopes, *[1.0] * len(told)])
        return Traced(X, matrix, np.array([*shifts, *[0.0] * len(told)]), self.inputs)

    def in_use(self) -> tuple[np.ndarray, Any]:
        """Return which inputs the columns depend on, and how: a matrix for these, or a factor where each has one."""
        if self.matrix.ndim == 1:
            return np.arange(len(self.matrix)), self.matrix
        places, matrix = np.unique(self.matrix.indices), self._grown()
        if len(places) == matrix.nnz == matrix.shape[1] and (np.diff(matrix.indptr) == 1).all():
            return matrix.indices, matrix.data
        return places, matrix if len(places) == len(self.inputs) else sparse.csc_array(sparse.csr_array(matrix)[places])

    def _unit(self, rows: range) -> Any:
        """Return the matrix of columns which are inputs."""
        shape = (len(self.inputs), len(rows))
        return sparse.csc_array((np.ones(len(rows)), (np.array(rows, dtype=int), np.arange(len(rows)))), shape)

    def _grown(self) -> Any:
        """Return the matrix with a row for each input, also those that came later."""
        if self.matrix.ndim == 1:
            self.matrix = sparse.csc_array(sparse.diags_array(self.matrix))
        if self.matrix.shape[0] == len(self.inputs):
            return self.matrix
        matrix = self.matrix.copy()
        matrix.resize((len(self.inputs), matrix.shape[1]))
        return matrix

    def _entries(self, column: int) -> tuple[list[Input], np.ndarray]:
        """Return the inputs that a column depends on, and by which factors."""
        matrix = self._grown()
        first, end = matrix.indptr[column], matrix.indptr[column + 1]
        return [self.inputs[i] for i in matrix.indices[first:end]], matrix.data[first:end]

    def _source_of(self, column: int) -> int:
        sources = {entry.source for entry in self._entries(column)[0]}
        if len(sources) != 1:
            raise ValueError(
                "A step makes something of a column that is itself made of several, which cannot be divided among "
                "them. Explain the model behind it: pass the last step of the Pipeline, and the rows that it reads."
            )
        return sources.pop()

    def _only_input(self, column: int) -> tuple[Input, float]:
        entries, slopes = self._entries(column)
        if len(entries) != 1:
            self._source_of(column)
            raise ValueError("Gaps are filled in a column that is made of several; fill them in the first step.")
        return entries[0], float(slopes[0])


def begun(X: Any) -> Traced:
    """Return the columns of X at the beginning of their way: each is an input."""
    n = X.shape[1]
    inputs = [Input(X, i, source=i, own=True) for i in range(n)]
    return Traced(X, np.ones(n), np.zeros(n), inputs)


@singledispatch
def traced(step: Any, columns: Traced) -> Traced:
    """Follow columns through a fitted step."""
    linear = linear_map(step)
    if linear is None:
        return columns.replaced(step.transform(columns.X), sources_of(step))
    return columns.mapped(_scaled(step, columns.X, *linear), *linear)


def _scaled(step: Any, X: Any, matrix: Any, shift: np.ndarray) -> Any:
    """Return what a linear step makes of X.

    Where an array is made of an array it is computed by its formula: of few rows scikit-learn's checks take as long as
    all else together.
    """
    plain = not hasattr(step, "feature_names_in_") and makes_arrays(step)
    own = type(step).__module__.startswith("sklearn.") and plain
    numbers = isinstance(X, np.ndarray) and X.dtype == np.float64 and X.shape[1] == len(shift)
    return X * matrix + shift if own and numbers and np.ndim(matrix) == 1 else step.transform(X)


@traced.register(str)
@traced.register(type(None))
def _unchanged(step: Any, columns: Traced) -> Traced:
    return columns


@traced.register
def _through_imputer(step: SimpleImputer, columns: Traced) -> Traced:
    return columns.filled(step.transform(columns.X), *filled_columns(step))


@traced.register
def _through_pipeline(step: Pipeline, columns: Traced) -> Traced:
    for _, each in step.steps:
        columns = traced(each, columns)
    return columns


@traced.register
def _through_union(step: FeatureUnion, columns: Traced) -> Traced:
    weights = step.transformer_weights or {}
    parts, scales = [], []
    for name, each in step.transformer_list:
        if each != "drop":
            parts.append(traced(each, columns))
            scales += [float(weights.get(name, 1.0))] * len(parts[-1].shift)
    return joined(parts, step.transform(columns.X), columns, np.array(scales))


@traced.register
def _through_column_transformer(step: ColumnTransformer, columns: Traced) -> Traced:
    names = getattr(step, "feature_names_in_", None)
    parts = []
    for name, each, chosen in step.transformers_:
        if isinstance(each, str) and each == "drop":
            continue
        places = positions(chosen, names, step.n_features_in_)
        if places:
            parts.append(traced(each, columns.chosen(places)))
            assert len(parts[-1].shift) == len(range(*step.output_indices_[name].indices(10**9)))
    return joined(parts, step.transform(columns.X), columns)


def joined(parts: Sequence[Traced], X: Any, columns: Traced, scales: np.ndarray | None = None) -> Traced:
    """Return columns that went different ways side by side, each times its scale."""
    matrix = sparse.hstack([part._grown() for part in parts], format="csc")
    shift = np.concatenate([part.shift for part in parts])
    if scales is not None:
        matrix, shift = matrix @ sparse.diags_array(scales), shift * scales
    return Traced(X, matrix, shift, columns.inputs)


def positions(chosen: Any, names: Any, n: int) -> list[int]:
    """Return the numbers of the columns that a ColumnTransformer has chosen: by name, number, slice or mask."""
    names = [] if names is None else list(names)
    if isinstance(chosen, slice):
        start, stop = chosen.start, chosen.stop
        if isinstance(start, str) or isinstance(stop, str):  # a slice of names has its end, too
            begin = 0 if start is None else names.index(start)
            return list(range(begin, n if stop is None else names.index(stop) + 1, chosen.step or 1))
        return list(range(*chosen.indices(n)))
    if isinstance(chosen, UserList):  # of scikit-learn 1.6, which warns when it is read
        chosen = chosen.data
    if np.ndim(chosen) == 0:
        raise ValueError(
            f"A ColumnTransformer passes the single column {chosen!r} on as texts, of which each number depends on "
            "many letters. Explain the last step of the Pipeline, and pass the rows that it reads."
        )
    listed = np.asarray(chosen)
    if listed.dtype == bool:
        return np.flatnonzero(listed).tolist()
    return [names.index(each) if isinstance(each, str) else int(each) % n for each in list(chosen)]


def columns_of(X: Any, columns: list[int]) -> Any:
    """Return some columns of an array, a sparse matrix or a DataFrame."""
    return X.iloc[:, columns] if hasattr(X, "iloc") else X[:, columns]


def dense(X: Any) -> np.ndarray:
    """Return columns of numbers as an array."""
    if sparse.issparse(X):
        X = X.toarray()
    return np.asarray(X, dtype=np.float64)


def times(inputs: np.ndarray, matrix: Any) -> np.ndarray:
    """Return inputs (N, E) times a matrix (E, Z), or a factor for each (Z,)."""
    return inputs * matrix if matrix.ndim == 1 else inputs @ matrix


def _is_numeric(X: Any) -> bool:
    kinds = [dtype.kind for dtype in X.dtypes] if hasattr(X, "dtypes") else [X.dtype.kind]
    return all(kind in "biuf" for kind in kinds)


def values_of(inputs: Sequence[Input]) -> np.ndarray:
    """Return the numbers of all rows (N, E)."""
    first = inputs[0].values
    if all(each.values is first and each.place == i for i, each in enumerate(inputs)) and first.shape[1] == len(inputs):
        return dense(first)
    by_matrix: dict[int, tuple[Any, list[int], list[int]]] = {}
    for place, each in enumerate(inputs):
        _, columns, places = by_matrix.setdefault(id(each.values), (each.values, [], []))
        columns.append(each.place)
        places.append(place)
    result = np.empty((inputs[0].values.shape[0], len(inputs)))
    for matrix, columns, places in by_matrix.values():
        result[:, places] = dense(columns_of(matrix, columns))
    return result
