"""Worker processes are replaced when they die, and end with their parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skbig.serving import Limits, Trust, workers
from skbig.serving.running import Job

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Workers are processes of POSIX.")

JOB = Job("model.skops", None, 1, 1.0, Trust(), Limits(seconds=20.0), None)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers that do nothing until they are told to end."""
    all_started: list[subprocess.Popen[bytes]] = []

    def start(*job: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        all_started.append(process)
        return process

    monkeypatch.setattr(workers, "_start", start)
    yield all_started
    assert all(process.poll() is not None for process in all_started)


def run_until_signal(started: list[subprocess.Popen[bytes]], scene: Any, number: int) -> None:
    """Run two workers, play a scene beside them, and send a signal to this process."""

    def beside() -> None:
        scene()
        os.kill(os.getpid(), number)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=beside)
        thread.start()
        try:
            workers.run_workers(JOB, 2, listener)
        finally:
            thread.join()


def wait_for(condition: Any) -> None:
    while not condition():
        threading.Event().wait(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_and_takes_its_usual_effect(
    number: int, started: list[subprocess.Popen[bytes]], unchanged_globals: None
) -> None:
    """All workers are told to end, and then the signal reaches the handler that was there before."""
    came: list[int] = []
    before = signal.signal(number, lambda number, frame: came.append(number))
    try:
        run_until_signal(started, lambda: wait_for(lambda: len(started) == 2), number)
    finally:
        signal.signal(number, before)
    assert came == [number]
    assert [process.returncode for process in started] == [-signal.SIGTERM] * 2


def test_a_worker_that_dies_is_replaced(started: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Another worker takes the place of one that was killed."""

    def scene() -> None:
        wait_for(lambda: len(started) == 2)
        started[0].kill()
        wait_for(lambda: len(started) == 3)

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        run_until_signal(started, scene, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [process.returncode for process in started] == [-signal.SIGKILL, -signal.SIGTERM, -signal.SIGTERM]


def test_a_worker_that_cannot_start_ends_all(started: list[subprocess.Popen[bytes]]) -> None:
    """A worker whose models cannot be loaded is not started again and again."""
    fails = [sys.executable, "-c", f"raise SystemExit({workers.FAILED_START})"]
    with subprocess.Popen(fails) as process:
        process.wait()
        with pytest.raises(RuntimeError, match="A worker could not start"):
            workers._alive(process, JOB, None)  # type: ignore[arg-type]
