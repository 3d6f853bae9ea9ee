"""The processes that train together, as the training loop sees them from one of several ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from skbig.data.rank_rows import RankRows
from skbig.data.rows import Rows
from skbig.data.streamed_rows import StreamedRows
from skbig.distributed.rank_executor import RankExecutor
from skbig.distributed.ranks import Ranks, RanksInterrupted
from skbig.engine.members import Members
from skbig.engine.processes import AnyRows, drawn_by_chance
from skbig.engine.recipe import Recipe

T = TypeVar("T")


class RankProcesses:
    """The ranks of a launch, seen from one of them; the counterpart of `OneProcess`."""

    splits_batches = False
    """The other ranks are in the middle of the same step."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    @property
    def repeats_steps(self) -> bool:
        """Steps that a rank takes apart are only those of before together with the others' steps."""
        return not self.ranks.steps_apart

    def own_rows(self, rows: AnyRows, recipe: Recipe) -> RankRows:
        """Return the rows of which each batch is this rank's part."""
        assert isinstance(rows, Rows | StreamedRows), "a stack is trained by one process"
        if recipe.privacy is not None:
            return RankRows(drawn_by_chance(rows, recipe), self.ranks.share)
        if self.ranks.steps_apart:
            return RankRows(rows, self.ranks.share, steps_at_once=self.ranks.sync_every)
        return RankRows(rows, self.ranks.share, whole=recipe.augmentation is not None)

    def executor(self, members: Members, recipe: Recipe, rows: AnyRows) -> RankExecutor:
        assert isinstance(rows, RankRows)
        records = recipe.recordable and members.flat.device.type == "cpu" and not rows.is_sparse
        return RankExecutor(members, recipe, rows.mean_weight, self.ranks, records=records)

    def agreed(self, number: float) -> float:
        return self.ranks.agreed(number)

    def first(self, function: Callable[[], T]) -> T:
        return self.ranks.first(function)

    def all_end(self, interrupt: KeyboardInterrupt) -> bool:
        return isinstance(interrupt, RanksInterrupted)  # else it is this rank's alone
