"""Starting worker processes for one job, waiting for them, and leaving none behind.

The workers are started by a process in between (`launcher_process.py`), so that nothing of the caller's changes, and no
main guard is needed; it is kept for the next launch (`kept_launchers.py`). Logs, heartbeats and the store by which the
workers find each other lie in the subfolder "launch" of the job's folder. Nothing listens but gloo or NCCL, on this
machine only. When the caller ends, for whatever reason, all of them end too: by SIGTERM, and two seconds later by
SIGKILL.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from operator import eq
from pathlib import Path

from skbig.exceptions import WorkerError
from skbig.launch.failure_report import failure_error, silent_error
from skbig.launch.heartbeat import SETTLING, HeartbeatTable
from skbig.launch.kept_launchers import LauncherHandle, keep, start_launch
from skbig.launch.launch_options import LaunchOptions
from skbig.launch.launcher_process import BADLY, LaunchRequest

# Seconds between two looks at the workers.
INTERVAL = 0.05
# Seconds that silent workers have to begin to say where they are.
TRACING = 2.0
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
        When a worker raises, is killed or is silent. No process of the launch is left then; `folder` is.
    """
    options.check()
    _Launch.start(options, job, Path(folder).absolute()).wait(while_waiting)


@dataclass
class _Launch:
    """The launcher process and its workers, as the waiting caller sees them."""

    launcher: LauncherHandle
    heartbeats: HeartbeatTable
    home: Path
    timeout: float

    @classmethod
    def start(cls, options: LaunchOptions, job: str, folder: Path) -> _Launch:
        home = folder / "launch"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        heartbeats = HeartbeatTable.create(home / "heartbeats", options.n_workers, options.timeout)
        launched = LaunchRequest(
            job=job,
            folder=str(folder),
            n_workers=options.n_workers,
            device_type=options.device_type,
            timeout=options.timeout,
            max_restarts=options.max_restarts,
            directory=options.directory(),
            environment=options.environment(home),
            path=options.path(),
            forks=options.forks,
            modules=options.modules,
        )
        return cls(start_launch(launched), heartbeats, home, options.timeout)

    def wait(self, while_waiting: Callable[[], None]) -> None:
        """Wait until all processes have ended, but for a launcher that may be told another launch."""
        try:
            self._wait(while_waiting)
            error = self._error()  # before the launcher is kept, and others may tell it their launches
        finally:
            self._end()
        if error is not None:
            raise error

    def _error(self) -> WorkerError | None:
        """Return why the launch has ended badly, if it has."""
        exit_code = self.launcher.exit_code
        # Not the launcher's word alone: a worker may have ended without an error before its function has.
        unreturned = self.heartbeats.unreturned()
        badly = unreturned or self.launcher.answer == BADLY or exit_code
        return failure_error(self.home, exit_code, unreturned) if badly else None

    def _wait(self, while_waiting: Callable[[], None]) -> None:
        while not self.launcher.has_answered():
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
        """Have silent workers write into their logs where they are; those of a busy machine may take a moment."""
        logs = [log for rank in ranks if (log := self.home / f"rank-{rank}.log").exists()]
        sizes = [log.stat().st_size for log in logs]
        for pid in self.heartbeats.pids(ranks):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        last = time.monotonic() + TRACING
        while time.monotonic() < last and any(map(eq, sizes, [log.stat().st_size for log in logs])):
            time.sleep(INTERVAL)
        time.sleep(INTERVAL)  # for the rest of what has begun

    def _end(self) -> None:
        """Keep a launcher whose workers have ended; else end all processes, also when this is interrupted."""
        if self.launcher.answer:
            return keep(self.launcher)
        try:
            self.launcher.ask_to_end()
            last = time.monotonic() + ENDING
            while (self.launcher.exit_code is None or self.heartbeats.alive()) and time.monotonic() < last:
                time.sleep(INTERVAL)
        finally:
            for pid in self.heartbeats.alive():
                with suppress(ProcessLookupError, PermissionError):  # it has ended
                    os.killpg(pid, signal.SIGKILL)
            self.launcher.kill()
