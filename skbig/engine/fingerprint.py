"""Fingerprints: whether two runs are given the same data."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from torch import Tensor

BLOCK_BYTES = 2**22
"""How much of an array is read at a time."""


def fingerprint(*values: Any) -> str:
    """SHA-256 of values, by what they hold: dtype, shape and bits, not the layout in memory.

    Parameters
    ----------
    *values : object
        Arrays and what reads like one (`shape`, `dtype`, slices of rows, dense or CSR), SciPy CSR, None, str, bytes,
        bool, int, float, and tuples of all these. Arrays are read in blocks of a few megabytes.

    Returns
    -------
    digest : str
        64 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from skbig.engine.fingerprint import fingerprint
    >>> X = np.arange(6.0).reshape(2, 3)
    >>> fingerprint(X) == fingerprint(np.asfortranarray(X))
    True
    >>> fingerprint(X) == fingerprint(X.astype(np.float32))
    False
    """
    digest = hashlib.sha256()
    _absorb(digest, values)
    return digest.hexdigest()


def _absorb(digest: Any, value: Any) -> None:
    if isinstance(value, tuple):
        _absorb_text(digest, f"tuple {len(value)}")
        for item in value:
            _absorb(digest, item)
    elif issparse(value) and value.format == "csr":
        _absorb_text(digest, "csr")
        _absorb(digest, (value.shape, value.data, value.indices, value.indptr))
    elif hasattr(value, "shape") and hasattr(value, "dtype") and not issparse(value):
        _absorb_array(digest, value)
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        _absorb_text(digest, f"{type(value).__name__} {value!r}")
    else:
        raise TypeError(f"A fingerprint is taken of arrays, CSR, text, numbers and tuples, got {type(value).__name__}.")


def _absorb_text(digest: Any, text: str) -> None:
    content = text.encode()
    digest.update(b"%d:" % len(content))  # the length first, so that no two ways to cut a stream look the same
    digest.update(content)


def _absorb_array(digest: Any, array: Any) -> None:
    dtype, shape = np.dtype(array.dtype), tuple(int(size) for size in array.shape)
    _absorb_text(digest, f"array {dtype} {shape}")
    for block in _blocks(array, dtype, shape):
        if issparse(block):
            _absorb(digest, block)
        elif dtype.hasobject:  # its bytes are addresses
            _absorb(digest, tuple(block.ravel().tolist()))
        else:
            digest.update(block.tobytes())


def _blocks(array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[Any]:
    if not shape:
        yield np.asarray(array)
        return
    row_bytes = getattr(array, "row_bytes", dtype.itemsize * math.prod(shape[1:]))
    n_rows = max(int(BLOCK_BYTES / max(row_bytes, 1)), 1)
    for start in range(0, shape[0], n_rows):
        block = array[start : start + n_rows]
        yield block if issparse(block) else np.asarray(block.cpu() if isinstance(block, Tensor) else block)
