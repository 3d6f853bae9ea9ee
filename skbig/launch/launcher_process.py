"""The launcher of a launch: a small process between the caller and its workers.

It starts the workers, starts them again when one fails, and ends them when the caller is gone, for whatever reason. It
is run as a file, and loads nothing of skbig but the heartbeats: the workers wait for each import here.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NoReturn

# Seconds between two looks at the workers.
INTERVAL = 0.02
# Seconds from SIGTERM to SIGKILL.
GRACE = 2.0


def load_heartbeats() -> Any:
    """Load the module of heartbeats under its name in the package, but without the package, which would load torch."""
    spec = spec_from_file_location("skbig.launch.heartbeat", Path(__file__).with_name("heartbeat.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Launcher:
    """Starts workers and waits for them.

    Parameters
    ----------
    home : Path
        The folder with the heartbeats, where the ends of workers are recorded.
    parent : int
        The id of the caller's process.
    n_workers : int
    timeout : float
        Seconds that a worker has for its first heartbeat.
    command : list of str
        What a worker runs; its rank, and the number of the attempt, are appended.
    """

    def __init__(self, home: Path, parent: int, n_workers: int, timeout: float, command: list[str]) -> None:
        self._home, self._parent, self._timeout, self._command = home, parent, timeout, command
        self._heartbeats = load_heartbeats().HeartbeatTable.open(home / "heartbeats")
        self._ranks = range(n_workers)
        self._workers: list[subprocess.Popen[bytes]] = []

    def run(self, max_restarts: int) -> bool:
        """Run all workers to their end, again if one fails; return whether they have ended well."""
        ends: list[tuple[int, int, int]] = []
        for attempt in range(max_restarts + 1):
            ends = self._attempt(attempt)
            if not ends:
                return True
        (self._home / "ends.json").write_text(json.dumps(ends))
        return False

    def _attempt(self, attempt: int) -> list[tuple[int, int, int]]:
        """Run the workers; return rank, process id and exit code of those that failed, or ended because of it."""
        self._heartbeats.expect(self._timeout)
        self._workers = []
        for rank in self._ranks:
            command = [*self._command, str(rank), str(attempt)]
            # Each leads a process group, so that what it has started can be ended with it.
            self._workers.append(subprocess.Popen(command, start_new_session=True))
        while not any(codes := [worker.poll() for worker in self._workers]):
            if None not in codes:
                return []
            self._wait()
        stuck = self.end_workers()
        # Those that failed come first; a worker that had to be killed is not the cause.
        ends = sorted((code is None, rank) for rank, code in enumerate(codes) if code != 0 and rank not in stuck)
        ended = [(rank, self._workers[rank].pid, self._workers[rank].wait()) for _, rank in ends]
        return [end for end in ended if end[2]]

    def _wait(self) -> None:
        """Wait for a moment; raise when the caller is gone.

        The standard input is a pipe to which nobody writes: it ends when the last process that holds its other end
        does. A child that the caller has forked holds it too; hence the look at the parent.
        """
        if os.getppid() != self._parent or select.select([sys.stdin], [], [], INTERVAL)[0]:
            raise Ended

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


class Ended(BaseException):
    """SIGTERM has come, or the caller is gone."""


def _end(number: int, frame: Any) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one does not stop what the first has begun
    raise Ended


def main(home: Path, parent: int, n_workers: int, max_restarts: int, timeout: float, command: list[str]) -> None:
    # A caller may ignore SIGCHLD, so that no exit status would come, or block signals; both are inherited.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGTERM, _end)
    launcher = Launcher(home, parent, n_workers, timeout, command)
    try:
        code = 0 if launcher.run(max_restarts) else 1
    except Ended:
        code = -signal.SIGTERM
    finally:
        launcher.end_workers()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    _, home, parent, n_workers, max_restarts, timeout, *command = sys.argv
    main(Path(home), int(parent), int(n_workers), int(max_restarts), float(timeout), command)
