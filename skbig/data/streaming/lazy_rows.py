"""Some rows of a source, or all: what takes the place of X where it is not in memory.

Legend: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from skbig.data.sources.base import Source
from skbig.data.streaming.chunks import blocks

LOADED_BYTES = 2**30
"""A set no larger than this in memory is read once and kept: it is shuffled better, and read faster."""


@dataclass(frozen=True)
class LazyRows:
    """Rows of a source.

    Attributes
    ----------
    source : Source
    dtype : numpy.dtype
        What values are converted to when they are read.
    rows : ndarray (N,) of int, or None
        The rows that are meant, rising; None: all.
    name : str
        What errors call them.
    to_train : bool
        Whether their values must have finite squares, as those of gradients must be.
    """

    source: Source
    dtype: np.dtype[Any]
    rows: np.ndarray | None = None
    name: str = "X"
    to_train: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        n_rows, n_features = self.source.shape
        return (n_rows if self.rows is None else len(self.rows)), n_features

    @property
    def is_sparse(self) -> bool:
        return self.source.is_sparse

    @property
    def n_bytes(self) -> float:
        """Bytes in memory, converted."""
        return self.shape[0] * (self.source.row_bytes if self.is_sparse else self.shape[1] * self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, index: np.ndarray) -> LazyRows:
        """Return some of these rows; the index must rise."""
        return replace(self, rows=index if self.rows is None else self.rows[index])

    def blocks(self, n_rows: int) -> Iterator[tuple[int, Any]]:
        """Yield the first row's number and the rows, at most `n_rows` at a time, checked."""
        return blocks(self.source, self.dtype, n_rows, self.rows, name=self.name, to_train=self.to_train)

    def load(self) -> Any:
        """Read all rows into memory: an array (N, F), or a CSR array."""
        n_rows = max(1, int(2**24 / max(1, self.n_bytes / max(1, len(self)))))
        if self.is_sparse:
            return sparse.vstack([block for _, block in self.blocks(n_rows)], format="csr")
        out = np.empty(self.shape, self.dtype)
        for first, block in self.blocks(n_rows):
            out[first : first + len(block)] = block
        return out
