"""Record a step once, as the plain list of torch operations it came down to, and replay that list.

A small network spends most of a step in Python and in autograd's bookkeeping. The operations themselves are always
the same, backward pass included, so they are recorded while the first step runs, freed of what does nothing, and
written down as a Python function of straight lines: `addmm`, `relu`, `mm`, ... A replay gives the bits that the step
itself would give.

Views of lasting tensors (the parameters) are taken once, while recording. The gradients of the parameters are
computed right into the tensor they are gathered in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten


@dataclass(eq=False)
class _Value:
    """A tensor of the program: an input, a lasting one (`constant`), or one that a line makes."""

    name: str
    tensor: Tensor
    constant: bool = False


@dataclass(eq=False)
class _Line:
    operation: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    results: list[_Value | None]

    @property
    def changes_input(self) -> bool:
        return bool(self.operation._schema.is_mutable)

    @property
    def makes_several(self) -> bool:
        """Whether the result is a tuple, or a list, which may have one item."""
        returns = self.operation._schema.returns
        return len(returns) > 1 or (bool(returns) and returns[0].type.kind() == "ListType")

    def reads(self) -> list[_Value]:
        return [leaf for leaf in _leaves((self.arguments, list(self.keywords.values()))) if isinstance(leaf, _Value)]


class NotReplayable(Exception):
    """The step looked at the value of a tensor, so its operations may differ the next time."""


class _Recorder(TorchDispatchMode):
    """Keeps every operation that reaches torch's kernels while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else entering the mode would import the compiler, which takes a second

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = operation(*args, **(kwargs or {}))
        self.calls.append((operation, args, kwargs or {}, result))
        return result


def record(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, Callable[..., Tensor]]:
    """Run ``function(*inputs)`` and return its result and a function of the same inputs that repeats its operations.

    Raises
    ------
    NotReplayable
        When the function asked for the value of a tensor. It has run to its end all the same.
    """
    with _Recorder() as recorder:
        result = function(*inputs)
    if any(call[0] is _aten._local_scalar_dense.default for call in recorder.calls):
        raise NotReplayable
    program = _Program(inputs)
    for call in recorder.calls:
        program.add(*call)
    program.gather_gradients_in_place()
    program.take_views_once()
    return result, program.compile(result)


@dataclass
class _Program:
    inputs: Sequence[Tensor]
    lines: list[_Line] = field(default_factory=list)
    values: dict[int, _Value] = field(default_factory=dict)
    transposed: dict[_Value, _Value] = field(default_factory=dict)
    ones: set[_Value] = field(default_factory=set)
    n_constants: int = 0

    def __post_init__(self) -> None:
        for i, tensor in enumerate(self.inputs):
            self.values[id(tensor)] = _Value(f"i{i}", tensor)

    def value(self, tensor: Tensor) -> _Value:
        """Return the value of a tensor; one that no line has made was there before, and lasts."""
        if id(tensor) not in self.values:
            self.values[id(tensor)] = self._constant(tensor)
        return self.values[id(tensor)]

    def _constant(self, tensor: Tensor) -> _Value:
        self.n_constants += 1
        return _Value(f"c{self.n_constants}", tensor, constant=True)

    def add(self, operation: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Add a recorded call, unless it does nothing."""
        arguments, keywords = self._values_in(args), self._values_in(kwargs)
        line = _Line(operation, arguments, keywords, [])
        if (same := self._same_as(line, result)) is not None:
            self.values[id(result)] = same
        else:
            line.results = [self._made(tensor) for tensor in _as_list(result)]
            self.lines.append(line)
            self._note(line)

    def _note(self, line: _Line) -> None:
        """Remember which values are transposes and which are ones."""
        made = line.results[0]
        if made is None:
            return
        if line.operation is _aten.t.default:
            self.transposed[made] = line.arguments[0]
        passed_on = line.operation is _aten.expand.default or line.operation in _VIEWS
        if line.operation is _aten.ones_like.default or (passed_on and line.arguments[0] in self.ones):
            self.ones.add(made)

    def _values_in(self, item: Any) -> Any:
        if isinstance(item, Tensor):
            return self.value(item)
        if isinstance(item, dict):
            return {key: self._values_in(value) for key, value in item.items()}
        if isinstance(item, (tuple, list)):
            return type(item)(self._values_in(value) for value in item)
        return item

    def _made(self, tensor: Any) -> _Value | None:
        if not isinstance(tensor, Tensor):
            return None
        if id(tensor) not in self.values:
            self.values[id(tensor)] = _Value(f"v{len(self.values)}", tensor)
        return self.values[id(tensor)]

    def _same_as(self, line: _Line, result: Any) -> _Value | None:
        """The value that a call only passes on: `detach`, a view of the same shape, a transpose of a transpose."""
        if line.operation in (_aten.detach.default, _aten.alias.default):
            return line.arguments[0]
        if line.operation in _VIEWS and line.arguments[0].tensor.shape == result.shape:
            source = line.arguments[0]
            return source if source.tensor.stride() == result.stride() else None
        if line.operation is _aten.t.default:
            return self.transposed.get(line.arguments[0])
        if line.operation is _aten.mul.Tensor and self.ones.intersection(line.reads()):
            return self._factor_beside_ones(line, result)
        return None

    def _factor_beside_ones(self, line: _Line, result: Any) -> _Value | None:
        """The other factor of a product with ones: what a backward pass begins with."""
        others = [value for value in line.reads() if value not in self.ones]
        return others[0] if others and others[0].tensor.shape == result.shape else None

    def gather_gradients_in_place(self) -> None:
        """Turn ``cat([view(mm(...)), ...])`` into ``mm(..., out=slice)``: one pass over the gradients less."""
        makers = {result: line for line in self.lines for result in line.results if result is not None}
        for line in [line for line in self.lines if line.operation is _aten.cat.default]:
            parts, joined = line.arguments[0], line.results[0]
            sources = [self._origin(part, makers) for part in parts]
            if joined is None or joined.tensor.numel() != joined.tensor.shape[-1] or not _all_plain(sources, makers):
                continue
            joined.tensor, joined.constant = torch.empty_like(joined.tensor), True
            self._write_into(joined, sources, makers)
            self.lines.remove(line)

    def _origin(self, value: _Value, makers: dict[_Value, _Line]) -> _Value:
        while value in makers and makers[value].operation in _VIEWS:
            value = makers[value].arguments[0]
        return value

    def _write_into(self, buffer: _Value, sources: list[_Value], makers: dict[_Value, _Line]) -> None:
        start = 0
        for source in sources:
            shape, size = source.tensor.shape, source.tensor.numel()
            place = self._constant(buffer.tensor.view(-1).narrow(0, start, size).view(shape))
            maker = makers[source]
            if maker.operation is _aten.clone.default:
                maker.operation, maker.arguments = _aten.copy_.default, (place, maker.arguments[0])
                maker.keywords, source.tensor, source.constant = {}, place.tensor, True
            elif maker.operation in _WITH_OUT:
                maker.operation = _WITH_OUT[maker.operation]
                maker.keywords = {**maker.keywords, "out": place}
                source.tensor, source.constant = place.tensor, True
            else:
                copy = _Line(_aten.copy_.default, (place, source), {}, [None])
                self.lines.insert(self.lines.index(maker) + 1, copy)
            start += size

    def take_views_once(self) -> None:
        """Do now what gives the same every time: views of lasting tensors, and the numbers 0, 1, 2, ..."""
        for line in list(self.lines):
            if line.operation in _COUNTERS or (
                _is_view(line.operation) and all(value.constant for value in line.reads())
            ):
                made = line.operation(*_tensors(line.arguments), **_tensors(line.keywords))
                for value, tensor in zip(line.results, _as_list(made), strict=True):
                    if value is not None:
                        value.tensor, value.constant = tensor, True
                self.lines.remove(line)

    def compile(self, result: Tensor) -> Callable[..., Tensor]:
        """Write the lines that matter as a Python function."""
        writer = _Writer()
        last = self.value(result)
        kept = self._needed(last)
        body = [*map(writer.line, kept)]
        body = _with_releases(body, kept, last)
        source = f"def replay({', '.join(f'i{i}' for i in range(len(self.inputs)))}):\n"
        source += "".join(f"    {text}\n" for text in body) + f"    return {writer.text(last)}\n"
        namespace = dict(writer.names)
        exec(source, namespace)
        replay = namespace.pop("replay")  # else it would hold itself, and all its tensors, until garbage is collected
        replay.source = source
        return replay

    def _needed(self, last: _Value) -> list[_Line]:
        needed, kept = {last}, []
        for line in reversed(self.lines):
            if line.changes_input or not needed.isdisjoint(r for r in line.results if r is not None):
                kept.append(line)
                needed.update(line.reads())
        return kept[::-1]


class _Writer:
    """Writes lines of Python, and keeps the objects that they name."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def line(self, line: _Line) -> str:
        arguments = [self.text(argument) for argument in line.arguments]
        arguments += [f"{key}={self.text(value)}" for key, value in line.keywords.items()]
        call = f"{self._function(line.operation)}({', '.join(arguments)})"
        if line.changes_input or all(result is None for result in line.results):
            return call
        names = [result.name if result is not None else "_" for result in line.results]
        return f"{', '.join(names)}{',' if line.makes_several else ''} = {call}"

    def text(self, item: Any) -> str:
        if isinstance(item, _Value):
            if item.constant:
                self.names[item.name] = item.tensor
            return item.name
        if isinstance(item, (tuple, list)):
            return "[" + ", ".join(map(self.text, item)) + "]"
        if item is None or (
            isinstance(item, (bool, int, float, str)) and item == item and abs(_size(item)) != float("inf")
        ):
            return repr(item)
        return self._name(item, "k")

    def _function(self, operation: Any) -> str:
        return self._name(_plain_function(operation), operation._schema.name.split("::")[1].strip("_") + "_")

    def _name(self, item: Any, prefix: str) -> str:
        for name, known in self.names.items():
            if known is item:
                return name
        name = f"{prefix}{len(self.names)}"
        self.names[name] = item
        return name


def _with_releases(body: list[str], lines: list[_Line], last: _Value) -> list[str]:
    """Add a ``del`` after the last use of each value, so that its memory is used again while it is in the cache."""
    seen: set[_Value] = {last}
    released: list[str] = []
    for text, line in zip(reversed(body), reversed(lines), strict=True):
        touched = [*line.reads(), *(r for r in line.results if r is not None and not line.changes_input)]
        gone = [
            value.name
            for value in dict.fromkeys(touched)
            if value not in seen and value.name.startswith("v") and not value.constant
        ]
        seen.update(touched)
        released += ([f"del {', '.join(gone)}"] if gone else []) + [text]
    return released[::-1]


def _plain_function(operation: Any) -> Any:
    """The builtin of an operation: calling it costs a microsecond less than calling the operation object."""
    name = operation._schema.name.split("::")[1]
    if operation._schema.name.startswith("aten::"):
        for home in (torch.Tensor,) if name.endswith("_") else (torch, torch._C._nn, torch.Tensor):
            if hasattr(home, name) and name not in _ONLY_AS_OPERATION:
                return getattr(home, name)
    return getattr(operation, "_op", operation)


def _all_plain(sources: list[_Value], makers: dict[_Value, _Line]) -> bool:
    """Whether each part is made by its own line, into memory of its own."""
    own = len(set(sources)) == len(sources)
    return own and all(s in makers and s.tensor.is_contiguous() and not makers[s].changes_input for s in sources)


def _is_view(operation: Any) -> bool:
    returns = operation._schema.returns
    return bool(returns) and all(r.alias_info is not None for r in returns) and not operation._schema.is_mutable


def _tensors(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _tensors(value) for key, value in item.items()}
    if isinstance(item, (tuple, list)):
        return type(item)(_tensors(value) for value in item)
    return item.tensor if isinstance(item, _Value) else item


def _as_list(item: Any) -> list[Any]:
    return list(item) if isinstance(item, (tuple, list)) else [item]


def _leaves(item: Any) -> list[Any]:
    if isinstance(item, (tuple, list)):
        return [leaf for value in item for leaf in _leaves(value)]
    return [item]


def _size(item: Any) -> float:
    return float(item) if isinstance(item, (int, float)) else 0.0


_VIEWS = (_aten.view.default, _aten._unsafe_view.default, _aten.reshape.default)
_COUNTERS = (_aten.arange.default, _aten.arange.start, _aten.arange.start_step)
_WITH_OUT = {_aten.mm.default: _aten.mm.out, _aten.sum.dim_IntList: _aten.sum.IntList_out}
# Python's own functions of these names take other arguments than the operation.
_ONLY_AS_OPERATION = ("slice", "to", "size", "new_empty", "index")
