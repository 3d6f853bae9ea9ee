"""Of each batch the part that one of several processes computes.

Legend: M members, L rows gathered at once, R rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from skbig.data.batch import Batch
from skbig.data.poisson_rows import PoissonRows
from skbig.data.rows import GATHERED_BYTES, Rows
from skbig.data.streamed_rows import StreamedRows


@dataclass(frozen=True)
class RankSlice:
    """Which of several equal shares of a batch is meant.

    Attributes
    ----------
    rank, n_ranks : int
    local : bool
        Whether the part is a batch of its own, of which the shares sum to one. Otherwise they stay those of the whole,
        and the losses of all parts sum to that of the whole.
    """

    rank: int
    n_ranks: int
    local: bool = False

    def bounds(self, n_rows: int) -> tuple[int, int]:
        """Return where the part begins and ends.

        There are batches with fewer rows than there are ranks. A part is never empty, so that no formula meets a batch
        without rows: a rank that would have none takes a row of another one's, which counts nothing.
        """
        start, stop = (n_rows * r // self.n_ranks for r in (self.rank, self.rank + 1))
        return start, max(stop, start + 1)

    def factor(self, n_rows: int) -> float:
        """Return by what a row's share of the part is multiplied to be its share of the whole."""
        start, stop = (n_rows * r // self.n_ranks for r in (self.rank, self.rank + 1))
        return (stop - start) / n_rows

    def of(self, batch: Batch) -> Batch:
        """Return this part of a batch."""
        part = batch.part(*self.bounds(batch.n_rows))
        factor = self.factor(batch.n_rows)
        if self.local:
            return part._replace(share=part.share * (batch.n_rows / part.n_rows))
        return part if factor else part._replace(share=part.share * 0.0)


@dataclass(frozen=True)
class RankRows:
    """The rows as one of several processes reads them: of each batch its own part.

    Attributes
    ----------
    rows : Rows, StreamedRows or PoissonRows
    share : RankSlice
    whole : bool
        Whether batches are handed out whole, to be parted later: an augmentation may mix any two of their rows.
    steps_at_once : int or None
        How many batches each list has, but for the last one; None leaves it to the rows.
    """

    rows: Rows | StreamedRows | PoissonRows
    share: RankSlice
    whole: bool = False
    steps_at_once: int | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the whole set, as are all numbers here."""
        return self.rows.n_rows

    @property
    def lengths(self) -> np.ndarray:
        return self.rows.lengths

    @property
    def mean_weight(self) -> float:
        return self.rows.mean_weight

    @property
    def is_sparse(self) -> bool:
        return self.rows.is_sparse

    def epoch(
        self, seeds: list[int], epoch: int, shuffle: bool, batch_size: int, max_steps: int
    ) -> Iterator[Sequence[Batch]]:
        """Yield lists of batches, in the order in which one process alone would read them."""
        if self.steps_at_once is None:
            yield from self._epoch(seeds, epoch, shuffle, batch_size, max_steps)
        else:
            lists = self._epoch(seeds, epoch, shuffle, batch_size, self.steps_at_once)
            yield from _in_lists_of(self.steps_at_once, lists)

    def _epoch(
        self, seeds: list[int], epoch: int, shuffle: bool, batch_size: int, max_steps: int
    ) -> Iterator[Sequence[Batch]]:
        rows = self.rows
        if isinstance(rows, Rows) and not self.whole:  # what others compute is not even gathered
            order = rows.order(seeds, epoch, shuffle, batch_size).of_members()
            length = batch_size * self._steps(rows, len(seeds), batch_size, max_steps)
            for start in range(0, rows.n_rows, length):
                yield self._gather(rows, order[:, start : start + length], batch_size)
            return
        for batches in rows.epoch(seeds, epoch, shuffle, batch_size, max_steps):
            yield batches if self.whole else [self.share.of(batch) for batch in batches]

    def _steps(self, rows: Rows, n_members: int, batch_size: int, max_steps: int) -> int:
        per_step = rows.row_bytes * n_members * batch_size // self.share.n_ranks
        return max(1, min(max_steps, GATHERED_BYTES // max(1, per_step)))

    def _gather(self, rows: Rows, index: np.ndarray, batch_size: int) -> list[Batch]:
        """Gather the own parts of the batches that `index` (M, L) holds, of which the last may be short."""
        full = index.shape[1] // batch_size * batch_size
        return self._own(rows, index[:, :full], batch_size) + self._own(rows, index[:, full:], index.shape[1] - full)

    def _own(self, rows: Rows, index: np.ndarray, n_whole: int) -> list[Batch]:
        n_members, length = index.shape
        if length == 0:
            return []
        start, stop = self.share.bounds(n_whole)
        own = index.reshape(n_members, -1, n_whole)[:, :, start:stop].reshape(n_members, -1)
        factor = 1.0 if self.share.local else self.share.factor(n_whole)
        return [
            batch._replace(share=batch.share * factor, first_row=start, n_whole=n_whole)
            for batch in rows.gather(own, stop - start)
        ]


def _in_lists_of(length: int, lists: Iterable[Sequence[Batch]]) -> Iterator[list[Batch]]:
    waiting: list[Batch] = []
    for batches in lists:
        for batch in batches:
            waiting.append(batch)
            if len(waiting) == length:
                yield waiting
                waiting = []
    if waiting:
        yield waiting
