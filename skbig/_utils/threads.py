"""On how many threads torch computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch


class thread_count:
    """Compute on so many threads for a while; None leaves it as it is. Each one is entered once."""

    __slots__ = ("_before", "_n_threads")

    def __init__(self, n_threads: int | None) -> None:
        self._n_threads = n_threads

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        if self._n_threads is not None and self._n_threads != self._before:
            torch.set_num_threads(self._n_threads)

    def __exit__(self, *error: object) -> None:
        if torch.get_num_threads() != self._before:
            torch.set_num_threads(self._before)


def on_threads(n_threads: int, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """Call a function that computes on so many threads."""
    with thread_count(n_threads):
        return function(*args, **keywords)


def on_at_most(n_threads: int, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """Call a function that computes on so many threads, or on fewer where there are no more."""
    if torch.get_num_threads() <= n_threads:
        return function(*args, **keywords)
    return on_threads(n_threads, function, *args, **keywords)


on_one_thread = partial(on_at_most, 1)
