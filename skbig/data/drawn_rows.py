"""Rows that do not fit in memory, read one by one where they lie: for batches that are drawn from all of them.

Legend: M members, N rows of the set, R rows of a batch, F features, L rows of some batches side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from skbig.data.batch import Batch
from skbig.data.rows import GATHERED_BYTES, Rows
from skbig.data.sources.base import Source
from skbig.data.steps import Order, cut
from skbig.data.streamed_rows import StreamedRows
from skbig.data.streaming.reader import Reader

MOST_BYTES = 2**17
"""Where a row comes with more of its neighbours than this, which are read in vain, its source is not drawn from."""

BRIDGED_BYTES = 2**14
"""Rows that are not farther apart than this are read together."""


def is_drawn_from(source: Source) -> bool:
    """Whether a row of a source can be read by itself, at about its own cost: from an array that lies row after row."""
    alone = source.edges is None and not source.in_order and not source.is_sparse
    return alone and (source.grain == 1 or source.grain * source.row_bytes <= MOST_BYTES)


@dataclass(frozen=True)
class DrawnRows:
    """A set of rows of which any can be read; the counterpart of `Rows` for `PoissonRows`.

    Attributes
    ----------
    reader : Reader
    targets : Rows
        Targets and weights, which are on the device, with no features.
    """

    reader: Reader
    targets: Rows

    @classmethod
    def of(cls, rows: StreamedRows) -> DrawnRows:
        """Return rows that are read in windows as rows that are read one by one.

        Raises
        ------
        ValueError
            When the source has no single rows.
        """
        if not is_drawn_from(rows.reader.source):
            raise ValueError("Under privacy each step draws from all rows by chance, and these are read in order.")
        return cls(rows.reader, rows.targets)

    @property
    def n_rows(self) -> int:
        return self.targets.n_rows

    @property
    def lengths(self) -> np.ndarray:
        return self.targets.lengths

    @property
    def sets(self) -> tuple[Rows, ...]:
        return (self.targets,)

    @property
    def mean_weight(self) -> float:
        return self.targets.mean_weight

    @property
    def is_sparse(self) -> bool:
        return False

    def steps_gathered(self, n_members: int, batch_size: int) -> int:
        """How many batches are read at once."""
        row_bytes = self.reader.source.shape[1] * self.reader.dtype.itemsize
        return max(1, GATHERED_BYTES // max(1, row_bytes * batch_size * n_members))

    def gather_orders(self, orders: Sequence[Order], batch_size: int) -> list[Batch]:
        """Return the rows of an order, the only one, in batches."""
        (order,) = orders
        index = order.of_members()
        return self.gather_parts(index, cut(index.shape[1], batch_size))

    def gather_parts(self, index: np.ndarray, sizes: list[int]) -> list[Batch]:
        """Return the rows `index` (M, L) in batches of these sizes, which add up to L."""
        rows, places = np.unique(index, return_inverse=True)
        X = torch.from_numpy(self._read(rows)).to(self.targets.y.device)
        axis = 0 if len(index) == 1 else 1
        found = X.index_select(0, torch.from_numpy(places.ravel()).to(X.device))
        features = (found if len(index) == 1 else found.view(*index.shape, -1)).split(sizes, axis)
        batches = self.targets.gather_parts(index, sizes)
        return [batch._replace(X=part) for batch, part in zip(batches, features, strict=True)]

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Read rows of the set, rising and each once: (R, F)."""
        at = rows if self.reader.rows is None else self.reader.rows[rows]
        whole, source = replace(self.reader, rows=None), self.reader.source
        out = np.empty((len(at), source.shape[1]), self.reader.dtype)
        ranges = self._ranges(at)
        for first, stop in ranges:
            source.will_read(int(at[first]), int(at[stop - 1]) + 1)
        for first, stop in ranges:
            start = int(at[first])
            out[first:stop] = whole.read(start, int(at[stop - 1]) + 1)[at[first:stop] - start]
        return out

    def _ranges(self, at: np.ndarray) -> list[tuple[Any, Any]]:
        """Return which of some rows, rising, are read together: from where to where in `at`."""
        bridged = max(1, int(BRIDGED_BYTES / self.reader.source.row_bytes))
        ends = np.flatnonzero(np.diff(at) > bridged) + 1
        return list(zip([0, *ends.tolist()], [*ends.tolist(), len(at)], strict=True))
