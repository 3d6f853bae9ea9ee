"""Arrays that give their rows by slices: HDF5, Zarr, Dask, and what else has a shape, a dtype and row slicing.

Legend: N rows of the whole set, F features, or numbers of a row that has several axes, R rows of one read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from skbig.data.sources.base import Source, check_numbers, check_shape


class ArraySource(Source):
    """Rows of anything with a shape (N, F), a dtype and row slicing, or (N, ...). Chunks are read whole."""

    def __init__(self, array: Any, *, any_shape: bool = False) -> None:
        self._array, self._is_dask = array, type(array).__module__.startswith("dask.")
        self._set_chunks(getattr(array, "chunks", None))
        self.shape, self.dtype = check_shape(tuple(array.shape), any_shape=any_shape), check_numbers(array.dtype)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return tuple(map(int, self._array.shape[1:]))

    def read(self, start: int, stop: int) -> np.ndarray:
        check_open(self._array)
        rows = self._array[start:stop]
        if sparse.issparse(rows):
            raise ValueError(
                f"X[{start}:{stop}] of {type(self._array).__name__} is sparse, and slices must be dense. Write "
                "sparse rows with skbig.data.save_csr, and open them with open_csr."
            )
        block = np.asarray(_compute(rows) if self._is_dask else rows)
        if block.shape != (stop - start, *self.row_shape):
            raise ValueError(
                f"X[{start}:{stop}] of {type(self._array).__name__} has the shape {block.shape}, and X has the shape "
                f"{(self.shape[0], *self.row_shape)}."
            )
        return np.require(block, self.dtype, "C").reshape(stop - start, self.shape[1])

    def _set_chunks(self, chunks: Any) -> None:
        """HDF5 and Zarr tell the length of all chunks, Dask the length of each."""
        if not chunks:
            return
        if not isinstance(chunks[0], tuple):
            self.grain = max(1, int(chunks[0]))
            return
        if np.isnan(chunks[0]).any():
            raise ValueError(
                "The numbers of rows in the chunks of X are not known. Call X.compute_chunk_sizes() first."
            )
        self.edges = np.cumsum([0, *chunks[0]])


def check_open(array: Any) -> None:
    """Raise ValueError when an array is a data set of an HDF5 file that has been closed."""
    if type(array).__module__.startswith("h5py.") and not array:
        raise ValueError("X is a data set of an HDF5 file that is closed. Keep the file open as long as X is read.")


def _compute(rows: Any) -> Any:
    """Compute a Dask array by the scheduler that was chosen, if one was, or in this thread, beside training."""
    from dask.base import get_scheduler

    return rows.compute(scheduler=get_scheduler() or "synchronous")
