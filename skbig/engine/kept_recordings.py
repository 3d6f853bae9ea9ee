"""Recordings that are kept by their form: the next fit of the same form has no need to record.

A recording names tensors that last: those of the members, which each training has of its own, memory that its lines
write to, and constants. Bound to other members, it is given views of their tensors, and memory of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skbig._utils.component import form_of
from skbig.engine.line import place_of
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.reductions import WHOLE

Replay = Callable[..., Tensor]

MOST = 128
"""So many recordings, of some kilobytes each, are kept."""

_kept: dict[Any, KeptRecording] = {}
_taken: dict[Any, int] = {}

NOT_OF_A_STEP = {
    *("network", "rate", "schedule", "batch_size", "max_epochs", "schedule_epochs", "max_time", "shuffle", "tol"),
    *("patience", "keep_best", "steps_forgotten"),
}
"""Fields of a recipe that decide nothing of a step but what its inputs are; the network is looked at by itself."""

OF_A_STEP = [field.name for field in dataclasses.fields(Recipe) if field.name not in NOT_OF_A_STEP]


class View(NamedTuple):
    """Where a lasting tensor lies: in which memory, and how."""

    source: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, sources: Sequence[Tensor]) -> Tensor:
        source = sources[self.source]
        if (self.size, self.stride, self.offset) == (source.shape, source.stride(), 0):
            return source
        return source.as_strided(self.size, self.stride, self.offset + source.storage_offset())


Memory = tuple[tuple[int, torch.dtype], ...]
"""Sizes and dtypes of memory that a recording writes to."""

BoundViews = dict[Memory, tuple[list[Tensor], dict[View, Tensor]]]
"""What the recordings of a training are bound to, by their memory: the members' tensors and the memory, and views."""


@dataclass(frozen=True)
class KeptRecording:
    """A recording without the tensors of its training.

    Attributes
    ----------
    code : code object
        What the function does.
    names : dict
        What it names, and is the same for all members: operations and constants.
    views : dict of View
        Names of what lies in the members' tensors, or in memory of its own.
    memory : tuple of (int, dtype)
        Sizes of that memory.
    shares_sums : bool
        As the function's.
    """

    code: CodeType
    names: dict[str, Any]
    views: dict[str, View]
    memory: Memory
    shares_sums: bool

    def bind(self, members: Members, bound: BoundViews) -> Replay:
        """Return the recording as a function that changes other members.

        What is `bound` to them already serves this one, too: memory is written before it is read in each step.
        """
        with torch.inference_mode(False):
            if self.memory not in bound:
                memory = [torch.empty(size, dtype=dtype) for size, dtype in self.memory]
                bound[self.memory] = [*members.held(), *memory], {}
            sources, known = bound[self.memory]
            namespace = self.names.copy()
            for name, view in self.views.items():
                namespace[name] = known.get(view)
                if namespace[name] is None:
                    namespace[name] = known[view] = view.of(sources)
        replay: Any = FunctionType(self.code, namespace)
        replay.shares_sums = self.shares_sums
        bound_replay: Replay = replay
        return bound_replay


def kept(form: Any, members: Members, bound: BoundViews) -> Replay | None:
    """Return the recording of a form, bound to some members, as others may be, if there is one."""
    recording = None if form is None else _kept.get(form)
    return None if recording is None else recording.bind(members, bound)


def keep(form: Any, replay: Any, members: Members) -> bool:
    """Keep what has been recorded with some members; return whether it can be: it writes to nothing but them."""
    recording = None if form is None else _without_members(replay, members)
    if recording is None:
        return False
    if len(_kept) >= MOST:
        _kept.clear()
    _kept[form] = recording
    return True


def steps_taken(form: Any, n_steps: int) -> int:
    """Count steps of a form, of all trainings of this process; return how many there were, these included."""
    if form is None:
        return n_steps
    if len(_taken) >= 8 * MOST:
        _taken.clear()
    _taken[form] = _taken.get(form, 0) + n_steps
    return _taken[form]


def forget() -> None:
    """Keep nothing any more, and begin to count anew."""
    _kept.clear()
    _taken.clear()


def _without_members(replay: Any, members: Members) -> KeptRecording | None:
    """Return a recording that names no tensor of its members, or None where it writes to memory of somebody else."""
    sources = members.held()
    places = {place_of(tensor): i for i, tensor in enumerate(sources)}
    if replay.written - replay.buffers - places.keys():
        return None
    tensors = {name: item for name, item in replay.__globals__.items() if isinstance(item, Tensor)}
    memory: list[tuple[int, torch.dtype]] = []
    for tensor in tensors.values():
        if place_of(tensor) in replay.buffers and place_of(tensor) not in places:
            places[place_of(tensor)] = len(sources) + len(memory)
            memory.append((tensor.untyped_storage().nbytes() // tensor.itemsize, tensor.dtype))
    starts = [int(source.storage_offset()) for source in sources] + [0] * len(memory)
    views = {name: _view(tensor, places, starts) for name, tensor in tensors.items() if place_of(tensor) in places}
    names = {name: item for name, item in replay.__globals__.items() if name not in views}
    return KeptRecording(replay.__code__, names, views, tuple(memory), replay.shares_sums)


def _view(tensor: Tensor, places: dict[int, int], starts: list[int]) -> View:
    source = places[place_of(tensor)]
    return View(source, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()) - starts[source])


def form_of_training(recipe: Recipe, members: Members) -> Any:
    """Return all of a training that decides which operations its steps come down to, or None where it is not known.

    It is known of one member, and of components of this package that hold plain numbers.
    """
    if members.n_members > 1 or members.reductions is not WHOLE:
        return None
    network = recipe.network
    parts = [form_of(network.network), *(form_of(getattr(recipe, name)) for name in OF_A_STEP)]
    if None in parts:
        return None
    held = tuple((tensor.dtype, tensor.shape) for tensor in members.held())
    return (*parts, network.n_features, network.n_outputs, held)


def form_of_step(training: Any, batch: Any, strength: Any, inputs: Sequence[Tensor]) -> Any:
    """Return the same of a step of a training whose form is known, as that of its batch is, or None."""
    if training is None or not isinstance(strength, float):
        return None
    tensors = tuple([(tensor.dtype, tensor.shape, tensor.stride()) for tensor in inputs])
    return (training, batch, strength, tensors, torch.get_num_threads())
