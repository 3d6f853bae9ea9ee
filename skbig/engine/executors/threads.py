"""On how many threads a step is computed."""

from __future__ import annotations

from skbig.engine.members import Members

SMALL_STEP = 3_000_000
"""Rows of a batch times products for a row, of all members: below, a second thread costs more than it helps."""


def useful_threads(members: Members, batch_size: int) -> int | None:
    """One thread for a small step on a CPU, else as many as there are."""
    work = batch_size * members.network.n_products * members.n_members
    small = work < SMALL_STEP and members.flat.device.type == "cpu"
    return 1 if small else None
