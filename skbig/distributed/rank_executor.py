"""How one of several ranks takes steps: together with the others, or apart and then averaged.

Legend: M members, S steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from skbig.data.batch import Batch
from skbig.distributed.data_parallel import DataParallelGradients, Gradients, ShardedGradients
from skbig.distributed.deferred_allreduce import DeferredGradients
from skbig.distributed.private_gradients import PrivateGradients
from skbig.distributed.ranks import Ranks, RanksInterrupted
from skbig.engine.executors.recorded import RecordedExecutor
from skbig.engine.executors.written import WrittenExecutor, penalty_strength
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.step import Differentiate, StepInputs, augmented, differentiate_here, step


class RankExecutor:
    """Runs steps one after another, as one of several ranks; an `Executor`.

    With `steps_apart` the steps of one `run` are this rank's own, on its parts of the batches, and then weights,
    running moments and optimizer states are averaged. Otherwise each step is that of the whole batch, the same
    everywhere.
    """

    steps_at_once = 256
    choice = None

    def __init__(self, members: Members, recipe: Recipe, mean_weight: float, ranks: Ranks, *, records: bool) -> None:
        self._members, self._recipe, self._mean_weight, self._ranks = members, recipe, mean_weight, ranks
        self._on_cpu = ranks.device.type == "cpu"
        self._deadline = inf
        self._asked = self._over = False
        self.n_parts = 1
        apart = RecordedExecutor if records else WrittenExecutor
        self._apart = apart(members, recipe, mean_weight)
        self._gradients: Gradients | None = None
        if ranks.shares_rows and not ranks.steps_apart:
            self._gradients = self._way(records)

    def _way(self, records: bool) -> Gradients:
        """Return how the gradient of a batch comes about whose rows the ranks share."""
        what = (self._members, self._recipe, self._ranks, self._signals if self._on_cpu else _no_signals)
        if self._recipe.privacy is not None:
            return PrivateGradients(*what)
        if self._ranks.shares_parameters:
            return ShardedGradients(*what)
        if self._ranks.send_at_the_end:
            return DeferredGradients(*what, records=records)
        return DataParallelGradients(*what)

    @property
    def name(self) -> str:
        """How this rank computes its part of a step."""
        return self._apart.name if self._ranks.steps_apart else "written"

    @property
    def differentiate(self) -> Differentiate | None:
        """How a batch is differentiated; None: in this process alone."""
        if self._gradients is not None:
            return self._differentiate_parts
        return None if self._ranks.steps_apart else self._differentiate_whole

    def run(self, batches: Sequence[Batch], numbers: Sequence[StepInputs], deadline: float = inf) -> Tensor:
        """Update the members by each batch in turn, and return the losses (S, M).

        All ranks end early after the same step: at rank 0's deadline, or by `RanksInterrupted` when it was asked to.
        What rank 0 has to say of that travels with the losses, where they come by the host anyway; from a GPU it is
        read at the end.
        """
        self._deadline = deadline
        losses: list[Tensor] = []
        for batch, number in zip(batches, numbers, strict=True):
            losses.append(self._step(batch, number))
            self._ranks.beat()
            if self._asked or self._over:
                break
        if self._ranks.steps_apart:
            losses = self._averaged(losses, batches)
        if self._ranks.steps_apart or not self._on_cpu:
            self._hear(self._ranks.add_up(self._signals(losses[0])))
        if self._asked:
            raise RanksInterrupted
        return torch.stack(losses)

    def gives_way(self, error: Exception) -> bool:
        """There is no other way."""
        del error
        return False

    def _step(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """Update the members by one batch, or by this rank's part as by a batch of its own."""
        if not self._ranks.steps_apart:
            return self.step_as_written(batch, numbers)
        with torch.inference_mode():
            return self._apart.step(batch, numbers)

    def step_as_written(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """Update the members by one batch."""
        strength = penalty_strength(self._recipe, batch, self._mean_weight, self._members.flat)
        with torch.inference_mode(False), torch.no_grad():
            return step(self._members, batch, self._recipe, numbers, strength, differentiate=self.differentiate)

    def _differentiate_parts(
        self, members: Members, batch: Batch, recipe: Recipe, numbers: StepInputs
    ) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of the whole batch, of which this rank computes its part."""
        assert self._gradients is not None
        own = augmented(batch, members, recipe, numbers)
        if batch.n_whole is None:  # an augmentation had to see all rows
            own = own.part_by(self._ranks.share.of)
        losses, signals, gradient = self._gradients(own, numbers)
        if self._on_cpu:
            self._hear(signals)
        return losses, gradient

    def _differentiate_whole(
        self, members: Members, batch: Batch, recipe: Recipe, numbers: StepInputs
    ) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of the whole batch, by layers of which each rank has its part."""
        loss, gradient = differentiate_here(members, batch, recipe, numbers)
        if self._on_cpu:
            self._hear(self._ranks.add_up(self._signals(loss)))
        return loss, gradient

    def _signals(self, like: Tensor) -> Tensor:
        """What rank 0 has to say: whether training is to be interrupted, and whether its time is over."""
        own = (False, False)
        if self._ranks.is_first:
            own = (self._ranks.is_asked(), time.perf_counter() > self._deadline)
        return torch.tensor(own, dtype=like.dtype, device=like.device)

    def _hear(self, signals: Tensor) -> None:
        self._asked, self._over = (signal > 0 for signal in signals.tolist())

    def _averaged(self, losses: list[Tensor], batches: Sequence[Batch]) -> list[Tensor]:
        """Let the ranks agree again; return the mean losses, each rank's by its rows."""
        self._ranks.average(self._members.changing())
        parts = [self._ranks.share.factor(batch.counted_rows) for batch in batches]
        own = torch.stack(losses)
        return list(self._ranks.add_up(own * own.new_tensor(parts).view(-1, 1)).unbind(0))


def _no_signals(like: Tensor) -> Tensor:
    return like.new_empty(0)
