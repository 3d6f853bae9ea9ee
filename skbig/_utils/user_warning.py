"""Warnings that point at the user's own line, and come once from a loop over fits."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from joblib import Parallel
from joblib.parallel import BatchedCalls

LIBRARIES = {"skbig", "sklearn", "joblib", "threading", "concurrent", "contextlib", "functools", "multiprocessing"}
"""Where a warning never points: between the user's line and ours lie only these."""

_SAID: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def warn_user(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's that led here.

    Of a loop of joblib's, as a cross-validation or an ensemble is, the first fit warns for all: Python itself would
    show the same warning again after each, since joblib changes the filters in between.
    """
    frames = list(_frames())
    loop = next((found for frame in reversed(frames) if (found := _loop_of(frame)) is not None), None)
    if loop is not None:
        said = _SAID.setdefault(loop, set())
        if (text := f"{category.__name__} {message}") in said:
            return
        said.add(text)
    level = next((i for i, frame in enumerate(frames) if not _is_library(frame)), len(frames) - 1)
    warnings.warn(message, category, stacklevel=level + 2)


def _frames() -> Iterator[FrameType]:
    """Yield the frames above `warn_user`, the nearest first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_library(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in LIBRARIES


def _loop_of(frame: FrameType) -> Any:
    """Return what makes the fits of a loop one: joblib's own object, in this thread or in one of its threads."""
    if frame.f_code is Parallel.__call__.__code__:
        return frame.f_locals.get("self")
    if frame.f_code is BatchedCalls.__call__.__code__:
        return getattr(frame.f_locals.get("self"), "_backend", None)
    return None
