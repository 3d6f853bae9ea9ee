"""Rows that lie on a device already: what takes the place of X where a user hands over a tensor of it.

Legend: N rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig.data.array_rows import COPIED_BYTES


@dataclass(frozen=True)
class TensorRows:
    """Rows of a checked tensor; none of them goes to the host, unless one asks.

    Attributes
    ----------
    values : Tensor (V, F)
        It is shared with who gave it.
    dtype : numpy.dtype
        What values are converted to when they are read.
    rows : Tensor (N,) of int64 on the same device, or None
        The rows that are meant; None: all.
    """

    values: Tensor
    dtype: np.dtype[Any]
    rows: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self.values) if self.rows is None else len(self.rows)), self.values.shape[1]

    @property
    def is_large(self) -> bool:
        """Whether the tensor is not to be copied as a whole."""
        return self.values.nbytes > COPIED_BYTES

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        """Return some of these rows, by a slice, an array or a tensor of their numbers."""
        if not isinstance(index, slice):
            return rows_of(self.values, self._places(index)).to(torch_dtype(self.dtype))
        values = self.values[index] if self.rows is None else self.values.index_select(0, self.rows[index])
        return values.to(torch_dtype(self.dtype))

    def take(self, index: Any) -> TensorRows:
        """Return some of these rows, without a copy."""
        return replace(self, rows=self._places(index))

    def load(self) -> TensorRows:
        """Return the same with a tensor that holds these rows only, in their dtype."""
        return TensorRows(self[:].contiguous(), self.dtype)

    def on_host(self) -> np.ndarray:
        """Return these rows in an array."""
        array: np.ndarray = self[:].cpu().numpy()
        return array

    def _places(self, index: Any) -> Tensor:
        index = on_device_of(self.values, index)
        return index if self.rows is None else self.rows.index_select(0, index)


def on_device_of(values: Tensor, index: Any) -> Tensor:
    """Return numbers of rows, in an array or a tensor, on the device of a tensor."""
    return (index if isinstance(index, Tensor) else torch.from_numpy(index)).to(values.device)


def rows_of(values: Any, index: Any) -> Any:
    """Return some rows of an array or a tensor, by their numbers in an array or a tensor."""
    if isinstance(values, Tensor):
        return values.index_select(0, on_device_of(values, index))
    return values[index.cpu().numpy() if isinstance(index, Tensor) else index]


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """Return what torch calls a dtype."""
    return torch.from_numpy(np.empty(0, dtype)).dtype


def in_double(values: Tensor) -> Tensor:
    """Return values in double precision, where their device has it."""
    return values.to(torch.float64 if values.device.type != "mps" else torch.float32)


def beside(like: Tensor, value: Any) -> Tensor:
    """Return numbers of the host, (K,) or one, to compute with beside a tensor."""
    dtype = torch.float64 if like.device.type != "mps" else torch.float32
    return torch.tensor(np.asarray(value, dtype=np.float64), dtype=dtype, device=like.device)
