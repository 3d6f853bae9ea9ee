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
from skbig.engine.program import Program


class NotReplayable(Exception):
    """The step looked at values, or drew random numbers, so its operations may differ the next time."""


def record(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], branches: Branches | None = None
) -> tuple[Tensor, Callable[..., Tensor]]:
    """Run ``function(*inputs)`` and return its result and a function of the same inputs that repeats its operations.

    With `branches`, what need not be waited for is done beside the rest.

    Raises
    ------
    NotReplayable
        When the function asked for the value of a tensor. It has run to its end all the same.
    """
    with _Recorder() as recorder:
        result = function(*inputs)
    if any(looks(operation, args) or draws(operation, args, kwargs) for operation, args, kwargs, *_ in recorder.calls):
        raise NotReplayable
    program = Program(inputs)
    for call in recorder.calls:
        program.add(*call)
    program.gather_gradients_in_place()
    program.take_views_once()
    program.drop_unneeded(result)
    program.scale_while_adding(result)
    program.take_numbers_once()
    program.activate_within_products()
    if branches is None:  # lines run one after another
        program.work_in_place(result)
    return result, program.compile(result, branches)


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
