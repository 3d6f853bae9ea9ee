"""Worker processes that share a socket: started, replaced when one dies, and ended together."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from skbig._utils.extras import import_extra
from skbig.serving.running import Job
from skbig.serving.worker_main import FAILED_START

_LOG = logging.getLogger("skbig.serving")


def run_workers(job: Job, n_workers: int, listener: socket.socket) -> None:
    """Serve by several processes, until a signal comes; it then takes the effect that it has without us.

    Raises
    ------
    RuntimeError
        When a worker cannot start.
    """
    with _asked_to_end() as asked, tempfile.TemporaryDirectory(prefix="skbig-serve-") as folder:
        job = replace(job, metrics_folder=folder)
        workers = [_start(job, listener) for _ in range(n_workers)]
        try:
            while not asked.wait(0.2):
                workers = [_alive(worker, job, listener) for worker in workers]
        finally:
            _end(workers, job.limits.seconds + 5)


def _start(job: Job, listener: socket.socket) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "skbig.serving.worker_main", str(listener.fileno())]
    found = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    surroundings = {**os.environ, "PYTHONPATH": found}
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=surroundings)
    pipe: IO[bytes] = worker.stdin  # type: ignore[assignment]
    pickle.dump(job, pipe)
    pipe.flush()
    return worker


def _alive(worker: subprocess.Popen[bytes], job: Job, listener: socket.socket) -> subprocess.Popen[bytes]:
    """Return the worker, or another in place of one that has died."""
    status = worker.poll()
    if status is None:
        return worker
    _close(worker)
    if status == FAILED_START:
        raise RuntimeError("A worker could not start; the reason is in the log.")
    multiprocess = import_extra("prometheus_client.multiprocess", "serve", "skbig.serving")
    multiprocess.mark_process_dead(worker.pid, path=job.metrics_folder)
    _LOG.warning("Worker %d has died (status %d); another takes its place.", worker.pid, status)
    return _start(job, listener)


def _end(workers: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Let the workers answer what they were asked, and end; those that do not are killed."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(seconds)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        _close(worker)


def _close(worker: subprocess.Popen[bytes]) -> None:
    if worker.stdin is not None:
        worker.stdin.close()


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set; at the end they are as before, and what has come is raised again."""
    asked, came = threading.Event(), []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
