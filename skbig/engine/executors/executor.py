"""How steps are executed: a choice apart from what a step is. All ways give the same result."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Protocol

import torch
from torch import Tensor

from skbig.data.batch import Batch
from skbig.engine.executors.recorded import RecordedExecutor
from skbig.engine.executors.thread_choice import ThreadChoice
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.step import Differentiate, StepInputs
from skbig.engine.step_inputs import StepTable


class Executor(Protocol):
    """Takes steps one after another; a training has its own.

    Attributes
    ----------
    name : {"written", "recorded", "graphed"}
        How steps are taken now.
    steps_at_once : int
        How many steps a run should have.
    n_parts : int
        Into how many parts a batch is split, to need less memory; the result is the same.
    differentiate : callable or None
        How a batch is differentiated; None: in this process alone.
    choice : ThreadChoice or None
        On how many threads a step is fastest, where that is a question.
    """

    @property
    def name(self) -> str: ...

    @property
    def steps_at_once(self) -> int: ...

    @property
    def differentiate(self) -> Differentiate | None: ...

    @property
    def choice(self) -> ThreadChoice | None: ...

    n_parts: int

    def run(self, batches: Sequence[Batch], numbers: StepTable, deadline: float = inf) -> Tensor:
        """Update the members by each batch in turn, until `deadline`, and return the losses (S, M) of the steps."""
        ...

    def gives_way(self, error: Exception) -> bool:
        """Take steps in another way from now on, after an error of `run`; return whether there is one."""
        ...

    def step_as_written(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """Update the members by one batch in the plainest way, and return their losses (M,)."""
        ...


def choose_executor(members: Members, recipe: Recipe, mean_weight: Any, *, n_steps: int, is_sparse: bool) -> Executor:
    """Return the fastest way to take so many steps, or fewer, on the members' device that is right for them."""
    device = members.flat.device
    if not recipe.recordable or is_sparse:
        return WrittenExecutor(members, recipe, mean_weight)
    drawn_outside = recipe.privacy is not None and recipe.privacy.secure
    if device.type == "cuda" and not (drawn_outside or torch.cuda.is_current_stream_capturing()):
        from skbig.engine.executors.capture import CudaCapture
        from skbig.engine.executors.cuda_graph import GraphedExecutor

        return GraphedExecutor(members, recipe, mean_weight, CudaCapture(device))
    if device.type == "cpu":
        return RecordedExecutor(members, recipe, mean_weight, n_steps)
    return WrittenExecutor(members, recipe, mean_weight)
