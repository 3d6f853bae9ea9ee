"""A worker that is forked from the launcher, which has loaded all that is imported here."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import numpy as np

from skbig.launch import worker_context, worker_main
from skbig.launch.launcher_process import LaunchRequest

__all__ = ["ForkedWorker", "fork", "worker_context"]


class ForkedWorker:
    """A forked process, with what of subprocess.Popen a launcher needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        code = self._wait(0)
        assert code is not None
        return code

    def _wait(self, options: int) -> int | None:
        if self._exit_code is None:
            pid, status = os.waitpid(self.pid, options)
            self._exit_code = os.waitstatus_to_exitcode(status) if pid else None
        return self._exit_code


def fork(launch: LaunchRequest, rank: int, attempt: int, answers: int) -> ForkedWorker:
    """Fork a worker, which leads a process group.

    Parameters
    ----------
    launch : LaunchRequest
    rank, attempt : int
    answers : int
        The launcher's file descriptor for its answers, which is none of the worker's business.
    """
    # A signal that comes before the worker has forgotten the launcher's handler would run that in the worker.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        # The only threads beside this one are those of allocators and of BLAS, which see to it that a fork is safe.
        pid = os.fork()
        if pid == 0:
            _work(launch, rank, attempt, answers)
        with suppress(ProcessLookupError):  # it has ended
            os.setpgid(pid, pid)  # both do it, as neither knows who is the first
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    return ForkedWorker(pid)


def _work(launch: LaunchRequest, rank: int, attempt: int, answers: int) -> NoReturn:
    """Be the worker, from the fork to the end of the process."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.close(answers)
        _move_to(launch)
        sys.argv[:] = launch.words(rank, attempt)
        folder = Path(launch.folder)
        worker_main.main(launch.job, folder, launch.device_type, launch.timeout, launch.n_workers, rank, attempt)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _move_to(launch: LaunchRequest) -> None:
    """Have the surroundings of an interpreter that the launch had started."""
    os.environ.clear()
    os.environ.update(launch.environment)
    with suppress(OSError):  # of a folder that one may be in, but not enter, only its name is lost
        os.chdir(launch.directory)
    sys.path[:] = launch.path
    importlib.invalidate_caches()  # what was not there when the launcher looked may be there now
    np.random.seed()  # as in a new process; random and secrets do it by themselves, and torch begins with a constant
