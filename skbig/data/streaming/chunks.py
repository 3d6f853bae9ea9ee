"""Chunks: the ranges of rows that are read at once, and the order in which an epoch reads them.

Legend: N rows of the source, B blocks, U runs of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from skbig.data.sources.base import Source
from skbig.data.streaming.prefetch import prefetch
from skbig.data.streaming.reader import Reader

MAX_BYTES = 2**26
"""The most memory of a block, whatever the chunks of its source are."""


@dataclass(frozen=True)
class Chunks:
    """A cut of the rows.

    Attributes
    ----------
    edges : ndarray (B + 1,)
        Block b is the rows from ``edges[b]`` to ``edges[b + 1]``.
    runs : ndarray (U + 1,)
        Run u is the blocks from ``runs[u]`` to ``runs[u + 1]``, which must be read one after the other.
    most_open : int
        How many such runs may be read side by side.
    """

    edges: np.ndarray
    runs: np.ndarray
    most_open: int

    def __len__(self) -> int:
        return len(self.edges) - 1

    def shuffled(self, random: np.random.Generator, n_lanes: int) -> np.ndarray:
        """Return a random order of the blocks that goes through all parts of the set at the same pace.

        The set is divided into lanes, from its begin to its end. Each lane is read in a random order, and all of them
        side by side. So any stretch of the order holds blocks of everywhere, also when the rows are sorted by their
        labels; a plain permutation would leave that to luck.
        """
        n_runs = len(self.runs) - 1
        if n_runs < len(self):
            n_lanes = min(n_lanes, self.most_open)
        bounds = np.linspace(0, n_runs, min(n_lanes, n_runs) + 1).round().astype(int)
        lanes = [self._blocks_of(random.permutation(np.arange(*pair))) for pair in pairwise(bounds)]
        pace = np.concatenate([self._pace(lane, random) for lane in lanes])
        return np.concatenate(lanes)[np.argsort(pace, kind="stable")]

    def _blocks_of(self, runs: np.ndarray) -> np.ndarray:
        return np.concatenate([np.arange(self.runs[run], self.runs[run + 1]) for run in runs])

    def _pace(self, lane: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """When each block of a lane is read, from 0 to 1: at its part of the lane's rows, at a random phase."""
        sizes = np.diff(self.edges)[lane]
        return (np.cumsum(sizes) - random.random() * sizes) / sizes.sum()


def cut(source: Source, n_rows: int) -> Chunks:
    """Cut a source in blocks of about `n_rows` rows, or as many more as it can only give at once.

    What it gives at once may be very large: an HDF5 data set that is stored column by column, a Dask array in one
    chunk. Such chunks are cut where memory ends, and read again for each of their parts.
    """
    total, most = source.shape[0], max(n_rows, int(MAX_BYTES / source.row_bytes))
    if source.edges is None:
        step = -(-n_rows // source.grain) * source.grain
        edges = _parted(np.append(np.arange(0, total, step), total), most)
        return Chunks(edges, np.arange(len(edges)), source.most_open)
    joined = _joined(source.edges, n_rows)
    if not source.in_order:
        joined = _parted(joined, most)
        return Chunks(joined, np.arange(len(joined)), source.most_open)
    parts = [np.arange(start, max(start + 1, stop - n_rows // 2), n_rows) for start, stop in pairwise(joined)]
    return Chunks(np.append(np.concatenate(parts), total), np.cumsum([0, *map(len, parts)]), source.most_open)


def _parted(edges: np.ndarray, most: int) -> np.ndarray:
    """Cut what is larger than `most` rows in parts of about equal size."""
    if np.diff(edges).max() <= most:
        return edges
    n_parts = -(-np.diff(edges) // most)
    parts = [np.linspace(*pair, n + 1).astype(int)[:-1] for pair, n in zip(pairwise(edges), n_parts, strict=True)]
    return np.append(np.concatenate(parts), edges[-1])


def _joined(edges: np.ndarray, n_rows: int) -> np.ndarray:
    """Leave out edges until there are `n_rows` rows between two of them."""
    kept = [0]
    for edge in edges[1:]:
        if edge - kept[-1] >= n_rows:
            kept.append(int(edge))
    if kept[-1] < edges[-1]:
        kept.append(int(edges[-1]))
    return np.array(kept)


def blocks(
    source: Source,
    dtype: np.dtype[Any],
    n_rows: int,
    rows: np.ndarray | None = None,
    *,
    name: str = "X",
    to_train: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a source in their order, at most `n_rows` at a time, and read the next ones meanwhile.

    Parameters
    ----------
    source : Source
    dtype : numpy.dtype
        What the values are converted to.
    n_rows : int
    rows : ndarray of int, or None
        The rows that are wanted, rising; None: all.
    name : str
        What errors call the rows.
    to_train : bool
        Whether values must have finite squares.

    Yields
    ------
    first : int
        How many rows were yielded before.
    block : ndarray (R, F), or CSR array
        Checked: no value is infinite, NaN or too large.

    Raises
    ------
    ValueError
        When a value is not finite, or too large; it names the row and the column.
    """
    reader = Reader(source, np.dtype(dtype), rows, name, to_train)
    return prefetch(lambda: _blocks(reader, n_rows), n_ahead=1)


def _blocks(reader: Reader, n_rows: int) -> Iterator[tuple[int, Any]]:
    try:
        for start, stop in pairwise(cut(reader.source, n_rows).edges.tolist()):
            if (first := int(reader.place(start))) == reader.place(stop):
                continue
            block = reader.read(start, stop)
            for low in range(0, block.shape[0], n_rows):
                yield first + low, block[low : low + n_rows]
    finally:
        reader.source.release()
