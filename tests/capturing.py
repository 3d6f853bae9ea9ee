"""A stand-in for CUDA graphs that works on a CPU: what is captured is noted down, and repeated at the same addresses.

As with a CUDA graph, capturing computes nothing that lasts, every replay writes its results where those of the capture
were, and what only the device can know must not be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_aten = torch.ops.aten
FORBIDDEN = {
    _aten._local_scalar_dense.default: "reads a value",
    _aten.equal.default: "reads a value",
    _aten.is_nonzero.default: "reads a value",
    _aten.nonzero.default: "makes a shape of values",
    _aten.masked_select.default: "makes a shape of values",
    _aten._unique2.default: "makes a shape of values",
    _aten.lift_fresh.default: "copies a number from the host",
    _aten.bernoulli_.float: "draws from a generator",
    _aten.bernoulli.default: "draws from a generator",
    _aten.native_dropout.default: "draws from a generator",
    _aten.uniform_.default: "draws from a generator",
    _aten.normal_.default: "draws from a generator",
    _aten.rand.default: "draws from a generator",
    _aten.randn.default: "draws from a generator",
    _aten.randperm.default: "draws from a generator",
    _aten.multinomial.default: "draws from a generator",
    _aten.rand_like.default: "draws from a generator",
    _aten.randn_like.default: "draws from a generator",
    _aten.randint.default: "draws from a generator",
    _aten.exponential_.default: "draws from a generator",
    _aten.bincount.default: "makes a shape of values",
    _aten.unique_consecutive.default: "makes a shape of values",
    _aten.repeat_interleave.Tensor: "makes a shape of values",
    _aten._pin_memory.default: "allocates memory of the host",
    _aten.pin_memory.default: "allocates memory of the host",
}


REFUSED = "operation not permitted when stream is capturing"


class NotCapturable(RuntimeError):
    """What CUDA would refuse."""


class Forbidding(TorchDispatchMode):
    """Fails at the first operation that a capture would not survive.

    With `device`, also at one that makes a tensor elsewhere: a graph's pool is memory of its device.
    """

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        self.check(operation, args, kwargs)
        result = operation(*args, **kwargs)
        copies = operation in (_aten._to_copy.default, _aten.copy_.default)  # others take a number of the host as it is
        devices = {leaf.device.type for leaf in _tensors((args, kwargs, result)) if leaf.dim() or copies}
        if len(devices) > 1:
            raise NotCapturable(f"{REFUSED}: {operation} copies between {sorted(devices)}")
        allowed = ("meta", self._device)  # tensors of meta have a form, and no memory
        if self._device is not None and any(str(leaf.device) not in allowed for leaf in _tensors(result)):
            raise NotCapturable(f"{REFUSED}: {operation} makes a tensor outside the pool")
        return result

    @staticmethod
    def check(operation: Any, args: Any, kwargs: Any) -> None:
        if operation in FORBIDDEN:
            raise NotCapturable(f"{REFUSED}: {operation} {FORBIDDEN[operation]}")
        if operation is _aten.index.Tensor and any(leaf.dtype == torch.bool for leaf in _tensors(args[1])):
            raise NotCapturable(f"{REFUSED}: a mask makes a shape of values")


class _Noting(Forbidding):
    """Notes down every operation, runs it, and can undo what all of them have changed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self._made: dict[int, Tensor] = {}
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = _as_it_is((args, kwargs))
        for tensor in _changed(operation, args, kwargs):
            place = tensor.untyped_storage().data_ptr()
            if place not in self._made and place not in self._before:
                whole = _whole(tensor)
                self._before[place] = whole, whole.clone()
        result = super().__torch_dispatch__(operation, types, args, kwargs)
        if not operation._schema.is_mutable:
            taken = _places((args, kwargs))
            for tensor in _tensors(result):
                if (place := tensor.untyped_storage().data_ptr()) not in taken:
                    self._made[place] = tensor
        if torch.Tag.inplace_view not in operation.tags:  # which computes nothing
            self.calls.append((operation, *given, _as_it_is(result)))
        return result

    @property
    def made(self) -> list[Tensor]:
        """The tensors that operations have made in memory of their own, views aside."""
        return list(self._made.values())

    def undo(self) -> None:
        """Give back what lasts its numbers from before, and spoil what was made, so that nobody reads it by mistake."""
        with torch.inference_mode():
            for tensor, numbers in self._before.values():
                tensor.copy_(numbers)
            for tensor in self._made.values():
                tensor.fill_(torch.nan if tensor.is_floating_point() else 0)


class CpuGraph:
    """What was captured; a call repeats it.

    Attributes
    ----------
    made, lasting : list of StorageWeakRef
        The memory that was made in the capture, which on a card is that of the pool; and all else that it touches.
    """

    def __init__(self, calls: list[tuple[Any, Any, Any, Any]], made: Iterable[Tensor]) -> None:
        self._calls = [call for call in calls if not _is_view(*call)]
        self.n_replays = 0
        own = {tensor.untyped_storage().data_ptr(): tensor for tensor in made}
        touched = {tensor.untyped_storage().data_ptr(): tensor for tensor in _tensors(self._calls)}
        self.made = [_reference(tensor) for tensor in own.values()]
        self.lasting = [_reference(tensor) for place, tensor in touched.items() if place not in own]

    def forget(self) -> None:
        """Hold no memory, as a CUDA graph, which knows addresses alone."""
        self._calls.clear()

    def __call__(self) -> None:
        self.n_replays += 1
        with torch.inference_mode():
            for operation, args, kwargs, result in self._calls:
                again = operation(*args, **kwargs)
                if not operation._schema.is_mutable:
                    for old, new in zip(_tensors(result), _tensors(again), strict=True):
                        old.copy_(new)


class LateBranches:
    """Branches that are as late as can be: what they make is there when they are joined, and the last one is first.

    Until then it is spoilt; and who has changed what they read would change what they come to.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[int, Callable[[], Any], Any]] = []
        self.n_calls = 0

    def aside(self, branch: int, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        result = function(*args, **keywords)
        self._spoil(result)
        self._calls.append((branch, lambda: function(*args, **keywords), result))
        self.n_calls += 1
        return result

    def join(self) -> None:
        for _, call, result in sorted(self._calls, key=lambda entry: -entry[0]):
            for old, new in zip(_tensors(result), _tensors(call()), strict=True):
                if old is not new:
                    old.copy_(new)
        self._calls.clear()

    @staticmethod
    def _spoil(result: Any) -> None:
        for tensor in _tensors(result):
            tensor.fill_(torch.nan if tensor.is_floating_point() else 0)


class CpuCapture:
    """Captures on a CPU.

    Attributes
    ----------
    graphs : list of CpuGraph
    branches : LateBranches
    before_each : callable
        Called at the beginning of each capture; it may raise.
    """

    def __init__(self, before_each: Callable[[], None] = lambda: None) -> None:
        self.graphs: list[CpuGraph] = []
        self.branches = LateBranches()
        self.before_each = before_each

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        self.before_each()
        noting = _Noting()
        try:
            with noting:
                function()
        finally:
            noting.undo()
        self.graphs.append(CpuGraph(noting.calls, noting.made))
        return self.graphs[-1]


def _changed(operation: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Return the tensors that an operation writes to."""
    arguments = operation._schema.arguments
    given = {argument.name: value for argument, value in zip(arguments, args, strict=False)} | kwargs
    written = [a.name for a in arguments if a.alias_info is not None and a.alias_info.is_write]
    return _tensors([given[name] for name in written if name in given])


def _whole(tensor: Tensor) -> Tensor:
    """Return all of the memory that a tensor lies in."""
    return torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())


def _reference(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


def _is_view(operation: Any, args: Any, kwargs: Any, result: Any) -> bool:
    """Whether nothing was computed; `to` says of itself that it is a view, and is one only of the same dtype."""
    returns = operation._schema.returns
    declared = bool(returns) and all(r.alias_info is not None for r in returns) and not operation._schema.is_mutable
    return declared and _places(result) <= _places((args, kwargs))


def _as_it_is(item: Any) -> Any:
    """Return views of tensors, which keep their form when `transpose_` and its like change that of the tensors."""
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, item)


def _places(item: Any) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in _tensors(item)}


def _tensors(item: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(item) if isinstance(leaf, Tensor)]
