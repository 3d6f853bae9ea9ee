"""A program as the source of a Python function, which costs less than going through its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from skbig._utils.threads import on_at_most
from skbig.engine.branches import Branches
from skbig.engine.line import Line, Value


def write(
    lines: Sequence[Line],
    last: Value,
    n_inputs: int,
    branches: Branches | None = None,
    arranged: Mapping[Line, int | None] | None = None,
) -> Callable[..., Tensor]:
    """Return the function of `n_inputs` tensors that runs the lines, some `arranged` in branches, and returns `last`.

    Attributes of the function: its `source`.
    """
    writer = _Writer(branches, arranged or {})
    for line in lines:
        writer.add(line)
    writer.join()
    body = _with_releases(writer.statements, last)
    source = f"def replay({', '.join(f'i{i}' for i in range(n_inputs))}):\n"
    source += "".join(f"    {text}\n" for text in body) + f"    return {writer.text(last)}\n"
    namespace = dict(writer.names)
    exec(source, namespace)
    replay = namespace.pop("replay")  # else it would hold itself, and all its tensors, until garbage is collected
    replay.source = source
    return replay


class _Writer:
    """Writes lines of Python, and keeps the objects that they name.

    Attributes
    ----------
    statements : list of (str, list of Value)
        Each with the values that it needs, or makes.
    names : dict
    """

    def __init__(self, branches: Branches | None, arranged: Mapping[Line, int | None]) -> None:
        self._arranged = arranged
        self._aside: Any = getattr(branches, "aside", None)
        self._join: Any = getattr(branches, "join", None)
        self._touched_aside: list[Value] = []
        self.statements: list[tuple[str, list[Value]]] = []
        self.names: dict[str, Any] = {}

    def add(self, line: Line) -> None:
        """Write a line, in its branch."""
        touched = [*line.reads(), *([] if line.changes_input else line.made())]
        branch = self._arranged.get(line)
        if branch is not None:
            self._touched_aside += touched
        elif line in self._arranged:
            self.join()
        self.statements.append((self._line(line, branch), touched))

    def join(self) -> None:
        """Wait for the branches, if any is open; until then all that they touch has to stay."""
        if self._touched_aside:
            self.statements.append((f"{self._name(self._join, 'join')}()", self._touched_aside))
            self._touched_aside = []

    def _line(self, line: Line, branch: int | None) -> str:
        function = self._function(line.operation)
        arguments = [self.text(argument) for argument in line.arguments]
        arguments += [f"{key}={self.text(value)}" for key, value in line.keywords.items()]
        if line.max_threads is not None and not line.is_view:
            arguments, function = [str(line.max_threads), function, *arguments], self._name(on_at_most, "on_at_most")
        if branch is not None:
            arguments = [str(branch), function, *arguments]
            function = self._name(self._aside, "aside")
        call = f"{function}({', '.join(arguments)})"
        if line.changes_input or not line.made():
            return call
        names = [result.name if result is not None else "_" for result in line.results]
        return f"{', '.join(names)}{',' if line.makes_several else ''} = {call}"

    def text(self, item: Any) -> str:
        """Return an argument as it is written."""
        if isinstance(item, Value):
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


def _with_releases(statements: Sequence[tuple[str, list[Value]]], last: Value) -> list[str]:
    """Add a ``del`` after the last use of each value, so that its memory is used again while it is in the cache."""
    seen: set[Value] = {last}
    released: list[str] = []
    for text, touched in reversed(statements):
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
        for home in (torch.Tensor, torch) if name.endswith("_") else (torch, torch._C._nn, torch.Tensor):
            if hasattr(home, name) and name not in _ONLY_AS_OPERATION:
                return getattr(home, name)
    return getattr(operation, "_op", operation)


def _size(item: Any) -> float:
    return float(item) if isinstance(item, (int, float)) else 0.0


# Python's own functions of these names take other arguments than the operation.
_ONLY_AS_OPERATION = ("slice", "to", "size", "new_empty", "index")
