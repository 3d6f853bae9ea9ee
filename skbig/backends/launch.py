"""Starting worker processes for one job, waiting for them, and leaving none behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import joblib
import torch

from skbig.backends import elastic
from skbig.backends.board import PID, Board
from skbig.backends.verdict import failure_error, silent_error

# Seconds between two looks at the workers.
INTERVAL = 0.05
# Seconds that workers have for following one that failed, and all of them, with the launcher, for the end.
FOLLOWING = 4.0
ENDING = 5.0

# Beginnings of names in the environment that torch's launcher would obey: an outer launch or Kubernetes has left them.
OUTER = ("PET_", "TORCHELASTIC_", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "PYTHON_EXEC")


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

    They are started by torch's elastic launcher in a process of its own, so that nothing of the caller's changes, and
    none needs a main guard. Data come and go by files in `folder`. The processes keep their logs and their signs of
    life in its folder "launch", which is made anew. When the caller ends, by whatever reason, they do too: by SIGTERM,
    and two seconds later by SIGKILL.

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
        Seconds that a worker may take from one ``context.beat()`` to the next, or to the first.
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
    options = [f"--nproc-per-node={n_workers}", f"--max-restarts={max_restarts}", f"--log-dir={home / 'elastic'}"]
    arguments = [job, str(folder), device_type, str(timeout)]
    board = Board.create(home / "board", n_workers)
    with open(home / "launcher.log", "wb") as log:
        process = subprocess.Popen(
            _command(home, options, arguments),
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
    """The caller, waiting.

    Attributes
    ----------
    fallen : set of int
        The workers that are known to have failed.
    doomed : set of int
        Those that were alive when the last one failed: the launcher asks them to end, and waits up to 30 seconds.
    since : float
        When that was.
    killed : set of int
        Those that did not end by themselves.
    """

    process: subprocess.Popen[bytes]
    board: Board
    home: Path
    timeout: float
    attendant: Attendant | None = None
    fallen: set[int] = field(default_factory=set)
    doomed: set[int] = field(default_factory=set)
    since: float = 0.0
    killed: set[int] = field(default_factory=set)

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
            raise failure_error(self.home, self.process.returncode, unreturned, self.killed)

    def _wait(self) -> None:
        while self.process.poll() is None:
            if ranks := self.board.silent():
                started = self.board.are_running(ranks)
                self._ask_where(ranks)
                raise silent_error(self.home, ranks, started, self.timeout)
            self._hasten()
            if self.attendant is not None:
                self.attendant.look()
            time.sleep(INTERVAL)

    def _hasten(self) -> None:
        """Kill the workers that do not follow one that failed: they may wait for it, deaf to SIGTERM."""
        now = time.monotonic()
        if new := self.board.fallen() - self.fallen:
            self.fallen |= new
            self.doomed, self.since = self.board.alive(), now
        elif self.doomed and now - self.since > FOLLOWING:
            stuck, self.doomed = self.doomed & self.board.alive(), set()
            self.killed |= stuck
            elastic.kill(stuck)

    def _ask_where(self, ranks: list[int]) -> None:
        """Let silent workers write into their logs where they are."""
        for pid in self.board.alive() & {int(pid) for pid in self.board.table[ranks, PID]}:
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
            elastic.kill(self.board.alive())
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


def _command(home: Path, options: list[str], arguments: list[str]) -> list[str]:
    """Return the command of the launcher: its store has a port that the system chose, on this machine only."""
    fixed = ["--standalone", "--nnodes=1", "--local-addr=127.0.0.1", "--monitor-interval=0.1"]
    launcher = [sys.executable, "-u", elastic.__file__, str(home), str(os.getpid())]
    return [*launcher, *fixed, *options, "-m", "skbig.backends.worker", *arguments]


def _environment(threads: int, home: Path) -> dict[str, str]:
    """Return the caller's environment without an outer launch, and with what the workers need."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(OUTER)}
    if "lo" in (name for _, name in socket.if_nameindex()):
        # Gloo would ask for the address of the machine's name, which need not have one.
        own.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Torch makes a folder for what it may compile, and would leave it behind.
    own.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / "compiled"))
    return own | {
        # The workers import what the caller does, and nothing from the current directory before it.
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "2",
    }


def _threads(n_workers: int) -> int:
    """Return a worker's share of the threads that this process may use."""
    return max(1, min(joblib.cpu_count(), torch.get_num_threads()) // max(1, n_workers))
