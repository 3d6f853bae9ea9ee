"""What takes long is made once for all processes of a test run: one makes it, the others wait and read it."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """Return what a function makes of an empty folder, in whichever of the processes of pytest-xdist is the first."""
    home = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent  # each process has a folder of its own in the one of this run
    made = home / f"{name}.made"
    with open(home / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            part = made.with_suffix(".part")
            part.write_bytes(pickle.dumps(make(factory.mktemp(name))))
            part.rename(made)
    return pickle.loads(made.read_bytes())
