"""Reads ranges of a source in one dtype and checks every value.

Legend: N rows of the source, R rows of one read, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from skbig.data.sources.base import Source


@dataclass(frozen=True)
class Reader:
    """Reads ranges of a source.

    Attributes
    ----------
    source : Source
    dtype : numpy.dtype
        What the values are converted to.
    rows : ndarray of int, or None
        The rows of the source that belong to the set, rising; None: all.
    name : str
        What errors call the set.
    to_train : bool
        Whether gradients will be as large as the values, so that these must have finite squares.
    """

    source: Source
    dtype: np.dtype[Any]
    rows: np.ndarray | None = None
    name: str = "X"
    to_train: bool = False

    @property
    def n_rows(self) -> int:
        return self.source.shape[0] if self.rows is None else len(self.rows)

    def place(self, at: Any) -> Any:
        """Return how many rows of the set lie before a row of the source."""
        return at if self.rows is None else np.searchsorted(self.rows, at)

    def read(self, start: int, stop: int) -> Any:
        """Return the set's rows of a range, (R, F) or CSR.

        Raises
        ------
        ValueError
            When a value of the range is not finite, or too large; it names the row of the source, and the column.
        """
        block = self._convert(start, stop)
        self._check(block, start)
        if self.rows is None:
            return block
        return block[self.rows[self.place(start) : self.place(stop)] - start]

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Write the rows from `start` on into `out`, checked; for a set of all rows."""
        if self._must_be_whole:
            out[...] = self._convert(start, start + len(out))
        else:
            self.source.read_into(start, out)
            self._check(out, start)

    @property
    def _must_be_whole(self) -> bool:
        return self.dtype.kind in "iub" and self.dtype != self.source.dtype

    def _convert(self, start: int, stop: int) -> Any:
        if self.source.is_sparse:
            with np.errstate(over="ignore"):
                return self.source.read(start, stop).astype(self.dtype, copy=False)
        if self._must_be_whole:
            return whole_numbers(self.source.read(start, stop), self.dtype, self.name, start)
        block = np.empty((stop - start, self.source.shape[1]), self.dtype)
        self.source.read_into(start, block)
        return block

    def _check(self, block: Any, first_row: int) -> None:
        """Refuse what is not finite, in scikit-learn's words and with its place in the whole set."""
        values = block.data if sparse.issparse(block) else block
        if values.dtype.kind in "iub":
            return
        limit = largest_of(values.dtype) if self.to_train else np.finfo(values.dtype).max
        with np.errstate(invalid="ignore"):  # a NaN is the largest and the smallest
            if values.max(initial=0) <= limit and values.min(initial=0) >= -limit:
                return
        at = int(np.flatnonzero(~(np.abs(values) <= limit))[0])
        row, column = _place(block, at)
        what = _fault(values.flat[at])
        raise ValueError(f"Input {self.name} contains {what}. It is in row {first_row + row}, column {column}.")


def whole_numbers(values: np.ndarray, dtype: Any, name: str, first_row: int = 0) -> np.ndarray:
    """Return values as whole numbers of a dtype.

    Raises
    ------
    ValueError
        When one of them is none, or does not fit; it names its row and its value.
    """
    with np.errstate(invalid="ignore"):
        cast = values.astype(dtype)
    differs = (cast != values).reshape(len(values), -1).any(1)
    if differs.any():
        at = int(np.flatnonzero(differs)[0])
        row, whole = values[at].ravel(), cast[at].ravel()
        raise ValueError(
            f"Input {name} must hold whole numbers that fit into {np.dtype(dtype)}, as those that the model was fitted "
            f"on. Row {first_row + at} has the value {row[row != whole][0]}."
        )
    return cast


def largest_of(dtype: np.dtype[Any]) -> float:
    """Return the largest value that can be trained on: its square is finite, as those of gradients must be."""
    return float(np.sqrt(np.finfo(dtype).max))


def _fault(value: np.floating[Any]) -> str:
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return f"infinity or a value too large for dtype({str(value.dtype)!r})"
    large = f"a value too large to train on in {value.dtype!r}: {value:g}, whose square is infinite"
    return f"{large}. Scale the features (StandardScaler)"


def _place(block: Any, at: int) -> tuple[int, int]:
    if not sparse.issparse(block):
        return divmod(at, block.shape[1])
    return int(np.searchsorted(block.indptr, at, side="right")) - 1, int(block.indices[at])
