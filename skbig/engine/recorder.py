"""Record a step once, as the plain list of torch operations it came down to, and replay that list.

A small network spends most of a step in Python and in autograd's bookkeeping. The operations themselves are always
the same, backward pass included, so they are recorded while the first step runs, freed of what does nothing, and
written down as a Python function of straight lines: `addmm`, `relu`, `mm`, ... A replay gives the bits that the step
itself would give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from skbig._utils.operations import DispatchMode, draws, looks
from skbig.engine.branches import Branches
from skbig.engine.gathered_gradients import gather_gradients
from skbig.engine.line import place_of, written_by
from skbig.engine.program import Program

_LITERAL = torch.ops.aten.lift_fresh.default
"""Makes a tensor of what Python holds: which operations have put its numbers there cannot be seen."""


class NotReplayable(Exception):
    """The step looked at values, drew random numbers, or changed a literal: the next time it may do otherwise."""


def record(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], branches: Branches | None = None
) -> tuple[Tensor, Callable[..., Tensor]]:
    """Run ``function(*inputs)`` and return its result and a function of the same inputs that repeats its operations.

    With `branches`, what need not be waited for is done beside the rest.

    Raises
    ------
    NotReplayable
        When the function asked for the value of a tensor, or changed what `torch.tensor` had made of plain numbers. It
        has run to its end all the same.
    """
    with _Recorder() as recorder:
        result = function(*inputs)
    if any(looks(operation, args) or draws(operation, args, kwargs) for operation, args, kwargs, *_ in recorder.calls):
        raise NotReplayable
    changed, turned = _changed(recorder.calls)
    if any(call[0] is _LITERAL and place_of(call[3]) in changed for call in recorder.calls):
        raise NotReplayable
    program = Program(inputs, changed, turned)
    for call in recorder.calls:
        program.add(*call)
    program.drop_unneeded(result)
    gather_gradients(program, result)
    program.take_views_once()
    program.drop_unneeded(result)
    program.scale_while_adding(result)
    program.take_numbers_once()
    program.activate_within_products(result)
    if branches is None:  # lines run one after another
        program.work_in_place(result)
    return result, program.compile(result, branches)


def _changed(calls: Sequence[Any]) -> tuple[set[int], set[int]]:
    """Return the places that calls write to, and the ids of the tensors to which they give another form in place."""
    changed, turned = set[int](), set[int]()
    for operation, args, kwargs, *_ in calls:
        written = [leaf for leaf in written_by(operation, args, kwargs) if isinstance(leaf, Tensor)]
        if operation is not torch.ops.aten.detach_.default:
            changed.update(map(place_of, written))
        if torch.Tag.inplace_view in operation.tags:
            turned.update(map(id, written))
    return changed, turned


class _Recorder(DispatchMode):
    """Keeps every operation that reaches torch's kernels while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any, int | None]] = []
        self._n_threads = torch.get_num_threads()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = operation(*args, **(kwargs or {}))
        n_threads = torch.get_num_threads()
        limit = n_threads if n_threads < self._n_threads else None
        self.calls.append((operation, args, kwargs or {}, result, limit))
        return result
