"""Work for a CUDA device, captured once and launched again as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import torch

from skbig.engine.branches import N_BRANCHES, Branches

TELL_OF_THE_END = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool", "_cuda_releasePool")
"""What the allocator is told by when a capture is over; the second is the name of the first in torch 2.6."""


class Capture(Protocol):
    """Turns a function of tensors into a graph of what it does to them, always at the same addresses.

    Attributes
    ----------
    branches : Branches
        For the parts of a function that run side by side.
    """

    @property
    def branches(self) -> Branches: ...

    def aside(self) -> Any:
        """Return a context in which work is done as it will be captured, so that all it needs is loaded."""
        ...

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return what repeats the function; nothing has been computed yet."""
        ...


class StreamBranches:
    """Streams beside the current one; in a graph they become what they wait for, and nothing else."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._open: set[torch.cuda.Stream] = set()

    def aside(self, branch: int, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        stream = _streams(self._device)[1 + branch]
        stream.wait_stream(torch.cuda.current_stream())
        self._open.add(stream)
        with torch.cuda.stream(stream):
            return function(*args, **keywords)

    def forget(self) -> None:
        """Wait for nobody: the capture that they belonged to has failed."""
        self._open.clear()

    def join(self) -> None:
        for stream in self._open:
            torch.cuda.current_stream().wait_stream(stream)
        self._open.clear()


class CudaCapture:
    """Captures on a stream of its own; all graphs share one pool of memory, so they must run one after another."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.branches = StreamBranches(device)
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let the work be done on the stream of capture, after what was asked for before and before what comes next."""
        with torch.cuda.device(self._device):
            around, stream = torch.cuda.current_stream(), _streams(self._device)[0]
            stream.wait_stream(around)
            try:
                with torch.cuda.stream(stream):
                    yield
            finally:
                around.wait_stream(stream)

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        try:
            return self._captured(function)
        except torch.OutOfMemoryError:
            self.branches.forget()
        # What torch keeps for others it gives back when memory is short, but not while anybody captures.
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
        return self._captured(function)

    def _captured(self, function: Callable[[], None]) -> Callable[[], None]:
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
        for name in TELL_OF_THE_END:
            with suppress(AttributeError, RuntimeError):
                getattr(torch._C, name)(index, self._pool)
        number = torch.zeros((), device=self._device)
        another = torch.cuda.CUDAGraph()
        another.capture_begin(capture_error_mode="thread_local")
        number.add_(1)
        another.capture_end()


_own = threading.local()


def _streams(device: torch.device) -> list[torch.cuda.Stream]:
    """Return this thread's streams for captures, always the same: a stream keeps the workspace of its products.

    The first is the main one, and the others are its branches.
    """
    streams: dict[torch.device, list[torch.cuda.Stream]] = _own.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = [torch.cuda.Stream(device) for _ in range(1 + N_BRANCHES)]
    return streams[device]
