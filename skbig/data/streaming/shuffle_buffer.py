"""Windows: rows of some blocks, held in memory to be shuffled, while the blocks of the next window are read.

Legend: N rows of the set, W rows of a window, F features, B blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse

from skbig._utils.random import Purpose, generator
from skbig.data.streaming.chunks import Chunks
from skbig.data.streaming.device_copy import DeviceCopy
from skbig.data.streaming.reader import Reader

CHUNKS_ANNOUNCED = 4
"""How many blocks before its turn a disk is told of a block."""


@dataclass(frozen=True)
class EpochOrder:
    """The order of one epoch.

    Attributes
    ----------
    starts, stops : ndarray (B,)
        The blocks, in the order in which they are read.
    places : ndarray (B, 2)
        Which rows of the set each block holds: from, to.
    windows : ndarray
        The first block of each window, and B.
    where : tuple of int, or None
        The place of the random numbers, which shuffle each window; None: the rows stay in their order.
    """

    starts: np.ndarray
    stops: np.ndarray
    places: np.ndarray
    windows: np.ndarray
    where: tuple[int, ...] | None

    def range_of(self, block: int) -> tuple[int, int]:
        return int(self.starts[block]), int(self.stops[block])

    def permutation(self, window: int, n_rows: int) -> np.ndarray:
        if self.where is None:
            return np.arange(n_rows)
        return generator(*self.where, 1 + window).permutation(n_rows)  # a zero would be the epoch's own generator


def epoch_order(blocks: Chunks, reader: Reader, window_rows: int, seed: int, epoch: int, shuffle: bool) -> EpochOrder:
    """Return the order of an epoch: a function of seed, epoch and sizes."""
    n_windows = -(-reader.n_rows // window_rows)
    where = (seed, Purpose.ORDER, epoch) if shuffle else None
    n_lanes = max(1, len(blocks) // n_windows)
    order = np.arange(len(blocks)) if where is None else blocks.shuffled(generator(*where), n_lanes)
    starts, stops = blocks.edges[:-1][order], blocks.edges[1:][order]
    places = np.stack([reader.place(starts), reader.place(stops)], axis=1)
    sizes = np.diff(places)[:, 0]
    kept = sizes > 0
    window = ((np.cumsum(sizes) - sizes) * n_windows // reader.n_rows)[kept]
    first = np.flatnonzero(np.diff(window, prepend=-1))
    return EpochOrder(starts[kept], stops[kept], places[kept], np.append(first, len(window)), where)


@dataclass(frozen=True)
class Window:
    """Some rows, in memory.

    Attributes
    ----------
    X : Tensor (W, F) on the device, or a CSR array
    copied : event or None
        What to wait for before X is used.
    places : ndarray (W,)
        Which rows of the set they are.
    order : ndarray
        The order in which to take them. The few at its end, too few for a batch, are taken with the next window.
    """

    X: Any
    copied: Any
    places: np.ndarray
    order: np.ndarray


def windows(reader: Reader, order: EpochOrder, batch_size: int, transfer: DeviceCopy) -> Iterator[Window | None]:
    """Read the windows of an epoch, one by one; None stands between two blocks of one."""
    store_of = _SparseStore if reader.source.is_sparse else _DenseStore
    rest: tuple[Any, np.ndarray] = (None, np.empty(0, dtype=np.int64))
    last = len(order.windows) - 2
    for number in range(last + 1):
        ranges = range(order.windows[number], order.windows[number + 1])
        places = np.concatenate([rest[1], *(np.arange(*order.places[block]) for block in ranges)])
        store = store_of(reader, len(places), transfer)
        store.put(rest[0])
        for block in ranges:
            _announce(reader, order, block)
            store.read(*order.range_of(block))
            yield None
        shuffled = order.permutation(number, len(places))
        n_taken = len(places) - (0 if number == last else len(places) % batch_size)
        rest = store.take(shuffled[n_taken:]), places[shuffled[n_taken:]]
        X, copied = store.sent()
        yield Window(X, copied, places, shuffled[:n_taken])


def _announce(reader: Reader, order: EpochOrder, block: int) -> None:
    """Tell the disk of a block some time before its turn, and of the first ones at once."""
    last = block + CHUNKS_ANNOUNCED
    for later in range(last if block else 0, min(last + 1, len(order.starts))):
        reader.source.will_read(*order.range_of(later))


class _DenseStore:
    """Room for the rows (W, F) of a window."""

    def __init__(self, reader: Reader, n_rows: int, transfer: DeviceCopy) -> None:
        dtype = torch.from_numpy(np.empty(0, reader.dtype)).dtype
        self._tensor = transfer.empty((n_rows, reader.source.shape[1]), dtype)
        self._rows, self._reader, self._transfer = self._tensor.numpy(), reader, transfer
        self._filled = 0

    def put(self, rows: np.ndarray | None) -> None:
        if rows is not None:
            self._room(len(rows))[...] = rows

    def read(self, start: int, stop: int) -> None:
        if self._reader.rows is None:
            self._reader.read_into(start, self._room(stop - start))
        else:
            self.put(self._reader.read(start, stop))

    def take(self, index: np.ndarray) -> np.ndarray:
        return self._rows[index]

    def sent(self) -> tuple[Any, Any]:
        return self._transfer.send(self._tensor)

    def _room(self, n_rows: int) -> np.ndarray:
        self._filled += n_rows
        return self._rows[self._filled - n_rows : self._filled]


class _SparseStore:
    """The same for sparse rows, which stay on the host."""

    def __init__(self, reader: Reader, n_rows: int, transfer: DeviceCopy) -> None:
        self._reader = reader
        self._parts: list[Any] = []

    def put(self, rows: Any) -> None:
        if rows is not None and rows.shape[0]:
            self._parts.append(rows)

    def read(self, start: int, stop: int) -> None:
        self.put(self._reader.read(start, stop))

    def take(self, index: np.ndarray) -> Any:
        return self._joined()[index]

    def sent(self) -> tuple[Any, Any]:
        return self._joined(), None

    def _joined(self) -> Any:
        if len(self._parts) > 1:
            self._parts = [sparse.vstack(self._parts, format="csr")]
        return self._parts[0]
