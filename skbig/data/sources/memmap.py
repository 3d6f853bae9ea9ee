"""Arrays in files: memory maps, read without keeping their pages.

A page of a memory map that was touched counts as memory of the process until the system wants it back, so rows are
read from the file itself where that is possible, which also tells when it has become shorter. What can only be read
through the map (a view with steps, a file that was deleted) is, and its pages are given back at once.

Legend: N rows of the whole set, F features, R rows of one read.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from typing import Any

import numpy as np

from skbig.data.sources.base import Source, check_shape, convert_into

COLUMN_RUN_BYTES = 2**16
COLUMN_BLOCK_BYTES = 2**23
"""How much of each column is read at once, where a file holds column after column, and of all of them at most."""


class MemmapArray:
    """An array (N,) or (N, F) that is a memory map, or a view of one.

    Parameters
    ----------
    array : ndarray
    mapping : memmap
        The map that it is a view of.

    Raises
    ------
    ValueError
        When the file is shorter than the array.
    """

    def __init__(self, array: np.ndarray, mapping: np.memmap) -> None:
        self.array, self._mapping = array, mapping
        self._begin = _address(mapping) - mapping.offset  # where the file's first byte would be
        self._first = _address(array) - self._begin
        self._item_bytes = int(np.prod(array.shape[1:])) * array.itemsize
        self._check_size()
        self._file = self._open()

    @property
    def place(self) -> tuple[str, int] | None:
        """The file and the byte where the array begins, if it lies there row after row, as the map shows it."""
        name = self._mapping.filename
        return (
            None
            if self._file is None or name is None or self._in_columns
            else (os.path.abspath(os.fspath(name)), self._offset(0))
        )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return a copy of a range, in its own dtype and C order."""
        out = np.empty((stop - start, *self.array.shape[1:]), self.array.dtype)
        self.read_into(start, out)
        return out

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Write a range into `out`, which may have another dtype."""
        if self._file is None:
            self._check_size()  # a page behind the end of a file would end the process
            convert_into(self.array[start : start + len(out)], out)
            self._give_back(start, start + len(out))
        elif self._in_columns:
            convert_into(self._read_columns(self._file, start, len(out)), out)
        elif out.dtype == self.array.dtype and out.flags.c_contiguous:
            self._file.read_into(self._offset(start), out)
        else:
            convert_into(self.read(start, start + len(out)), out)

    def will_read(self, start: int, stop: int) -> None:
        """Let the system begin to read a range from the disk."""
        if self._file is not None and not self._in_columns:
            self._file.will_read(self._offset(start), (stop - start) * self._item_bytes)

    @property
    def _in_columns(self) -> bool:
        """Whether the values of a column lie one after the other, as in Fortran order, and those of a row do not."""
        array = self.array
        return array.ndim == 2 and not array.flags.c_contiguous and array.strides[0] == array.itemsize

    def _read_columns(self, file: _File, start: int, n_rows: int) -> np.ndarray:
        columns = np.empty((self.array.shape[1], n_rows), self.array.dtype)
        for i, column in enumerate(columns):
            file.read_into(self._first + start * self.array.itemsize + i * self.array.strides[1], column)
        return columns.T

    def _offset(self, start: int) -> int:
        return self._first + start * self._item_bytes

    def _extent(self, start: int, stop: int) -> tuple[int, int]:
        """The bytes of the file that a range lies between."""
        block = self.array[start:stop]
        reach = [(size - 1) * stride for size, stride in zip(block.shape, block.strides, strict=True)]
        low = _address(block) + sum(min(0, step) for step in reach)
        high = _address(block) + sum(max(0, step) for step in reach) + block.itemsize
        return low - self._begin, high - self._begin

    def _check_size(self) -> None:
        path = self._mapping.filename
        if path is None or not self.array.size or not os.path.exists(path):
            return
        _, needed = self._extent(0, len(self.array))
        if (size := os.path.getsize(path)) < needed:
            raise ValueError(
                f"The file {os.fspath(path)} is shorter than its header says: {size} bytes, and the array ends at byte "
                f"{needed}. Was it written to the end?"
            )

    def _open(self) -> _File | None:
        """Return the file, when it holds the rows one after the other, and what the map shows."""
        path = self._mapping.filename
        own_changes = self._mapping.mode == "c"  # they are in memory and not in the file
        in_file = self.array.flags.c_contiguous or (self._in_columns and self.array.strides[1] > 0)
        if path is None or own_changes or not self.array.size or not in_file:
            return None
        try:
            file = _File(os.fspath(path))
        except OSError:  # deleted, or not ours to read
            return None
        return file if all(self._same(file, at) for at in (0, len(self.array) - 1)) else None

    def _same(self, file: _File, at: int) -> bool:
        """Whether a line of the file is that of the map; it is not when another file took the name."""
        line = np.empty((1, *self.array.shape[1:]), self.array.dtype)
        if self._in_columns:
            line = self._read_columns(file, at, 1)
        else:
            file.read_into(self._offset(at), line)
        return line.tobytes() == self.array[at : at + 1].tobytes()

    def _give_back(self, start: int, stop: int) -> None:
        """Let go of the pages of a range, which stay in the system's cache; not of changes that are nowhere else."""
        pages: Any = self._mapping.base
        if self._mapping.mode == "c" or stop <= start or not hasattr(mmap, "MADV_DONTNEED"):
            return
        mapped_from = self._mapping.offset - self._mapping.offset % mmap.ALLOCATIONGRANULARITY
        low, high = (place - mapped_from for place in self._extent(start, stop))
        low -= low % mmap.PAGESIZE
        pages.madvise(mmap.MADV_DONTNEED, low, high - low)


class _File:
    """Reads by position, so that threads and forked processes may share it."""

    def __init__(self, path: str) -> None:
        self._path = path
        # Closed with this object.
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def read_into(self, offset: int, out: np.ndarray) -> None:
        view = memoryview(out.reshape(-1).view(np.uint8).data)
        while view:
            n_bytes = self._read_some(offset, view)
            if n_bytes == 0:
                raise ValueError(f"The file {self._path} has become shorter: it has no byte {offset} any more.")
            offset, view = offset + n_bytes, view[n_bytes:]

    def _read_some(self, offset: int, view: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(view) or 0

    def will_read(self, offset: int, n_bytes: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), offset, n_bytes, os.POSIX_FADV_WILLNEED)


class MemmapSource(Source):
    """Rows of a memory map (N, F), in C or Fortran order, or (N, ...) in C order, of which each row is a line then."""

    def __init__(self, array: np.ndarray, mapping: np.memmap) -> None:
        self._row_shape = array.shape[1:]
        array = array if array.ndim == 2 else array.reshape(len(array), -1)
        self.shape, self.dtype = check_shape(array.shape), array.dtype
        self._array = MemmapArray(array, mapping)
        if abs(array.strides[0]) < abs(array.strides[1]):
            self.grain = max(1, min(COLUMN_RUN_BYTES // array.itemsize, COLUMN_BLOCK_BYTES // int(self.row_bytes)))

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._array.read(start, stop)

    def read_into(self, start: int, out: np.ndarray) -> None:
        self._array.read_into(start, out)

    def will_read(self, start: int, stop: int) -> None:
        self._array.will_read(start, stop)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self._row_shape

    def __reduce__(self) -> Any:
        return _again, (self._array.array, self._row_shape)


def _again(array: np.ndarray, row_shape: tuple[int, ...]) -> MemmapSource:
    """Return a source that was packed with its array, which is a memory map still."""
    mapping = mapping_of(array)
    if mapping is None:
        raise TypeError("Rows of a memory map cannot be pickled; their file can be opened again.")
    return MemmapSource(array.reshape(len(array), *row_shape) if len(row_shape) > 1 else array, mapping)


def mapping_of(array: Any) -> np.memmap | None:
    """Return the memory map that an array is, or is a view of; None when it is in memory."""
    while array is not None:
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            return array
        array = getattr(array, "base", None)
    return None


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
