"""Normal numbers of keys and places, drawn on the host: those of `private_noise.normal_of`, but sooner.

NumPy has unsigned integers, of which a shift brings in zeros, and writes into memory that is there: a third of the
passes are saved, and all the memory that torch would ask the system for anew.

Legend: M members, P numbers of one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skbig._utils.random import Purpose, mixed_on_host

BLOCK = 2**15
"""So many pairs are drawn at a time: they stay in the cache while they are computed."""


class HostNormals:
    """Draws standard normal numbers, with memory that is used again and again.

    Parameters
    ----------
    dtype : dtype
        Of NumPy, in which they are computed.
    """

    def __init__(self, dtype: Any) -> None:
        self._radius, self._angle, self._scratch = np.empty((3, BLOCK), dtype=np.uint32)
        self._length, self._turned = np.empty((2, BLOCK), dtype=dtype)

    def of(self, keys: np.ndarray, width: int) -> np.ndarray:
        """Return numbers (M, P), a function of keys (2, M) of int32 and of their place."""
        half, n_members = -(-width // 2), keys.shape[1]
        drawn = np.empty((n_members, 2, half), dtype=self._length.dtype)
        places, first_second = np.arange(half, dtype=np.uint32), keys.view(np.uint32)
        n_columns = min(half, BLOCK)
        n_rows = BLOCK // n_columns
        for m in range(0, n_members, n_rows):
            for start in range(0, half, n_columns):
                columns = slice(start, start + n_columns)
                self._draw(first_second[:, m : m + n_rows, None], places[columns], drawn[m : m + n_rows, :, columns])
        return drawn.reshape(n_members, 2 * half)[:, :width]

    def _draw(self, keys: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        """Write the pairs of some members and places into (m, 2, n): Box and Muller's transform of 32-bit integers."""
        shape = (keys.shape[1], len(places))
        memory = (self._radius, self._angle, self._scratch, self._length, self._turned)
        radius, angle, scratch, length, turned = (each[: shape[0] * shape[1]].reshape(shape) for each in memory)
        mixed_on_host(places, keys, (Purpose.PRIVACY_RADIUS, Purpose.PRIVACY_ANGLE), (radius, angle), scratch)
        radius &= np.uint32(0x7FFFFFFF)
        np.copyto(length, radius.view(np.int32))
        length += length.dtype.type(0.5)
        length *= length.dtype.type(2.0**-31)
        np.log(length, out=length)
        length *= length.dtype.type(-2)
        np.sqrt(length, out=length)
        np.copyto(turned, angle.view(np.int32))
        turned *= turned.dtype.type(2 * math.pi * 2.0**-32)
        for i, turn in enumerate((np.cos, np.sin)):
            turn(turned, out=out[:, i])
            out[:, i] *= length
