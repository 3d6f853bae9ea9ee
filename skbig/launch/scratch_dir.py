"""A private folder for what a launch needs, which is removed when its owner ends, one way or another."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if os.name == "posix":  # elsewhere no workers are started
    import fcntl

PREFIX = "skbig-launch-"
LOCK = "owner"


@contextmanager
def scratch_dir() -> Iterator[Path]:
    """Make a folder that only this user may read, where temporary files lie, and remove it in the end.

    Its owner holds a lock on a file in it. Whoever makes the next folder removes those whose lock nobody holds, since
    their owners were killed.

    Raises
    ------
    OSError
        When it cannot be made.
    """
    if os.name != "posix":
        raise NotImplementedError("Workers are started on Linux and macOS only; elsewhere start them with torchrun.")
    folder = _new_folder()
    with _locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _new_folder() -> Path:
    try:
        place = Path(tempfile.gettempdir())
        _remove_abandoned(place)
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    except OSError as error:  # its class goes by the number
        raise OSError(
            error.errno,
            f"Processes are handed their rows in a private folder among the temporary files, and none can be made: "
            f"{error}. Set the environment variable TMPDIR to a folder that you may write to.",
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; until it is held, the file has another name, which nobody looks for."""
    unnamed = folder / f"{LOCK}.new"
    with open(unnamed, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        unnamed.rename(folder / LOCK)
        yield


def _remove_abandoned(place: Path) -> None:
    """Remove the folders of this user whose owners are gone.

    Other users may put there what looks like one: a link to somewhere else, or a pipe that waits for a writer. So a
    folder is opened as it is, and its files are looked up from there; only regular files are locks.
    """
    for path in place.glob(f"{PREFIX}*"):
        with suppress(OSError), _opened(path, os.O_DIRECTORY) as folder:
            if os.fstat(folder).st_uid != os.getuid():
                continue
            with _opened(LOCK, dir_fd=folder) as lock:
                if stat.S_ISREG(os.fstat(lock).st_mode):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError while its owner holds it
                    shutil.rmtree(path, ignore_errors=True)  # which does not follow links


@contextmanager
def _opened(name: Path | str, flags: int = 0, *, dir_fd: int | None = None) -> Iterator[int]:
    """Open for reading what has a name, and not what a link of that name leads to; wait for nobody."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
