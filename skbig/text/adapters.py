"""Low-rank adapters beside the linear layers of a model that many members share.

What a linear layer gives is moved by ``scale * X A B``, with A (in, rank) and B (rank, out), and B zero at first (Hu et
al., 2021, "LoRA"). Members are laid one after another along the rows: all that the base computes it computes for all at
once, and each adapter sees the rows of its own member.

Legend: M members, R rows, N = M R rows of all, L positions, I inputs, O outputs, r the rank.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skbig.networks.layer import Parameter

USUAL = ("query", "value", "q_lin", "v_lin", "q_proj", "v_proj", "q", "v", "query_key_value", "Wqkv", "qkv_proj")
"""What attention calls the layers that adapters are usually put beside: those of queries and of values."""


@dataclass(frozen=True)
class Adapters:
    """The adapters of a forward pass.

    Attributes
    ----------
    tensors : mapping of Tensor
        ``<layer>.lora_A`` (M, I, r) and ``<layer>.lora_B`` (M, r, O).
    scale : float or Tensor (M, 1, 1)
    dropout : float
        Share of the inputs of adapters that is zeroed while training.
    training : bool
    """

    tensors: Mapping[str, Tensor]
    scale: Any
    dropout: float
    training: bool

    def of(self, layer: str, X: Tensor) -> Tensor:
        """Return by how much the result of a layer is moved, for X (N, ..., I)."""
        first, second = self.tensors[f"{layer}.lora_A"], self.tensors[f"{layer}.lora_B"]
        X = functional.dropout(X, self.dropout, self.training and self.dropout > 0.0)
        rows = X.reshape(first.shape[0], -1, X.shape[-1])
        moved = torch.bmm(torch.bmm(rows, first), second)
        scale = self.scale.to(moved) if isinstance(self.scale, Tensor) else self.scale
        return (moved * scale).view(*X.shape[:-1], -1)


class SharedBase:
    """A model whose linear layers ask for adapters; its numbers are those of the given one.

    Parameters
    ----------
    network : nn.Module
    layers : sequence of str
        The linear layers that adapters stand beside.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        self._local = threading.local()  # several fits may share the base, each on a thread of its own
        self._predicting = self._copy(network, layers).eval()
        self._training = self._copy(network, layers).train()
        with_own_attention(self._training)

    @contextmanager
    def with_adapters(self, adapters: Adapters) -> Iterator[nn.Module]:
        """Give the model whose layers are moved by adapters."""
        self._local.adapters = adapters
        try:
            yield self._training if adapters.training else self._predicting
        finally:
            self._local.adapters = None

    def _copy(self, network: nn.Module, layers: Sequence[str]) -> nn.Module:
        copied = structure(network)
        for name in layers:
            self._adapt(copied.get_submodule(name), name)
        return copied

    def _adapt(self, layer: nn.Module, name: str) -> None:
        local = self._local  # and not this object, so that it goes, with memory of a device, when nobody needs it

        def moved(_: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
            return result + local.adapters.of(name, given[0])

        layer.register_forward_hook(moved)


def structure(network: nn.Module) -> nn.Module:
    """Return a copy of a network that shares its tensors."""
    tensors = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def with_own_attention(network: nn.Module) -> None:
    """Let attention be computed by plain operations, whose random numbers can be counted."""
    choose = getattr(network, "set_attn_implementation", None)
    if choose is not None:
        choose("eager")


def adapted_layers(network: nn.Module, patterns: Sequence[str] | None) -> list[str]:
    """Return the names of the linear layers that adapters are put beside.

    Raises
    ------
    ValueError
        When a pattern matches none; it names those that there are.
    """
    linear = [name for name, module in network.named_modules() if type(module) is nn.Linear]
    if patterns is None:
        found = {name for name in linear if name.rpartition(".")[2] in USUAL}
        asked = "None, the layers of queries and values,"
    else:
        unmatched = [p for p in patterns if not any(_matches(name, p) for name in linear)]
        found = set() if unmatched else {name for name in linear if any(_matches(name, p) for p in patterns)}
        asked = repr((unmatched or [*patterns])[0])
    if not found:
        ends = sorted({name.rpartition(".")[2] for name in linear})
        raise ValueError(
            f"{asked} of the 'lora_targets' parameter matches no linear layer of the model, whose layers end in {ends}."
        )
    return [name for name in linear if name in found]


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.rpartition(".")[2] == pattern


def adapter_parameters(network: nn.Module, layers: Sequence[str], rank: int) -> dict[str, Parameter]:
    """Return the declared adapters of some layers."""
    declared = {}
    for name in layers:
        layer: Any = network.get_submodule(name)
        declared[f"{name}.lora_A"] = Parameter((layer.in_features, rank), "weight", penalized=True)
        declared[f"{name}.lora_B"] = Parameter((rank, layer.out_features), "weight", penalized=True)
    return declared


def first_adapters(declared: Mapping[str, Parameter], random: np.random.RandomState) -> dict[str, np.ndarray]:
    """Draw what adapters begin with: A as peft draws it, from U(-b, b) with ``b = 1 / sqrt(in)``, and B zero."""
    first = {}
    for name, parameter in declared.items():
        bound = 1.0 / math.sqrt(parameter.shape[0]) if name.endswith("lora_A") else 0.0
        first[name] = random.uniform(-bound, bound, parameter.shape)
    return first
