"""Epochs of an optimizer that searches along a line with the whole set: each epoch is one iteration.

Legend: M members, S steps, P parameters.
"""

from __future__ import annotations

import math
from collections import deque
from functools import partial

import numpy as np

from skbig._utils.threads import thread_count
from skbig.components.optimizers.lbfgs import LBFGS, Remembered
from skbig.components.schedules.base import Progress
from skbig.data.batch import Batch
from skbig.data.rows import Rows
from skbig.engine.epoch import Clock, EpochResult, column
from skbig.engine.kept_tables import form_of_tables, kept_table
from skbig.engine.members import Members
from skbig.engine.microbatch import Parts
from skbig.engine.objective import Objective
from skbig.engine.recipe import Recipe
from skbig.engine.step import StepInputs
from skbig.engine.step_inputs import inputs_of_steps
from skbig.exceptions import DivergenceError

AHEAD = 64
"""For so many iterations their inputs are computed at once, where nothing that happens changes them."""


class LineSearchEpochs:
    """Epochs of an optimizer that searches along a line with the whole set: each epoch is one iteration.

    Every member searches on its own, so it takes the steps it would take alone.
    """

    def __init__(self, members: Members, rows: Rows, recipe: Recipe, clock: Clock, first_epoch: int) -> None:
        self._members, self._rows, self._recipe = members, rows, recipe
        self._clock, self._first_epoch = clock, first_epoch
        whole = rows.take(np.arange(rows.n_rows)[None])
        parts = Parts(recipe.n_parts)
        self._singles = [_Single(members, m, whole, recipe, rows.mean_weight, parts) for m in range(members.n_members)]
        self._inputs: deque[tuple[StepInputs, np.ndarray]] = deque()

    @property
    def executor_name(self) -> str:
        """How loss and gradient are computed."""
        return "recorded" if any(single.is_recorded for single in self._singles) else "written"

    def settle(self) -> None:
        """The weights are those of the last iteration."""

    def run(self) -> EpochResult:
        """Take one iteration."""
        members = self._members
        if not self._inputs:
            self._look_ahead()
        numbers, rates = self._inputs.popleft()
        copy, searches = members.copy(), list(members.line_search)
        try:
            outcomes = [single.iterate(numbers, float(rate)) for single, rate in zip(self._singles, rates, strict=True)]
        except BaseException:  # a member that failed, or Ctrl-C: all stay where the iteration began
            members.restore(copy)
            members.line_search = searches
            raise
        members.steps += 1
        members.epochs += 1
        members.rows += self._rows.n_rows
        losses, converged = zip(*outcomes, strict=True)
        return EpochResult(np.array(losses), rates, np.array(converged))

    def _look_ahead(self) -> None:
        """Compute the numbers and the rates (M,) of the next iterations."""
        members, recipe = self._members, self._recipe
        changes = recipe.schedule.reacts or self._clock.max_time is not None
        n_steps = 1 if changes else min(AHEAD, recipe.max_epochs)
        make = partial(inputs_of_steps, members, recipe, self._progress(n_steps))
        # What is looked up once, as by a call of `partial_fit`, is at a place that no other training comes to.
        form = None if n_steps == 1 else form_of_tables(members, recipe)
        place = (n_steps, members.epochs, members.steps, int(members.rows), self._first_epoch, self._rows.n_rows)
        table = make() if form is None else kept_table(form, (*place, recipe.schedule_epochs), make)
        rates = table.rates.reshape(len(table), -1).expand(-1, members.n_members).numpy()
        self._inputs.extend(zip(table, rates, strict=True))

    def _progress(self, n_steps: int) -> Progress:
        members, n_epochs = self._members, self._recipe.schedule_epochs
        steps = np.arange(n_steps)[:, None]
        done = np.maximum((members.epochs - self._first_epoch + steps) / n_epochs, self._clock.fraction)
        counts = (members.epochs + steps, members.steps + steps, members.rows + steps * self._rows.n_rows)
        columns = (done.clip(max=1), (done + 1 / n_epochs).clip(max=1), *counts)
        return Progress(*(column(values, n_steps) for values in columns))


class _Single:
    """One member of a line search; its tensors are views of the population's."""

    def __init__(
        self, members: Members, m: int, batch: Batch, recipe: Recipe, mean_weight: float, parts: Parts
    ) -> None:
        own = slice(m, m + 1)
        statistics = members.statistics
        if members.n_members > 1:
            statistics = {name: value[m] for name, value in statistics.items()}
        self._all, self._m, self._recipe = members, m, recipe
        self._member = Members(members.network, members.seeds[own], members.flat[own], statistics)
        self._point = self._member.flat.view(-1)
        self._member.anchor = None if members.anchor is None else members.anchor[own]
        self._objective = Objective(self._member, batch, recipe, mean_weight, parts)
        self._remembered = Remembered(self._objective, takes_vectors=True)

    @property
    def is_recorded(self) -> bool:
        return self._objective.is_recorded

    def iterate(self, numbers: StepInputs, rate: float) -> tuple[float, bool]:
        """Move to the end of one line search; return the loss there and whether nothing is left to gain."""
        search = self._recipe.optimizer
        assert isinstance(search, LBFGS)
        self._begin(numbers)
        searched = self._point.clone()
        with thread_count(1):  # products of long vectors have other bits on other numbers of threads
            loss, state = search.iterate(self._remembered, searched, self._all.line_search[self._m], rate)
        if not math.isfinite(loss):
            raise DivergenceError(
                f"The loss is not finite any more: {loss} in iteration {self._all.epochs + 1} of the line search. The "
                "weights of the iteration before are kept. Scale the features (StandardScaler) and, in regression, the "
                "target."
            )
        self._point.copy_(searched)
        self._objective.settle_moments()
        self._all.line_search[self._m] = state
        done = search.converged(state, self._recipe.tol) or search.exhausted(state)
        return self._objective.reported(loss), done

    def _begin(self, numbers: StepInputs) -> None:
        """Take this iteration's random numbers; with new ones, old evaluations are worth nothing."""
        keys = None if numbers.keys is None else numbers.keys[:, self._m : self._m + 1].contiguous()
        own = [value if len(value) == 1 else value[self._m : self._m + 1] for value in numbers.augmentation]
        self._objective.begin(StepInputs(numbers.rate, keys, (), tuple(own)))
        if keys is not None:
            self._remembered = Remembered(self._objective, takes_vectors=True)
