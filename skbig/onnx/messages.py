"""What the libraries that are called here tell: kept back where they log it, in a line where they raise it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def logging_only(logger: str | None, wanted: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Keep back the other records of a logger, None being the root, until the block ends."""
    chosen = logging.getLogger(logger)
    chosen.addFilter(wanted)
    try:
        yield
    finally:
        chosen.removeFilter(wanted)


def first_line(error: Exception) -> str:
    """Return the first line that an error says something in, or its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
