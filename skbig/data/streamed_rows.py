"""Rows that do not fit in memory, and the batches that are read from them.

Legend: M members, N rows of the set, R rows of a batch, F features, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.data.batch import Batch
from skbig.data.rows import Rows, batch_of_csr, place_rows, stays_sparse
from skbig.data.sources.base import Source
from skbig.data.streaming.chunks import Chunks, cut
from skbig.data.streaming.device_copy import DeviceCopy
from skbig.data.streaming.prefetch import prefetch
from skbig.data.streaming.reader import Reader
from skbig.data.streaming.shuffle_buffer import Window, epoch_order, windows

BUFFER = 0.05
BUFFER_BYTES = 2**27
"""The most memory of a window. There are two of them: one is handed out while the next is read."""

MIN_BUFFER_BYTES = 2**24
"""A window of a small set holds more than its share: memory is no reason to shuffle it less, and what is done once for
each window would be felt."""

CHUNK_BYTES = 2**20, 2**15
"""A read has the first size at most, so that a disk is read at its speed; a small set has smaller blocks, so that a
window holds `CHUNKS_PER_BUFFER` of them, but none below the second size."""

CHUNKS_PER_BUFFER = 64

GROUP_BYTES = 2**24
"""How much of a window is gathered at once; batches are views of it. The C library returns larger pieces to the system,
which takes longer to give them again than the gathering itself."""


@dataclass(frozen=True)
class StreamedRows:
    """A set of rows that is read from where it lies; the counterpart of `Rows`.

    Attributes
    ----------
    reader : Reader
    blocks : Chunks
        How the source is cut for reading.
    window_rows : int
        How many rows are shuffled together.
    targets : Rows
        Targets and weights, which are on the device, with no features.
    """

    reader: Reader
    blocks: Chunks
    window_rows: int
    targets: Rows

    def to(self, device: torch.device) -> StreamedRows:
        """Return the rows with their targets, and batches, on another device."""
        return replace(self, targets=self.targets.to(device))

    @property
    def n_rows(self) -> int:
        return self.targets.n_rows

    @property
    def lengths(self) -> np.ndarray:
        return self.targets.lengths

    @property
    def y(self) -> Tensor:
        return self.targets.y

    @property
    def weight(self) -> Tensor | None:
        return self.targets.weight

    @property
    def mean_weight(self) -> float:
        return self.targets.mean_weight

    @property
    def is_sparse(self) -> bool:
        return self.reader.source.is_sparse

    def epoch(
        self, seeds: list[int], epoch: int, shuffle: bool, batch_size: int, max_steps: int
    ) -> Iterator[list[Batch]]:
        """Yield the batches of an epoch, in lists of at most `max_steps`.

        The order is a function of the first seed, of the epoch and of the sizes; all members read the same batches.
        Every value is checked when it is read, so bad rows are found in the first epoch, before it ends.

        Parameters
        ----------
        seeds : list of int
            One per member.
        epoch : int
        shuffle : bool
            False: the order of the file.
        batch_size, max_steps : int

        Raises
        ------
        ValueError
            When a value is not finite; it names the row of the source and the column.
        """
        order = epoch_order(self.blocks, self.reader, self._mixed_rows(shuffle, batch_size), seeds[0], epoch, shuffle)
        transfer = DeviceCopy(self.y.device)

        def work() -> Iterator[Window | None]:
            try:
                yield from windows(self.reader, order, batch_size, transfer)
            finally:
                self.reader.source.release()

        with closing(prefetch(work, n_ahead=1)) as read:
            while (window := next(read, None)) is not None:
                transfer.receive(window.X, window.copied)
                yield from self._batches(window, batch_size, max_steps, len(seeds))
                transfer.take_back(window.X)
                del window  # before the next one is asked for, and a third begun

    def _mixed_rows(self, shuffle: bool, batch_size: int) -> int:
        """A window without shuffling is no larger than reading ahead asks for; none is smaller than a batch."""
        n_rows = self.window_rows
        if not shuffle:
            n_rows = min(n_rows, int(MIN_BUFFER_BYTES / self.reader.source.row_bytes))
        return max(1, n_rows, batch_size)

    def _batches(self, window: Window, batch_size: int, max_steps: int, n_members: int) -> Iterator[list[Batch]]:
        length = batch_size * max(1, min(max_steps, int(GROUP_BYTES / self._row_bytes() / batch_size)))
        for start in range(0, len(window.order), length):
            index = window.order[start : start + length]
            features = self._features(window.X, index, batch_size)
            places = window.places[index]
            columns = zip(
                features, gather(self.y, places).split(batch_size), self._shares(places, batch_size), strict=True
            )
            yield [_for_members(Batch(*column, equal=self.weight is None), n_members) for column in columns]

    def _features(self, X: Any, index: np.ndarray, batch_size: int) -> Sequence[Tensor | SparseRows]:
        if not self.is_sparse:
            return gather(X, index).split(batch_size)
        parts = [X[index[start : start + batch_size]] for start in range(0, len(index), batch_size)]
        return [batch_of_csr(part, 1, self.y.device) for part in parts]

    def _shares(self, places: np.ndarray, batch_size: int) -> list[Tensor]:
        if self.weight is not None:
            return [weight / len(weight) for weight in gather(self.weight, places).split(batch_size)]
        sizes = [min(batch_size, len(places) - start) for start in range(0, len(places), batch_size)]
        equal = {n: torch.full((n,), 1 / n, dtype=self.targets.dtype, device=self.y.device) for n in set(sizes)}
        return [equal[n] for n in sizes]

    def _row_bytes(self) -> float:
        if self.is_sparse and stays_sparse(self.reader.source.shape[1]):
            return 3 * self.reader.source.row_bytes
        return float(self.reader.source.shape[1] * self.reader.dtype.itemsize)


def gather(values: Tensor, index: np.ndarray) -> Tensor:
    """Return rows of a tensor, (N, ...) -> (R, ...).

    On a CPU by NumPy: its memory comes in large pages, and it keeps no second thread, which would go on waiting for
    more on the core that reads.
    """
    if values.device.type != "cpu":
        return values.index_select(0, torch.from_numpy(index).to(values.device))
    rows = values.numpy()
    out = np.empty((len(index), *rows.shape[1:]), rows.dtype)
    return torch.from_numpy(np.take(rows, index, axis=0, out=out, mode="clip"))  # "raise" would copy once more


def _for_members(batch: Batch, n_members: int) -> Batch:
    """Show one batch to several members: views, not copies."""
    if n_members == 1:
        return batch
    y, share = (tensor.expand(n_members, *tensor.shape) for tensor in (batch.y, batch.share))
    X = batch.X.expand(n_members, *batch.X.shape) if isinstance(batch.X, Tensor) else batch.X.shared_by(n_members)
    return Batch(X, y, share, equal=batch.equal)


def stream_rows(
    source: Source,
    y: np.ndarray,
    weight: np.ndarray | None,
    device: torch.device,
    dtype: torch.dtype,
    *,
    rows: np.ndarray | None = None,
    row_dtype: Any = None,
    buffer: float = BUFFER,
    buffer_bytes: int = BUFFER_BYTES,
) -> StreamedRows:
    """Prepare to read rows from where they lie; the counterpart of `place_rows`.

    Parameters
    ----------
    source : Source
    y : ndarray (N,) of class indices, or (N, K)
    weight : ndarray (N,), or None
        Rows of weight zero must have been left out of `rows`.
    device, dtype
        Where to compute, and in what.
    rows : ndarray (N,) of int, or None
        The rows of the source that belong to the set, rising; `y` and `weight` are theirs. None: all.
    row_dtype : numpy.dtype, or None
        Of whole numbers, where the network takes these; None: what is computed in.
    buffer : float, default=0.05
        The share of the set that is shuffled together. The next share is read meanwhile, so memory holds it twice.
    buffer_bytes : int, default=2**27
        The most memory of one such share.
    """
    real = np.float64 if dtype == torch.float64 else np.float32
    numpy_dtype = np.dtype(real if row_dtype is None else row_dtype)
    reader = Reader(source, numpy_dtype, None if rows is None else np.asarray(rows, dtype=np.int64), to_train=True)
    if len(y) != reader.n_rows:
        raise ValueError(f"X and y must have as many rows. Got {reader.n_rows} and {len(y)}.")
    targets = place_rows(np.empty((len(y), 0), real), y, weight, device, dtype)
    n_bytes = source.row_bytes if source.is_sparse else float(source.shape[1] * numpy_dtype.itemsize)
    share_bytes = min(buffer_bytes, max(MIN_BUFFER_BYTES, buffer * n_bytes * reader.n_rows))
    window_rows = max(1, int(share_bytes / n_bytes))
    return StreamedRows(reader, cut(source, _block_rows(source, window_rows, reader)), window_rows, targets)


def _block_rows(source: Source, window_rows: int, reader: Reader) -> int:
    """How many rows of the source to read at once."""
    most, least = (size / source.row_bytes for size in CHUNK_BYTES)
    wanted = window_rows / CHUNKS_PER_BUFFER * source.shape[0] / reader.n_rows
    return max(1, int(min(most, max(least, wanted))))
