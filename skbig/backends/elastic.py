"""Torch's elastic launcher, in a process that ends with the one that asked for it.

Run as a file, and with nothing of skbig imported: the launcher starts before the workers can, so that each import
here is waited for.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from threading import Thread

# Seconds from SIGTERM to SIGKILL, when the caller is gone. The launcher outlives the workers: it ends the stuck ones.
WORKER_GRACE = 2.0
LAUNCHER_GRACE = 3.0


def end_with(parent: int, line: int, grace: float, finish: Callable[[], None] = lambda: None) -> None:
    """End this process, by a signal, when another one is gone.

    Parameters
    ----------
    parent : int
        The id of the process that started this one.
    line : int
        The reading end of a pipe to which nobody writes: it ends when the last process that holds the other end does.
        A child that the caller forks in the meantime holds it too; hence the look at `parent` every second.
    grace : float
        Seconds from SIGTERM to SIGKILL.
    finish : callable
        Called before SIGKILL.
    """

    def watch() -> None:
        while os.getppid() == parent and not select.select([line], [], [], 1.0)[0]:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        finish()
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=watch, name="skbig-line", daemon=True).start()


def kill(pids: set[int]) -> None:
    """Kill workers, each with the processes that it started: the launcher has made each the head of a group."""
    for pid in pids:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # it has ended; macOS says the latter of one not yet waited for
            continue


def _main(home: Path, parent: int, arguments: list[str]) -> None:
    # A caller may ignore SIGCHLD, by which no exit status would come, or block signals; both are inherited.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Torch's launcher asks for this machine's full name seven times; without a name server, each lasts seconds.
    socket.getfqdn = lambda name="": name or socket.gethostname()
    end_with(parent, sys.stdin.fileno(), LAUNCHER_GRACE, lambda: kill(_workers(home)))

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main(arguments)
    except ChildFailedError as error:
        ends = [(rank, failure.pid, failure.exitcode) for rank, failure in error.failures.items()]
        (home / "ends.json").write_text(json.dumps(ends))
        os._exit(1)
    except SignalException as error:
        signal.signal(error.sigval, signal.SIG_DFL)
        os.kill(os.getpid(), error.sigval)
    # Without taking the interpreter apart, which lasts a third of a second.
    os._exit(0)


def _workers(home: Path) -> set[int]:
    """Return, from the board, the ids of the workers that have started and not returned."""
    table = array("q", (home / "board").read_bytes())
    return {pid for pid, state in zip(table[::4], table[2::4], strict=True) if pid and state < 3}


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
