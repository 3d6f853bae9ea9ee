"""Rows in the memory of the host that are predicted on a device: sent a block at a time, beside what it computes.

Legend: N rows, F features, B rows of a block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig.data.rows import as_tensor
from skbig.data.streaming.device_copy import DeviceCopy

MAX_WAITING = 2
"""So many blocks are on their way, or being computed, while the next is made ready."""


class SentRows:
    """A dense array (N, F) whose blocks come out on a device, where they are checked, too.

    Attributes
    ----------
    shape : tuple of int
    """

    def __init__(self, X: np.ndarray, device: torch.device) -> None:
        self._X, self._device = as_tensor(X), device
        self._are_finite: list[Tensor] = []
        self.shape = X.shape

    @property
    def are_finite(self) -> bool:
        """Whether all numbers of the blocks that came out were finite; the device is waited for."""
        return bool(torch.stack(self._are_finite).all())

    def blocks(self, n_rows: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row's number and the rows (B, F), at most `n_rows` at a time."""
        copies, waiting = DeviceCopy(self._device), deque[Any]()
        self._are_finite.clear()
        for start in range(0, len(self._X), n_rows):
            if len(waiting) == MAX_WAITING:
                waiting.popleft().synchronize()
            part = self._X[start : start + n_rows]
            memory = copies.empty(tuple(part.shape), part.dtype).copy_(part)
            block, event = copies.send(memory)
            copies.receive(block, event)
            self._are_finite.append(torch.isfinite(block).all())
            yield start, block
            if self._device.type == "cuda":
                waiting.append(torch.cuda.current_stream(self._device).record_event())
