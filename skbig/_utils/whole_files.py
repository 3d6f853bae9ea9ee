"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PRIVATE, ORDINARY = 0o600, 0o666  # the latter less what the umask takes away, as with any new file


@contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """Give the name of a file that takes the place of `path` when the block ends, and vanishes when it raises."""
    unfinished = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:12]}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        raise


@contextmanager
def replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    """Give such a file to write to, which is on the disk when it takes the place of `path`."""
    with (
        in_place_of(path) as unfinished,
        open(unfinished, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file,
    ):
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet: FileExistsError when it does."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(content)
