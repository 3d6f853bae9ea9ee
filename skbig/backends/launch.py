"""Starting worker processes for one job, waiting for them, and leaving none behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import joblib
import torch

from skbig.backends import launcher_process, worker
from skbig.backends.board import SETTLING, Board
from skbig.backends.context import RANK_NAMES
from skbig.backends.verdict import failure_error, silent_error

# Seconds between two looks at the workers.
INTERVAL = 0.05
# Seconds that the launcher and the workers have for the end.
ENDING = 5.0

# Beginnings of names in the environment that an outer launch has left: what the workers start is no rank of it.
OUTER = (*RANK_NAMES, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_")


class Attendant(Protocol):
    """Attends to the workers while the caller waits for them."""

    def look(self) -> None:
        """Look after them; called every 0.05 seconds. What is raised here ends them."""

    def interrupted(self) -> None:
        """Ask them to come to an end, since the user has pressed Ctrl-C. The second time they are ended at once."""


def launch(
    job: str,
    folder: Path,
    *,
    n_workers: int,
    device_type: str = "cpu",
    timeout: float = 1800,
    max_restarts: int = 0,
    threads_per_worker: int | None = None,
    attendant: Attendant | None = None,
) -> None:
    """Run a function in several processes that form one process group, and wait for them.

    They are started by a small process in between, so that nothing of the caller's changes, and none needs a main
    guard. Data come and go by files in `folder`, which nobody else may write to. The processes keep their logs, their
    signs of life and where they meet in its folder "launch", which is made anew. Nothing listens but gloo or NCCL, on
    this machine only. When the caller ends, by whatever reason, the processes do too: by SIGTERM, and two seconds later
    by SIGKILL.

    Parameters
    ----------
    job : str
        "package.module:function": each worker calls ``function(folder, context)`` with its
        :class:`~skbig.backends.context.WorkerContext`. It is found along the caller's ``sys.path``.
    folder : Path
        Whatever the function reads and writes.
    n_workers : int
        The number of processes.
    device_type : {"cpu", "cuda"}, default="cpu"
        "cuda" gives each worker a device of its own, and NCCL; "cpu" has gloo.
    timeout : float, default=1800
        Seconds that a worker may take from one ``context.beat()`` to the next, or to the first; and, before that, from
        one module that it loads to the next.
    max_restarts : int, default=0
        How many times all workers are started again after one failed; the function must find what was reached.
    threads_per_worker : int or None, default=None
        None shares the threads that torch would use here between the workers.
    attendant : Attendant or None, default=None
        Without one, Ctrl-C ends the workers at once.

    Raises
    ------
    WorkerError
        When a worker raises, is killed or is silent. No process is left then; `folder` is.
    """
    threads = _threads(n_workers) if threads_per_worker is None else threads_per_worker
    _check(n_workers, device_type, timeout, max_restarts, threads)
    folder = Path(folder).absolute()
    home = folder / "launch"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    board = Board.create(home / "board", n_workers, timeout)
    python = [sys.executable, "-u"]
    launcher = [*python, launcher_process.__file__, home, os.getpid(), n_workers, max_restarts, timeout]
    each = [*python, worker.__file__, job, folder, device_type, timeout, n_workers]
    with open(home / "launcher.log", "wb") as log:
        process = subprocess.Popen(
            [str(word) for word in [*launcher, *each]],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=_environment(threads, home),
            # Ctrl-C in a terminal is the caller's alone.
            start_new_session=True,
        )
    _Watch(process, board, home, timeout, attendant).until_the_end()


@dataclass
class _Watch:
    """The caller, waiting."""

    process: subprocess.Popen[bytes]
    board: Board
    home: Path
    timeout: float
    attendant: Attendant | None = None

    def until_the_end(self) -> None:
        try:
            try:
                self._wait()
            except KeyboardInterrupt:
                if self.attendant is None:
                    raise
                self.attendant.interrupted()
                self._wait()
        finally:
            self._end()
        # Not the exit code alone: it is 0 for a caller that ignores SIGCHLD.
        unreturned = self.board.unreturned()
        if self.process.returncode or unreturned:
            raise failure_error(self.home, self.process.returncode, unreturned)

    def _wait(self) -> None:
        while self.process.poll() is None:
            if ranks := self.board.silent():
                started = self.board.are_running(ranks)
                self._ask_where(ranks)
                raise silent_error(self.home, ranks, started, self.timeout)
            if self.attendant is not None:
                self.attendant.look()
            self._pause()

    def _pause(self) -> None:
        """Wait for a moment; if it lasts long, nothing has run here, and perhaps nowhere on this machine."""
        before = time.monotonic()
        time.sleep(INTERVAL)
        if (absent := time.monotonic() - before) > SETTLING:
            self.board.postpone(absent)

    def _ask_where(self, ranks: list[int]) -> None:
        """Let silent workers write into their logs where they are."""
        for pid in self.board.pids(ranks):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        time.sleep(0.2)

    def _end(self) -> None:
        """Ask all processes to end, and kill those that do not, also when this is interrupted."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            if self.process.poll() is None:
                self.process.terminate()
            last = time.monotonic() + ENDING
            while (self.process.poll() is None or self.board.alive()) and time.monotonic() < last:
                time.sleep(INTERVAL)
        finally:
            for pid in self.board.alive():
                with suppress(ProcessLookupError, PermissionError):  # it has ended
                    os.killpg(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()


def _check(n_workers: int, device_type: str, timeout: float, max_restarts: int, threads: int) -> None:
    if os.name != "posix":
        raise NotImplementedError("Workers are started on Linux and macOS only; elsewhere start them with torchrun.")
    if n_workers < 1 or threads < 1 or timeout <= 0 or max_restarts < 0:
        raise ValueError(
            "n_workers and threads_per_worker must be at least 1, timeout positive and max_restarts at least 0. "
            f"Got {n_workers!r}, {threads!r}, {timeout!r} and {max_restarts!r} instead."
        )
    if device_type not in ("cpu", "cuda"):
        raise ValueError(f"device_type must be 'cpu' or 'cuda'. Got {device_type!r} instead.")
    if device_type == "cuda" and n_workers > torch.cuda.device_count():
        raise ValueError(f"n_workers={n_workers} on CUDA needs as many devices; there are {torch.cuda.device_count()}.")


def _environment(threads: int, home: Path) -> dict[str, str]:
    """Return the caller's environment without an outer launch, and with what the workers need."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(OUTER)}
    # Torch makes a folder for what it may compile, and would leave it behind.
    own.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / "compiled"))
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    return own | {
        # The workers import what the caller does, and nothing from the current directory before it.
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # All are on this machine, whatever the environment says of a network between machines.
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "NCCL_RAS_ENABLE": "0",  # NCCL's server for its own diagnosis
    }


def _threads(n_workers: int) -> int:
    """Return a worker's share of the threads that this process may use."""
    return max(1, min(joblib.cpu_count(), torch.get_num_threads()) // max(1, n_workers))
