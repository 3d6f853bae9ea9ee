"""The encoding of sparse rows: each column is scaled, and zeros stay zeros.

Legend: N rows, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skbig.tables.encoding import Layout


@dataclass(frozen=True)
class SparseEncoding:
    """What becomes of each column of sparse rows.

    Attributes
    ----------
    largest : ndarray (C,)
        The largest absolute value of each column, by which it is divided; 1 for an empty one.
    """

    largest: np.ndarray

    bins, n_bins = False, 1

    @property
    def layout(self) -> Layout:
        """What the columns of the matrix are."""
        return Layout((), len(self.largest), 0)

    def sources(self) -> list[int]:
        """Return of each feature of the matrix from which column it comes."""
        return list(range(len(self.largest)))

    def encode(self, X: Any, dtype: Any) -> Any:
        """Return scaled sparse rows, or scaled dense ones where they are dense."""
        if isinstance(X, np.ndarray):
            return np.asarray(X, dtype=dtype) / self.largest.astype(dtype)
        scaled = X.astype(dtype)
        scaled.data /= self.largest.astype(dtype)[scaled.indices]
        return scaled


def fit_sparse(X: Any, weight: np.ndarray | None) -> SparseEncoding:
    """Fit the encoding of sparse rows (CSR); rows of weight zero count for nothing."""
    rows = X if weight is None else X[np.flatnonzero(weight)]
    largest = np.zeros(X.shape[1])
    np.maximum.at(largest, rows.indices, np.abs(rows.data))
    return SparseEncoding(np.where(largest > 0, largest, 1.0))
