"""One worker of a launch: ``python -m skbig.backends.worker JOB FOLDER DEVICE_TYPE TIMEOUT``, with a rank.

Everything that it has to say of itself lies in the folder's ``launch``: its output in ``rank-0.log``, an exception in
``failure-<process id>.json``, and its signs of life on the board.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

from torch import distributed

from skbig.backends.board import SETTLING, Slot, State
from skbig.backends.context import WorkerContext, enter
from skbig.backends.elastic import WORKER_GRACE, end_with

# Seconds that an operation of the group may take longer than a worker may be silent: when one hangs, the others wait
# for it, and the caller, who knows which one it is, shall be the first to say so.
LATER = 30.0


def main(job: str, folder: Path, device_type: str, timeout: float) -> None:
    home, rank = folder / "launch", int(os.environ["RANK"])
    _leave_standard_streams(home / f"rank-{rank}.log")
    slot = Slot.take(home / "board", rank, timeout)
    try:
        function = resolve_job(job)
        context = enter(device_type, timeout + LATER, slot)
        Thread(target=_count_operations, args=[slot], daemon=True).start()
        # From here on all are connected: a rank that ends at once is no riddle for those that still connect.
        distributed.barrier()
        slot.start()
        function(folder, context)
        if distributed.is_initialized():
            distributed.destroy_process_group()
    except BaseException as error:
        _record(home / f"failure-{os.getpid()}.json", error)
        slot.leave(State.FAILED)
        _exit(1)
    slot.leave(State.RETURNED)
    _exit(0)


def resolve_job(job: str) -> Callable[[Path, WorkerContext], object]:
    """Return the function that "package.module:function" names."""
    module, _, name = job.partition(":")
    return getattr(import_module(module), name)


def _count_operations(slot: Slot) -> None:
    """Keep the caller informed, also while the function hangs."""
    group: Any = distributed.group.WORLD  # the number is not in its annotations
    while distributed.is_initialized():
        slot.count(group._get_sequence_number_for_group())
        time.sleep(SETTLING / 4)


def _leave_standard_streams(log: Path) -> None:
    """Watch the line that is the standard input, and write to the log what goes to the standard output."""
    end_with(os.getppid(), os.dup(sys.stdin.fileno()), WORKER_GRACE)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    # A crash says into the log where it was; and so does a silent worker, whom the caller asks by SIGUSR1.
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=False)


def _record(path: Path, error: BaseException) -> None:
    """Write what was raised, and when: the first of several ranks has the cause, the others only miss it."""
    text = "".join(traceback.format_exception(error))
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    record = {"time": time.monotonic(), "type": name, "message": str(error), "traceback": text}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record))
    part.replace(path)


def _exit(code: int) -> NoReturn:
    """Leave without taking the interpreter apart: that lasts half a second, and may wait for a thread or a device."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
