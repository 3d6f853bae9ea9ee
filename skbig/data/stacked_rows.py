"""The rows of a stack whose members read different sets: other folds, other weights.

Legend: M members, N rows of a set, L rows gathered at once, R rows of a batch, F features, K outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.data.batch import Batch
from skbig.data.folded_rows import FoldedRows, leave_out_alike
from skbig.data.rows import GATHERED_BYTES, Rows, batch_of_csr
from skbig.data.steps import Order, ResidentSteps


@dataclass(frozen=True)
class StackedRows:
    """Several sets of rows, each read by some of the members; all come to the same number of batches.

    A set with fewer rows than another has a shorter last batch, which is padded with rows of share zero.

    Attributes
    ----------
    sets : tuple of Rows
    counts : tuple of int
        How many members read each set; members are in the order of their sets.
    """

    sets: tuple[Rows, ...]
    counts: tuple[int, ...]

    @property
    def is_sparse(self) -> bool:
        return self.sets[0].is_sparse

    @property
    def n_rows(self) -> int:
        """Rows of the largest set."""
        return max(rows.n_rows for rows in self.sets)

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each member, (M,)."""
        return np.repeat([rows.n_rows for rows in self.sets], self.counts)

    @property
    def mean_weight(self) -> Tensor | float:
        """That of each member, (M, 1, 1), or of all."""
        means = [rows.mean_weight for rows in self.sets]
        if len(set(means)) == 1:
            return means[0]
        return torch.tensor(means, dtype=torch.float64).repeat_interleave(torch.tensor(self.counts)).view(-1, 1, 1)

    def epoch(
        self, seeds: list[int], epoch: int, shuffle: bool, batch_size: int, max_steps: int
    ) -> Iterator[ResidentSteps]:
        """Yield at most `max_steps` batches at a time, in the order that each member's seed and the epoch give."""
        bounds = np.cumsum([0, *self.counts])
        orders = [
            rows.order(seeds[start:stop], epoch, shuffle, batch_size)
            for rows, (start, stop) in zip(self.sets, itertools.pairwise(bounds), strict=True)
        ]
        length = max_steps * batch_size
        for start in range(0, self.n_rows, length):
            yield ResidentSteps(self, [order.part(start, start + length) for order in orders], batch_size)

    def steps_gathered(self, n_members: int, batch_size: int) -> int:
        """How many batches are gathered at once."""
        row_bytes = self.sets[0].row_bytes
        return max(1, GATHERED_BYTES // max(1, row_bytes * batch_size * n_members))

    def gather_orders(self, orders: Sequence[Order], batch_size: int) -> list[Batch]:
        """Return the rows of the order of each set in batches."""
        sizes = np.concatenate([np.full(len(order.owner), order.length) for order in orders])
        length = int(sizes.max())
        device = self.sets[0].y.device
        on_host = [torch.from_numpy(padded(order.of_members(), length)) for order in orders]
        index = [which.to(device) for which in on_host]
        X = self._features(on_host if self.is_sparse else index, batch_size)  # sparse rows stay on the host
        y = joined([rows.y for rows in self.sets], index).split(batch_size, 1)
        columns = zip(X, y, self._shares(index, sizes, batch_size), strict=True)
        starts = range(0, length, batch_size)
        return [
            self._batch(*column, unequal((sizes - begin).clip(0, batch_size)))
            for begin, column in zip(starts, columns, strict=True)
        ]

    def _features(self, index: list[Tensor], batch_size: int) -> Sequence[Tensor | SparseRows]:
        """Return the features of each batch: (M, R, F) each."""
        places = [rows.places(which) for rows, which in zip(self.sets, index, strict=True)]
        if not self.is_sparse:
            X = joined([rows.X for rows in self.sets], places)
            return (X.to(self.sets[0].dtype) if self.sets[0].converts else X).split(batch_size, 1)
        batches = zip(*(which.split(batch_size, 1) for which in places), strict=True)
        return [self._of_csr([which.flatten().numpy() for which in batch]) for batch in batches]

    def _of_csr(self, places: list[np.ndarray]) -> Tensor | SparseRows:
        X = sparse.vstack([rows.X[which] for rows, which in zip(self.sets, places, strict=True)], format="csr")
        return batch_of_csr(X, sum(self.counts), self.sets[0].y.device)

    def _batch(self, X: Tensor | SparseRows, y: Tensor, share: Tensor, sizes: tuple[int, ...] | None) -> Batch:
        weightless = all(rows.weight is None for rows in self.sets)
        return Batch(X, y, share, sizes=sizes, equal=sizes is None and weightless)

    def _shares(self, index: list[Tensor], sizes: np.ndarray, batch_size: int) -> list[Tensor]:
        """Each row's weight over the number of its member's rows in the batch, and zero for padding: (M, R) each."""
        like = self.sets[0].y
        ones = like.new_ones(max(len(rows.y) for rows in self.sets), dtype=self.sets[0].dtype)
        weights = [ones if rows.weight is None else rows.weight for rows in self.sets]
        shares = joined(weights, index)
        for begin, part in zip(range(0, shares.shape[1], batch_size), shares.split(batch_size, 1), strict=True):
            counts = torch.from_numpy((sizes - begin).clip(1, part.shape[1])).to(like.device).unsqueeze(1)
            inside = torch.arange(part.shape[1], device=like.device) < counts
            part.mul_(inside).div_(counts)
        return list(shares.split(batch_size, 1))


def joined(sources: Sequence[Tensor], index: Sequence[Tensor]) -> Tensor:
    """Gather ``source[index]`` for each set and put the members one after another, (M, L, ...)."""
    length, n_members = index[0].shape[1], sum(len(rows) for rows in index)
    gathered = sources[0].new_empty(n_members, length, *sources[0].shape[1:])
    start = 0
    for source, rows in zip(sources, index, strict=True):
        part = gathered[start : start + len(rows)]
        torch.index_select(source, 0, rows.flatten(), out=part.flatten(0, 1))
        start += len(rows)
    return gathered


def padded(order: np.ndarray, length: int) -> np.ndarray:
    """Repeat each member's first row at the end, up to a length."""
    missing = length - order.shape[1]
    return np.ascontiguousarray(np.hstack([order, order[:, :1].repeat(missing, axis=1)]) if missing else order)


def unequal(sizes: np.ndarray) -> tuple[int, ...] | None:
    return None if (sizes == sizes[0]).all() else tuple(sizes.tolist())


def same_rows(one: Rows, other: Rows) -> bool:
    """Whether two sets hold the same numbers, and the same members read the same of them."""
    if (isinstance(one, FoldedRows) or isinstance(other, FoldedRows)) and not leave_out_alike(one, other):
        return False
    pairs = ((one.X, other.X), (one.index, other.index), (one.y, other.y), (one.weight, other.weight))
    alike = (one.mean_weight, one.converts) == (other.mean_weight, other.converts)
    return alike and all(_same(a, b) for a, b in pairs)


def _same(one: Any, other: Any) -> bool:
    """Whether two tensors, or two CSR arrays, hold the same numbers in the same places."""
    if one is None or other is None or one is other:
        return one is other
    if type(one) is not type(other) or one.shape != other.shape or one.dtype != other.dtype:
        return False
    if isinstance(one, Tensor):
        return one.data_ptr() == other.data_ptr() or torch.equal(one, other)
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("indptr", "indices", "data"))
