"""A module without tensors of its own: they are given to it for each forward pass.

`torch.func.functional_call` does the same; it looks up every name anew, which takes several times as long as the
forward pass of a small module.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skbig.networks.modules.batch_norm import StepContext, watch_batch_norms


class ModuleCopy:
    """A copy of a module that computes with given tensors.

    Parameters
    ----------
    module : nn.Module
        It is copied, but for the numbers of its parameters and buffers.
    training : bool
        In which mode it is.
    frozen : set of str
        Parameters and buffers that are not changed by training.

    Attributes
    ----------
    context : StepContext
        What is told to the batch norms within.
    """

    def __init__(self, module: nn.Module, frozen: set[str], *, training: bool) -> None:
        self._module, names = emptied(module)
        self._module.train(training)
        self.context = StepContext()
        watch_batch_norms(self._module, self.context, frozen)
        places = [place for part in self._module.modules() for place in _tensor_places(part)]
        self._places = [(*place, shadow, names[id(shadow)]) for *place, shadow in places if id(shadow) in names]
        buffers = {name for name, _ in self._module.named_buffers()}
        self._buffers = [(holder, key, name) for holder, key, _, name in self._places if name in buffers]

    def __call__(self, tensors: Mapping[str, Tensor], X: Any) -> Any:
        """Return what the module makes of X; a buffer that it replaces by another tensor is written into the given."""
        for holder, key, _, name in self._places:
            holder[key] = tensors[name]
        try:
            result = self._module(X)
            for holder, key, name in self._buffers:
                if holder[key] is not tensors[name]:
                    tensors[name].copy_(holder[key].detach())
            return result
        finally:
            for holder, key, shadow, _ in self._places:
                holder[key] = shadow


class ModuleCopies:
    """Copies of a module: for each thread one that trains and one that predicts, since a call changes a copy."""

    def __init__(self, module: nn.Module, frozen: set[str]) -> None:
        self._original, _ = emptied(module)  # so that the numbers of the module can go
        self._frozen = frozen
        self._local = threading.local()

    def of(self, training: bool) -> ModuleCopy:
        """Return this thread's copy."""
        name = "training" if training else "predicting"
        if not hasattr(self._local, name):
            setattr(self._local, name, ModuleCopy(self._original, self._frozen, training=training))
        own: ModuleCopy = getattr(self._local, name)
        return own


def emptied(module: nn.Module) -> tuple[nn.Module, dict[int, str]]:
    """Return a copy of a module without the numbers of its parameters and buffers, and the name of each by its id."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shadows = {name: _shadow(tensor) for name, tensor in own.items()}
    replaced = {id(tensor): shadows[name] for name, tensor in own.items()}
    return copy.deepcopy(module, {**replaced, **_detached(module)}), {id(s): name for name, s in shadows.items()}


def _shadow(tensor: Tensor) -> Tensor:
    shadow = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")  # `empty_like` would import sympy
    return nn.Parameter(shadow, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else shadow


def _detached(module: nn.Module) -> dict[int, Tensor]:
    """Return stand-ins for what was computed from parameters and cannot be copied; a hook computes it again."""
    values = [value for part in module.modules() for value in vars(part).values()]
    return {id(value): value.detach() for value in values if isinstance(value, Tensor) and not value.is_leaf}


def _tensor_places(part: nn.Module) -> Iterator[tuple[Any, Any, Tensor]]:
    """Yield where a part of a module keeps tensors: as parameters and buffers, and in attributes and lists beside."""
    holders: list[Any] = [part._parameters, part._buffers, vars(part)]
    holders += [value for value in vars(part).values() if isinstance(value, list)]
    for holder in holders:
        items: Iterable[tuple[Any, Any]] = enumerate(holder) if isinstance(holder, list) else holder.items()
        yield from ((holder, key, value) for key, value in items if isinstance(value, Tensor))
