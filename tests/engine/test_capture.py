"""A capture that fails on a card leaves stream, allocator and generator as they were: here without the card."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from skbig.engine.executors import capture
from skbig.engine.executors.capture import CudaCapture

POOL = (0, 7)


class Stream:
    """Notes what it waits for."""

    def __init__(self, *_: Any) -> None:
        self.waited: list[Any] = []

    def wait_stream(self, other: Any) -> None:
        self.waited.append(other)


class Graph:
    """Notes what is asked of it; `ends` says whether the end of the next capture fails."""

    ends: list[Exception | None]
    asked: list[str]

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        assert capture_error_mode == "thread_local"
        Graph.asked.append("begin" if pool == POOL else "begin another")

    def capture_end(self) -> None:
        Graph.asked.append("end")
        error = Graph.ends.pop(0)
        if error is not None:
            raise error

    def replay(self) -> None:
        Graph.asked.append("replay")


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """Let torch have a card that does nothing; return the stream that a caller works on."""
    stream = Stream()
    Graph.asked, Graph.ends = [], [None]
    monkeypatch.setattr(capture, "_own", threading.local())
    stand_ins: dict[str, Any] = {
        "device": nullcontext,
        "stream": nullcontext,
        "current_stream": lambda: stream,
        "current_device": lambda: 0,
        "graph_pool_handle": lambda: POOL,
        "Stream": Stream,
        "CUDAGraph": Graph,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    for name in capture.TELL_OF_THE_END:
        if hasattr(torch._C, name):  # and no other, so that each torch is told by the names that it has
            monkeypatch.setattr(torch._C, name, told(name))
    return stream


def told(name: str) -> Callable[[int, Any], None]:
    def tell(index: int, pool: Any) -> None:
        assert (index, pool) == (0, POOL)
        Graph.asked.append("end of pool" if "end" in name else "release")

    return tell


def test_what_is_captured_is_launched(around: Stream) -> None:
    """The work is done on a stream beside the caller's, and each waits for the other."""
    CudaCapture(torch.device("cpu"))(lambda: Graph.asked.append("work"))()
    assert Graph.asked == ["begin", "work", "end", "replay"]
    (own,) = around.waited
    assert own.waited == [around]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), AssertionError()])
def test_work_that_fails(around: Stream, error: BaseException) -> None:
    """A capture whose work fails is ended, and the error is that of the work."""

    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        CudaCapture(torch.device("cpu"))(work)
    assert Graph.asked == ["begin", "end"] and len(around.waited) == 1


@pytest.mark.parametrize("helps", [True, False])
def test_memory_that_runs_out(around: Stream, helps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a capture is given up it is tried with the memory that torch has kept for others, once."""
    Graph.ends = [None, None]
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: Graph.asked.append("give back"))
    capture = CudaCapture(torch.device("cpu"))

    def work() -> None:
        capture.branches.aside(0, lambda: None)
        if not helps or "give back" not in Graph.asked:
            raise torch.OutOfMemoryError("no")
        capture.branches.join()

    with nullcontext() if helps else pytest.raises(torch.OutOfMemoryError):
        capture(work)
    assert Graph.asked == ["begin", "end", "give back", "begin", "end"]


@pytest.mark.parametrize("works", [True, False])
def test_an_end_that_fails(around: Stream, works: bool) -> None:
    """Where torch cannot end a capture, its allocator is told of the end, and its generator by another capture."""
    Graph.ends = [RuntimeError("invalidated"), None]

    def work() -> None:
        if not works:
            raise ValueError("the work")

    with pytest.raises(RuntimeError if works else ValueError, match="invalidated" if works else "the work"):
        CudaCapture(torch.device("cpu"))(work)
    assert Graph.asked == ["begin", "end", "end of pool", "release", "begin another", "end"]
    assert len(around.waited) == 1
