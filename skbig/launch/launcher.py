"""Starting worker processes for one job, waiting for them, and leaving none behind.

The workers are started by a small process in between (`launcher_process.py`), so that nothing of the caller's changes,
and no main guard is needed. Their logs, their heartbeats and the store by which they find each other lie in the
subfolder "launch" of the job's folder. Nothing listens but gloo or NCCL, on this machine only. When the caller ends,
for whatever reason, the workers end too: by SIGTERM, and two seconds later by SIGKILL.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skbig.launch import launcher_process, worker_main
from skbig.launch.failure_report import failure_error, silent_error
from skbig.launch.heartbeat import SETTLING, HeartbeatTable
from skbig.launch.launch_options import LaunchOptions

# Seconds between two looks at the workers.
INTERVAL = 0.05
# Seconds that the launcher and the workers have to end.
ENDING = 5.0


def nothing() -> None:
    """Do nothing while workers run."""


def launch(job: str, folder: Path, options: LaunchOptions, while_waiting: Callable[[], None] = nothing) -> None:
    """Run a function in several processes that form one process group, and wait for them.

    Parameters
    ----------
    job : str
        "package.module:function", found along the caller's ``sys.path``: each worker calls
        ``function(folder, context)`` with its :class:`~skbig.launch.worker_context.WorkerContext`.
    folder : Path
        Whatever the function reads and writes; nobody else may write to it.
    options : LaunchOptions
    while_waiting : callable
        Called every 0.05 seconds; what it raises ends the workers.

    Raises
    ------
    WorkerError
        When a worker raises, is killed or is silent. No process is left then; `folder` is.
    """
    options.check()
    _Launch.start(options, job, Path(folder).absolute()).wait(while_waiting)


@dataclass
class _Launch:
    """The launcher process and its workers, as the waiting caller sees them."""

    process: subprocess.Popen[bytes]
    heartbeats: HeartbeatTable
    home: Path
    timeout: float

    @classmethod
    def start(cls, options: LaunchOptions, job: str, folder: Path) -> _Launch:
        home = folder / "launch"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        heartbeats = HeartbeatTable.create(home / "heartbeats", options.n_workers, options.timeout)
        python = [sys.executable, "-u"]
        facts = [home, os.getpid(), options.n_workers, options.max_restarts, options.timeout]
        worker = [*python, worker_main.__file__, job, folder, options.device_type, options.timeout, options.n_workers]
        with open(home / "launcher.log", "wb") as log:
            process = subprocess.Popen(
                [str(word) for word in [*python, launcher_process.__file__, *facts, *worker]],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=options.environment(home),
                # Ctrl-C in a terminal is the caller's alone.
                start_new_session=True,
            )
        return cls(process, heartbeats, home, options.timeout)

    def wait(self, while_waiting: Callable[[], None]) -> None:
        """Wait until all processes have ended."""
        try:
            self._wait(while_waiting)
        finally:
            self._end()
        # Not the exit code alone: it is 0 for a caller that ignores SIGCHLD.
        unreturned = self.heartbeats.unreturned()
        if self.process.returncode or unreturned:
            raise failure_error(self.home, self.process.returncode, unreturned)

    def _wait(self, while_waiting: Callable[[], None]) -> None:
        while self.process.poll() is None:
            if ranks := self.heartbeats.silent():
                started = self.heartbeats.are_running(ranks)
                self._log_tracebacks(ranks)
                raise silent_error(self.home, ranks, started, self.timeout)
            while_waiting()
            self._pause()

    def _pause(self) -> None:
        """Wait for a moment; if it lasts long, nothing has run here, and perhaps nowhere on this machine."""
        before = time.monotonic()
        time.sleep(INTERVAL)
        if (absent := time.monotonic() - before) > SETTLING:
            self.heartbeats.postpone(absent)

    def _log_tracebacks(self, ranks: list[int]) -> None:
        """Have silent workers write into their logs where they are."""
        for pid in self.heartbeats.pids(ranks):
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
            while (self.process.poll() is None or self.heartbeats.alive()) and time.monotonic() < last:
                time.sleep(INTERVAL)
        finally:
            for pid in self.heartbeats.alive():
                with suppress(ProcessLookupError, PermissionError):  # it has ended
                    os.killpg(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
