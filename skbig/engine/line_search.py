"""Epochs of an optimizer that searches along a line with the whole set: each epoch is one iteration.

Legend: M members, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skbig._utils.random import Noise
from skbig.components.optimizers.lbfgs import LBFGS, Remembered
from skbig.components.schedules.base import Progress
from skbig.data.batch import Batch
from skbig.data.rows import Rows
from skbig.engine.epoch import Clock, EpochResult, column
from skbig.engine.executors.threads import thread_count
from skbig.engine.members import Members
from skbig.engine.microbatch import Parts
from skbig.engine.recipe import Recipe
from skbig.engine.recorder import NotReplayable, record
from skbig.engine.step import (
    StepInputs,
    add_penalty_gradient,
    add_proximal_gradient,
    forward,
    loss_and_gradient,
    penalty_values,
    put_zeros,
    with_penalty,
    with_proximal_term,
    zeros_to_keep,
)
from skbig.engine.step_inputs import inputs_of_steps
from skbig.exceptions import DivergenceError
from skbig.networks.layer import TrainingPass


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

    @property
    def executor_name(self) -> str:
        """How loss and gradient are computed."""
        return "recorded" if any(single.is_recorded for single in self._singles) else "written"

    def settle(self) -> None:
        """The weights are those of the last iteration."""

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
        progress = Progress(*(column(values, 1) for values in columns))
        table = inputs_of_steps(members, recipe, progress)
        rates, number = table.rates[0].view(-1).expand(members.n_members).numpy(), table[0]
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
        self._member.anchor = None if members.anchor is None else members.anchor[own]
        self._batch, self._recipe, self._strength = batch, recipe, recipe.alpha / (batch.n_rows * mean_weight)
        self._scale = recipe.loss.reporting_scale(recipe.network.n_outputs)
        self._objective = Remembered(self._evaluate)
        self._number: StepInputs | None = None
        self._n_threads = torch.get_num_threads()
        self._parts = parts
        # With numbers drawn anew for each iteration, or rows that torch reads as they come, there is nothing to replay.
        plain = isinstance(batch.X, Tensor) and not recipe.draws_noise
        self._records = plain and recipe.gradient_recordable and members.flat.device.type == "cpu"
        self._program: Callable[[], Tensor] | None = None

    def iterate(self, number: StepInputs, rate: float) -> tuple[float, bool]:
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
        penalty = with_penalty(none, penalty_values(self._member, self._recipe), self._strength)
        added = with_proximal_term(penalty, self._member, self._recipe).item()
        return (loss - added) * self._scale + added

    def _draw(self, number: StepInputs) -> None:
        """Take this iteration's random numbers; with new ones, old evaluations are worth nothing."""
        keys = None if number.keys is None else number.keys[:, self._m : self._m + 1].contiguous()
        own = [value if len(value) == 1 else value[self._m : self._m + 1] for value in number.augmentation]
        self._number = StepInputs(number.rate, keys, (), tuple(own))
        if keys is not None:
            self._objective = Remembered(self._evaluate)

    def _evaluate(self, point: Tensor) -> tuple[float, Tensor]:
        """Return loss and gradient at a point, and leave the member there; `iterate` moves it on."""
        with thread_count(self._n_threads):
            with torch.no_grad():
                self._member.flat.view(-1).copy_(point)
            both = self._executed()
        return float(both[0]), both[1:]

    @property
    def is_recorded(self) -> bool:
        return self._program is not None

    def _executed(self) -> Tensor:
        """Return loss and gradient where the member is, (1 + P,): recorded at the first time, replayed from then on."""
        if not self._records or self._parts.count > 1:
            return self._written()
        if self._program is not None:
            with torch.inference_mode():
                return self._program()
        try:
            both, self._program = record(self._written, [])
        except NotReplayable:
            self._records = False
            both = self._written()
        return both

    @torch.no_grad()
    def _written(self) -> Tensor:
        assert self._number is not None
        loss, gradient = self._loss_and_gradient(self._number)
        loss = loss / self._scale  # the search needs the loss that the gradient is of
        loss = with_penalty(loss, penalty_values(self._member, self._recipe), self._strength)
        add_penalty_gradient(self._member, self._recipe, gradient, self._strength)
        loss = with_proximal_term(loss, self._member, self._recipe)
        add_proximal_gradient(self._member, self._recipe, gradient)
        put_zeros(zeros_to_keep(self._member, self._recipe), self._member, gradient)  # so that no line leads off them
        return torch.cat([loss.view(1).to(gradient.dtype), gradient.view(-1)])

    def _loss_and_gradient(self, number: StepInputs) -> tuple[Tensor, Tensor]:
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
        training = TrainingPass(noise, batch.share, moments_rate=1.0)
        for moment in member.statistics.values():
            moment.zero_()  # a point that was only tried may have left infinity, which no average forgets
        with torch.no_grad():
            forward(member.network, member.parameters, member.statistics, batch.X, training, bf16=self._recipe.bf16)
