"""What is trained of a model of texts: a head alone, adapters and a head, or everything.

Legend: M members, R texts, N = M R, L tokens of the longest, D numbers of a vector, K raw outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from skbig._utils.component import hyperparameter
from skbig._utils.sparse import SparseRows
from skbig._utils.validation import Interval
from skbig.networks.initialization import glorot_uniform
from skbig.networks.layer import Layer, Parameter, TrainingPass
from skbig.networks.modules.copies import ModuleCopies
from skbig.networks.modules.layer import numbers
from skbig.networks.modules.naming import parameters_of
from skbig.networks.network import Network
from skbig.networks.product_tap import tap_of_product
from skbig.networks.products import affine
from skbig.networks.row_gradients import NamedTap, Tap
from skbig.pretrained.base import Base
from skbig.pretrained.pooling import pooled
from skbig.text.adapters import (
    Adapters,
    SharedBase,
    adapted_layers,
    adapter_parameters,
    first_adapters,
    structure,
    with_own_attention,
)
from skbig.text.models import TextModel, hidden, read_text_model
from skbig.text.noise import PlacedDraws

HEAD = 2**15
"""The number of the head's random numbers: behind those of the model below it."""

LENGTHS = 8
"""A batch has a multiple of so many positions."""

ROWS_AT_ONCE = 32
"""Texts of about the same length that are predicted together."""


@dataclass(frozen=True)
class Head(Layer):
    """Raw outputs of vectors: a linear layer, before which numbers are dropped.

    Attributes
    ----------
    n_in, n_out : int
    dropout : float, or tensor (M, 1, 1)
    """

    n_in: int
    n_out: int
    dropout: Any = 0.0

    @property
    def n_units(self) -> int:
        return self.n_out

    @property
    def draws_noise(self) -> bool:
        return isinstance(self.dropout, Tensor) or self.dropout > 0.0

    def parameters(self) -> dict[str, Parameter]:
        weight = Parameter((self.n_in, self.n_out), "weight", penalized=True)
        return {"head.weight": weight, "head.bias": Parameter((1, self.n_out), "bias")}

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        weight, bias = glorot_uniform(random, self.n_in, self.n_out)
        return {"head.weight": weight, "head.bias": np.zeros_like(bias)}

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        assert isinstance(X, Tensor)
        return affine(self._dropped(X, training), parameters["head.weight"], parameters["head.bias"])

    @property
    def has_row_gradients(self) -> bool:
        return True

    def tapped(
        self, X: Tensor | SparseRows, parameters: Mapping[str, Tensor], training: TrainingPass
    ) -> tuple[Tensor, list[Tap]]:
        assert isinstance(X, Tensor)
        tap = tap_of_product(self._dropped(X, training), parameters["head.weight"], parameters["head.bias"])
        return tap.tensor, [NamedTap(tap, {"weight": "head.weight", "bias": "head.bias"})]

    def _dropped(self, X: Tensor, training: TrainingPass | None) -> Tensor:
        if training is None or not self.draws_noise:
            return X
        keep = 1.0 - self.dropout
        keep = keep.to(X) if isinstance(keep, Tensor) else keep
        return X * replace(training, layer=HEAD).keep(X, keep).div_(keep)


@dataclass(frozen=True)
class VectorHead(Network, recordable=True):
    """A head on vectors that a model has made before the training.

    Parameters
    ----------
    dropout : float, default=0.1
    pooling : str, default='mean'
        How those vectors were made.
    """

    dropout: float = hyperparameter(0.1, Interval(0, 1, closed="left"), varies=True)
    pooling: str = "mean"

    tune: ClassVar[str] = "head"

    def name_of(self, name: str, i: int) -> str:
        del i
        return name

    def build(self, n_features: int, n_outputs: int) -> Sequence[Layer]:
        return [Head(n_features, n_outputs, self.dropout)]


@dataclass(frozen=True)
class TunedEncoder(Network):
    """A pretrained model of texts that is trained with a head: adapters beside it, or all of it.

    Parameters
    ----------
    base : Base
    tune : {'lora', 'full'}
    pooling : str
    max_length : int
    dropout : float
    rank : int
    lora_alpha, lora_dropout : float
    targets : tuple of str or None
    """

    base: Any = None
    tune: str = "lora"
    pooling: str = "mean"
    max_length: int = 512
    dropout: float = hyperparameter(0.1, Interval(0, 1, closed="left"), varies=True)
    rank: int = hyperparameter(8, Interval(1, None, integer=True))
    lora_alpha: float = hyperparameter(16.0, Interval(0, None), varies=True)
    lora_dropout: float = hyperparameter(0.0, Interval(0, 1, closed="left"))
    targets: tuple[str, ...] | None = None

    keeps_apart = True
    autocasts = True

    def name_of(self, name: str, i: int) -> str:
        del i
        return name

    def build(self, n_features: int, n_outputs: int) -> Sequence[Layer]:
        del n_features
        model: TextModel = self.base.loaded("text", read_text_model)
        head = Head(model.width, n_outputs, self.dropout)
        if self.tune == "full":
            return [FullLayer(self.base, head, self.pooling, self.max_length)]
        layers = tuple(adapted_layers(model.network, self.targets))
        scale = self.lora_alpha / self.rank
        return [LoraLayer(self.base, head, self.pooling, self.max_length, layers, self.rank, scale, self.lora_dropout)]


@dataclass(frozen=True)
class TunedLayer(Layer):
    """What adapters and full tuning share.

    Attributes
    ----------
    base : Base
    head : Head
    pooling : str
    max_length : int
    """

    base: Base
    head: Head
    pooling: str
    max_length: int

    recordable = False

    @property
    def model(self) -> TextModel:
        """The model as it was read."""
        model: TextModel = self.base.loaded("text", read_text_model)
        return model

    @property
    def draws_noise(self) -> bool:
        return True

    @property
    def n_units(self) -> int:
        return self.max_length * self.model.width

    @property
    def n_products(self) -> int:
        embeddings = sum(each.weight.numel() for each in self.model.network.modules() if isinstance(each, nn.Embedding))
        return self.max_length * max(1, sum(each.numel() for each in self.model.network.parameters()) - embeddings)

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        assert isinstance(X, Tensor)
        one = parameters["head.weight"].dim() == 2
        members = {name: value.unsqueeze(0) for name, value in parameters.items()} if one else parameters
        tokens = X.unsqueeze(0) if one else X
        vectors = self._sorted(tokens, members) if training is None else self._vectors(cut(tokens), members, training)
        vectors = vectors.to(parameters["head.weight"].dtype)
        return self.head.forward(vectors[0] if one else vectors, parameters, statistics, training)

    def _sorted(self, tokens: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors (M, R, D) of tokens (M, R, L), where texts of about the same length go together."""
        order = (tokens >= 0).sum(-1).amax(0).argsort(stable=True)
        parts = [self._vectors(cut(tokens[:, which]), parameters, None) for which in order.split(ROWS_AT_ONCE)]
        return torch.cat(parts, 1)[:, order.argsort()]

    def _vectors(self, tokens: Tensor, parameters: Mapping[str, Tensor], training: TrainingPass | None) -> Tensor:
        raise NotImplementedError("Adapters and full tuning define it.")

    def _draws(self, training: TrainingPass, n_rows: int, member: int | None = None) -> PlacedDraws:
        assert training.noise is not None
        noise = training.noise if member is None else training.noise.member(member)
        return PlacedDraws(noise, n_rows, self.max_length)


@dataclass(frozen=True)
class LoraLayer(TunedLayer):
    """Adapters of M members over one base, and their heads.

    Attributes
    ----------
    layers : tuple of str
        The linear layers that adapters stand beside.
    rank : int
    scale : float, or tensor (M, 1, 1)
    lora_dropout : float
    """

    layers: tuple[str, ...] = ()
    rank: int = 8
    scale: Any = 2.0
    lora_dropout: float = 0.0

    def parameters(self) -> dict[str, Parameter]:
        return adapter_parameters(self.model.network, self.layers, self.rank) | self.head.parameters()

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        adapters = adapter_parameters(self.model.network, self.layers, self.rank)
        return first_adapters(adapters, random) | self.head.initial(random)

    def _vectors(self, tokens: Tensor, parameters: Mapping[str, Tensor], training: TrainingPass | None) -> Tensor:
        n_members, n_rows = tokens.shape[:2]
        shared = self._shared(parameters["head.weight"])
        adapters = Adapters(parameters, self.scale, self.lora_dropout, training is not None)
        with shared.with_adapters(adapters) as network:
            if training is None:
                made = hidden(network, tokens.flatten(0, 1), self.model.tokenizer.padding)
            else:
                with self._draws(training, n_rows):
                    made = hidden(network, tokens.flatten(0, 1), self.model.tokenizer.padding)
        return pooled(*made, self.pooling).view(n_members, n_rows, -1)

    def _shared(self, like: Tensor) -> SharedBase:
        """Return the base with places for adapters, where and as the parameters are."""
        shared: SharedBase = self.base.loaded(
            f"adapted {self.layers} in {like.dtype}",
            lambda _: SharedBase(placed(self.model.network, like), self.layers),
            str(like.device),
        )
        return shared


@dataclass(frozen=True)
class FullLayer(TunedLayer):
    """A model of which every member has its own, all of it trained."""

    stacks = False

    @cached_property
    def _module(self) -> Pooled:
        network = structure(self.model.network)
        with_own_attention(network)
        return Pooled(network, self.model.tokenizer.padding, self.pooling)

    @cached_property
    def _copies(self) -> ModuleCopies:
        return ModuleCopies(self._module, set())

    def _base_parameters(self) -> dict[str, Parameter]:
        """Return what is trained: all but what no vector is made with."""
        own = {name: each for name, each in parameters_of(self._module).items() if not name.startswith("base.pooler.")}
        return {name: replace(each, role="weight") if each.role == "head" else each for name, each in own.items()}

    def parameters(self) -> dict[str, Parameter]:
        return self._base_parameters() | self.head.parameters()

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        tensors = dict(self._module.named_parameters())
        first = {name: numbers(tensors[name]) for name in self._base_parameters()}
        return first | self.head.initial(random)

    def _vectors(self, tokens: Tensor, parameters: Mapping[str, Tensor], training: TrainingPass | None) -> Tensor:
        constants = self._constants(parameters)
        each = zip(*(parameters[name].unbind(0) for name in parameters), strict=True)
        made = [
            self._of_member(m, tokens[m], {**constants, **dict(zip(parameters, own, strict=True))}, training)
            for m, own in enumerate(each)
        ]
        return torch.stack(made)

    def _of_member(
        self, m: int, tokens: Tensor, tensors: Mapping[str, Tensor], training: TrainingPass | None
    ) -> Tensor:
        run = self._copies.of(training is not None)
        if training is None:
            return run(tensors, tokens)
        with self._draws(training, len(tokens), m):
            return run(tensors, tokens)

    def _constants(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what belongs to the module and is not trained, where the parameters are."""
        like = parameters["head.weight"]
        tensors = {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}
        kept = {name: value for name, value in tensors.items() if name not in parameters}
        return {
            name: value.detach().to(like.device, like.dtype if value.is_floating_point() else value.dtype)
            for name, value in kept.items()
        }


class Pooled(nn.Module):
    """A model of texts that gives one vector for each.

    Parameters
    ----------
    base : nn.Module
    padding : int
    pooling : str
    """

    def __init__(self, base: nn.Module, padding: int, pooling: str) -> None:
        super().__init__()
        self.base, self._padding, self._pooling = base, padding, pooling

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (R, D) of tokens (R, L)."""
        return pooled(*hidden(self.base, tokens, self._padding), self._pooling)


def cut(tokens: Tensor) -> Tensor:
    """Return tokens (M, R, L) up to the end of the longest text, and a few positions more."""
    longest = int((tokens >= 0).sum(-1).max())
    return tokens[..., : max(LENGTHS, -(-longest // LENGTHS) * LENGTHS)].long()


def placed(network: nn.Module, like: Tensor) -> nn.Module:
    """Return a model where and as a tensor is: itself, or a copy."""
    own = next(network.parameters())
    if (own.device, own.dtype) == (like.device, like.dtype):
        return network
    return copy.deepcopy(network).to(like.device, like.dtype)
