"""Rows of an array in memory as they are: what takes the place of X where some are left out, or converted when read.

Legend: N rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

COPIED_BYTES = 2**24
"""Arrays are copied up to here, so that their rows lie side by side; larger ones are read where they are."""


def is_large(X: Any) -> bool:
    """Whether an array, or a CSR array, is not to be copied as a whole."""
    return int(X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes) > COPIED_BYTES


@dataclass(frozen=True)
class ArrayRows:
    """Rows of a checked array.

    Attributes
    ----------
    values : ndarray (V, F), or a SciPy CSR array
        They are shared with who gave them.
    dtype : numpy.dtype
        What values are converted to when they are read.
    rows : ndarray (N,) of int, or None
        The rows that are meant; None: all.
    """

    values: Any
    dtype: np.dtype[Any]
    rows: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return (self.values.shape[0] if self.rows is None else len(self.rows)), self.values.shape[1]

    @property
    def converts(self) -> bool:
        """Whether values have another dtype than rows that are read."""
        return bool(self.values.dtype != self.dtype)

    @property
    def is_sparse(self) -> bool:
        return sparse.issparse(self.values)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return some of these rows, as an array has them."""
        values = self.values[index if self.rows is None else self.rows[index]]
        return values.astype(self.dtype, copy=False)

    def take(self, index: np.ndarray) -> ArrayRows:
        """Return some of these rows, without a copy."""
        return replace(self, rows=index if self.rows is None else self.rows[index])

    def load(self) -> Any:
        """Return all of these rows."""
        return self[:]
