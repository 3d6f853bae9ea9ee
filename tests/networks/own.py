"""Networks as a user writes them, of public names only: categories that are embedded in front, and residual blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skbig.components import hyperparameter
from skbig.networks import Dense, Layer, Network, Parameter


@dataclass(frozen=True)
class EmbedFirst(Layer):
    """Puts a vector in the place of the first feature, which counts levels; the other features stay."""

    n_in: int
    n_levels: int
    width: int

    @property
    def n_units(self) -> int:
        return self.n_in - 1 + self.width

    def parameters(self) -> dict[str, Parameter]:
        return {"table": Parameter((self.n_levels, self.width), "embedding")}

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        return {"table": random.normal(scale=0.5, size=(self.n_levels, self.width))}

    def forward(self, X: Any, parameters: Any, statistics: Any, training: Any) -> Any:
        table = parameters["table"]
        level = X[..., 0].long().clamp(0, self.n_levels - 1)
        if table.dim() == 2:
            return torch.cat([table[level], X[..., 1:]], -1)
        rows = level.unsqueeze(-1).expand(*level.shape, self.width)
        return torch.cat([table.gather(1, rows), X[..., 1:]], -1)


@dataclass(frozen=True)
class Residual(Layer):
    """What a small network adds to its input, with dropout."""

    width: int
    dropout: Any

    @property
    def n_units(self) -> int:
        return self.width

    @property
    def draws_noise(self) -> bool:
        return True

    def parameters(self) -> dict[str, Parameter]:
        shape = (self.width, self.width)
        return {"inner": Parameter(shape, penalized=True), "outer": Parameter(shape, penalized=True)}

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        return {name: random.normal(scale=0.3, size=(self.width, self.width)) for name in ("inner", "outer")}

    def forward(self, X: Any, parameters: Any, statistics: Any, training: Any) -> Any:
        inner = torch.tanh(X @ parameters["inner"])
        if training is not None:
            keep = 1.0 - self.dropout
            inner = inner * training.keep(inner, keep) / (keep.to(inner) if isinstance(keep, torch.Tensor) else keep)
        return X + inner @ parameters["outer"]


@dataclass(frozen=True)
class Embedded(Network, recordable=True):
    """An embedding, a hidden layer with a normalization, and the sums."""

    n_levels: int = hyperparameter(3)
    width: int = hyperparameter(2)
    normalization: str | None = hyperparameter(None)

    def build(self, n_features: int, n_outputs: int) -> list[Layer]:
        first = EmbedFirst(n_features, self.n_levels, self.width)
        return [first, Dense(first.n_units, 5, "tanh", normalization=self.normalization), Dense(5, n_outputs)]


@dataclass(frozen=True)
class ResNet(Network, recordable=True):
    """Residual blocks between two dense layers."""

    width: int = hyperparameter(6)
    n_blocks: int = hyperparameter(2)
    dropout: Any = hyperparameter(0.1, varies=True)

    def build(self, n_features: int, n_outputs: int) -> list[Layer]:
        blocks = [Residual(self.width, self.dropout) for _ in range(self.n_blocks)]
        return [Dense(n_features, self.width), *blocks, Dense(self.width, n_outputs)]
