"""Some rows of an array in memory, without a copy of them: what takes the place of X where some rows are left out.

Legend: N rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class ArrayRows:
    """Rows of a checked array.

    Attributes
    ----------
    values : ndarray (V, F), or a SciPy CSR array
        They are shared with who gave them.
    rows : ndarray (N,) of int
        The rows that are meant.
    """

    values: Any
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.values.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.values.dtype)

    @property
    def is_sparse(self) -> bool:
        return sparse.issparse(self.values)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """Return a copy of some of these rows, as an array has it."""
        return self.values[self.rows[index]]

    def take(self, index: np.ndarray) -> ArrayRows:
        """Return some of these rows, without a copy."""
        return replace(self, rows=self.rows[index])

    def load(self) -> Any:
        """Return a copy of all of these rows."""
        return self.values[self.rows]
