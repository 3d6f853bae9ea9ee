"""Rows that are read from where they lie, encoded as they come.

Legend: N rows, F features of the matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skbig.data.sources.base import Source
from skbig.tables.encoding import TableEncoding
from skbig.tables.reading import as_table

SAMPLED_ROWS = 200_000
"""So many rows say what the encoding is to be."""

SAMPLED_RANGES = 20


class EncodedSource(Source):
    """A source whose rows are encoded when they are read.

    Parameters
    ----------
    source : Source
    encoding : TableEncoding
    dtype : numpy.dtype
    """

    def __init__(self, source: Source, encoding: TableEncoding, dtype: Any) -> None:
        self._source, self._encoding = source, encoding
        self.shape, self.dtype = (source.shape[0], encoding.layout.n_features), np.dtype(dtype)
        for name in ("grain", "edges", "in_order", "most_open"):
            setattr(self, name, getattr(source, name))

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._encoding.encode(as_table(self._source.read(start, stop)), self.dtype)

    def will_read(self, start: int, stop: int) -> None:
        self._source.will_read(start, stop)

    def release(self) -> None:
        self._source.release()

    def __reduce__(self) -> Any:
        return type(self), (self._source, self._encoding, self.dtype)


def sample(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return some rows of a source, from all over it, and which they are."""
    n_rows = source.shape[0]
    if n_rows <= SAMPLED_ROWS:
        return source.read(0, n_rows), np.arange(n_rows)
    size = SAMPLED_ROWS // SAMPLED_RANGES
    starts = np.linspace(0, n_rows - size, SAMPLED_RANGES).astype(int)
    ranges = [source.read(start, start + size) for start in starts.tolist()]
    return np.concatenate(ranges), np.concatenate([np.arange(start, start + size) for start in starts])
