"""On how many threads torch computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def thread_count(n_threads: int | None) -> Iterator[None]:
    """Compute on so many threads for a while; None leaves it as it is."""
    before = torch.get_num_threads()
    if n_threads is not None and n_threads != before:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def on_threads(n_threads: int, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """Call a function that computes on so many threads."""
    with thread_count(n_threads):
        return function(*args, **keywords)


def on_at_most(n_threads: int, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """Call a function that computes on so many threads, or on fewer where there are no more."""
    if torch.get_num_threads() <= n_threads:
        return function(*args, **keywords)
    return on_threads(n_threads, function, *args, **keywords)
