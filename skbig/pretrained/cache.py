"""Vectors on disk, found again by what they were made of."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Memory


def memory_of(cache: Any) -> Memory | None:
    """Return the memory that a parameter means: none, joblib's own, or one in a folder that only its owner reads.

    Raises
    ------
    ValueError
        When the folder is another's, or others can write into it: what is found there is unpickled.
    """
    if cache is None or isinstance(cache, Memory):
        return cache
    folder = Path(cache).expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name != "posix":
        return Memory(folder, verbose=0)
    if folder.stat().st_uid != os.getuid():
        raise ValueError(
            f"cache={str(folder)!r} is a folder of another user, and what is found there is unpickled. Use one of your "
            "own."
        )
    if folder.stat().st_mode & 0o022:
        raise ValueError(
            f"cache={str(folder)!r} is a folder that others can write into, and what is found there is unpickled. Use "
            f"one of your own, or `chmod go-w {folder}`."
        )
    return Memory(folder, verbose=0)


def through(memory: Memory | None, key: str, encode: Callable[[], np.ndarray]) -> np.ndarray:
    """Return vectors from the memory, or else make them."""
    if memory is None:
        return encode()
    vectors: np.ndarray = memory.cache(vectors_of, ignore=["encode"])(key, encode)
    return vectors


def vectors_of(key: str, encode: Callable[[], np.ndarray]) -> np.ndarray:
    """Make vectors; joblib keeps them by the key."""
    del key
    return encode()
