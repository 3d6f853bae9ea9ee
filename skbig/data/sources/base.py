"""What rows that do not fit in memory are read from.

Legend: N rows of the whole set, F features, R rows of one read.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Source(ABC):
    """Rows that are read a range at a time.

    A subclass sets `shape` and `dtype` and defines `read`. The rest tells how a range is best chosen.

    Attributes
    ----------
    shape : (N, F)
    row_shape : tuple of int
        The shape of a row before it is laid out in a line of F numbers.
    dtype : numpy.dtype
        What `read` returns.
    is_sparse : bool
        Whether `read` returns CSR arrays.
    row_bytes : float
        Bytes of a row when read, on average.
    feature_names : ndarray (F,) of str, or None
    grain : int
        Ranges are best cut at multiples of it.
    edges : ndarray of int, or None
        Where ranges are best cut, from 0 to N, when that is not regular.
    in_order : bool
        Whether a range between two edges may be cut further, as long as its parts are read one after the other.
    most_open : int
        How many such ranges may be read side by side: each keeps some of its file in memory.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    is_sparse: bool = False
    feature_names: np.ndarray | None = None
    grain: int = 1
    edges: np.ndarray | None = None
    in_order: bool = False
    most_open: int = 12

    @abstractmethod
    def read(self, start: int, stop: int) -> Any:
        """Return the rows of a range: a new C-contiguous array (R, F), or a CSR array."""

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Write the dense rows from `start` on into `out` (R, F), and convert them to its dtype."""
        convert_into(self.read(start, start + len(out)), out)

    def will_read(self, start: int, stop: int) -> None:  # noqa: B027
        """Be told of a range that is read soon, so that a disk may begin."""

    def release(self) -> None:  # noqa: B027
        """Let go of what reading has opened; it is opened again when it is needed."""

    @property
    def row_bytes(self) -> float:
        return float(self.shape[1] * self.dtype.itemsize)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return (self.shape[1],)

    @property
    def ndim(self) -> int:
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Read a slice of rows."""
        if not isinstance(key, slice) or key.step not in (None, 1):
            what = f"{key!r}" if isinstance(key, int | slice) else "single rows, as folds are,"
            raise TypeError(
                f"{type(self).__name__} is read by slices of rows, as X[start:stop], and {what} is none. A search, a "
                "cross-validation or another step of a pipeline needs rows in memory: pass X[:], or a part of it."
            )
        start, stop, _ = key.indices(self.shape[0])
        return self.read(start, max(start, stop))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"


def convert_into(block: np.ndarray, out: np.ndarray) -> None:
    """Copy with a conversion; what is too large becomes infinite, which the check of the values reports."""
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(out, block, casting="unsafe")


def check_shape(shape: tuple[int, ...], *, any_shape: bool = False) -> tuple[int, int]:
    """Return the shape of a set that can be learned from, each row in a line.

    Raises
    ------
    ValueError
        With scikit-learn's words, when it is not two-dimensional, or empty.
    """
    if any_shape and len(shape) > 2:
        shape = (shape[0], math.prod(shape[1:]))
    if len(shape) != 2:
        raise ValueError(f"Expected 2D array, got {len(shape)}D array instead: X has the shape {tuple(shape)}.")
    for size, what in zip(shape, ("sample(s)", "feature(s)"), strict=True):
        if size == 0:
            raise ValueError(f"Found array with 0 {what} (shape={tuple(shape)}) while a minimum of 1 is required.")
    return int(shape[0]), int(shape[1])


def check_numbers(dtype: Any) -> np.dtype[Any]:
    """Return a dtype of real numbers.

    Raises
    ------
    ValueError
        When it is of something else.
    """
    result = np.dtype(dtype)
    if result.kind not in "fiub":
        raise ValueError(f"Input X must hold real numbers to be read from where it lies. Its dtype is {result}.")
    return result
