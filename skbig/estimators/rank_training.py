"""A training of an estimator in one of several ranks.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skbig.data.rows import Rows
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.train import Observer, Training, Validated, nothing
from skbig.engine.train import Validation as AnyValidation
from skbig.estimators.prediction import blocks_of, raw_predictions
from skbig.estimators.validation import Validation
from skbig.exceptions import DivergenceError

if TYPE_CHECKING:
    from skbig.distributed.ranks import Ranks


def train_as_rank(training: Training, ranks: Ranks, observers: Sequence[Observer], *, everywhere: bool = True) -> None:
    """Train as one of several ranks; observers are told in rank 0.

    Where ranks hold parts of the parameters, all of them, or rank 0 alone, have the whole in the end.
    """
    from skbig.distributed.rank_processes import RankProcesses

    training.processes = RankProcesses(ranks)
    if isinstance(training.validation, Validation):
        training.validation = RankValidation(training, ranks)
    if not ranks.shares_parameters:
        Training.run(training, observers)
        return
    # Here, for torch needs a second to load what only this needs.
    from skbig.distributed.sharding import ShardedTraining

    shard = ShardedTraining(training, ranks)
    ranks.help, training.catch_up = shard.bring_up_to_date, ranks.ask_for_help
    try:
        shard.part.run([shard.count, *observers])
    except Exception as error:
        if is_everybodys(error, ranks):
            shard.bring_up_to_date(everywhere)
        raise
    finally:
        training.catch_up = nothing
    shard.bring_up_to_date(everywhere)


def is_everybodys(error: Exception, ranks: Ranks) -> bool:
    """Whether all ranks have met an error, or this one alone."""
    return error is ranks.failure or isinstance(error, DivergenceError)


class RankValidation:
    """Validation rows of which each rank predicts a part; rank 0 scores them all, and its scores are everybody's."""

    def __init__(self, training: Training, ranks: Ranks) -> None:
        assert isinstance(training.validation, Validation)
        self._training, self._validation, self._ranks = training, training.validation, ranks
        # From the memory of the host, where the whole model is.
        self._validation.sets = [replace(one, rows=one.rows.to(ranks.device)) for one in self._validation.sets]
        self.more = self._validation.more

    def __call__(self, members: Members, recipe: Recipe) -> Validated:
        raws = [self._predict(members, one.rows) for one in self._validation.sets]
        self._ranks.beat()

        def evaluated() -> Validated:
            whole, own = members, recipe
            if self._ranks.shares_parameters and self._validation.needs_models:
                self._training.catch_up()
                whole, own = self._training.members.shown, self._training.recipe
            return self._validation.evaluate_all([raw for raw in raws if raw is not None], whole, own)

        return self._ranks.first(evaluated)

    def together(self, trainings: Sequence[Training]) -> AnyValidation:
        return self._validation.together(trainings)

    def names_of_curves(self) -> dict[str, dict[str, str]]:
        return self._validation.names_of_curves()

    def _predict(self, members: Members, rows: Rows) -> torch.Tensor | None:
        """Return the raw predictions (M, N, K) in rank 0."""
        if not self._ranks.shares_rows:
            # In blocks that are the same in all ranks, whose memory may differ: each block takes all of them.
            return raw_predictions(members.network, members.parameters, members.statistics, rows.X, blocks_of)
        start, stop = self._ranks.own_bounds(rows.n_rows)
        own = rows.X.take(np.arange(start, stop)) if isinstance(rows.X, LazyRows) else rows.X[start:stop]
        in_blocks = self._blocks_in_step if self._ranks.shares_parameters else None
        raw = raw_predictions(members.network, members.parameters, members.statistics, own, in_blocks)
        return self._ranks.gathered(raw, rows.n_rows)

    def _blocks_in_step(self, X: Any, n_rows: int) -> Iterator[tuple[int, Any]]:
        """Yield as many blocks as any rank has: it takes all of them to put the parameters together for one."""
        blocks = blocks_of(X, n_rows)
        none = (X.shape[0], X[:0] if isinstance(X, torch.Tensor) else np.empty((0, X.shape[1]), X.dtype))
        while True:
            block = next(blocks, None)
            if not self._ranks.add_up(torch.tensor([float(block is not None)], device=self._ranks.device)):
                return
            yield none if block is None else block


def check_batches(recipe: Recipe, sync_every: int, n_workers: int) -> None:
    """Raise ValueError when a part would be too small to be a batch of its own."""
    alone = sync_every > 1 and recipe.network.couples_rows
    if alone and recipe.batch_size < 2 * n_workers:
        raise ValueError(
            f"normalization='batch' with sync_every={sync_every} needs two rows of a batch or more for each of "
            f"{n_workers} workers, and batch_size is {recipe.batch_size}. Use a larger batch_size, or sync_every=1."
        )
