"""Rows in the memory of the host that are too many for a device: read from where they are, as rows of a file are.

Legend: N rows, F features.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from scipy import sparse

from skbig._utils.memory import memory_of
from skbig.data.array_rows import ArrayRows
from skbig.data.sources.array import ArraySource
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.data.tensor_rows import TensorRows

DEVICE_SHARE = 0.5
"""The part of a device's memory that a set of rows may take. It is a part of all memory, not of what is free, so that
the order of the rows, which is another for rows that are sent, does not depend on who else uses the device."""


def fits(X: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether checked rows (N, F) may lie on a device as a whole, where tensors are; sparse ones stay on the host."""
    if device.type == "cpu" or sparse.issparse(X) or isinstance(X, TensorRows):
        return True
    if isinstance(X, ArrayRows) and X.is_sparse:
        return True
    n_bytes = prod(X.shape) * (X.dtype.itemsize if X.dtype.kind in "iub" else dtype.itemsize)
    return n_bytes <= DEVICE_SHARE * memory_of(device)


def left_on_host(X: np.ndarray | ArrayRows, dtype: torch.dtype) -> LazyRows:
    """Return rows that are read a part at a time, and sent; whole numbers that a network takes stay such."""
    values, rows = (X.values, X.rows) if isinstance(X, ArrayRows) else (X, None)
    real = np.float64 if dtype == torch.float64 else np.float32
    whole = isinstance(X, np.ndarray) and X.dtype.kind in "iub"
    return LazyRows(ArraySource(values), values.dtype if whole else np.dtype(real), rows, to_train=True)
