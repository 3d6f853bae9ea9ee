"""A command with all that it starts, which ends within a time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress


def run_group(command: Sequence[str], seconds: float) -> int | None:
    """Run a command and return its exit code; None when it took too long, and was ended with all that it had started.

    Nothing of it goes on beside what comes next.
    """
    # The processes of a session can be ended together: workers of workers, and whoever waits for a card.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait(timeout=max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
