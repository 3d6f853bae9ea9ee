"""A gradient that a rank computes to its end before it is summed over all of them: for ranks with a single thread.

A gradient that nobody waits for on the way can be computed by a recording, right into the memory that is sent.

Legend: M members, P parameters of one member, S signals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from skbig.distributed.ranks import Ranks
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.recorder import NotReplayable, record
from skbig.engine.step import Augmented, StepInputs, flattened, gradients_of, weighted_loss

MEGABYTES = 2**20
"""More than any gradient has: it is sent at once."""

MESSAGES = 4
"""In so many parts at most, for gloo sends two at a time."""

MESSAGE_BYTES = 2**21
"""What a part has at least: each costs a rank and gloo's threads a round of waking each other."""

AWAKE_SECONDS = 0.02
"""How long a rank looks out for messages before it sleeps until they come."""


class DeferredGradients:
    """The gradient of all rows by all parameters: of its own rows a rank computes it first, and then it is summed."""

    def __init__(
        self, members: Members, recipe: Recipe, ranks: Ranks, signals: Callable[[Tensor], Tensor], *, records: bool
    ) -> None:
        self._n_members, self._signals = members.n_members, signals
        self._own = OwnGradient(members, recipe, ranks, records=records)
        self._allreduce = DeferredAllReduce(members, len(signals(members.flat)))

    def __call__(self, own: Augmented, numbers: StepInputs) -> tuple[Tensor, Tensor, Tensor]:
        loss, gradient = self._own(own, numbers, self._allreduce.place)
        gradient, told = self._allreduce.sum(gradient, torch.cat([loss.view(-1), self._signals(loss)]))
        return told[: self._n_members].clone(), told[self._n_members :], gradient  # its memory is the next step's


class DeferredAllReduce:
    """Sums over the ranks, by torch's DistributedDataParallel, what each of them knows."""

    def __init__(self, members: Members, n_signals: int) -> None:
        self._known = _Known(members, n_signals)
        self._parallel = DistributedDataParallel(self._known, gradient_as_bucket_view=True, bucket_cap_mb=MEGABYTES)
        self._parallel.register_comm_hook(None, lambda _, bucket: _sum(bucket.buffer()))

    @property
    def place(self) -> Tensor | None:
        """Where the gradient (M, 1, P) of the last step lies: what is written there is sent without a copy."""
        return self._known.flat.grad

    def sum(self, gradient: Tensor, telling: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of the gradients (M, 1, P), and of what else is told, (M + S,), until the next call."""
        flat, told = self._known.flat, self._known.told
        flat.grad = told.grad = None
        with torch.enable_grad():
            self._parallel(gradient, telling).backward()
        assert flat.grad is not None and told.grad is not None
        return flat.grad, told.grad


class _Known(nn.Module):
    """A loss whose gradients are given: `flat`'s is that of the members, `told`'s whatever else is to be summed."""

    def __init__(self, members: Members, n_signals: int) -> None:
        super().__init__()
        self.flat = nn.Parameter(members.flat)
        self.told = nn.Parameter(members.flat.new_zeros(members.n_members + n_signals))

    def forward(self, gradient: Tensor, telling: Tensor) -> Tensor:
        loss: Tensor = _Given.apply(self.flat, self.told, gradient, telling)
        return loss


class _Given(torch.autograd.Function):
    """Nothing, with given gradients."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, told: Tensor, gradient: Tensor, telling: Tensor) -> Tensor:
        ctx.gradients = gradient, telling
        return flat.new_zeros(())

    @staticmethod
    def backward(ctx: Any, one: Tensor) -> tuple[Tensor, Tensor, None, None]:
        # A tensor that nobody else holds becomes the parameter's gradient as it is; another would be copied.
        gradient, telling = ctx.gradients
        return gradient.detach(), telling.detach(), None, None


def _sum(gradients: Tensor) -> Any:
    """Sum gradients over the ranks; the mean, which is the default, would need one more pass over them."""
    parts = gradients.chunk(max(1, min(MESSAGES, gradients.nbytes // MESSAGE_BYTES)))
    works = [distributed.all_reduce(part, async_op=True) for part in parts]
    _look_out_for(works)
    for work in works:
        work.wait()  # raises where another rank is gone
    summed: torch.futures.Future[Tensor] = torch.futures.Future()
    summed.set_result(gradients)
    return summed


def _look_out_for(works: Sequence[Any]) -> None:
    """Wait for messages, awake for a while: to fall asleep and be woken takes a core as long as a message."""
    until = time.perf_counter() + AWAKE_SECONDS
    while time.perf_counter() < until and not all(work.is_completed() for work in works):
        time.sleep(0)  # gloo's threads need the core too


class OwnGradient:
    """Loss and gradient of a rank's part of a batch, from a recording where there can be one."""

    def __init__(self, members: Members, recipe: Recipe, ranks: Ranks, *, records: bool) -> None:
        self._members, self._recipe, self._ranks = members, recipe, ranks
        # The moments of a batch norm are summed over the ranks in between.
        self._records = records and not recipe.network.couples_rows
        self._programs: dict[Any, Callable[..., Tensor]] = {}
        self._place = 0

    def __call__(self, own: Augmented, numbers: StepInputs, place: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the loss, (M,) or () for one member, and the gradient (M, 1, P), at its place if there is one."""
        batch = own.batch
        if place is None or not self._stays(place) or own.partner_y is not None or not isinstance(batch.X, Tensor):
            return self._as_written(own, numbers, place)
        inputs = [batch.X, batch.y, batch.share] + ([] if numbers.keys is None else [numbers.keys])
        form = (batch.share.shape, batch.first_row, batch.equal)
        if form in self._programs:
            with torch.inference_mode():
                return self._programs[form](*inputs), place
        return self._record(form, own, numbers, place, inputs), place

    def _stays(self, place: Tensor) -> bool:
        """Whether to record what is written there; torch moves its buffers once, after the first step."""
        if place.data_ptr() != self._place:
            self._place = place.data_ptr()
            self._programs.clear()
            return False
        return self._records

    def _record(self, form: Any, own: Augmented, numbers: StepInputs, place: Tensor, inputs: list[Tensor]) -> Tensor:
        try:
            loss, self._programs[form] = record(lambda *_: self._as_written(own, numbers, place)[0], inputs)
        except NotReplayable:
            self._records = False
            loss = self._as_written(own, numbers, place)[0]
        return loss

    def _as_written(self, own: Augmented, numbers: StepInputs, place: Tensor | None) -> tuple[Tensor, Tensor]:
        members = self._members
        leaves = {name: value.detach().requires_grad_() for name, value in members.parameters.items()}
        with torch.enable_grad():
            loss = weighted_loss(leaves, members, own, self._recipe, numbers, self._ranks.total)
            gradients = gradients_of(loss.sum() if loss.dim() else loss, list(leaves.values()))
        return loss.detach(), flattened(gradients, members, place)
