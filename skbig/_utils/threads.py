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


def on_one_thread(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """Call a function that computes on one thread."""
    with thread_count(1):
        return function(*args, **keywords)
