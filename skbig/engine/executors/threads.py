"""On how many threads a step is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skbig.engine.members import Members

SMALL_STEP = 3_000_000
"""Rows of a batch times products for a row, of all members: below, a second thread costs more than it helps."""


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


def useful_threads(members: Members, batch_size: int) -> int | None:
    """One thread for a small step on a CPU, else as many as there are."""
    work = batch_size * members.network.n_products * members.n_members
    small = work < SMALL_STEP and members.flat.device.type == "cpu"
    return 1 if small else None
