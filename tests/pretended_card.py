"""A device that a test can look into: its memory is the host's, and what goes in or out of it is noted down.

It is torch's PrivateUse1 device, written in Python, so that torch itself refuses what it refuses on any card: NumPy's
view of a tensor, and operations of tensors on two devices. It can be made once in a process, and changes torch for all
of it: tests that need it have a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
_setup_privateuseone_for_python_backend("card")
CARD = torch.device("card:0")


class CardTensor(Tensor):
    """A tensor of the device; `memory` is what it holds."""

    memory: Tensor

    @staticmethod
    def __new__(cls, memory: Tensor) -> CardTensor:
        layout = {"strides": memory.stride(), "storage_offset": memory.storage_offset()}
        made: CardTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, memory.shape, dtype=memory.dtype, device=CARD, **layout
        )
        made.memory = memory
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        return _run(operation, *args, **(kwargs or {}))

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        del tensor_contents
        return f"CardTensor(shape={tuple(self.shape)}, dtype={self.dtype})"

    def data_ptr(self) -> int:
        """Where its numbers are; torch says 0 of every subclass, as if all were at one place."""
        return self.memory.data_ptr()

    def tolist(self) -> Any:
        """As of any tensor; torch refuses it of subclasses."""
        return self.cpu().tolist()


class Traffic:
    """How many numbers went in and out, and of how many axes what went was, while it is watched.

    Attributes
    ----------
    sent, returned : list of tuple
        Shapes.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[int, ...]] = []
        self.returned: list[tuple[int, ...]] = []

    def most_returned(self) -> int:
        """Return how many numbers the largest copy to the host had."""
        return max((int(np.prod(shape)) for shape in self.returned), default=0)

    def most_sent(self) -> int:
        """Return how many numbers the largest copy from the host had."""
        return max((int(np.prod(shape)) for shape in self.sent), default=0)


_watching: list[Traffic] = []


@contextmanager
def watched() -> Iterator[Traffic]:
    """Note down what goes in and out."""
    traffic = Traffic()
    _watching.append(traffic)
    try:
        yield traffic
    finally:
        _watching.remove(traffic)


def on_card(values: Any) -> Any:
    """Return an array or a tensor on the device, without noting it down, with its strides."""
    return CardTensor(torch.from_numpy(values) if isinstance(values, np.ndarray) else values)


def _run(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Compute what an operation on the device computes; PyTorch has seen that all it is given is there."""
    if operation is aten.copy_.default:
        return _copied(*args[:2])
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    strangers = [each for each in given if not isinstance(each, CardTensor) and each.dim()]
    if operation is aten._to_copy.default:
        return _moved(args[0], kwargs)
    if strangers and operation not in (aten.index.Tensor, aten._index_put_impl_.default):  # these take an index
        raise RuntimeError(f"{operation}: expected all tensors to be on the same device")
    if operation is aten._local_scalar_dense.default:
        _note("returned", args[0])
    kwargs = {name: torch.device("cpu") if name == "device" else value for name, value in kwargs.items()}
    result = operation(*tree_map(_memory, args), **tree_map(_memory, kwargs))
    known = {id(each.memory): each for each in given if isinstance(each, CardTensor)}
    return tree_map(lambda one: known.get(id(one), one) if not _is_new(one, known) else CardTensor(one), result)


def _is_new(value: Any, known: dict[int, CardTensor]) -> bool:
    return isinstance(value, Tensor) and id(value) not in known


def _memory(value: Any) -> Any:
    return value.memory if isinstance(value, CardTensor) else value


def _moved(value: Tensor, kwargs: dict[str, Any]) -> Tensor:
    device = torch.device(kwargs.get("device") or value.device)
    changed = {name: each for name, each in kwargs.items() if name != "device"}
    copy = aten._to_copy.default(_memory(value), **changed)
    if device.type != "cpu":
        if not isinstance(value, CardTensor):
            _note("sent", value)
        return CardTensor(copy)
    _note("returned", value)
    return copy


def _copied(target: Tensor, source: Tensor) -> Tensor:
    if not isinstance(target, CardTensor):
        _note("returned", source)
    if not isinstance(source, CardTensor) and source.dim():
        _note("sent", source)
    _memory(target).copy_(_memory(source))
    return target


def _note(direction: str, value: Tensor) -> None:
    for traffic in _watching:
        getattr(traffic, direction).append(tuple(value.shape))


_LIBRARY = torch.library.Library("_", "IMPL")
_LIBRARY.fallback(_run, "PrivateUse1")


def choose(real: Callable[[str], torch.device]) -> Callable[[str], torch.device]:
    """Return what chooses a device as before, but for "auto" and its name, which are this one."""
    return lambda name: CARD if name in ("auto", str(CARD)) else real(name)
