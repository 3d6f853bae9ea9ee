"""The launcher of a launch: a process between the caller and its workers.

It starts the workers, starts them again when one fails, and ends them when the caller is gone, for whatever reason. It
is run as a file, is told each launch in one line of its standard input, answers with one byte how it has ended, and
waits for the next line, for a while.

On Linux, workers for CPUs are forked from it: what all of them need is loaded once, and for several launches.
Elsewhere, and for CUDA devices, of which a fork cannot know enough, each worker is an interpreter of its own.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Event, Thread
from typing import Any, NoReturn, Protocol

# Seconds between two looks at the workers.
INTERVAL = 0.02
# Seconds between two looks at what is loaded.
LOADING = 0.1
# Seconds from SIGTERM to SIGKILL.
GRACE = 2.0
# Seconds that a launcher waits for its next launch.
IDLE = 300.0
# What a launcher answers when its workers have ended: well, or not.
WELL, BADLY = b"\x06", b"\x15"  # ASCII's acknowledge and negative acknowledge, which nobody prints
# What is loaded before workers are forked: it brings torch and all that every worker needs.
LOADED_ONCE = "skbig.launch.forked_worker"


def load_heartbeats() -> Any:
    """Load the module of heartbeats under its name in the package, but without the package, which would load torch."""
    spec = spec_from_file_location("skbig.launch.heartbeat", Path(__file__).with_name("heartbeat.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class LaunchRequest:
    """What a launcher is told.

    Attributes
    ----------
    job : str
        "package.module:function".
    folder : str
        The job's, whose subfolder "launch" has the heartbeats, and takes the logs and the ends of workers.
    n_workers : int
    device_type : {"cpu", "cuda"}
    timeout : float
        Seconds that a worker has for its first heartbeat.
    max_restarts : int
    directory : str
        The working directory of workers that are forked; others inherit it.
    environment : dict
        Theirs, whole.
    path : list of str
        Where they look for modules.
    forks : bool
        Whether they are forked.
    modules : sequence of str
        What is loaded before they are forked, beside `LOADED_ONCE`.
    """

    job: str
    folder: str
    n_workers: int
    device_type: str
    timeout: float
    max_restarts: int
    directory: str
    environment: dict[str, str]
    path: list[str]
    forks: bool
    modules: Sequence[str]

    @property
    def home(self) -> Path:
        return Path(self.folder) / "launch"

    def words(self, rank: int, attempt: int) -> list[str]:
        """Return what a worker runs, with what it is told."""
        words = [self.job, self.folder, self.device_type, self.timeout, self.n_workers, rank, attempt]
        return [str(Path(__file__).with_name("worker_main.py")), *map(str, words)]


class Worker(Protocol):
    """A process, as subprocess.Popen shows it."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...


class Launcher:
    """Starts the workers of one launch and waits for them."""

    def __init__(self, launch: LaunchRequest, caller: Caller) -> None:
        self._launch, self._caller = launch, caller
        self._heartbeats = sys.modules["skbig.launch.heartbeat"].HeartbeatTable.open(launch.home / "heartbeats")
        self._workers: list[Worker] = []

    def run(self) -> bool:
        """Run all workers to their end, again if one fails; return whether they have ended well."""
        if self._launch.forks:
            self._load()
        ends: list[tuple[int, int, int]] = []
        for attempt in range(self._launch.max_restarts + 1):
            ends = self._attempt(attempt)
            if not ends:
                return True
        (self._launch.home / "ends.json").write_text(json.dumps(ends))
        return False

    def _load(self) -> None:
        """Load what all workers need; while one module comes after another, their first heartbeats are not late."""
        names = {LOADED_ONCE, *self._launch.modules} - sys.modules.keys()
        if not names:
            return
        os.environ.update(self._launch.environment)  # some modules make folders, where the launch before had them
        loaded = Event()
        thread = Thread(target=self._expect_until, args=[loaded])
        thread.start()
        try:
            for name in sorted(names):
                import_module(name)
        finally:
            loaded.set()
            thread.join()  # a fork would copy it in the midst of whatever it does
        gc.freeze()  # so that a worker's collections do not touch, and so copy, what it shares with the others

    def _expect_until(self, loaded: Event) -> None:
        n_modules = 0
        while not loaded.wait(LOADING):
            if len(sys.modules) != n_modules:
                n_modules = len(sys.modules)
                self._heartbeats.expect(self._launch.timeout)

    def _attempt(self, attempt: int) -> list[tuple[int, int, int]]:
        """Run the workers; return rank, process id and exit code of those that failed, or ended because of it."""
        self._heartbeats.expect(self._launch.timeout)
        self._workers = []
        for rank in range(self._launch.n_workers):
            self._workers.append(self._start(rank, attempt))
        while not any(codes := [worker.poll() for worker in self._workers]):
            if None not in codes:
                return []
            self._caller.wait(INTERVAL)
        stuck = self.end_workers()
        # Those that failed come first; a worker that had to be killed is not the cause.
        ends = sorted((code is None, rank) for rank, code in enumerate(codes) if code != 0 and rank not in stuck)
        ended = [(rank, self._workers[rank].pid, self._workers[rank].wait()) for _, rank in ends]
        return [end for end in ended if end[2]]

    def _start(self, rank: int, attempt: int) -> Worker:
        """Start a worker, which leads a process group, so that what it starts can be ended with it."""
        launch = self._launch
        if launch.forks:
            worker: Worker = sys.modules[LOADED_ONCE].fork(launch, rank, attempt, self._caller.answers)
            return worker
        return subprocess.Popen(
            [sys.executable, "-u", *launch.words(rank, attempt)],
            env=launch.environment,
            start_new_session=True,
        )

    def end_workers(self) -> set[int]:
        """End the workers that are left, by SIGTERM, and by SIGKILL those that ignore it; return the latter's ranks."""
        self._signal(signal.SIGTERM)
        last = time.monotonic() + GRACE
        while self._left() and time.monotonic() < last:
            time.sleep(INTERVAL)
        stuck = self._left()
        self._signal(signal.SIGKILL)
        for worker in self._workers:
            worker.wait()
        return stuck

    def _left(self) -> set[int]:
        return {rank for rank, worker in enumerate(self._workers) if worker.poll() is None}

    def _signal(self, number: signal.Signals) -> None:
        for rank in self._left():
            with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of one not yet waited for
                os.killpg(self._workers[rank].pid, number)


class Caller:
    """Who tells what is to be launched: the other end of the standard input, and of what was the standard output.

    The standard input is a pipe to which nobody writes during a launch: it ends when the last process that holds its
    other end does. A child that the caller has forked holds it too; hence the look at the parent.
    """

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self.answers = os.dup(sys.stdout.fileno())

    def next_launch(self) -> LaunchRequest | None:
        """Wait for the next line; return None when none comes."""
        last = time.monotonic() + IDLE
        while not select.select([sys.stdin], [], [], 1.0)[0]:
            if os.getppid() != self._parent or time.monotonic() > last:
                return None
        line = sys.stdin.buffer.readline()
        return LaunchRequest(**json.loads(line)) if line else None

    def wait(self, seconds: float) -> None:
        """Wait for a moment; raise when the caller is gone."""
        if os.getppid() != self._parent or select.select([sys.stdin], [], [], seconds)[0]:
            raise Ended

    def answer(self, well: bool) -> None:
        """Report that all workers have ended, and whether well."""
        os.write(self.answers, WELL if well else BADLY)


class Ended(BaseException):
    """SIGTERM has come, or the caller is gone."""


def _end(number: int, frame: Any) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one does not stop what the first has begun
    raise Ended


def write_to(path: Path | str) -> None:
    """Let the standard output and the standard error go to a file."""
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    os.close(output)


def run(launch: LaunchRequest, caller: Caller) -> bool:
    """Run one launch to its end; return whether it has ended well."""
    write_to(launch.home / "launcher.log")
    launcher = Launcher(launch, caller)
    try:
        return launcher.run()
    finally:
        launcher.end_workers()


def main(parent: int) -> None:
    # A caller may ignore SIGCHLD, so that no exit status would come, or block signals; both are inherited.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGTERM, _end)
    load_heartbeats()
    caller = Caller(parent)
    try:
        while (launch := caller.next_launch()) is not None:
            well = run(launch, caller)
            write_to(os.devnull)  # the folder is the caller's again
            caller.answer(well)
    except Ended:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)  # nothing is left to do, and finalising what is loaded takes half a second


if __name__ == "__main__":
    main(int(sys.argv[1]))
