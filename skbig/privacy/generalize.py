"""Intervals in the place of numbers, and beginnings in the place of words."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from skbig._utils.validation import Options, check
from skbig.privacy.masking import Masking, is_missing, texts_of, without

Bins = int | Sequence[float]


class Generalize(Masking):
    """Make values coarser, so that more rows are alike: numbers become intervals, words and codes their beginnings.

    Parameters
    ----------
    bins : int, sequence of float, or dict of these by column, default=None
        Edges of the intervals, rising, or how many intervals with about as many rows each; for all columns of numbers,
        or for those that are named. Edges that are counted out tell a little of the rows they were counted from.
    prefixes : int, or dict of int by column, default=None
        How many characters are kept; for all columns that hold no numbers, or for those that are named.
    output : {'label', 'code'}, default='label'
        An interval as text, ``'20-30'``, or its number, counted from 0.

    Attributes
    ----------
    edges_ : dict of ndarray
        By number of the column: where its intervals meet.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where X has names of columns.

    See Also
    --------
    Suppress : What is rare all the same is left out.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbig.privacy import Generalize
    >>> people = pd.DataFrame({"age": [19, 34, 71], "zip": ["80331", "80333", "10115"]})
    >>> Generalize(bins={"age": [20, 40, 60]}, prefixes={"zip": 3}).fit_transform(people)
         age   zip
    0    <20  803*
    1  20-40  803*
    2   >=60  101*
    """

    def __init__(
        self,
        bins: Bins | Mapping[Any, Bins] | None = None,
        *,
        prefixes: int | Mapping[Any, int] | None = None,
        output: str = "label",
    ) -> None:
        self.bins = bins
        self.prefixes = prefixes
        self.output = output

    def _learn(self, columns: list[np.ndarray]) -> None:
        check("output", "Generalize", self.output, Options(("label", "code")))
        are_numbers = [column.dtype.kind in "biuf" for column in columns]
        bins = self._by_place(self.bins, "bins", are_numbers)
        self._lengths = self._by_place(self.prefixes, "prefixes", [not number for number in are_numbers])
        if both := set(bins) & set(self._lengths):
            raise ValueError(f"Generalize takes bins or prefixes for a column, and columns {sorted(both)} have both.")
        for length in self._lengths.values():
            if not isinstance(length, int | np.integer) or length < 0:
                raise ValueError(f"The 'prefixes' parameter of Generalize must be ints >= 0. Got {length!r}.")
        self.edges_ = {place: _edges(columns[place], value) for place, value in bins.items()}

    def _by_place(self, values: Any, name: str, applies: list[bool]) -> dict[int, Any]:
        """Return what holds for each column."""
        if isinstance(values, Mapping):
            return {self._place(column, name): value for column, value in values.items()}
        return {} if values is None else {place: values for place, here in enumerate(applies) if here}

    def _masked(self, columns: list[np.ndarray]) -> list[np.ndarray]:
        return [self._masked_column(place, column) for place, column in enumerate(columns)]

    def _masked_column(self, place: int, column: np.ndarray) -> np.ndarray:
        if place in self.edges_:
            return _binned(column, self.edges_[place], codes=self.output == "code")
        if place in self._lengths:
            return _beginnings(column, int(self._lengths[place]))
        return column


def _edges(column: np.ndarray, bins: Any) -> np.ndarray:
    if isinstance(bins, int | np.integer) and bins > 0:
        numbers = np.asarray(column, dtype=float)
        numbers = numbers[~np.isnan(numbers)]
        shares = np.linspace(0, 1, int(bins) + 1)[1:-1]
        return np.unique(np.quantile(numbers, shares)) if len(numbers) else np.array([])
    listed = isinstance(bins, Sequence | np.ndarray) and not isinstance(bins, str)
    if listed and all(isinstance(edge, Real) for edge in bins) and all(a < b for a, b in itertools.pairwise(bins)):
        return np.asarray(bins, dtype=float)
    raise ValueError(
        f"The 'bins' parameter of Generalize must be an int > 0, rising edges, or a dict of these. Got {bins!r}."
    )


def _binned(column: np.ndarray, edges: np.ndarray, *, codes: bool) -> np.ndarray:
    numbers, missing = np.asarray(column, dtype=float), is_missing(column)
    code = np.searchsorted(edges, numbers, side="right")
    if codes:
        return np.where(missing, np.nan, code) if missing.any() else code.astype(np.int64)
    labels = np.array(_labels(edges), dtype=object)
    return without(labels[code], missing)


def _labels(edges: np.ndarray) -> list[str]:
    texts = [f"{edge:g}" for edge in edges]
    if not texts:
        return ["*"]
    return [f"<{texts[0]}", *(f"{a}-{b}" for a, b in itertools.pairwise(texts)), f">={texts[-1]}"]


def _beginnings(column: np.ndarray, length: int) -> np.ndarray:
    texts = texts_of(column)
    return np.array([t if t is None or len(t) <= length else f"{t[:length]}*" for t in texts], dtype=object)
