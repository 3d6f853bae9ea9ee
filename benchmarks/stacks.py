"""What a member of a stack costs, beside one that is trained alone."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.options import Options
from benchmarks.pairs import Pair, PairSection, timed_pair
from benchmarks.peers import Task, make_rows, shared, trained
from skbig import BigMLPClassifier

N_MEMBERS = 8
AT_MOST = 1.03
"""Times what one alone costs."""


def member(width: int, options: Options) -> Pair:
    """Time a step of one of eight members, and of one alone."""
    task = options.sized(Task(50, (width, width), 256, n_rows=20 * 256, n_epochs=4))
    X, y = make_rows(task)

    def run(n_members: int) -> None:
        settings: dict[str, Any] = shared(task) | {"n_members": n_members, "device": "cpu"}
        trained(BigMLPClassifier(**settings), task, X, y)

    pair = timed_pair(
        f"{width}x{width}",
        partial(run, N_MEMBERS),
        partial(run, 1),
        "one alone",
        options,
        wanted=1 / AT_MOST,
        n_units=task.n_steps * N_MEMBERS,
        n_peer_units=task.n_steps,
    )
    return pair


SECTIONS = {
    "stack-member": PairSection(
        f"a step of one of {N_MEMBERS} members of an ensemble, batch 256",
        {f"{width}x{width}": partial(member, width) for width in (256, 512)},
    )
}
