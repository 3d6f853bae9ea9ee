"""The caller's end of launcher processes, and those that are kept for the next launch.

A launcher that has loaded torch forks workers in a moment, where it took seconds the first time. So it stays after a
launch whose workers it has seen end, for five minutes at most, and is told the next launch in the same surroundings. It
ends with the caller, holds no rows and no open files, and listens to nobody but the pipe from the caller.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

from skbig.launch import launcher_process
from skbig.launch.launcher_process import IDLE, LaunchRequest

# How many launchers wait at the same time: each holds about 200 MB, most of which are libraries that others share.
N_KEPT = 2
# Seconds before a launcher's own end at which it is not told anything any more.
MARGIN = 30.0
# Seconds that a launcher that waits has to end.
ENDING = 2.0
# What differs from launch to launch, and no library reads when it is loaded; pytest names the test that runs.
OF_A_WORKER = ("PYTHONPATH", "TORCHINDUCTOR_CACHE_DIR", "PYTEST_CURRENT_TEST")


@dataclass(eq=False)
class LauncherHandle:
    """A launcher process, as its caller sees it.

    Attributes
    ----------
    process : subprocess.Popen
    surroundings : tuple
        With what it was started, and what libraries have read when it loaded them.
    answer : bytes or None
        How its launch has ended: `WELL`, `BADLY`, or nothing, when the launcher has ended; None while the launch lasts.
    idle_since : float
    """

    process: subprocess.Popen[bytes]
    surroundings: tuple[Any, ...]
    answer: bytes | None = None
    idle_since: float = 0.0

    @classmethod
    def start(cls, launch: LaunchRequest) -> LauncherHandle:
        """Start a launcher, in the environment that its workers are to have."""
        with open(launch.home / "launcher.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", launcher_process.__file__, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=launch.environment,
                cwd=os.sep,  # it holds no folder
                # Ctrl-C in a terminal is the caller's alone.
                start_new_session=True,
            )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return cls(process, surroundings_of(launch))

    @property
    def exit_code(self) -> int | None:
        """How the launcher has ended; 0 for any end, when the caller ignores SIGCHLD."""
        return self.process.poll()

    def tell(self, launch: LaunchRequest) -> None:
        """Tell what is to be launched."""
        assert self.process.stdin is not None
        self.answer = None
        self.process.stdin.write(json.dumps(asdict(launch)).encode() + b"\n")
        self.process.stdin.flush()

    def has_answered(self) -> bool:
        """Whether the launch has ended."""
        assert self.process.stdout is not None
        with suppress(BlockingIOError):
            self.answer = os.read(self.process.stdout.fileno(), 1)
        if self.answer == b"":
            self.process.wait()
        return self.answer is not None

    def is_ready_for(self, launch: LaunchRequest) -> bool:
        """Whether it may be told a launch: it lives, was started as one for this would be, and will not end now."""
        lasts = time.monotonic() - self.idle_since < IDLE - MARGIN
        return lasts and self.exit_code is None and self.surroundings == surroundings_of(launch)

    def ask_to_end(self) -> None:
        """Let the launcher end its workers, and itself."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # of a line that it has not read
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """Leave nothing of the process."""
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


_kept: list[LauncherHandle] = []
# Those of the process that this one was forked from; they must not be collected, since they are not waited for here.
_of_parent: list[LauncherHandle] = []
_lock = Lock()


def start_launch(launch: LaunchRequest) -> LauncherHandle:
    """Tell a launch to a launcher that waits, or to a new one."""
    while (launcher := _take(launch)) is not None:
        try:
            launcher.tell(launch)
            return launcher
        except BrokenPipeError:  # somebody has ended it
            end(launcher)
    launcher = LauncherHandle.start(launch)
    with suppress(BrokenPipeError):  # its log says why
        launcher.tell(launch)
    return launcher


def keep(launcher: LauncherHandle) -> None:
    """Keep a launcher that has answered, and end those that are too many."""
    launcher.idle_since = time.monotonic()
    with _lock:
        _kept.append(launcher)
        surplus = [each for each in _kept if each.exit_code is not None]
        surplus += [each for each in _kept if each not in surplus][:-N_KEPT]
        _kept[:] = [each for each in _kept if each not in surplus]
    for each in surplus:
        end(each)


def end(launcher: LauncherHandle) -> None:
    """End a launcher that waits."""
    launcher.ask_to_end()
    with suppress(subprocess.TimeoutExpired):
        launcher.process.wait(ENDING)
    launcher.kill()


@atexit.register
def end_kept() -> None:
    """End all launchers that wait."""
    with _lock:
        ending, _kept[:] = list(_kept), []
    for each in ending:
        end(each)


def surroundings_of(launch: LaunchRequest) -> tuple[Any, ...]:
    """Return what of a launch the launcher must have been started with."""
    environment = {name: value for name, value in launch.environment.items() if name not in OF_A_WORKER}
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return launch.forks, sys.executable, environment, cores


def _take(launch: LaunchRequest) -> LauncherHandle | None:
    with _lock:
        ready = [each for each in _kept if each.is_ready_for(launch)]
        if not ready:
            return None
        _kept.remove(ready[-1])
        return ready[-1]


def _forget() -> None:
    """Leave the launchers to the process that has started them, after a fork of it."""
    global _lock
    _lock = Lock()
    _of_parent.extend(_kept)
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
