"""Steps that several processes take together, by torch's ways to do so, or apart and then averaged.

Legend: M members, P parameters of one member, S steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from skbig.data.batch import Batch
from skbig.engine.carried import CarriedGradients
from skbig.engine.executors.recorded import RecordedExecutor
from skbig.engine.executors.written import WrittenExecutor, penalty_strength
from skbig.engine.members import Members
from skbig.engine.ranks import Interrupted, Ranks
from skbig.engine.recipe import Recipe
from skbig.engine.step import (
    Augmented,
    Differentiate,
    StepInputs,
    augmented,
    differentiate_here,
    flattened,
    step,
    weighted_loss,
)

BUCKET_MEGABYTES = 1
"""On a CPU: how much of a gradient is sent at once. Torch's default, 25, is for GPUs: a network of that size would send
nothing before its backward pass is over."""


Signals = Callable[[Tensor], Tensor]
"""Returns what this rank has to say besides, (S,), like a tensor."""

Gradients = Callable[[Augmented, StepInputs], tuple[Tensor, Tensor, Tensor]]
"""Takes this rank's rows; returns of all rows the loss (M,), the signals (S,), and the gradient of what is at hand."""


class Replica(nn.Module):
    """The members' parameters as a module whose forward pass is the loss of this rank's part of a batch.

    The parameters are views of the members', so that the optimizer changes both. Each is a line of numbers, (n,), or
    one per member, (M, n): then gradients come as DistributedDataParallel lays them out, and need no copy.

    One more, `told`, is no member's. Its gradient is what this rank has to tell the others, (M + S,): the losses, and
    its signals. So that is summed over the ranks along with the gradients, and needs no message of its own.
    """

    def __init__(self, members: Members, recipe: Recipe, ranks: Ranks, signals: Signals) -> None:
        super().__init__()
        self._members, self._recipe, self._ranks, self._signals = members, recipe, ranks, signals
        self.told = nn.Parameter(members.flat.new_zeros(members.n_members + len(signals(members.flat))))
        start = 0
        for name, shape in members.network.shapes.items():
            size = math.prod(shape)
            part = members.flat.narrow(2, start, size).squeeze(1)
            self.register_parameter(
                name.replace(".", "/"), nn.Parameter(part.view(-1) if members.n_members == 1 else part)
            )
            start += size

    def forward(self, batch: Augmented, numbers: StepInputs) -> Tensor:
        own = dict(self.named_parameters(recurse=False))
        parameters = {
            name: own[name.replace(".", "/")].view(like.shape) for name, like in self._members.parameters.items()
        }
        loss = weighted_loss(parameters, self._members, batch, self._recipe, numbers, self._ranks.total)
        telling = torch.cat([loss.detach().view(-1), self._signals(loss)])
        return loss.sum() + torch.dot(self.told, telling)


class ReplicaGradients:
    """The gradients of all rows by all parameters, by DistributedDataParallel."""

    def __init__(self, members: Members, recipe: Recipe, ranks: Ranks, signals: Signals) -> None:
        self._n_ranks, self._members = ranks.n_ranks, members
        self._replica = DistributedDataParallel(
            Replica(members, recipe, ranks, signals),
            gradient_as_bucket_view=True,
            bucket_cap_mb=BUCKET_MEGABYTES if ranks.device.type == "cpu" else None,
        )

    def __call__(self, own: Augmented, numbers: StepInputs) -> tuple[Tensor, Tensor, Tensor]:
        parameters = list(self._replica.parameters())
        for parameter in parameters:
            parameter.grad = None
        with torch.enable_grad():
            # It takes the mean over the ranks, and the loss of the batch is the sum.
            (self._replica(own, numbers) * self._n_ranks).backward()
        told, *gradients = (cast(Tensor, parameter.grad) for parameter in parameters)
        n_members = self._members.n_members
        # Its memory is the next step's.
        return told[:n_members].clone(), told[n_members:], flattened(gradients, self._members)


class ShardedGradients:
    """The gradients of all rows by this rank's parts of the parameters, by `fully_shard`."""

    def __init__(self, members: Members, recipe: Recipe, ranks: Ranks, signals: Signals) -> None:
        self._members, self._recipe, self._ranks, self._signals = members, recipe, ranks, signals

    def __call__(self, own: Augmented, numbers: StepInputs) -> tuple[Tensor, Tensor, Tensor]:
        members, ranks, network = self._members, self._ranks, cast(Any, self._members.network)
        with torch.enable_grad():
            loss = weighted_loss(members.parameters, members, own, self._recipe, numbers, ranks.total)
            (loss.sum() * ranks.n_ranks).backward()  # it takes the mean, too
        told = ranks.add_up(torch.cat([loss.detach().view(-1), self._signals(loss)]))
        return told[: members.n_members], told[members.n_members :], flattened(network.take_gradients(), members)


class RankedExecution:
    """Runs steps one after another, as one of several ranks; the counterpart of `WrittenExecutor`.

    With `steps_apart` the steps of one `run` are this rank's own, on its parts of the batches, and then weights,
    running moments and optimizer states are averaged. Otherwise each step is that of the whole batch, the same
    everywhere.
    """

    steps_at_once = 256

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
        if self._ranks.shares_parameters:
            return ShardedGradients(*what)
        return CarriedGradients(*what, records=records) if self._ranks.send_at_the_end else ReplicaGradients(*what)

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

        All ranks end early after the same step: at rank 0's deadline, or by `Interrupted` when it was asked to.
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
            raise Interrupted
        return torch.stack(losses)

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
