"""Rows on their way to a device, beside what it computes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

SLACK = 16
"""Windows differ in size by some blocks: memory for one is larger by this part, so that it will do for the next."""


class DeviceCopy:
    """Copies arrays to a device from a thread of its own.

    To a CUDA device, copies run on their own stream and from pinned memory; whoever uses them waits for them on the
    device, not on the host. On a CPU nothing is copied.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._lent: dict[int, np.ndarray] = {}  # by their addresses
        self._free: list[np.ndarray] = []

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return memory of the host to be filled; pinned memory that is free again is used again."""
        if self._stream is not None:
            with torch.cuda.device(self._device):  # a thread begins on the first one
                return torch.empty(shape, dtype=dtype, pin_memory=True)
        numpy_dtype = torch.empty(0, dtype=dtype).numpy().dtype
        n_bytes = math.prod(shape) * numpy_dtype.itemsize
        memory = self._memory(n_bytes)
        tensor = torch.from_numpy(memory[:n_bytes].view(numpy_dtype).reshape(shape))
        if self._device.type == "cpu":
            self._lent[tensor.data_ptr()] = memory
        return tensor

    def _memory(self, n_bytes: int) -> np.ndarray:
        """Return memory that was used before, if it is enough: what the system gives anew it has to clear first."""
        while self._free:
            if len(memory := self._free.pop()) >= n_bytes:
                return memory
        return np.empty(n_bytes + n_bytes // SLACK, np.uint8)  # in large pages, several times faster to fill

    def take_back(self, copy: Any) -> None:
        """Use the memory of a copy again, which nobody reads any more; elsewhere than on a CPU torch does so itself."""
        if isinstance(copy, Tensor) and (memory := self._lent.pop(copy.data_ptr(), None)) is not None:
            self._free.append(memory)

    def send(self, tensor: Tensor) -> tuple[Tensor, Any]:
        """Begin to copy; return the copy, and what to wait for."""
        if self._stream is None:
            return tensor.to(self._device), None
        with torch.cuda.stream(self._stream):
            copy = tensor.to(self._device, non_blocking=True)
            return copy, self._stream.record_event()

    def receive(self, copy: Any, event: Any) -> None:
        """Let the current stream of this thread wait for a copy, and keep its memory until it has used it."""
        if event is None:
            return
        current = torch.cuda.current_stream(self._device)
        current.wait_event(event)
        copy.record_stream(current)
