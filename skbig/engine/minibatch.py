"""Epochs of an optimizer that takes a step per batch.

Legend: M members, S steps, P parameters.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.threads import thread_count
from skbig.components.schedules.base import Progress
from skbig.data.batch import Batch
from skbig.data.poisson_rows import PoissonRows
from skbig.data.rows import Rows
from skbig.data.stacked_rows import StackedRows
from skbig.data.steps import ResidentSteps
from skbig.engine.epoch import ADVICE, Clock, EpochResult, column
from skbig.engine.executors.failures import NotLaunched, go_back
from skbig.engine.kept_tables import form_of_tables, kept_table
from skbig.engine.members import Members
from skbig.engine.microbatch import Parts
from skbig.engine.processes import ONE_PROCESS, AnyRows, Processes
from skbig.engine.recipe import Recipe
from skbig.engine.step import StepInputs, loss_and_gradient
from skbig.engine.step_inputs import StepTable, inputs_of_steps
from skbig.exceptions import DivergenceError

STEPS_AT_ONCE_ON_TIME = 8

IN_MEMORY = Rows | StackedRows | PoissonRows

PLANNED_STEPS = 64
"""Numbers of so many steps are computed together, over the epochs to come, where an epoch has fewer steps."""


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
        processes: Processes = ONE_PROCESS,
    ) -> None:
        self._members, self._rows, self._recipe, self._clock = members, rows, recipe, clock
        self._first_epoch = first_epoch
        self._time_per_step = 0.0
        self._parts = Parts(recipe.n_parts if processes.splits_batches else 1)
        self._failed, self._processes = failed, processes
        self._begun: dict[int, Iterator[Sequence[Batch]]] = {}
        self._plan: StepTable | None = None
        self._first_planned = 0
        self._last_epoch = members.epochs + recipe.max_epochs
        self.executor = processes.executor(members, recipe, rows)
        self.executor.n_parts = self._parts.count

    @property
    def executor_name(self) -> str:
        """How steps are executed."""
        return self.executor.name

    def run(self) -> EpochResult:
        """Train one epoch."""
        choice = self.executor.choice
        with thread_count(None if choice is None else choice.best):
            return self._epoch()

    def _epoch(self) -> EpochResult:
        members = self._members
        total, seen = np.zeros(members.n_members), np.zeros(1, dtype=int)
        for batches in self._steps(members.epochs):
            numbers = self._numbers(seen, len(batches))
            losses = self._run(batches, numbers)
            members.steps += len(losses)  # at once: Ctrl-C may come between any two calls
            sizes = _sizes(batches)[: len(losses)]
            with np.errstate(over="ignore"):  # of a member that is about to fail
                total = total + (sizes * losses).sum(0)
            seen = seen + sizes.sum(0)
            if self._clock.fraction >= 1.0:
                break
        rate = np.zeros(members.n_members) + numbers.rates.numpy()[-1].reshape(-1)  # a copy: tables are kept
        rows = members.rows + (int(seen[0]) if len(seen) == 1 else seen)
        members.epochs += 1
        members.rows = rows
        loss = total / seen if self._recipe.privacy is None else np.full(members.n_members, np.nan)  # it tells of rows
        return EpochResult(loss, rate, np.zeros(members.n_members, dtype=bool))

    def settle(self) -> None:
        """The weights are those of the last epoch."""

    def _steps(self, epoch: int) -> Iterator[Sequence[Batch]]:
        """Yield the steps of an epoch, some at a time."""
        begun, self._begun = self._begun, {}
        return begun[epoch] if epoch in begun else self._begin(epoch)

    def _begin(self, epoch: int) -> Iterator[Sequence[Batch]]:
        recipe, members = self._recipe, self._members
        at_once = self.executor.steps_at_once if recipe.max_time is None else STEPS_AT_ONCE_ON_TIME
        return self._rows.epoch(members.seeds, epoch, recipe.shuffle, recipe.batch_size, at_once)

    def _look_ahead(self) -> None:
        """Draw the order of the next epoch while a device still computes."""
        epoch = self._members.epochs + 1
        if self._members.flat.device.type == "cpu" or self._begun or not isinstance(self._rows, Rows | StackedRows):
            return
        steps = self._begin(epoch)
        self._begun = {epoch: itertools.chain([next(steps)], steps)}

    def _numbers(self, rows_seen: np.ndarray, n_steps: int) -> StepTable:
        """Return what the next steps need; of short epochs, what some of them need is computed together."""
        members, recipe = self._members, self._recipe
        if not self._plans(n_steps):
            return inputs_of_steps(members, recipe, self._progress(rows_seen, n_steps))
        start = members.steps - self._first_planned
        if self._plan is None or not 0 <= start < len(self._plan):
            n_epochs, n_before = self._epochs_planned(n_steps)
            self._plan, start = self._planned(n_steps, n_epochs, n_before), n_before * n_steps
            self._first_planned = members.steps - start
        return self._plan.part(start, start + n_steps)

    def _epochs_planned(self, n_steps: int) -> tuple[int, int]:
        """Return over how many epochs to plan, and how many of them were before this one.

        The calls of `partial_fit` with batches of one size have an epoch each, and find the plan of an earlier call.
        """
        members, at_once = self._members, max(1, PLANNED_STEPS // n_steps)
        done, an_epoch = (members.steps, members.rows), (n_steps, int(self._rows.lengths[0]))
        alone = self._recipe.max_epochs > 1 or self._first_epoch > 0 or self._form_of_plans is None or not members.steps
        if alone or done != tuple(members.epochs * each for each in an_epoch):
            return max(1, min(at_once, self._last_epoch - members.epochs)), 0
        return at_once, members.epochs % at_once

    def _planned(self, n_steps: int, n_epochs: int, n_before: int = 0) -> StepTable:
        """Return what the steps of some whole epochs need, of which some were before this one."""
        members, recipe = self._members, self._recipe

        def make() -> StepTable:
            progress = self._progress(np.zeros(1, dtype=int), n_steps, n_epochs, n_before)
            return inputs_of_steps(members, recipe, progress)

        is_later_call = members.steps > 0 and n_epochs == 1  # of partial_fit, whose place no other training comes to
        if is_later_call or self._form_of_plans is None:
            return make()
        n_rows = int(self._rows.lengths[0])
        done = (members.epochs - n_before, members.steps - n_before * n_steps, int(members.rows) - n_before * n_rows)
        place = (n_steps, n_epochs, *done, self._first_epoch, n_rows, recipe.batch_size, recipe.schedule_epochs)
        return kept_table(self._form_of_plans, place, make)

    @cached_property
    def _form_of_plans(self) -> Any:
        """What tells the plans of trainings from each other; None where others cannot have the same."""
        return form_of_tables(self._members, self._recipe) if len(self._rows.lengths) == 1 else None

    def _plans(self, n_steps: int) -> bool:
        """Whether all epochs have these few steps, and nothing but their number decides what they need."""
        recipe, lengths = self._recipe, self._rows.lengths
        if recipe.max_time is not None or recipe.schedule.reacts or not isinstance(self._rows, IN_MEMORY):
            return False
        alike = len(lengths) == 1 or bool((lengths == lengths[0]).all())
        return alike and 2 * n_steps <= PLANNED_STEPS and n_steps == -(-int(lengths[0]) // recipe.batch_size)

    def _progress(self, rows_seen: np.ndarray, n_steps: int, n_epochs: int = 1, n_before: int = 0) -> Progress:
        """Where the next steps stand, by epochs or, with `max_time`, by the clock, whichever is further.

        Of the epochs some may be those before this one.
        """
        members, recipe, lengths = self._members, self._recipe, self._rows.lengths
        all_steps = np.arange(-n_before * n_steps, (n_epochs - n_before) * n_steps)[:, None]
        ahead, steps = np.divmod(all_steps, n_steps)
        batch = np.minimum(recipe.batch_size, lengths)
        per_step = batch / lengths / recipe.schedule_epochs
        # Counted in rows, so that it does not depend on how many steps are asked for at once.
        whole = members.epochs + ahead - self._first_epoch + (rows_seen + batch * steps) / lengths
        by_epochs = whole / recipe.schedule_epochs
        by_time = self._clock.fraction + self._time_per_step * steps
        before = np.maximum(by_epochs, by_time)
        after = np.maximum(by_epochs + per_step, by_time + self._time_per_step)
        counts = (members.epochs + ahead, members.steps + all_steps, members.rows + ahead * lengths)
        columns = (before.clip(0, 1), after.clip(0, 1), *counts)
        return Progress(*(column(values, len(all_steps)) for values in columns))

    def _run(self, batches: Sequence[Batch], numbers: StepTable) -> np.ndarray:
        """Run some steps; return the losses (S, M). On failure the members go back to the last good step."""
        copy = self._members.copy()
        began = time.perf_counter()
        losses, gave_way = None, False
        try:
            losses = self.executor.run(batches, numbers, self._clock.deadline)
            self._look_ahead()
        except NotLaunched as error:
            go_back(self._members, copy, error)
            gave_way = self.executor.gives_way(error)
        except torch.OutOfMemoryError as error:
            stacked = self._failed is not None and self._members.n_members > 1  # a stack is halved, not its batches
            if stacked or not self._processes.splits_batches:
                raise
            gave_way = self.executor.gives_way(error)
        except BaseException as error:
            go_back(self._members, copy, error)
            raise
        if losses is None:  # only now has the error let go of the memory that the step had taken
            self._members.restore(copy)
            if not gave_way:
                self._parts.double(batches[0], self._recipe)
                self.executor.n_parts = self._parts.count
            return self._run(batches, numbers)
        try:
            result = losses.cpu().double().numpy()
            is_good = np.isfinite(result).all() and self._members.all_finite()
        except BaseException as error:  # a device computes until its numbers are asked for; Ctrl-C may come, too
            go_back(self._members, copy, error)
            raise
        if not is_good:
            if self._failed is not None:
                self._failed |= ~(np.isfinite(result).all(0) & self._members.finite())
                return result
            self._members.restore(copy)
            result = self._find_divergence(batches, numbers).cpu().double().numpy()
        if self._clock.max_time is not None:
            per_step = (time.perf_counter() - began) / len(result)
            self._time_per_step = self._clock.agreed(per_step / self._clock.max_time)
        return result

    def _find_divergence(self, batches: Sequence[Batch], numbers: Sequence[StepInputs]) -> Tensor:
        """Repeat the steps one by one up to the last good one, and say where it went wrong."""
        if not self._processes.repeats_steps:
            raise DivergenceError(
                f"The loss or the weights are not finite any more: in epoch {self._members.epochs + 1}, within the "
                f"{len(batches)} steps after step {self._members.steps}. The weights from before are kept. {ADVICE}"
            )
        losses: list[Tensor] = []
        for i, (batch, number) in enumerate(zip(batches, numbers, strict=True)):
            copy = self._members.copy()
            with torch.no_grad():
                differentiate = self.executor.differentiate
                _, gradient = loss_and_gradient(self._members, batch, self._recipe, number, 1, differentiate)
                gradient = gradient.clone()  # the step may use its memory
                self._members.restore(copy)
                loss = self.executor.step_as_written(batch, number)
            if not (bool(torch.isfinite(loss).all()) and self._members.all_finite()):
                self._members.restore(copy)
                self._members.steps += i
                raise DivergenceError(self._explain(loss, gradient, number))
            losses.append(loss)
        return torch.stack(losses)

    def _explain(self, loss: Tensor, gradient: Tensor, number: StepInputs) -> str:
        members = self._members
        rate, norm = number.rate.flatten()[0].item(), members.norm(gradient).max().item()
        return (
            f"The loss or the weights are not finite any more: loss {loss.flatten().tolist()} in epoch "
            f"{members.epochs + 1}, step {members.steps + 1}, at the learning rate {rate:g} and a gradient norm of "
            f"{norm:g}. The weights of the step before are kept. {ADVICE}"
        )


def _sizes(batches: Sequence[Batch]) -> np.ndarray:
    """Rows of each batch and member, (S, M), or (S, 1) where members have the same number."""
    if isinstance(batches, ResidentSteps):
        return batches.sizes
    if all(batch.sizes is None for batch in batches):
        return np.array([[batch.counted_rows] for batch in batches])
    n_members = batches[0].share.shape[0]
    return np.array([batch.sizes or (batch.n_rows,) * n_members for batch in batches])
