"""Dense layers of which a network is made that rises, or falls, with some of its features, whatever it has learnt.

Legend: M members, R rows, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.networks.activations import ACTIVATIONS
from skbig.networks.dense import Dense
from skbig.networks.layer import Layer, Parameter, TrainingPass

ONE_SIDED = ("relu", "elu", "selu", "leaky_relu")
"""Activations that rise and are convex: they alone would make a network convex in what it rises with."""

MONOTONIC_ACTIVATIONS = ("identity", "logistic", "tanh", *ONE_SIDED)


@dataclass(frozen=True)
class MonotonicDense(Layer):
    r"""A `Dense` layer whose outputs rise, or fall, with some of its inputs.

    A weight of such an input counts by its size, :math:`\pm|w|` [1]_, and so does the scale of a batch norm. Of an
    activation :math:`\rho` that is convex a third of the outputs have :math:`\rho(z)`, a third the concave
    :math:`-\rho(-z)`, and a third :math:`\tanh(z)`, so that a network of such layers comes close to any function that
    rises.

    Parameters
    ----------
    n_in, n_out : int
    signs : tuple of int
        Of each input 1 where outputs rise with it, -1 where they fall, 0 where they may do either.
    activation : {'identity', 'logistic', 'tanh', 'relu', 'elu', 'selu', 'leaky_relu'}
    dropout : float, or tensor of shape (M, 1, 1) where members differ
        As of `Dense`.
    normalization : {None, 'batch'}
        As of `Dense`.
    gain : float
        As of `Dense`.

    References
    ----------
    .. [1] Runje and Shankaranarayana, "Constrained Monotonic Neural Networks", ICML 2023, section 3.

    Raises
    ------
    ValueError
        For an activation that falls somewhere, or a layer norm, in which outputs depend on each other.

    Examples
    --------
    >>> import torch
    >>> from skbig.networks import MonotonicDense
    >>> layer = MonotonicDense(2, 1, signs=(1, -1))
    >>> parameters = {"weight": torch.tensor([[-3.0], [2.0]]), "bias": torch.zeros(1, 1)}
    >>> layer.forward(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), parameters, {}, None)
    tensor([[ 3.],
            [-2.]])
    """

    n_in: int
    n_out: int
    signs: tuple[int, ...]
    activation: str = "identity"
    dropout: Any = 0.0
    normalization: str | None = None
    gain: float = 6.0

    reads_sparse = True

    def __post_init__(self) -> None:
        if self.activation not in MONOTONIC_ACTIVATIONS:
            raise ValueError(
                f"monotonic_cst needs an activation that falls nowhere, one of {list(MONOTONIC_ACTIVATIONS)}. "
                f"Got {self.activation!r} instead."
            )
        if self.normalization == "layer":
            raise ValueError(
                "monotonic_cst does not go with normalization='layer', by which one unit that rises lowers the others. "
                "Use None or 'batch'."
            )

    @property
    def sums(self) -> Dense:
        """The layer up to its activation, for weights with their signs."""
        return Dense(self.n_in, self.n_out, "identity", self.dropout, self.normalization, self.gain)

    @property
    def n_units(self) -> int:
        return self.n_out

    @property
    def couples_rows(self) -> bool:  # type: ignore[override]
        return self.sums.couples_rows

    @property
    def draws_noise(self) -> bool:
        return self.sums.draws_noise

    def parameters(self) -> dict[str, Parameter]:
        return self.sums.parameters()

    def statistics(self) -> dict[str, np.ndarray]:
        return self.sums.statistics()

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        first = self.sums.initial(random)
        if set(self.signs) == {1}:  # else sums of weights of one sign, and with them outputs, would grow by layers
            first["weight"] *= min(1.0, 2.0 / np.sqrt(self.n_in))
        return first

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        sums = self.sums
        Z = sums.summed(X, self.signed(parameters), statistics, training)
        return sums.dropped(self._activated(Z), training)

    def signed(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parameters of a `Dense` layer that gives the same sums."""
        signed = dict(parameters)
        signed["weight"] = self._with_signs(parameters["weight"])
        if "scale" in signed:
            signed["scale"] = signed["scale"].abs()
        return signed

    def _with_signs(self, weight: Tensor) -> Tensor:
        """Return the weights that count: of neighbouring inputs of one sign at once."""
        runs = [(sign, len(list(inputs))) for sign, inputs in groupby(self.signs)]
        parts = weight.split([length for _, length in runs], -2)
        of_sign = {0: lambda part: part, 1: torch.abs, -1: lambda part: -part.abs()}
        signed = [of_sign[sign](part) for (sign, _), part in zip(runs, parts, strict=True)]
        return signed[0] if len(signed) == 1 else torch.cat(signed, -2)

    @property
    def thirds(self) -> tuple[int, int, int]:
        """How many outputs have the activation, how many its mirror image, and how many a hyperbolic tangent."""
        if self.activation not in ONE_SIDED:
            return self.n_out, 0, 0
        third = self.n_out // 3
        return self.n_out - 2 * third, third, third

    def _activated(self, Z: Tensor) -> Tensor:
        activation = ACTIVATIONS[self.activation]
        if not self.thirds[1]:
            return activation(Z)
        convex, concave, saturated = Z.split(self.thirds, -1)
        return torch.cat([activation(convex), -activation(-concave), saturated.tanh()], -1)
