"""Which lines of a program may run beside the others, on a device that does several things at once.

Nobody waits for the gradient of a weight before all are there, and nobody at all for the value of the loss. What a step
has to wait for is its forward pass, and the gradients that go from layer to layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from skbig.engine.line import Line, Value

OF_RESULT = 0
"""The branch of what only the result needs."""

N_GRADIENT_BRANCHES = 2
N_BRANCHES = 1 + N_GRADIENT_BRANCHES


class Branches(Protocol):
    """Streams of work beside the main one."""

    def aside(self, branch: int, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Call a function in a branch, after all that was asked for so far in the main stream and in this branch."""
        ...

    def join(self) -> None:
        """Let what comes next in the main stream wait for all branches."""
        ...


def arrange(lines: Sequence[Line], last: Value, gradients: set[Value]) -> dict[Line, int | None]:
    """Return the branch of each line that may run aside, and None for the lines before which branches must be joined.

    A line may run aside when nobody but the result needs it, or nobody but a line that puts one of the `gradients` in
    its place. Branches are joined before a line that needs what was made there, or changes what is read there.
    """
    wished = _wished(lines, last, gradients)
    arranged: dict[Line, int | None] = {}
    open_branches = _Open()
    for line in lines:
        if line.is_view:
            continue
        branch = wished.get(line)
        if open_branches.hinder(line, branch):
            arranged[line] = None
            open_branches = _Open()
        elif branch is not None:
            arranged[line] = branch
            open_branches.add(line, branch)
    return arranged


def _wished(lines: Sequence[Line], last: Value, gradients: set[Value]) -> dict[Line, int]:
    """Return the branch of each line whose results are read in that branch alone."""
    wished: dict[Line, int] = {}
    readers: defaultdict[Value, set[int | None]] = defaultdict(set)
    readers[last].add(OF_RESULT)
    n_gradients = 0
    for line in reversed(lines):
        branches = set[int | None]().union(*(readers[value] for value in line.made()))
        if line.is_view:
            for value in line.reads():
                readers[value] |= branches
            continue
        branch = None
        if line.changes_input and gradients.issuperset(line.changes()):
            branch = 1 + n_gradients % N_GRADIENT_BRANCHES
            n_gradients += 1
        elif not line.changes_input and len(branches) == 1:
            (branch,) = branches
        if branch is not None:
            wished[line] = branch
        for value in line.reads():
            readers[value].add(branch)
    return wished


class _Open:
    """The branches since they were joined last: which places they read, and which they write."""

    def __init__(self) -> None:
        self._reads: defaultdict[int, set[int]] = defaultdict(set)
        self._writes: defaultdict[int, set[int]] = defaultdict(set)

    def add(self, line: Line, branch: int) -> None:
        self._reads[branch] |= _places(line.reads())
        self._writes[branch] |= _places([*line.changes(), *line.made()])

    def hinder(self, line: Line, branch: int | None) -> bool:
        """Whether a line in this branch would have to wait for another."""
        # What a branch changes is the place of a gradient, where nobody else has anything to do before all are joined.
        changes = line.changes() if branch is None else []
        taken = [value for value in line.reads() if branch is None or value not in line.changes()]
        return any(
            _places(changes) & (self._reads[other] | self._writes[other]) or _places(taken) & self._writes[other]
            for other in self._reads
            if other != branch
        )


def _places(values: Sequence[Value]) -> set[int]:
    return {value.place for value in values}
