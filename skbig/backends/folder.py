"""A folder for what a launch needs, which goes when its owner does, one way or another."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if os.name == "posix":  # elsewhere no workers are started
    import fcntl

PREFIX = "skbig-launch-"
LOCK = "owner"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder that only this user may read, where temporary files lie, and remove it in the end.

    Its owner holds a lock on a file in it. Whoever makes the next folder removes those that nobody holds any more,
    for their owners were killed.
    """
    if os.name != "posix":
        raise NotImplementedError("Workers are started on Linux and macOS only; elsewhere start them with torchrun.")
    place = Path(tempfile.gettempdir())
    _remove_abandoned(place)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    with _locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; until it is held, the file has another name, by which nobody looks."""
    unnamed = folder / f"{LOCK}.new"
    with open(unnamed, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        unnamed.rename(folder / LOCK)
        yield


def _remove_abandoned(place: Path) -> None:
    for lock in place.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # held by its owner, of another user, or removed at this moment
            if lock.parent.stat().st_uid != os.getuid():
                continue
            with open(lock, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
