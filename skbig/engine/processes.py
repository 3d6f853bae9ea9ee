"""The processes that train members together, as the training loop sees them: here the one that calls it.

`skbig.distributed` has several. The loop runs in each of them, with the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np

from skbig.data.drawn_rows import DrawnRows
from skbig.data.poisson_rows import N_FORMS, PoissonRows
from skbig.data.rank_rows import RankRows
from skbig.data.rows import Rows
from skbig.data.stacked_rows import StackedRows
from skbig.data.streamed_rows import StreamedRows
from skbig.engine.executors.executor import Executor, choose_executor
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe

T = TypeVar("T")

AnyRows = Rows | StackedRows | StreamedRows | RankRows | PoissonRows


class Processes(Protocol):
    """The processes that train members together, seen from one of them.

    Attributes
    ----------
    splits_batches : bool
        Whether a process may compute a batch in parts when its memory runs out: not while others wait for it.
    repeats_steps : bool
        Whether a step can be repeated by itself, to see what went wrong.
    """

    @property
    def splits_batches(self) -> bool: ...

    @property
    def repeats_steps(self) -> bool: ...

    def own_rows(self, rows: AnyRows, recipe: Recipe) -> AnyRows:
        """Return the rows as this process reads them."""
        ...

    def executor(self, members: Members, recipe: Recipe, rows: AnyRows) -> Executor:
        """Return what takes the steps, on the rows that this process reads."""
        ...

    def agreed(self, number: float) -> float:
        """Return the number of the process that decides."""
        ...

    def first(self, function: Callable[[], T]) -> T:
        """Return, in all processes, what a function returns in the one that decides."""
        ...

    def all_end(self, interrupt: KeyboardInterrupt) -> bool:
        """Whether all processes end at the same step because of an interrupt, so that the model may be kept."""
        ...


def drawn_by_chance(rows: AnyRows, recipe: Recipe) -> PoissonRows:
    """Return rows as a private training reads them."""
    assert recipe.privacy is not None
    assert isinstance(rows, Rows | StackedRows | StreamedRows)
    drawn = DrawnRows.of(rows) if isinstance(rows, StreamedRows) else rows
    return PoissonRows(drawn, recipe.batch_size, recipe.privacy.secure)


class OneProcess:
    """One process alone."""

    splits_batches = True
    repeats_steps = True

    def own_rows(self, rows: AnyRows, recipe: Recipe) -> AnyRows:
        if recipe.privacy is None:
            return rows
        return drawn_by_chance(rows, recipe)

    def executor(self, members: Members, recipe: Recipe, rows: AnyRows) -> Executor:
        n_steps = recipe.max_epochs * -(-int(np.max(rows.lengths)) // recipe.batch_size)
        n_steps //= N_FORMS if isinstance(rows, PoissonRows) else 1  # each form is recorded
        return choose_executor(members, recipe, rows.mean_weight, n_steps=n_steps, is_sparse=rows.is_sparse)

    def agreed(self, number: float) -> float:
        return number

    def first(self, function: Callable[[], T]) -> T:
        return function()

    def all_end(self, interrupt: KeyboardInterrupt) -> bool:
        del interrupt
        return True


ONE_PROCESS = OneProcess()
