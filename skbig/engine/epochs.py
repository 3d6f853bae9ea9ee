"""One epoch of training, by mini-batches or by a line search over the whole set.

Legend: M members, S steps, P parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._random import Noise
from skbig.components.lbfgs import LBFGS, Remembered
from skbig.components.schedules import Progress
from skbig.data.parted import PartedRows
from skbig.data.rows import Batch, Rows
from skbig.data.stacked import StackedRows
from skbig.data.streamed import StreamedRows
from skbig.engine.execution import Execution, thread_count
from skbig.engine.members import Members
from skbig.engine.numbers import numbers_of_steps, rate_table
from skbig.engine.parts import Parts
from skbig.engine.ranks import Ranks
from skbig.engine.recipe import Recipe
from skbig.engine.replicas import RankedExecution
from skbig.engine.step import Numbers, add_penalty_gradient, forward, loss_and_gradient, with_penalty
from skbig.exceptions import DivergenceError
from skbig.networks.mlp import Training

AnyRows = Rows | StackedRows | StreamedRows | PartedRows

ADVICE = (
    "Scale the features (StandardScaler) and, in regression, the target, lower learning_rate, or set clipping='norm'."
)

STEPS_AT_ONCE = 256
STEPS_AT_ONCE_ON_TIME = 8


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to: per member its mean loss, its last rate, and whether nothing is left to do."""

    loss: np.ndarray
    rate: np.ndarray
    converged: np.ndarray


@dataclass(frozen=True)
class Clock:
    """Where a training stands in time: it began at `start` and, with `max_time`, ends at the deadline.

    Several processes agree on every time that matters by `agreed`.
    """

    start: float
    max_time: float | None
    agreed: Callable[[float], float] = float

    @property
    def deadline(self) -> float:
        return inf if self.max_time is None else self.start + self.max_time

    @property
    def fraction(self) -> float:
        if self.max_time is None:
            return 0.0
        return self.agreed(min(1.0, (time.perf_counter() - self.start) / self.max_time))


class MiniBatchEpochs:
    """Epochs of an optimizer that takes a step per batch.

    With `failed`, (M,) of bool, a member whose numbers are not finite any more is marked there, and the others go on;
    without, it is an error.
    """

    def __init__(
        self,
        members: Members,
        rows: AnyRows,
        recipe: Recipe,
        clock: Clock,
        first_epoch: int,
        failed: np.ndarray | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._members, self._rows, self._recipe, self._clock = members, rows, recipe, clock
        self._first_epoch = first_epoch
        self._time_per_step = 0.0
        self._parts = Parts()
        self._failed, self._ranks = failed, ranks
        self.execution: Execution | RankedExecution
        records = recipe.is_ours and members.flat.device.type == "cpu" and not rows.is_sparse
        if isinstance(rows, PartedRows) and ranks is not None:
            self.execution = RankedExecution(members, recipe, rows.mean_weight, ranks, records=records)
        else:
            self.execution = Execution(members, recipe, rows.mean_weight, records=records)

    def run(self) -> EpochResult:
        """Train one epoch."""
        members, rows, recipe = self._members, self._rows, self._recipe
        at_once = STEPS_AT_ONCE if recipe.max_time is None else STEPS_AT_ONCE_ON_TIME
        total, seen = np.zeros(members.n_members), np.zeros(1, dtype=int)
        for batches in rows.epoch(members.seeds, members.epochs, recipe.shuffle, recipe.batch_size, at_once):
            progress = self._progress(seen, len(batches))
            losses = self._run(batches, numbers_of_steps(members, recipe, progress))
            sizes = _sizes(batches[: len(losses)])
            with np.errstate(over="ignore"):  # of a member that is about to fail
                total = total + (sizes * losses).sum(0)
            seen = seen + sizes.sum(0)
            members.steps += len(losses)
            if self._clock.fraction >= 1.0:
                break
        rate = rate_table(members, recipe, progress)[-1].view(-1).expand(members.n_members).numpy()
        members.epochs += 1
        members.rows = members.rows + (int(seen[0]) if len(seen) == 1 else seen)
        return EpochResult(total / seen, rate, np.zeros(members.n_members, dtype=bool))

    def _progress(self, rows_seen: np.ndarray, n_steps: int) -> Progress:
        """Where the next steps stand, by epochs or, with `max_time`, by the clock, whichever is further."""
        members, recipe, lengths = self._members, self._recipe, self._rows.lengths
        steps = np.arange(n_steps)[:, None]
        batch = np.minimum(recipe.batch_size, lengths)
        per_step = batch / lengths / recipe.schedule_epochs
        # Counted in rows, so that it does not depend on how many steps are asked for at once.
        whole = members.epochs - self._first_epoch + (rows_seen + batch * steps) / lengths
        by_epochs = whole / recipe.schedule_epochs
        by_time = self._clock.fraction + self._time_per_step * steps
        before = np.maximum(by_epochs, by_time)
        after = np.maximum(by_epochs + per_step, by_time + self._time_per_step)
        columns = (before.clip(0, 1), after.clip(0, 1), members.epochs, members.steps + steps, members.rows)
        return Progress(*(_column(values, n_steps) for values in columns))

    def _run(self, batches: list[Batch], numbers: list[Numbers]) -> np.ndarray:
        """Run some steps; return the losses (S, M). On failure the members go back to the last good step."""
        copy = self._members.copy()
        began = time.perf_counter()
        try:
            losses = self.execution.run(batches, numbers, self._clock.deadline)
        except torch.OutOfMemoryError:
            if self._failed is not None and self._members.n_members > 1:  # a stack is halved, not its batches
                raise
            if self._ranks is not None:  # the other ranks are in the midst of the step
                raise
            losses = []
        except BaseException:
            self._members.restore(copy)
            raise
        if not losses:  # only now has the error let go of the memory that the step had taken
            self._members.restore(copy)
            self._parts.double(batches[0], self._recipe)
            self.execution.n_parts = self._parts.count
            return self._run(batches, numbers)
        result = torch.stack(losses).cpu().double().numpy()
        if not (np.isfinite(result).all() and self._members.all_finite()):
            if self._failed is not None:
                self._failed |= ~(np.isfinite(result).all(0) & self._members.finite())
                return result
            self._members.restore(copy)
            losses = self._find_divergence(batches, numbers)
            result = torch.stack(losses).cpu().double().numpy()
        if self._clock.max_time is not None:
            per_step = (time.perf_counter() - began) / len(losses)
            self._time_per_step = self._clock.agreed(per_step / self._clock.max_time)
        return result

    def _find_divergence(self, batches: list[Batch], numbers: list[Numbers]) -> list[Tensor]:
        """Repeat the steps one by one up to the last good one, and say where it went wrong."""
        if self._ranks is not None and self._ranks.steps_apart:  # only the steps of all ranks are those of before
            raise DivergenceError(
                f"The loss or the weights are not finite any more: in epoch {self._members.epochs + 1}, within the "
                f"{len(batches)} steps after step {self._members.steps}. The weights from before are kept. {ADVICE}"
            )
        losses: list[Tensor] = []
        for i, (batch, number) in enumerate(zip(batches, numbers, strict=True)):
            copy = self._members.copy()
            with torch.no_grad():
                differentiate = self.execution.differentiate
                _, gradient = loss_and_gradient(self._members, batch, self._recipe, number, 1, differentiate)
                gradient = gradient.clone()  # the step may use its memory
                self._members.restore(copy)
                loss = self.execution.step_as_written(batch, number)
            if not (bool(torch.isfinite(loss).all()) and self._members.all_finite()):
                self._members.restore(copy)
                self._members.steps += i
                raise DivergenceError(self._explain(loss, gradient, number))
            losses.append(loss)
        return losses

    def _explain(self, loss: Tensor, gradient: Tensor, number: Numbers) -> str:
        members = self._members
        rate, norm = number.rate.flatten()[0].item(), members.norm(gradient).max().item()
        return (
            f"The loss or the weights are not finite any more: loss {loss.flatten().tolist()} in epoch "
            f"{members.epochs + 1}, step {members.steps + 1}, at the learning rate {rate:g} and a gradient norm of "
            f"{norm:g}. The weights of the step before are kept. {ADVICE}"
        )


class LineSearchEpochs:
    """Epochs of an optimizer that searches along a line with the whole set: each epoch is one iteration.

    Every member searches on its own, so it takes the steps it would take alone.
    """

    def __init__(self, members: Members, rows: Rows, recipe: Recipe, clock: Clock, first_epoch: int) -> None:
        self._members, self._rows, self._recipe = members, rows, recipe
        self._clock, self._first_epoch = clock, first_epoch
        whole = rows.take(np.arange(rows.n_rows)[None])
        parts = Parts()
        self._singles = [_Single(members, m, whole, recipe, rows.mean_weight, parts) for m in range(members.n_members)]

    def run(self) -> EpochResult:
        """Take one iteration."""
        members, recipe = self._members, self._recipe
        done = max((members.epochs - self._first_epoch) / recipe.schedule_epochs, self._clock.fraction)
        columns = (
            min(1.0, done),
            min(1.0, done + 1 / recipe.schedule_epochs),
            members.epochs,
            members.steps,
            members.rows,
        )
        progress = Progress(*(_column(values, 1) for values in columns))
        rates = rate_table(members, recipe, progress)[0].view(-1).expand(members.n_members).numpy()
        number = numbers_of_steps(members, recipe, progress)[0]
        copy, searches = members.copy(), list(members.line_search)
        try:
            outcomes = [single.iterate(number, float(rate)) for single, rate in zip(self._singles, rates, strict=True)]
        except BaseException:  # a member that failed, or Ctrl-C: all stay where the iteration began
            members.restore(copy)
            members.line_search = searches
            raise
        members.steps += 1
        members.epochs += 1
        members.rows += self._rows.n_rows
        losses, converged = zip(*outcomes, strict=True)
        return EpochResult(np.array(losses), rates, np.array(converged))


class _Single:
    """One member of a line search; its tensors are views of the population's."""

    def __init__(
        self, members: Members, m: int, batch: Batch, recipe: Recipe, mean_weight: float, parts: Parts
    ) -> None:
        own = slice(m, m + 1)
        statistics = members.statistics
        if members.n_members > 1:
            statistics = {name: value[m] for name, value in statistics.items()}
        self._all, self._m = members, m
        self._member = Members(members.network, members.seeds[own], members.flat[own], statistics)
        self._batch, self._recipe, self._strength = batch, recipe, recipe.alpha / (batch.n_rows * mean_weight)
        self._scale = recipe.loss.reporting_scale(recipe.network.n_outputs)
        self._objective = Remembered(self._evaluate)
        self._number: Numbers | None = None
        self._n_threads = torch.get_num_threads()
        self._parts = parts

    def iterate(self, number: Numbers, rate: float) -> tuple[float, bool]:
        """Move to the end of one line search; return the loss there and whether nothing is left to gain."""
        search = self._recipe.optimizer
        assert isinstance(search, LBFGS)
        self._draw(number)
        point = self._member.flat.view(-1)
        searched = point.clone()
        with thread_count(1):  # products of long vectors have other bits on other numbers of threads
            loss, state = search.iterate(self._objective, searched, self._all.line_search[self._m], rate)
        if not (np.isfinite(loss) and bool(torch.isfinite(searched).all())):
            raise DivergenceError(
                f"The loss is not finite any more: {loss} in iteration {self._all.epochs + 1} of the line search. The "
                "weights of the iteration before are kept. Scale the features (StandardScaler) and, in regression, the "
                "target."
            )
        point.copy_(searched)
        self._settle_moments()
        self._all.line_search[self._m] = state
        return self._reported(loss), search.converged(state, self._recipe.tol) or search.exhausted(state)

    def _reported(self, loss: float) -> float:
        """Scale the loss at the members' point for the curve, but not its penalty."""
        none = torch.zeros(1, dtype=self._member.flat.dtype, device=self._member.flat.device)
        penalty = with_penalty(none, self._member, self._recipe, self._strength).item()
        return (loss - penalty) * self._scale + penalty

    def _draw(self, number: Numbers) -> None:
        """Take this iteration's random numbers; with new ones, old evaluations are worth nothing."""
        keys = None if number.keys is None else number.keys[:, self._m : self._m + 1].contiguous()
        own = [value if len(value) == 1 else value[self._m : self._m + 1] for value in number.augmentation]
        self._number = Numbers(number.rate, keys, (), tuple(own))
        if keys is not None:
            self._objective = Remembered(self._evaluate)

    def _evaluate(self, point: Tensor) -> tuple[float, Tensor]:
        """Return loss and gradient at a point, and leave the member there; `iterate` moves it on."""
        assert self._number is not None
        with torch.no_grad(), thread_count(self._n_threads):
            self._member.flat.view(-1).copy_(point)
            loss, gradient = self._loss_and_gradient(self._number)
            loss = loss / self._scale  # the search needs the loss that the gradient is of
            loss = with_penalty(loss, self._member, self._recipe, self._strength)
            add_penalty_gradient(self._member, self._recipe, gradient, self._strength)
        return float(loss), gradient.view(-1)

    def _loss_and_gradient(self, number: Numbers) -> tuple[Tensor, Tensor]:
        try:
            return loss_and_gradient(self._member, self._batch, self._recipe, number, self._parts.count)
        except torch.OutOfMemoryError:
            self._parts.double(self._batch, self._recipe)
        return self._loss_and_gradient(number)

    def _settle_moments(self) -> None:
        """Set the running moments of a batch norm to those of the whole set, which is at hand."""
        member, batch = self._member, self._batch
        if not member.statistics:
            return
        assert self._number is not None
        noise = None if self._number.keys is None else Noise(self._number.keys)
        training = Training(noise, batch.share, moments_rate=1.0)
        for moment in member.statistics.values():
            moment.zero_()  # a point that was only tried may have left infinity, which no average forgets
        with torch.no_grad():
            forward(member.network, member.parameters, member.statistics, batch.X, training, bf16=self._recipe.bf16)


def _column(values: Any, n_steps: int) -> Tensor:
    """Return numbers, one or one per member, (M,), or per step and member, (S, M), as a tensor (S, M, 1, 1)."""
    columns = np.atleast_2d(np.asarray(values, dtype=np.float64))
    return torch.from_numpy(np.broadcast_to(columns, (n_steps, columns.shape[1])).copy()).view(n_steps, -1, 1, 1)


def _sizes(batches: list[Batch]) -> np.ndarray:
    """Rows of each batch and member, (S, M), or (S, 1) where members have the same number."""
    if all(batch.sizes is None for batch in batches):
        return np.array([[batch.counted_rows] for batch in batches])
    n_members = batches[0].share.shape[0]
    return np.array([batch.sizes or (batch.n_rows,) * n_members for batch in batches])


def epochs_of(
    members: Members,
    rows: AnyRows,
    recipe: Recipe,
    clock: Clock,
    first_epoch: int,
    failed: np.ndarray | None = None,
    ranks: Ranks | None = None,
) -> MiniBatchEpochs | LineSearchEpochs:
    """Return the kind of epochs that the optimizer takes."""
    if recipe.optimizer.full_batch:
        assert isinstance(rows, Rows) and failed is None, "members of a line search are not stacked"
        return LineSearchEpochs(members, rows, recipe, clock, first_epoch)
    return MiniBatchEpochs(members, rows, recipe, clock, first_epoch, failed, ranks)
