"""A batch of sparse rows, ready for the two products that a layer needs.

torch's own sparse tensors warn that they are unfinished, and their backward pass is several times slower than this.

Legend: M members, R rows, F features, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
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


class _Part(NamedTuple):
    """The rows from `start` to `stop`, of each `n_rows` that are numbered one after another."""

    start: int
    stop: int
    n_rows: int

    def has(self, numbers: Tensor) -> Tensor:
        within = numbers % self.n_rows
        return (within >= self.start) & (within < self.stop)

    def of(self, numbers: Tensor) -> Tensor:
        """Return the numbers that rows of this part have in it."""
        return numbers // self.n_rows * (self.stop - self.start) + numbers % self.n_rows - self.start


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
        return self.which.repeat_interleave(self.counts())

    def weighted_sums(self, table: Tensor) -> Tensor:
        """For each line the sum of ``value * table[position]``."""
        return embedding_bag(self.positions, table, self.starts, mode="sum", per_sample_weights=self.values)

    def counts(self) -> Tensor:
        """How many values each line has."""
        return torch.cat([self.starts, self.starts.new_tensor([len(self.values)])]).diff()

    def some(self, part: _Part) -> _Lines:
        """The lines whose numbers are in a part."""
        inside, counts = part.has(self.which), self.counts()
        kept, of_values = counts[inside], inside.repeat_interleave(counts)
        starts = kept.cumsum(0) - kept
        return _Lines(part.of(self.which[inside]), starts, self.positions[of_values], self.values[of_values])

    def across(self, part: _Part) -> _Lines:
        """Of every line the positions that are in a part."""
        inside = part.has(self.positions)
        before = torch.cat([inside.new_zeros(1, dtype=torch.int64), inside.cumsum(0)])
        ends = torch.cat([self.starts, self.starts.new_tensor([len(self.values)])])
        bounds = before[ends]
        filled = bounds[1:] > bounds[:-1]
        return _Lines(self.which[filled], bounds[:-1][filled], part.of(self.positions[inside]), self.values[inside])

    def product(self, table: Tensor, n_lines: int) -> Tensor:
        """The matrix times a dense table."""
        if len(self.which) == n_lines:
            return self.weighted_sums(table)
        result = table.new_zeros(n_lines, table.shape[1])
        return result.index_copy_(0, self.which, self.weighted_sums(table)) if len(self.which) else result


@dataclass(frozen=True)
class SparseRows:
    """Sparse rows (R, F), or of each member (M, R, F).

    Where members have rows of their own, these lie one under the other, and the columns of each are its own: all are
    one matrix (M * R, M * F), and a product of all members is one product. Where they share their rows, these are there
    once.

    Attributes
    ----------
    shape : tuple of int
    dtype : torch.dtype
    device : torch.device
    rows, columns : _Lines
        The columns are needed for training only.
    shared : bool
        Whether all members read the same rows.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    rows: _Lines
    columns: _Lines | None
    shared: bool = False

    def times(self, weight: Tensor) -> Tensor:
        """``X @ weight``: (F, O) -> (R, O), or (M, F, O) -> (M, R, O)."""
        return self._product(self.rows, weight, self.shape[-2])

    def transposed_times(self, gradient: Tensor) -> Tensor:
        """``X.T @ gradient``: (R, O) -> (F, O), or (M, R, O) -> (M, F, O)."""
        assert self.columns is not None, "made without the columns"
        return self._product(self.columns, gradient, self.shape[-1])

    def squared_norms(self) -> Tensor:
        """Return the squared norm of each row, (R,) or (M, R)."""
        result = torch.zeros(prod(self._own_shape[:-1]), dtype=self.dtype, device=self.device)
        result.index_add_(0, self.rows.line_of_each, self.rows.values.square())
        return result.view(self._own_shape[:-1]).expand(self.shape[:-1])

    def dense(self) -> Tensor:
        """Return the rows as a dense tensor (R, F) or (M, R, F)."""
        lines, n_features = self.rows, self.shape[-1]
        result = torch.zeros(prod(self._own_shape[:-1]), n_features, dtype=self.dtype, device=self.device)
        result.index_put_((lines.line_of_each, lines.positions % n_features), lines.values)
        return result.view(self._own_shape).expand(self.shape)

    def part(self, start: int, stop: int) -> SparseRows:
        """Return some of the rows of each member."""
        part = _Part(start, stop, self.shape[-2])
        columns = None if self.columns is None else self.columns.across(part)
        shape = (*self.shape[:-2], stop - start, self.shape[-1])
        return SparseRows(shape, self.dtype, self.device, self.rows.some(part), columns, self.shared)

    def shared_by(self, n_members: int) -> SparseRows:
        """Return rows (R, F) as those of several members, (M, R, F)."""
        return self if n_members == 1 else replace(self, shape=(n_members, *self.shape), shared=True)

    @property
    def _own_shape(self) -> tuple[int, ...]:
        """The shape of what is there once."""
        return self.shape[1:] if self.shared else self.shape

    def _product(self, lines: _Lines, table: Tensor, n_lines: int) -> Tensor:
        if not self.shared:
            result = lines.product(table.reshape(-1, table.shape[-1]), n_lines * prod(self.shape[:-2]))
            return result.view(*self.shape[:-2], n_lines, table.shape[-1])
        return torch.stack([lines.product(each, n_lines) for each in table])


def sparse_rows(X: Any, device: torch.device, *, for_training: bool) -> SparseRows:
    """Place a SciPy CSR array; the columns are needed for training only."""
    if not X.has_canonical_format:  # else a value that is stored in parts would be written out, and squared, as these
        X = X.copy()
        X.sum_duplicates()
    columns = _lines(X.tocsc(), device) if for_training else None
    dtype = torch.from_numpy(np.empty(0, X.dtype)).dtype
    return SparseRows(X.shape, dtype, device, _lines(X, device), columns)


def rows_of_members(X: Any, n_members: int, device: torch.device) -> SparseRows:
    """Place the rows to train on of several members, which follow one another in a SciPy CSR array (M * R, F)."""
    if n_members == 1:
        return sparse_rows(X, device, for_training=True)
    n_rows, n_features = X.shape[0] // n_members, X.shape[1]
    first = np.repeat(np.arange(n_members) * n_features, np.diff(X.indptr[::n_rows]))
    blocks = sparse.csr_array((X.data, X.indices + first, X.indptr), shape=(X.shape[0], n_members * n_features))
    placed = sparse_rows(blocks, device, for_training=True)
    return replace(placed, shape=(n_members, n_rows, n_features))


def _lines(X: Any, device: torch.device) -> _Lines:
    """Compressed rows of a CSR array, or columns of a CSC one."""
    filled = np.flatnonzero(np.diff(X.indptr))
    arrays = (filled, X.indptr[filled].astype(np.int64), X.indices.astype(np.int64), X.data)
    which, starts, positions, values = (torch.from_numpy(np.array(array)).to(device) for array in arrays)
    return _Lines(which, starts, positions, values)
