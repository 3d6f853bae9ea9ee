"""Errors and warnings in a form that can be handed to another process, and what that one does with them."""

from __future__ import annotations

import pickle
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple


class PortableWarning(NamedTuple):
    """A warning, and where it was given."""

    message: Any
    category: type[Warning]
    filename: str
    lineno: int


def portable_error(error: Exception) -> Exception:
    """Return an error, or one with the same words, and notes, where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        portable = RuntimeError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            portable.add_note(note)
        return portable
    return error


def note_rank(error: Exception, rank: int) -> None:
    """Note in an error where it was raised: no traceback gets from process to process."""
    error.add_note(f"In rank {rank}:\n{''.join(traceback.format_exception(error))}")


@contextmanager
def recorded_warnings(filters: Sequence[Any] | None = None) -> Iterator[list[warnings.WarningMessage]]:
    """Record the warnings that pass the filters, all of them by default."""
    with warnings.catch_warnings(record=True) as recorded:
        if filters is None:
            warnings.simplefilter("always")
        else:
            warnings.filters = list(filters)
        yield recorded


def portable_warnings(recorded: Sequence[warnings.WarningMessage]) -> list[PortableWarning]:
    return [PortableWarning(each.message, each.category, each.filename, each.lineno) for each in recorded]


def repeat_warnings(sent: Sequence[PortableWarning]) -> None:
    """Give the warnings of another process in this one."""
    for message, category, filename, lineno in sent:
        warnings.warn_explicit(message, category, filename, lineno)
