"""The gradient of a batch whose rows several ranks share: by DistributedDataParallel, or by `fully_shard`.

Legend: M members, P parameters of one member, S signals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from skbig.distributed.ranks import Ranks
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.step import Augmented, StepInputs, flattened, weighted_loss

BUCKET_CAP_MB = 1
"""On a CPU: how much of a gradient is sent at once. Torch's default, 25, is for GPUs: a network of that size would send
nothing before its backward pass is over."""


Signals = Callable[[Tensor], Tensor]
"""Returns what this rank also has to say, (S,), like a tensor."""

Gradients = Callable[[Augmented, StepInputs], tuple[Tensor, Tensor, Tensor]]
"""Takes this rank's rows; returns of all rows loss (M,), signals (S,), and the gradient of what this rank holds."""


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


class DataParallelGradients:
    """The gradients of all rows by all parameters, by DistributedDataParallel."""

    def __init__(self, members: Members, recipe: Recipe, ranks: Ranks, signals: Signals) -> None:
        self._n_ranks, self._members = ranks.n_ranks, members
        self._replica = DistributedDataParallel(
            Replica(members, recipe, ranks, signals),
            gradient_as_bucket_view=True,
            bucket_cap_mb=BUCKET_CAP_MB if ranks.device.type == "cpu" else None,
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
