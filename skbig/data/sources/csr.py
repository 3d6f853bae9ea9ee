"""Sparse rows in files: compressed sparse rows (CSR), as three arrays.

Legend: N rows of the whole set, F features, R rows of one read, Z stored values.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from skbig.data.sources.base import Source, check_numbers, check_shape
from skbig.data.sources.memmap import MemmapArray, mapping_of

NAMES = ("data.npy", "indices.npy", "indptr.npy")
SHAPE_NAME = "shape.npy"


class CSRSource(Source):
    """CSR rows whose values and column numbers are memory maps; where each row begins is in memory.

    Parameters
    ----------
    data : ndarray (Z,)
    indices : ndarray (Z,) of int
    indptr : ndarray (N + 1,) of int
    n_features : int
    paths : tuple of str or None
        Where the arrays lie, when this may be pickled.
    """

    is_sparse = True

    def __init__(
        self, data: Any, indices: Any, indptr: Any, n_features: int, paths: tuple[str, ...] | None = None
    ) -> None:
        self.shape, self.dtype = check_shape((len(indptr) - 1, n_features)), check_numbers(data.dtype)
        self._indptr = np.array(indptr, dtype=np.int64)
        self._paths = paths
        stored = min(len(data), len(indices))
        if self._indptr[0] != 0 or (np.diff(self._indptr) < 0).any() or self._indptr[-1] > stored:
            raise ValueError(
                f"indptr must rise from 0 to the number of stored values, which is {stored}. Got {self._indptr[0]} to "
                f"{self._indptr[-1]}, {'in' if (np.diff(self._indptr) >= 0).all() else 'not in'} order."
            )
        self._data, self._indices = _array(data), _array(indices)

    @property
    def row_bytes(self) -> float:
        item = self._data.array.itemsize + self._indices.array.itemsize
        return float(max(1.0, self._indptr[-1] / self.shape[0]) * item)

    def read(self, start: int, stop: int) -> sparse.csr_array:
        low, high = int(self._indptr[start]), int(self._indptr[stop])
        data, indices = self._data.read(low, high), self._indices.read(low, high)
        if len(indices) and (indices.min() < 0 or indices.max() >= self.shape[1]):
            wrong = low + int(np.flatnonzero((indices < 0) | (indices >= self.shape[1]))[0])
            row = int(np.searchsorted(self._indptr, wrong, side="right")) - 1
            raise ValueError(f"Row {row} of X has the column number {indices[wrong - low]}; X has {self.shape[1]}.")
        indptr = (self._indptr[start : stop + 1] - low).astype(np.promote_types(indices.dtype, np.int32))
        return sparse.csr_array((data, indices, indptr), shape=(stop - start, self.shape[1]))

    def will_read(self, start: int, stop: int) -> None:
        low, high = int(self._indptr[start]), int(self._indptr[stop])
        self._data.will_read(low, high)
        self._indices.will_read(low, high)

    def __reduce__(self) -> Any:
        if self._paths is None:
            raise TypeError("Rows of memory maps cannot be pickled. Open them with skbig.data.open_csr.")
        return open_csr, (self._paths, self.shape[1])


def _array(array: Any) -> MemmapArray | _InMemory:
    mapping = mapping_of(array)
    return _InMemory(array) if mapping is None else MemmapArray(array, mapping)


class _InMemory:
    """An array beside a memory map, as the column numbers of a matrix may be."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.array(self.array[start:stop])

    def will_read(self, start: int, stop: int) -> None:
        """There is nothing to wait for."""


def open_csr(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], n_features: int | None = None
) -> CSRSource:
    """Open sparse rows that lie in three ``.npy`` files, without loading them.

    The result is an X for `fit`, `partial_fit`, `predict`, `predict_proba` and `score`. Where each row begins
    (`indptr`) is kept in memory.

    Parameters
    ----------
    paths : path, or sequence of three paths
        The folder that `save_csr` wrote, or the files of the arrays `data`, `indices` and `indptr` of a
        `scipy.sparse.csr_array`.
    n_features : int or None, default=None
        Number of columns. None takes what `save_csr` wrote, or else one more than the largest column number.

    Returns
    -------
    CSRSource
        With `shape`, `dtype` and row slicing: ``X[start:stop]`` is a `scipy.sparse.csr_array`.

    Raises
    ------
    ValueError
        When a file is shorter than its header says, or the arrays do not belong together.

    Examples
    --------
    >>> import tempfile
    >>> from scipy import sparse
    >>> from skbig.data import open_csr, save_csr
    >>> folder = tempfile.mkdtemp()
    >>> save_csr(folder, sparse.random_array((1000, 50), density=0.1, format="csr"))
    >>> X = open_csr(folder)
    >>> X.shape, X[10:20].shape
    ((1000, 50), (10, 50))
    """
    if isinstance(paths, str | os.PathLike):
        files, shape_file = [Path(paths) / name for name in NAMES], Path(paths) / SHAPE_NAME
        if n_features is None and shape_file.exists():
            n_features = int(np.load(shape_file)[1])
    else:
        files = [Path(path) for path in paths]
    if len(files) != 3:
        raise ValueError(f"CSR rows lie in the three files of data, indices and indptr. Got {len(files)} paths.")
    data, indices, indptr = (_load(path) for path in files)
    if n_features is None:
        n_features = _largest(indices) + 1
    return CSRSource(data, indices, indptr, n_features, tuple(os.path.abspath(path) for path in files))


def save_csr(folder: str | os.PathLike[str], X: Any) -> None:
    """Write sparse rows into a folder, for `open_csr`.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    X : sparse matrix or array of shape (n_rows, n_features)
        Written as CSR: ``data.npy``, ``indices.npy``, ``indptr.npy`` and ``shape.npy``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from scipy import sparse
    >>> from skbig.data import save_csr
    >>> folder = tempfile.mkdtemp()
    >>> save_csr(folder, sparse.eye_array(3, format="csr"))
    >>> sorted(path.name for path in Path(folder).iterdir())
    ['data.npy', 'indices.npy', 'indptr.npy', 'shape.npy']
    """
    rows = sparse.csr_array(X)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, array in zip(NAMES, (rows.data, rows.indices, rows.indptr), strict=True):
        np.save(target / name, array)
    np.save(target / SHAPE_NAME, np.array(rows.shape))


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except ValueError as error:
        if "file size" in str(error):
            raise ValueError(f"The file {path} is shorter than its header says: {error}.") from None
        raise ValueError(f"{path} is no array that can be mapped: {error}.") from None


def _largest(indices: np.ndarray, step: int = 2**22) -> int:
    array = _array(indices)
    parts = (array.read(start, min(start + step, len(indices))) for start in range(0, len(indices), step))
    return max((int(part.max()) for part in parts), default=0)
