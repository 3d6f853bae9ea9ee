"""A batch of sparse rows, ready for the two products that a layer needs.

torch's own sparse tensors warn that they are unfinished, and their backward pass is several times slower than this.

Legend: R rows, F features, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(frozen=True)
class _Lines:
    """The non-empty rows (or columns) of a matrix: which they are, and the positions and values that each holds."""

    which: Tensor
    starts: Tensor
    positions: Tensor
    values: Tensor

    def weighted_sums(self, table: Tensor) -> Tensor:
        """For each line the sum of ``value * table[position]``."""
        return embedding_bag(self.positions, table, self.starts, mode="sum", per_sample_weights=self.values)

    def product(self, table: Tensor, n_lines: int) -> Tensor:
        """The matrix times a dense table."""
        if len(self.which) == n_lines:
            return self.weighted_sums(table)
        result = table.new_zeros(n_lines, table.shape[1])
        return result.index_copy_(0, self.which, self.weighted_sums(table)) if len(self.which) else result


@dataclass(frozen=True)
class SparseRows:
    """Sparse rows (R, F)."""

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device
    rows: _Lines
    columns: _Lines | None

    def times(self, weight: Tensor) -> Tensor:
        """``X @ weight``: (F, O) -> (R, O)."""
        return self.rows.product(weight, self.shape[0])

    def transposed_times(self, gradient: Tensor) -> Tensor:
        """``X.T @ gradient``: (R, O) -> (F, O)."""
        assert self.columns is not None, "made without the columns"
        return self.columns.product(gradient, self.shape[1])


def sparse_rows(X: Any, device: torch.device, *, for_training: bool) -> SparseRows:
    """Place a SciPy CSR array; the columns are needed for training only."""
    columns = _lines(X.tocsc(), device) if for_training else None
    values = torch.from_numpy(X.data[:0])
    return SparseRows(X.shape, values.dtype, device, _lines(X, device), columns)


def _lines(X: Any, device: torch.device) -> _Lines:
    """Compressed rows of a CSR array, or columns of a CSC one."""
    filled = np.flatnonzero(np.diff(X.indptr))
    arrays = (filled, X.indptr[filled].astype(np.int64), X.indices.astype(np.int64), X.data)
    which, starts, positions, values = (torch.from_numpy(np.array(array)).to(device) for array in arrays)
    return _Lines(which, starts, positions, values)
