"""A line of a program: one torch operation, what it takes and what it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skbig._utils.reduction import BLOCK, SHORT


@dataclass(eq=False)
class Value:
    """A tensor of the program: an input, a lasting one (`constant`), or one that a line makes.

    Attributes
    ----------
    name : str
    tensor : Tensor
    constant : bool
    anew : bool
        Whether the line makes it in memory where nothing lay before; of a sparse one that is not known.
    """

    name: str
    tensor: Tensor
    constant: bool = False
    anew: bool = False

    @property
    def place(self) -> int:
        """What tells its memory from that of others."""
        return place_of(self.tensor)


@dataclass(eq=False)
class Line:
    """One operation: what it takes and what it makes, and on how many threads it is at most, if it is so."""

    operation: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    results: list[Value | None]
    max_threads: int | None = None

    @property
    def changes_input(self) -> bool:
        return bool(self.operation._schema.is_mutable)

    @property
    def is_view(self) -> bool:
        """Whether all that it makes lies in what it takes: of `to`, or of an unsafe view, the schema does not tell."""
        made = self.made()
        return bool(made) and not self.changes_input and all(value.place and not value.anew for value in made)

    @property
    def makes_several(self) -> bool:
        """Whether the result is a tuple, or a list, which may have one item."""
        returns = self.operation._schema.returns
        return len(returns) > 1 or (bool(returns) and returns[0].type.kind() == "ListType")

    @property
    def shares_a_sum(self) -> bool:
        """Whether it makes one number of so many that threads may share them, each in its own order."""
        if self.is_view or not any(value.tensor.numel() == 1 for value in [*self.made(), *self.changes()]):
            return False
        is_torchs = self.operation._schema.name in ("aten::sum", "aten::linalg_vector_norm", "aten::mean")
        return any(value.tensor.numel() > (BLOCK if is_torchs else SHORT) for value in self.reads())

    def made(self) -> list[Value]:
        return [result for result in self.results if result is not None]

    def reads(self) -> list[Value]:
        """Return all that it takes, what it changes included."""
        return [leaf for leaf in leaves((self.arguments, list(self.keywords.values()))) if isinstance(leaf, Value)]

    def changes(self) -> list[Value]:
        """Return what it takes and writes to."""
        return [leaf for leaf in written_by(self.operation, self.arguments, self.keywords) if isinstance(leaf, Value)]


def place_of(tensor: Tensor) -> int:
    """Return what tells the memory of a tensor from that of others; a sparse one lies nowhere in particular, at 0."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else 0


def written_by(operation: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
    """Return what a call takes and writes to."""
    declared = operation._schema.arguments
    taken = {**dict(zip((argument.name for argument in declared), arguments, strict=False)), **keywords}
    return leaves([taken.get(a.name) for a in declared if a.alias_info is not None and a.alias_info.is_write])


def leaves(item: Any) -> list[Any]:
    """Return what lists and tuples hold, however deep."""
    if isinstance(item, (tuple, list)):
        return [leaf for value in item for leaf in leaves(value)]
    return [item]
