"""How much memory arrays and tensors take at most, while something runs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Storages(TorchDispatchMode):
    """Adds up, after every operation, the tensors made in it and before that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if storage._cdata not in given:
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._alive = {key: value for key, value in self._alive.items() if not value[0].expired()}
        self.most = max(self.most, sum(n_bytes for _, n_bytes in self._alive.values()))
        return result


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [each.untyped_storage() for each in tree_leaves(values) if isinstance(each, torch.Tensor)]


def most_bytes(call: Callable[[], Any]) -> int:
    """Return what NumPy and torch took at most, added up, while something was called."""
    with _Storages():
        call()  # what is made once, and kept, is no part of it
    tracemalloc.start()
    try:
        with _Storages() as storages:
            call()
        return storages.most + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
