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


def check_positions(matrix: Any, name: str) -> None:
    """Raise ValueError where a SciPy matrix has values in places that it does not have: SciPy's own code trusts them.

    Only formats that keep positions in arrays of the user's can go wrong; the others check what they are given.
    """
    n_rows, n_columns = matrix.shape if matrix.ndim == 2 else (1, *matrix.shape)
    if matrix.format in ("csr", "csc"):
        n_lines, n_places = (n_rows, n_columns) if matrix.format == "csr" else (n_columns, n_rows)
        _check_lines(matrix.indptr, min(len(matrix.indices), len(matrix.data)), n_lines, name)
        _check_range(matrix.indices[: matrix.indptr[-1]], n_places, name)
    elif matrix.format == "bsr":
        height, width = matrix.blocksize
        _check_lines(matrix.indptr, min(len(matrix.indices), len(matrix.data)), n_rows // height, name)
        _check_range(matrix.indices[: matrix.indptr[-1]], n_columns // width, name)
    elif matrix.format == "coo":
        for positions, size in zip(matrix.coords, matrix.shape, strict=True):
            _check_range(positions, size, name)


def _check_lines(indptr: np.ndarray, n_stored: int, n_lines: int, name: str) -> None:
    rises = len(indptr) == n_lines + 1 and indptr[0] == 0 and bool((indptr[1:] >= indptr[:-1]).all())
    if not rises or indptr[-1] > n_stored:
        raise ValueError(
            f"The indptr of {name} must rise from 0 to at most the number of stored values, {n_stored}, in "
            f"{n_lines + 1} numbers. Got {len(indptr)} numbers from {indptr[:1].tolist()} to {indptr[-1:].tolist()}."
        )


def _check_range(positions: np.ndarray, size: int, name: str) -> None:
    if len(positions) and (positions.min() < 0 or positions.max() >= size):
        wrong = positions[(positions < 0) | (positions >= size)][0]
        raise ValueError(f"{name} is sparse, and has a value in place {wrong} of a row or column that has {size}.")


@dataclass(frozen=True)
class _Lines:
    """The non-empty rows (or columns) of a matrix: which they are, and the positions and values that each holds."""

    which: Tensor
    starts: Tensor
    positions: Tensor
    values: Tensor

    @property
    def line_of_each(self) -> Tensor:
        """In which line each value is."""
        ends = torch.cat([self.starts, self.starts.new_tensor([len(self.values)])])
        return self.which.repeat_interleave(ends.diff())

    def weighted_sums(self, table: Tensor) -> Tensor:
        """For each line the sum of ``value * table[position]``."""
        return embedding_bag(self.positions, table, self.starts, mode="sum", per_sample_weights=self.values)

    def some(self, start: int, stop: int) -> _Lines:
        """The lines from `start` to `stop`, counted from `start`."""
        first, last = torch.searchsorted(self.which, torch.tensor([start, stop], device=self.which.device)).tolist()
        bounds = torch.cat([self.starts, self.starts.new_tensor([len(self.values)])])[first : last + 1]
        inside = slice(int(bounds[0]), int(bounds[-1]))
        own = self.which[first:last] - start
        return _Lines(own, bounds[:-1] - bounds[0], self.positions[inside], self.values[inside])

    def across(self, start: int, stop: int) -> _Lines:
        """Of every line the positions from `start` to `stop`, counted from `start`."""
        inside = (self.positions >= start) & (self.positions < stop)
        before = torch.cat([inside.new_zeros(1, dtype=torch.int64), inside.cumsum(0)])
        ends = torch.cat([self.starts, self.starts.new_tensor([len(self.values)])])
        bounds = before[ends]
        filled = bounds[1:] > bounds[:-1]
        return _Lines(self.which[filled], bounds[:-1][filled], self.positions[inside] - start, self.values[inside])

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

    def squared_norms(self) -> Tensor:
        """Return the squared norm of each row, (R,)."""
        result = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        return result.index_add_(0, self.rows.line_of_each, self.rows.values.square())

    def dense(self) -> Tensor:
        """Return the rows as a dense tensor (R, F)."""
        lines, result = self.rows, torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        return result.index_put_((lines.line_of_each, lines.positions), lines.values)

    def part(self, start: int, stop: int) -> SparseRows:
        """Return some of the rows."""
        columns = None if self.columns is None else self.columns.across(start, stop)
        shape = (stop - start, self.shape[1])
        return SparseRows(shape, self.dtype, self.device, self.rows.some(start, stop), columns)


def sparse_rows(X: Any, device: torch.device, *, for_training: bool) -> SparseRows:
    """Place a SciPy CSR array; the columns are needed for training only."""
    columns = _lines(X.tocsc(), device) if for_training else None
    dtype = torch.from_numpy(np.empty(0, X.dtype)).dtype
    return SparseRows(X.shape, dtype, device, _lines(X, device), columns)


def _lines(X: Any, device: torch.device) -> _Lines:
    """Compressed rows of a CSR array, or columns of a CSC one."""
    filled = np.flatnonzero(np.diff(X.indptr))
    arrays = (filled, X.indptr[filled].astype(np.int64), X.indices.astype(np.int64), X.data)
    which, starts, positions, values = (torch.from_numpy(np.array(array)).to(device) for array in arrays)
    return _Lines(which, starts, positions, values)
