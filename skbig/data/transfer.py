"""Rows on their way to a device, beside what it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Transfer:
    """Copies arrays to a device from a thread of its own.

    To a CUDA device, copies run on their own stream and from pinned memory; whoever uses them waits for them on the
    device, not on the host. On a CPU nothing is copied.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return memory of the host to be filled; pinned memory that is free again is used again."""
        if self._stream is not None:
            with torch.cuda.device(self._device):  # a thread begins on the first one
                return torch.empty(shape, dtype=dtype, pin_memory=True)
        numpy_dtype = torch.empty(0, dtype=dtype).numpy().dtype
        return torch.from_numpy(np.empty(shape, numpy_dtype))  # in large pages, which is several times faster to fill

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
