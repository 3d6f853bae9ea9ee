"""The multi-layer perceptron: its shapes, its first weights, and its forward pass.

Legend: M members, R rows, F features, W width of a hidden layer, K raw outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skbig._utils.random import Noise, Purpose
from skbig._utils.sparse import SparseRows
from skbig.networks.initialization import glorot_uniform, stack_members
from skbig.networks.layers import BATCH_NORM_RATE, Total, affine, batch_moments, batch_norm, itself, layer_norm

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda X: X,
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "mish": functional.mish,
    "selu": torch.selu,
    "elu": functional.elu,
    "leaky_relu": functional.leaky_relu,
}

NORMALIZATIONS = (None, "batch", "layer")


@dataclass(frozen=True)
class Training:
    """What a forward pass needs to know while training, and only then.

    Attributes
    ----------
    noise : Noise or None
        Random numbers of the step, for dropout.
    share : Tensor of shape (M, R)
        Each row's share of the loss, for the weighted moments of a batch norm.
    moments_rate : float
        How far the running moments of a batch norm move towards those of the batch.
    total : callable
        Sums over the parts of a batch, when the rows are one of them.
    """

    noise: Noise | None
    share: Tensor
    moments_rate: float = BATCH_NORM_RATE
    total: Total = itself


@dataclass(frozen=True)
class MLP:
    """Hidden layers of ``affine -> normalization -> activation -> dropout``, then one affine layer.

    Its parameters are a dict of tensors: weights first (they alone are penalised), then biases, then the scales and
    offsets of the normalization. `statistics` are the running moments of a batch norm, which are not optimised.
    """

    n_features: int
    hidden: tuple[int, ...]
    n_outputs: int
    activation: str = "relu"
    dropout: Any = 0.0
    normalization: str | None = None

    @property
    def layers(self) -> list[tuple[int, int]]:
        """The numbers of inputs and outputs of each affine layer."""
        units = (self.n_features, *self.hidden, self.n_outputs)
        return list(itertools.pairwise(units))

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The shape of each parameter, members axis left out."""
        weights = {f"weight{i}": layer for i, layer in enumerate(self.layers)}
        biases = {f"bias{i}": (1, n_out) for i, (_, n_out) in enumerate(self.layers)}
        return weights | biases | self._normalization_shapes("scale", "offset")

    @property
    def n_weights(self) -> int:
        """How many numbers the weights hold; they come first in the order of `shapes`."""
        return sum(n_in * n_out for n_in, n_out in self.layers)

    @property
    def statistics_shapes(self) -> dict[str, tuple[int, int]]:
        """The shape of each running moment, members axis left out."""
        return self._normalization_shapes("mean", "variance") if self.normalization == "batch" else {}

    def _normalization_shapes(self, *names: str) -> dict[str, tuple[int, int]]:
        if self.normalization is None:
            return {}
        return {f"{name}{i}": (1, width) for name in names for i, width in enumerate(self.hidden)}

    def initial(self, seeds: list[int]) -> dict[str, np.ndarray]:
        """Return the first parameters, float64 arrays with a leading members axis."""
        return stack_members([self._initial_member(seed) for seed in seeds])

    def _initial_member(self, seed: int) -> dict[str, np.ndarray]:
        drawn = glorot_uniform(seed, self.layers, 2.0 if self.activation == "logistic" else 6.0)
        member = {f"weight{i}": weight for i, (weight, _) in enumerate(drawn)}
        member |= {f"bias{i}": bias for i, (_, bias) in enumerate(drawn)}
        member |= {name: np.ones(shape) for name, shape in self._normalization_shapes("scale").items()}
        return member | {name: np.zeros(shape) for name, shape in self._normalization_shapes("offset").items()}

    def initial_statistics(self, n_members: int) -> dict[str, np.ndarray]:
        """Return the first running moments: mean zero, variance one."""
        return {
            name: np.full((n_members, *shape), float(name.startswith("variance")))
            for name, shape in self.statistics_shapes.items()
        }

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        X: Tensor | SparseRows,
        training: Training | None,
    ) -> Tensor:
        """Return the raw prediction: X (M, R, F) -> (M, R, K), or the same without M.

        With `training`, dropout is drawn and a batch norm uses the batch's moments and updates the running ones.
        """
        for i in range(len(self.layers)):
            X = self.layer(i, X, parameters, statistics, training)
        assert isinstance(X, Tensor)
        return X

    def layer(
        self,
        i: int,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: Training | None,
    ) -> Tensor:
        """Return what layer i makes of its input; of the parameters, its own are read."""
        Z = affine(X, parameters[f"weight{i}"], parameters[f"bias{i}"])
        if i == len(self.hidden):
            return Z
        Z = self._normalize(Z, i, parameters, statistics, training)
        return self._drop(ACTIVATIONS[self.activation](Z), i, training)

    def _normalize(
        self,
        X: Tensor,
        i: int,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: Training | None,
    ) -> Tensor:
        if self.normalization is None:
            return X
        scale, offset = parameters[f"scale{i}"], parameters[f"offset{i}"]
        if self.normalization == "layer":
            return layer_norm(X, scale, offset)
        mean, variance = statistics[f"mean{i}"], statistics[f"variance{i}"]
        if training is None:
            return batch_norm(X, scale, offset, mean, variance)
        share = training.share.unsqueeze(-1)
        share = (share / training.total(share.sum(-2, keepdim=True))).to(X.dtype)  # sums to one
        batch_mean, batch_variance = batch_moments(X, share, training.total)
        mean.lerp_(batch_mean.detach().to(mean.dtype), training.moments_rate)
        variance.lerp_(batch_variance.detach().to(mean.dtype), training.moments_rate)
        return batch_norm(X, scale, offset, batch_mean, batch_variance)

    def _drop(self, X: Tensor, i: int, training: Training | None) -> Tensor:
        if training is None or not self.drops:
            return X
        assert training.noise is not None
        keep = 1.0 - self.dropout
        if isinstance(keep, Tensor):
            keep = keep.to(X)
        mask = training.noise.keep(X.shape[-2], X.shape[-1], Purpose.DROPOUT + i, keep, X.dtype).div_(keep)
        return X * mask.view(X.shape)

    @property
    def drops(self) -> bool:
        """Whether any member has dropout."""
        return isinstance(self.dropout, Tensor) or self.dropout > 0.0
