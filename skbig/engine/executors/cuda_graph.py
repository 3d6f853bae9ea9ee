"""Steps as CUDA graphs: captured once for each form of batch, and launched some at a time.

A small step on a GPU is spent in launching its operations one by one. A graph launches them all at once, and reads on
the device what differs between steps. So an epoch is a handful of launches, and nothing is read back before its end.

Legend: M members, S steps, k steps of a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from math import inf
from typing import Any

import torch
from torch import Tensor

from skbig._utils.memory import has_run_out
from skbig._utils.user_warning import warn_user
from skbig.data.batch import Batch
from skbig.data.steps import ResidentSteps
from skbig.engine.executors.agreement import agree, tolerance_of
from skbig.engine.executors.capture import Capture
from skbig.engine.executors.failures import NotLaunched, first_line
from skbig.engine.executors.graph_loop import GraphLoop
from skbig.engine.executors.written import WrittenExecutor, form_of
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.recorder import NotReplayable
from skbig.engine.step import StepInputs
from skbig.engine.step_inputs import StepTable
from skbig.exceptions import ExecutorWarning

MAX_STEPS = 1024
"""Steps of a run: after each the losses are read, and a copy of the members is what a failure goes back to."""

INDEX_BYTES = 2**26
"""How large the table of the rows that are read in a run may be."""


class GraphedExecutor:
    """Captures steps as graphs, and checks the first launch of each against the steps as written.

    What cannot be captured, or comes to another result, is run as written, with a warning. That memory runs out, in a
    capture or around it, is for the caller to say: a stack is halved, and others have the executor give way.

    Attributes
    ----------
    n_parts : int
        As of `WrittenExecutor`; a batch in several parts is computed as written.
    """

    differentiate = None
    choice = None

    def __init__(self, members: Members, recipe: Recipe, mean_weight: Any, capture: Capture) -> None:
        self._members, self._recipe, self._capture = members, recipe, capture
        self._written = WrittenExecutor(members, recipe, mean_weight)
        self._loops: dict[Any, GraphLoop] = {}
        self._gave_up, self._untold = False, ""
        self.steps_at_once = max(1, min(MAX_STEPS, INDEX_BYTES // (8 * members.n_members * recipe.batch_size)))

    @property
    def name(self) -> str:
        return "graphed" if self._graphs else "written"

    @property
    def _graphs(self) -> bool:
        return not self._gave_up and self.n_parts == 1

    @property
    def n_parts(self) -> int:
        return self._written.n_parts

    @n_parts.setter
    def n_parts(self, n_parts: int) -> None:
        self._written.n_parts = n_parts
        self._loops.clear()  # their memory is needed

    def run(self, batches: Sequence[Batch], numbers: StepTable, deadline: float = inf) -> Tensor:
        """Update the members by each batch in turn and return the losses (S, M).

        All steps are taken, whatever the deadline: the clock of the host says nothing of what the device has yet to do.
        """
        del deadline
        losses: list[Tensor] = []
        for start, stop in _of_one_form(batches):
            own, inputs = batches[start:stop], numbers.part(start, stop)
            losses.append(self._launch(own, inputs) if self._graphs else self._written.run(own, inputs))
        self._tell()
        return torch.cat(losses)

    def gives_way(self, error: Exception) -> bool:
        """Take steps as written from now on, if they were graphs."""
        if not self._graphs:
            return False
        failed = f"its launch has failed: {first_line(error)}"
        self._give_up("the device has too little memory for it" if has_run_out(error) else failed)
        return True

    def step_as_written(self, batch: Batch, numbers: StepInputs) -> Tensor:
        """The reference."""
        return self._written.step_as_written(batch, numbers)

    def _launch(self, batches: Sequence[Batch], numbers: StepTable) -> Tensor:
        """Take steps of one form by graphs; when one cannot be had, the rest as written."""
        loop = self._loop(batches, numbers)
        loop.load(batches, numbers)
        losses: list[Tensor] = []
        done = 0
        while done < len(batches):
            k = loop.stride if done + loop.stride <= len(batches) else 1
            if not self._has_graph(loop, k, done, batches, numbers):
                losses.append(self._written.run(batches[done:], numbers.part(done, len(batches))))
                break
            losses.append(_launched(loop, k, done))
            done += k
        return torch.cat(losses)

    def _loop(self, batches: Sequence[Batch], numbers: StepTable) -> GraphLoop:
        form = (type(batches), form_of(batches[0]))
        if form not in self._loops or self._loops[form].capacity < len(batches):
            self._loops[form] = GraphLoop(self._members, batches, numbers)
        return self._loops[form]

    def _has_graph(self, loop: GraphLoop, k: int, first: int, batches: Sequence[Batch], numbers: StepTable) -> bool:
        """Return whether there is a graph of k steps, made now if need be and compared on the steps from `first` on.

        One of a single step is compared with the step as written, and one of several with launches of that. The members
        stay as they are, and of a failure no more is left than the warning; where memory runs out, the caller restores.
        """
        if loop.has(k):
            return True
        if k > 1 and not self._has_graph(loop, 1, first, batches, numbers):
            return False
        members = self._members
        before = list(members.copy())
        if k == 1:
            losses = self._written.run(batches[first : first + 1], numbers.part(first, first + 1))
        else:
            losses = torch.cat([loop.launch(1, first + i).clone() for i in range(k)])
        after = list(members.copy())
        members.restore(before)
        reason = self._fault(loop, k, first, before, after, losses)
        members.restore(before)
        if reason:
            self._give_up(reason)
        loop.seek(first)
        return not reason

    def _fault(
        self, loop: GraphLoop, k: int, first: int, before: list[Tensor], after: list[Tensor], losses: Tensor
    ) -> str:
        """Capture a graph and launch it; return what is wrong with it, or nothing.

        Raises
        ------
        OutOfMemoryError
        """
        members = self._members
        try:
            loop.capture(k, first, self._written, self._capture)
            members.restore(before)
            launched = loop.launch(k, first)
        except NotReplayable:
            return "it looks at the value of a tensor"
        except Exception as error:  # whatever it is: as written the step has just been taken
            if has_run_out(error):
                raise torch.OutOfMemoryError(str(error)) from error
            return f"torch cannot capture it: {first_line(error)}"
        tolerance = tolerance_of(self._recipe, members.flat.dtype, k)
        alike = agree(before, members.changing(), after, (launched, losses), tolerance)
        return "" if alike else "its result is not that of the step as written"

    def _give_up(self, reason: str) -> None:
        self._gave_up, self._untold = True, reason
        self._loops.clear()

    def _tell(self) -> None:
        """Warn of graphs that were given up, now that the steps have been taken without them; once."""
        reason, self._untold = self._untold, ""
        if reason and self.n_parts == 1:  # else it has been said that a batch does not fit in memory
            warn_user(
                f"A training step does not run as a CUDA graph, since {reason}. Steps are run as written, which gives "
                "the same result and is slower for small networks.",
                ExecutorWarning,
            )


def _launched(loop: GraphLoop, k: int, first: int) -> Tensor:
    """Launch a graph that has been launched before, and return its losses."""
    try:
        return loop.launch(k, first)
    except RuntimeError as error:
        raise torch.OutOfMemoryError(str(error)) if has_run_out(error) else NotLaunched(first_line(error)) from error


def _of_one_form(batches: Sequence[Batch]) -> Iterator[tuple[int, int]]:
    """Yield where neighbours of one form begin and end."""
    if isinstance(batches, ResidentSteps):
        bounds = sorted({0, batches.n_full, len(batches)})
    else:
        bounds = [0, *accumulate(len(list(group)) for _, group in groupby(batches, form_of))]
    yield from pairwise(bounds)
