"""A program: lines of torch operations, as they were recorded, and what can be left out of them.

Views of lasting tensors (the parameters) are taken once, while recording.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from skbig.engine.branches import Branches, arrange
from skbig.engine.line import Line, Value, leaves, place_of
from skbig.engine.program_source import write

_aten = torch.ops.aten


@dataclass
class Program:
    """The lines of one recording.

    Attributes
    ----------
    inputs : sequence of Tensor
    changed : set of int
        The places that some line writes to.
    turned : set of int
        The ids of tensors whose form some line changes, as `transpose_` does: here they have the form that they end in.
    lines : list of Line
    gradients : set of Value
        The places that gradients are gathered in.
    buffers : list of Value
        The memory of these places, of which every step writes all before it reads it.
    """

    inputs: Sequence[Tensor]
    changed: set[int] = field(default_factory=set)
    turned: set[int] = field(default_factory=set)
    lines: list[Line] = field(default_factory=list)
    gradients: set[Value] = field(default_factory=set)
    buffers: list[Value] = field(default_factory=list)
    _values: dict[int, Value] = field(default_factory=dict)
    _places: set[int] = field(default_factory=lambda: {0})
    _transposed: dict[Value, Value] = field(default_factory=dict)
    _viewed: dict[Value, Value] = field(default_factory=dict)
    _ones: set[Value] = field(default_factory=set)
    _n_constants: int = 0

    def __post_init__(self) -> None:
        for i, tensor in enumerate(self.inputs):
            self._values[id(tensor)] = Value(f"i{i}", tensor)

    def value(self, tensor: Tensor) -> Value:
        """Return the value of a tensor; one that no line has made was there before, and lasts."""
        if id(tensor) not in self._values:
            self._values[id(tensor)] = self.constant(tensor)
        return self._values[id(tensor)]

    def constant(self, tensor: Tensor) -> Value:
        """Return a new value, of a tensor that lasts."""
        self._n_constants += 1
        return Value(f"c{self._n_constants}", tensor, constant=True)

    def add(self, operation: Any, args: Any, kwargs: Any, result: Any, max_threads: int | None) -> None:
        """Add a recorded call, unless it does nothing."""
        arguments, keywords = self._values_in(args), self._values_in(kwargs)
        if operation in VIEWS:  # of what was viewed, where it is a view already
            arguments = (self._viewed.get(arguments[0], arguments[0]), *arguments[1:])
        line = Line(operation, arguments, keywords, [], max_threads)
        if (same := self._same_as(line, result)) is not None:
            self._values[id(result)] = same
        else:
            taken = [leaf for leaf in leaves((args, list(kwargs.values()))) if isinstance(leaf, Tensor)]
            self._places.update(map(place_of, taken))
            line.results = [self._made(tensor) for tensor in _as_list(result)]
            self.lines.append(line)
            self._note(line)

    def _note(self, line: Line) -> None:
        """Remember which values are transposes, which are views, and which are ones."""
        made = line.results[0]
        if made is None or self._turns_later(line, made.tensor):
            return
        if _turns(line):
            self._transposed[made] = line.arguments[0]
        if line.operation in VIEWS and not made.anew:  # `reshape` may copy
            self._viewed[made] = line.arguments[0]
        passed_on = line.operation in (_aten.expand.default, _aten.unsqueeze.default, *VIEWS)
        if line.operation is _aten.ones_like.default or (passed_on and line.arguments[0] in self._ones):
            self._ones.add(made)

    def _values_in(self, item: Any) -> Any:
        if isinstance(item, Tensor):
            return self.value(item)
        if isinstance(item, dict):
            return {key: self._values_in(value) for key, value in item.items()}
        if isinstance(item, (tuple, list)):
            return type(item)(self._values_in(value) for value in item)
        return item

    def _made(self, tensor: Any) -> Value | None:
        """The value that a call makes, perhaps where others lie, which its schema need not tell."""
        if not isinstance(tensor, Tensor):
            return None
        if id(tensor) not in self._values:
            anew = place_of(tensor) not in self._places
            self._values[id(tensor)] = Value(f"v{len(self._values)}", tensor, anew=anew)
            self._places.add(place_of(tensor))
        return self._values[id(tensor)]

    def _same_as(self, line: Line, result: Any) -> Value | None:
        """The value that a call only passes on: `detach`, `to` of the same dtype, a transpose of a transpose."""
        if not line.changes_input and any(value.tensor is result for value in line.reads()):
            return self._values[id(result)]
        if self._turns_later(line, result):
            return None
        if line.operation in (_aten.detach.default, _aten.alias.default):
            return line.arguments[0]
        if line.operation in VIEWS:
            return line.arguments[0] if _lies_as(line.arguments[0].tensor, result) else None
        if _turns(line):
            return self._transposed.get(line.arguments[0])
        if line.operation is _aten.mul.Tensor and self._ones.intersection(line.reads()):
            return self._factor_beside_ones(line, result)
        return None

    def _turns_later(self, line: Line, result: Any) -> bool:
        return not self.turned.isdisjoint([id(result), *(id(value.tensor) for value in line.reads())])

    def _factor_beside_ones(self, line: Line, result: Any) -> Value | None:
        """The other factor of a product with ones: what a backward pass begins with."""
        others = [value for value in line.reads() if value not in self._ones]
        stays = self.changed.isdisjoint([place_of(result), *(value.place for value in line.reads())])
        return others[0] if others and stays and _replaces(others[0].tensor, result) else None

    # What can be left out.

    def drop_unneeded(self, result: Tensor) -> None:
        """Leave out what nobody reads."""
        self.lines = self._needed(self.value(result))

    def take_views_once(self) -> None:
        """Do now what gives the same every time: views of lasting tensors, and the numbers 0, 1, 2, ..."""
        for line in list(self.lines):
            counts = line.operation in _COUNTERS and self.changed.isdisjoint(value.place for value in line.made())
            lasts = line.is_view and all(value.constant for value in line.reads())
            turns = any(self._turns_later(line, value.tensor) for value in line.made())
            if counts or (lasts and not turns):
                made = line.operation(*_tensors(line.arguments), **_tensors(line.keywords))
                for value, tensor in zip(line.results, _as_list(made), strict=True):
                    if value is not None:
                        value.tensor, value.constant = tensor, True
                self.lines.remove(line)

    def scale_while_adding(self, result: Tensor) -> None:
        """Turn ``add(x, y * 0.5, alpha=a)`` into ``add(x, y, alpha=a * 0.5)``: a half rounds no normal number."""
        n_readers = self.n_readers(result)
        makers = {line.results[0]: line for line in self.lines if line.operation is _aten.mul.Tensor}
        for line in [line for line in self.lines if line.operation is _aten.add.Tensor]:
            scaled = makers.get(line.arguments[1])
            if scaled is None or not _is_power_of_two(scaled.arguments[1]) or n_readers[line.arguments[1]] > 1:
                continue
            whole = scaled.arguments[0]
            own = _is_own(whole) and n_readers[whole] == 1 and whole.tensor.dtype in _SINGLE_OR_DOUBLE
            if own and _replaces(whole.tensor, line.arguments[1].tensor):
                line.arguments = (line.arguments[0], whole)
                line.keywords = {"alpha": line.keywords.get("alpha", 1) * scaled.arguments[1]}
                self.lines.remove(scaled)

    def n_readers(self, result: Tensor) -> Counter[Value]:
        """Return how often each value is read, by lines and as the result."""
        readers = Counter(value for line in self.lines for value in line.reads())
        readers[self.value(result)] += 1
        return readers

    def take_numbers_once(self) -> None:
        """Let a number that an operation takes in place of a tensor be one, which torch would make in every replay."""
        numbers: dict[tuple[Any, torch.dtype], Value] = {}
        for line in [line for line in self.lines if line.operation in _OF_TWO]:
            tensor, number, *others = line.arguments
            if isinstance(number, Value) or not _rounds_numbers(line, tensor.tensor):
                continue
            key = (repr(number), tensor.tensor.dtype)
            if key not in numbers:
                numbers[key] = self.constant(torch.tensor(number, dtype=tensor.tensor.dtype))
            line.arguments = (tensor, numbers[key], *others)

    def activate_within_products(self, result: Tensor) -> None:
        """Turn ``relu(addmm(vector, ...))`` into one operation, which on a GPU is one pass over the result less."""
        n_readers = self.n_readers(result)
        makers = {line.results[0]: line for line in self.lines if line.operation is _aten.addmm.default}
        for line in [line for line in self.lines if line.operation is _aten.relu.default]:
            product = makers.get(line.arguments[0])
            if product is None or n_readers[line.arguments[0]] > 1 or not _adds_vector(product):
                continue
            between = self.lines[self.lines.index(product) : self.lines.index(line)]
            taken = {value.place for value in product.reads()}
            if any(value.place in taken for each in between for value in each.changes()):
                continue
            line.operation, line.arguments = _aten._addmm_activation.default, product.arguments
            self.lines.remove(product)

    def work_in_place(self, result: Tensor) -> None:
        """Turn ``relu(mm(...))`` into ``relu_(mm(...))``, and the like, where nobody else reads what it takes.

        On a CPU it is faster to write to memory that lies in the cache.
        """
        n_readers = self.n_readers(result)
        for line in [line for line in self.lines if line.operation in _IN_PLACE]:
            read, (made,) = line.arguments[0], line.results
            if not _is_own(read) or n_readers[read] > 1 or made is None or not _replaces(read.tensor, made.tensor):
                continue
            if self._turns_later(line, made.tensor) or (line.keywords and _is_one_number(line.arguments[1])):
                continue  # torch 2.6 rounds `add_` of one number and `alpha` otherwise than `add`
            line.operation, written = _IN_PLACE[line.operation]
            line.keywords, line.results = line.keywords | ({written: read} if written else {}), []
            self._put(read, made)
            n_readers[read] = n_readers[made]

    def _put(self, value: Value, other: Value) -> None:
        """Let all read a value that read another."""
        for line in self.lines:
            line.arguments = _exchanged(line.arguments, other, value)
            line.keywords = _exchanged(line.keywords, other, value)
        self._values = {key: value if known is other else known for key, known in self._values.items()}

    def compile(self, result: Tensor, branches: Branches | None = None) -> Callable[..., Tensor]:
        """Write the lines that matter as a Python function.

        It tells its `source`, where the lasting memory lies that it writes to, `written`, and which is `buffers`; and
        whether threads may share the numbers of a sum, `shares_sums`.
        """
        last = self.value(result)
        lines = self._needed(last)
        arranged = None if branches is None else arrange(lines, last, self.gradients)
        replay: Any = write(lines, last, len(self.inputs), branches, arranged)
        replay.written = {value.place for line in lines for value in line.changes() if value.constant}
        replay.buffers = {value.place for value in self.buffers}
        replay.shares_sums = any(line.shares_a_sum for line in lines)
        compiled: Callable[..., Tensor] = replay
        return compiled

    def _needed(self, last: Value) -> list[Line]:
        needed, kept = {last}, []
        for line in reversed(self.lines):
            if line.changes_input or not needed.isdisjoint(line.made()):
                kept.append(line)
                needed.update(line.reads())
        return kept[::-1]


def _turns(line: Line) -> bool:
    """Whether a line swaps the last two axes."""
    if line.operation is not _aten.transpose.int:
        return line.operation is _aten.t.default
    X, *axes = line.arguments
    return {axis % X.tensor.dim() for axis in axes} == {X.tensor.dim() - 2, X.tensor.dim() - 1}


def _lies_as(one: Tensor, other: Tensor) -> bool:
    """Whether what can be done with one tensor, a view say, can be done with the other."""
    return one.shape == other.shape and one.stride() == other.stride()


def _replaces(one: Tensor, other: Tensor) -> bool:
    return _lies_as(one, other) and one.dtype == other.dtype


def _is_own(value: Value) -> bool:
    """Whether each call makes a value anew; what lasts has views, taken once, that no line tells of."""
    return value.anew and not value.constant


def _is_one_number(item: Any) -> bool:
    return not isinstance(item, Value) or item.tensor.numel() == 1


def _rounds_numbers(line: Line, tensor: Tensor) -> bool:
    """Whether an operation of a tensor and a number begins by rounding the number to the dtype of the tensor."""
    made = {value.tensor.dtype for value in [*line.made(), *line.changes()]}
    return tensor.device.type == "cpu" and tensor.dtype in _SINGLE_OR_DOUBLE and made == {tensor.dtype}


def _is_power_of_two(number: Any) -> bool:
    """Whether a number is 1, 1/2, 1/4, ...: larger ones may overflow."""
    return isinstance(number, float) and number <= 1 and math.frexp(number)[0] == 0.5


def _adds_vector(product: Line) -> bool:
    return product.arguments[0].tensor.dim() == 1 and not product.keywords


def _tensors(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _tensors(value) for key, value in item.items()}
    if isinstance(item, (tuple, list)):
        return type(item)(_tensors(value) for value in item)
    return item.tensor if isinstance(item, Value) else item


def _exchanged(item: Any, old: Value, new: Value) -> Any:
    if isinstance(item, dict):
        return {key: _exchanged(value, old, new) for key, value in item.items()}
    if isinstance(item, (tuple, list)):
        return type(item)(_exchanged(value, old, new) for value in item)
    return new if item is old else item


def _as_list(item: Any) -> list[Any]:
    return list(item) if isinstance(item, (tuple, list)) else [item]


_SINGLE_OR_DOUBLE = (torch.float32, torch.float64)
VIEWS = (_aten.view.default, _aten._unsafe_view.default, _aten.reshape.default)
"""Operations that give a tensor another shape and compute nothing."""

_OF_TWO = (
    *(_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor),
    *(_aten.add_.Tensor, _aten.sub_.Tensor, _aten.mul_.Tensor, _aten.div_.Tensor),
)
_COUNTERS = (_aten.arange.default, _aten.arange.start, _aten.arange.start_step)
_IN_PLACE = {
    _aten.relu.default: (_aten.relu_.default, ""),
    _aten.tanh.default: (_aten.tanh_.default, ""),
    _aten.sigmoid.default: (_aten.sigmoid_.default, ""),
    _aten.add.Tensor: (_aten.add_.Tensor, ""),
    _aten.sub.Tensor: (_aten.sub_.Tensor, ""),
    _aten.mul.Tensor: (_aten.mul_.Tensor, ""),
    _aten.div.Tensor: (_aten.div_.Tensor, ""),
    _aten.threshold_backward.default: (_aten.threshold_backward.grad_input, "grad_input"),
    _aten.tanh_backward.default: (_aten.tanh_backward.grad_input, "grad_input"),
    _aten.sigmoid_backward.default: (_aten.sigmoid_backward.grad_input, "grad_input"),
}
"""What writes to its first argument instead, and the keyword that this is said by."""
