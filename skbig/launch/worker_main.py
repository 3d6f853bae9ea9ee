"""One worker of a launch: a file to run, ``worker_main.py JOB FOLDER DEVICE_TYPE TIMEOUT N_WORKERS RANK ATTEMPT``.

On Linux a launch on CPUs forks its workers instead, and calls `main` in each.

All that it reports lies in the folder's ``launch``: its output in ``rank-0.log``, an exception in ``failure-<process
id>.json``, and its heartbeats in their table. These begin before the package is loaded, and torch with it; so only the
standard library is imported here, but in functions.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import select
import signal
import sys
import time
import traceback
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

# Seconds from SIGTERM to SIGKILL, when the caller is gone, and from an exception to the end of the process.
GRACE = 2.0
# Seconds that an operation of the group may take longer than a worker may be silent: when one worker hangs, the others
# wait for it, and the caller, who knows which one it is, shall be the first to report it.
LATER = 30.0
# Seconds between two looks at how many operations have begun.
COUNTING = 0.25


def main(job: str, folder: Path, device_type: str, timeout: float, n_workers: int, rank: int, attempt: int) -> None:
    home = folder / "launch"
    redirect_standard_streams(home / f"rank-{rank}.log")
    heartbeats = load_heartbeats()
    heartbeat = heartbeats.Heartbeat.start(home / "heartbeats", rank, timeout)
    Thread(target=heartbeat.beat_while_loading, daemon=True).start()
    try:
        function = resolve_job(job)
        from torch import distributed

        from skbig.launch.worker_context import enter

        heartbeat.wait_for_others()
        store = home / f"store-{attempt}"
        context = enter(heartbeat, n_workers, device_type, timeout + LATER, store, attempt)
        Thread(target=count_operations, args=[heartbeat], daemon=True).start()
        heartbeat.run()
        function(folder, context)
        if distributed.is_initialized():
            _group = distributed.group.WORLD  # torch 2.6 may wait for ever for a thread of one that is freed here
            distributed.destroy_process_group()
    except BaseException as error:
        # This ends also a process whose end hangs.
        faulthandler.dump_traceback_later(GRACE, exit=True)
        record(home / f"failure-{os.getpid()}.json", error)
        heartbeat.end(heartbeats.Phase.FAILED)
        end(1)
    heartbeat.end(heartbeats.Phase.RETURNED)
    end(0)


def load_heartbeats() -> Any:
    """Return the module of heartbeats, loaded under its name in the package, but without the package."""
    if there := sys.modules.get("skbig.launch.heartbeat"):
        return there
    spec = spec_from_file_location("skbig.launch.heartbeat", Path(__file__).with_name("heartbeat.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def resolve_job(job: str) -> Any:
    """Return the function that "package.module:function" names."""
    module, _, name = job.partition(":")
    return getattr(import_module(module), name)


def count_operations(heartbeat: Any) -> None:
    """Keep the caller informed, also while the function hangs."""
    from torch import distributed

    group: Any = distributed.group.WORLD
    while distributed.is_initialized():
        heartbeat.count(group._get_sequence_number_for_group())
        time.sleep(COUNTING)


def redirect_standard_streams(log: Path) -> None:
    """Keep the standard input as the line to the launcher, and write to the log what goes to the standard output."""
    end_with(os.getppid(), os.dup(sys.stdin.fileno()))
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    # A crash writes into the log where it was; and so does a silent worker, to which the caller sends SIGUSR1.
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=False)


def end_with(parent: int, line: int) -> None:
    """End this process, by a signal, when the launcher is gone, or nobody holds the other end of the line."""

    def watch() -> None:
        while os.getppid() == parent and not select.select([line], [], [], 1.0)[0]:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=watch, name="skbig-line", daemon=True).start()


def record(path: Path, error: BaseException) -> None:
    """Write what was raised, and when: the first of several ranks has the cause, the others only miss it."""
    text = "".join(traceback.format_exception(error))
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    said = {"time": time.monotonic(), "type": name, "message": str(error), "traceback": text}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(said))
    part.replace(path)


def end(code: int) -> NoReturn:
    """Leave without finalising the interpreter: that takes half a second, and may wait for a thread or a device."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    job, place, kind, seconds, *numbers = sys.argv[1:]
    main(job, Path(place), kind, float(seconds), *map(int, numbers))
