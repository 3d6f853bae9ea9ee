"""The caller's end of launcher processes, and those that are kept for the next launch.

A launcher that has loaded torch forks workers in a moment, where it took seconds the first time. So it stays after a
launch whose workers it has seen end, for five minutes at most, and is told the next launch in the same surroundings:
environment, rights and limits. It ends with the caller, holds no rows and no open files, and listens to nobody but the
pipe from the caller.
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
from pathlib import Path
from threading import Lock
from typing import Any

from skbig.launch import launcher_process
from skbig.launch.launcher_process import BADLY, IDLE, WELL, LaunchRequest

# How many launchers wait at the same time: each holds 250 to 320 MB that it shares with nobody.
N_KEPT = 2
# Seconds before a launcher's own end at which it is not told anything any more.
MARGIN = 30.0
# Seconds that a launcher that waits has to end.
ENDING = 2.0
# What differs from launch to launch, and no library reads when it is loaded; pytest names the test that runs.
OF_A_WORKER = ("PYTHONPATH", "TORCHINDUCTOR_CACHE_DIR", "PYTEST_CURRENT_TEST")
# What Linux tells of a process that those that it starts inherit: who it is, what it may do, and where it runs.
RIGHTS = ("Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
CORES = ("Cpus_allowed", "Mems_allowed")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


@dataclass(eq=False)
class LauncherHandle:
    """A launcher process, as its caller sees it.

    Attributes
    ----------
    process : subprocess.Popen
    surroundings : tuple or None
        With what it was started, and what libraries have read when it loaded them; None where none is kept.
    answer : bytes or None
        How its launch has ended: `WELL`, `BADLY`, or nothing, when the launcher has ended; None while the launch lasts.
    idle_since : float
    """

    process: subprocess.Popen[bytes]
    surroundings: tuple[Any, ...] | None
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
                cwd=os.sep if launch.forks else None,  # one that is kept holds no folder
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
        has_ended = self.exit_code is not None  # before it is listened to: what it has said by then is there
        said = self._said()
        if said == b"" or (said is None and has_ended):  # a fork of this process may hold the other end of the pipe
            self.process.wait()
            self.answer = b""
        elif said and said[-1:] in (WELL, BADLY):  # not what somebody prints wherever an interpreter starts
            self.answer = said[-1:]
        return self.answer is not None

    def _said(self) -> bytes | None:
        assert self.process.stdout is not None
        try:
            return os.read(self.process.stdout.fileno(), 2**16)
        except BlockingIOError:
            return None

    def is_ready_for(self, launch: LaunchRequest) -> bool:
        """Whether it may be told a launch: it lives, was started as one for this would be, and will not end now."""
        lasts = time.monotonic() - self.idle_since < IDLE - MARGIN
        alike = self.surroundings is not None and self.surroundings == surroundings_of(launch)
        return lasts and alike and self.exit_code is None

    def ask_to_end(self) -> None:
        """Let the launcher end its workers, and itself."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # of a line that it has not read
            self.process.stdin.close()
        with suppress(PermissionError):  # for a caller with fewer rights than it had; the launcher hears of its end
            self.process.terminate()

    def kill(self) -> None:
        """Leave nothing of the process."""
        with suppress(PermissionError):
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
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
    if launcher.surroundings is None:
        return end(launcher)
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


def surroundings_of(launch: LaunchRequest) -> tuple[Any, ...] | None:
    """Return what of a launch the launcher must have been started with; None where it is not worth keeping."""
    if not launch.forks:
        return None
    environment = {name: value for name, value in launch.environment.items() if name not in OF_A_WORKER}
    try:
        return sys.executable, environment, *_inherited()
    except OSError:  # there is no /proc
        return None


def _inherited() -> tuple[Any, ...]:
    """Return what this process would pass on now, and a launcher that it started before may not have."""
    own = Path("/proc/self")
    status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
    spaces = [os.readlink(own / "ns" / name) for name in NAMESPACES]
    texts = [(own / name).read_text() for name in ("limits", "cgroup")]
    return [status.get(name) for name in RIGHTS + CORES], spaces, texts, os.nice(0), os.stat("/")[:3]


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
