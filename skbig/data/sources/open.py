"""Which X is read from where it lies, and which is in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from skbig.data.sources.array import ArraySource, check_open
from skbig.data.sources.base import Source
from skbig.data.sources.csr import CSRSource
from skbig.data.sources.memmap import MemmapSource, mapping_of

# What shows its memory to others has its rows there.
IN_MEMORY = ("__array_interface__", "__cuda_array_interface__", "__dlpack__")


def as_source(X: Any, *, any_shape: bool = False) -> Source | None:
    """Return what the rows of X are read from, or None when X is in memory (or is no set of rows at all).

    With `any_shape` a row may have several axes. The source has it in a line.

    Read from where they lie: memory maps and views of them, CSR rows whose values are memory maps, HDF5, Zarr and Dask
    arrays, what `open_parquet` and `open_csr` return, and all else that has a shape, a dtype and row slicing and does
    not show its memory.

    Raises
    ------
    ValueError
        When X is not two-dimensional, is empty or holds no numbers, or when its file is shorter than its header says.
    """
    if isinstance(X, Source):
        return X
    if isinstance(X, np.ndarray):
        mapping = mapping_of(X)
        shaped = X.ndim == 2 or (any_shape and X.ndim > 2 and X.flags.c_contiguous)
        plain = mapping is not None and shaped and X.dtype.kind in "fiub" and X.size > 0
        return MemmapSource(X, mapping) if plain and mapping is not None else None
    if sparse.issparse(X):
        mapped = X.format == "csr" and X.ndim == 2 and mapping_of(X.data) is not None
        return CSRSource(X.data, X.indices, X.indptr, X.shape[1]) if mapped else None
    check_open(X)
    return ArraySource(X, any_shape=any_shape) if _is_sliced(X) else None


def _is_sliced(X: Any) -> bool:
    if not all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__")) or isinstance(X, np.generic):
        return False
    one_column = len(X.shape) == 1  # a Series, or a mistake that is described where X is in memory
    return not one_column and not any(hasattr(type(X), name) for name in IN_MEMORY)
