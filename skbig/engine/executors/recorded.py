"""The step as a recording of the operations it comes down to.

It gives what the step as written gives, and saves the time that Python and autograd need between the operations, which
is most of the time of a small network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from math import inf
from typing import Any

import torch
from torch import Tensor

from skbig._utils.threads import on_threads, thread_count
from skbig.data.batch import Batch
from skbig.engine.branches import Branches
from skbig.engine.executors.thread_choice import OnThreads, ThreadChoice, kept_choice
from skbig.engine.executors.written import WrittenExecutor, form_of, tensors_of
from skbig.engine.kept_recordings import BoundViews, form_of_step, form_of_training, keep, kept, steps_taken
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.recorder import NotReplayable, record
from skbig.engine.step import StepInputs

MIN_STEPS_TO_RECORD = 8
"""Recording a step takes the time of about five as written. A training of fewer steps records where trainings of its
form have come to as many together, as calls of `partial_fit` do."""


class RecordedExecutor:
    """Records the first step with a batch of each form, and replays it for those that follow, in later trainings, too.

    Attributes
    ----------
    n_parts : int
        As of `WrittenExecutor`; a batch in several parts is computed as written.
    records : bool
        Whether steps are recorded: until one has looked at the value of a tensor.
    choice : ThreadChoice or None
        On how many threads a replay is fastest, once it is a question.
    """

    differentiate = None
    steps_at_once = 256

    def __init__(self, members: Members, recipe: Recipe, mean_weight: Any, n_steps: int = MIN_STEPS_TO_RECORD) -> None:
        self._members, self._recipe, self._n_steps = members, recipe, n_steps
        self._written = WrittenExecutor(members, recipe, mean_weight)
        self._programs: dict[Any, Callable[..., Tensor]] = {}
        self._bound: BoundViews = {}
        self.records = True
        self.choice: ThreadChoice | None = None
        self._n_threads = torch.get_num_threads()

    @property
    def name(self) -> str:
        return "recorded" if self.records else "written"

    @property
    def n_parts(self) -> int:
        return self._written.n_parts

    @n_parts.setter
    def n_parts(self, n_parts: int) -> None:
        self._written.n_parts = n_parts

    def run(self, batches: Sequence[Batch], numbers: Sequence[StepInputs], deadline: float = inf) -> Tensor:
        """Update the members by each batch in turn, until `deadline`, and return the losses (S, M)."""
        losses = []
        with torch.inference_mode():  # spares each operation what autograd would note down
            for batch, number in zip(batches, numbers, strict=True):
                losses.append(self.step(batch, number))
                if deadline < inf and time.perf_counter() > deadline:
                    break
            return torch.stack(losses)

    def step(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """Update the members by one batch."""
        if not self.records or self._written.n_parts > 1:
            return self.step_as_written(batch, numbers)
        form, inputs = form_of(batch), tensors_of(batch, numbers)
        program = self._programs.get(form)
        if program is not None:
            return program(*inputs)
        with thread_count(self._n_threads):
            whole = form_of_step(self._training, form, self._written.strength(batch), inputs)
            program = kept(whole, self._members, self._bound)
            if program is None:
                return self._first(batch, numbers, whole)
            program = self._programs[form] = self._on_threads(program, form)
        return program(*inputs)

    @cached_property
    def _training(self) -> Any:
        return form_of_training(self._recipe, self._members)

    def _first(self, batch: Batch, numbers: StepInputs, form: Any) -> Tensor:
        """Take a step of a form that was not recorded yet: record it, if it pays."""
        if self._n_steps < MIN_STEPS_TO_RECORD > steps_taken(form, 1):
            return self.step_as_written(batch, numbers)
        return self._record(batch, numbers, form)

    def gives_way(self, error: Exception) -> bool:
        """There is no other way."""
        del error
        return False

    def step_as_written(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """The reference."""
        with thread_count(self._n_threads):
            return self._written.step_as_written(batch, numbers)

    def _on_threads(self, program: Any, form: Any) -> Callable[..., Tensor]:
        """Let the clock choose the number of threads of a program that is kept, where the bits can be the same."""
        alone = self._n_threads == 1 or self._members.flat.device.type != "cpu"
        if alone or program.shares_sums:
            return self._on_all_threads(program)
        if self.choice is None:
            self.choice = kept_choice(self._training, form, self._n_threads)
        return OnThreads(program, self._members, self.choice, form)

    def _on_all_threads(self, program: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Leave it to the number of threads that the training began with, whatever other forms are computed on."""
        return program if self._n_threads == 1 else partial(on_threads, self._n_threads, program)

    def _record(self, batch: Batch, numbers: StepInputs, form: Any) -> Tensor:
        before = self._members.copy()
        try:
            loss, program = recorded(self._written, batch, numbers)
            own, is_kept = form_of(batch), keep(form, program, self._members)
            self._programs[own] = self._on_threads(program, own) if is_kept else self._on_all_threads(program)
        except NotReplayable:
            self.records = False
            self._members.restore(before)
            loss = self.step_as_written(batch, numbers)
        return loss


def recorded(
    written: WrittenExecutor, batch: Batch, numbers: StepInputs, branches: Branches | None = None
) -> tuple[Tensor, Callable[..., Tensor]]:
    """Run a step, and return its losses (M,) and the program that repeats it for other `tensors_of` a batch.

    Raises
    ------
    NotReplayable
        When the step has looked at the value of a tensor. It has run to its end all the same.
    """

    def again(*_: Tensor) -> Tensor:
        return written.step_as_written(batch, numbers)

    with torch.inference_mode(False), torch.no_grad():
        return record(again, tensors_of(batch, numbers), branches)
