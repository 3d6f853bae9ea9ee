"""Work for a CUDA device, captured once and launched again as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import torch


class Capture(Protocol):
    """Turns a function of tensors into a graph of what it does to them, always at the same addresses."""

    def aside(self) -> Any:
        """Return a context in which work is done as it will be captured, so that all it needs is loaded."""
        ...

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return what repeats the function; nothing has been computed yet."""
        ...


class CudaCapture:
    """Captures on a stream of its own; all graphs share one pool of memory, so they must run one after another."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let the work be done on the stream of capture, after what was asked for before and before what comes next."""
        with torch.cuda.device(self._device):
            around, stream = torch.cuda.current_stream(), _stream(self._device)
            stream.wait_stream(around)
            try:
                with torch.cuda.stream(stream):
                    yield
            finally:
                around.wait_stream(stream)

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        # Not by torch.cuda.graph, which collects garbage and gives back memory first: a tenth of a second.
        graph = torch.cuda.CUDAGraph()
        with self.aside():
            # Other threads may go on with what a capture forbids.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                function()
            except BaseException:
                self._abandon(graph)
                raise
            try:
                graph.capture_end()
            except RuntimeError:
                self._put_right()
                raise
        return graph.replay

    def _abandon(self, graph: torch.cuda.CUDAGraph) -> None:
        """End a capture whose function has failed."""
        try:
            graph.capture_end()
        except RuntimeError:
            self._put_right()

    def _put_right(self) -> None:
        """Let allocator and generator know of the end of a capture, which torch does not tell them when it fails."""
        index = torch.cuda.current_device()
        for tell in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
            with suppress(RuntimeError):
                tell(index, self._pool)
        number = torch.zeros((), device=self._device)
        another = torch.cuda.CUDAGraph()
        another.capture_begin(capture_error_mode="thread_local")
        number.add_(1)
        another.capture_end()


_own = threading.local()


def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return this thread's stream for captures, always the same: a stream keeps the workspace of its products."""
    streams: dict[torch.device, torch.cuda.Stream] = _own.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    return streams[device]
