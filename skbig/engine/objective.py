"""Loss and gradient of one member over the whole set: what a line search goes down.

Legend: M members, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.random import Noise
from skbig._utils.threads import thread_count
from skbig.components.optimizers.vectors import Vector, vector
from skbig.data.batch import Batch
from skbig.engine.executors.recorded import MIN_STEPS_TO_RECORD
from skbig.engine.executors.written import form_of, tensors_of
from skbig.engine.kept_recordings import form_of_step, form_of_training, keep, kept, steps_taken
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
from skbig.networks.layer import TrainingPass


class Objective:
    """Loss and gradient of a member, (1 + P,), by its point: recorded once, in this training or one of its form before.

    Parameters
    ----------
    member : Members
        One; an evaluation leaves its parameters where it was.
    batch : Batch
        The whole set.
    recipe : Recipe
    mean_weight : float
    parts : Parts
        Into how many the set is split, to need less memory.
    """

    def __init__(self, member: Members, batch: Batch, recipe: Recipe, mean_weight: float, parts: Parts) -> None:
        self._member, self._batch, self._recipe, self._parts = member, batch, recipe, parts
        self._point, self._place = member.flat.view(-1), vector(member.flat.view(-1))
        self._strength = recipe.alpha / (batch.n_rows * mean_weight)
        self._scale = recipe.loss.reporting_scale(recipe.network.n_outputs)
        self._n_threads = torch.get_num_threads()
        # With numbers drawn anew for each iteration, or rows that torch reads as they come, there is nothing to replay.
        plain = isinstance(batch.X, Tensor) and not recipe.draws_noise
        self._records = plain and recipe.gradient_recordable and member.flat.device.type == "cpu"
        self._program: Callable[..., Tensor] | None = None
        self._inputs: list[Tensor] = []
        self._n_written = 0

    @property
    def is_recorded(self) -> bool:
        """Whether evaluations are recorded where that pays."""
        return self._records and self._parts.count == 1

    def begin(self, numbers: StepInputs) -> None:
        """Take the random numbers of an iteration."""
        self._numbers = numbers

    def __call__(self, point: Vector) -> tuple[float, Vector]:
        """Return loss and gradient (P,), in memory of their own, at a point (P,), and leave the member there."""
        with thread_count(self._n_threads):
            self._place[:] = point
            both = self._computed() if self._program is None else self._replayed(self._program)
        values = both.numpy() if isinstance(point, np.ndarray) else both
        return float(values[0]), values[1:]

    def reported(self, loss: float) -> float:
        """Scale the loss where the member is for the curve, but not its penalty."""
        if self._scale == 1:
            return loss
        none = torch.zeros((), dtype=self._point.dtype, device=self._point.device)
        penalty = with_penalty(none, penalty_values(self._member, self._recipe), self._strength)
        added = with_proximal_term(penalty, self._member, self._recipe).item()
        return (loss - added) * self._scale + added

    def settle_moments(self) -> None:
        """Set the running moments of a batch norm to those of the whole set, which is at hand."""
        member, batch = self._member, self._batch
        if not member.statistics:
            return
        noise = None if self._numbers.keys is None else Noise(self._numbers.keys)
        training = TrainingPass(noise, batch.share, moments_rate=1.0)
        for moment in member.statistics.values():
            moment.zero_()  # a point that was only tried may have left infinity, which no average forgets
        with torch.no_grad():
            forward(member.network, member.parameters, member.statistics, batch.X, training, bf16=self._recipe.bf16)

    def _computed(self) -> Tensor:
        """Return loss and gradient, (1 + P,), by what a training of the same form has recorded, or record them."""
        if not self._records or self._parts.count > 1:
            return self._written()
        self._inputs, self._n_written = tensors_of(self._batch, self._numbers), self._n_written + 1
        self._program = kept(self._form, self._member, {})
        if self._program is not None:
            return self._replayed(self._program)
        n_taken = max(self._n_written, steps_taken(self._form, 1))
        if self._recipe.max_epochs < MIN_STEPS_TO_RECORD > n_taken:
            return self._written()
        return self._recorded()

    def _replayed(self, program: Callable[..., Tensor]) -> Tensor:
        with torch.inference_mode():  # spares each operation what autograd would note down
            return program(*self._inputs)

    @cached_property
    def _form(self) -> Any:
        training = form_of_training(self._recipe, self._member)
        return form_of_step(training, form_of(self._batch), self._strength, self._inputs)

    def _recorded(self) -> Tensor:
        try:
            with torch.inference_mode(False), torch.no_grad():
                both, self._program = record(lambda *_: self._written(), self._inputs)
        except NotReplayable:
            self._records = False
            return self._written()
        keep(self._form, self._program, self._member)
        return both

    def _written(self) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            loss, gradient = self._loss_and_gradient()
            loss = loss / self._scale if self._scale != 1 else loss  # the search needs the loss that the gradient is of
            loss = with_penalty(loss, penalty_values(self._member, self._recipe), self._strength)
            add_penalty_gradient(self._member, self._recipe, gradient, self._strength)
            loss = with_proximal_term(loss, self._member, self._recipe)
            add_proximal_gradient(self._member, self._recipe, gradient)
            put_zeros(zeros_to_keep(self._member, self._recipe), self._member, gradient)  # so that no line leads off
            return torch.cat([loss.view(1).to(gradient.dtype), gradient.view(-1)])

    def _loss_and_gradient(self) -> tuple[Tensor, Tensor]:
        try:
            return loss_and_gradient(self._member, self._batch, self._recipe, self._numbers, self._parts.count)
        except torch.OutOfMemoryError:
            self._parts.double(self._batch, self._recipe)
        return self._loss_and_gradient()
