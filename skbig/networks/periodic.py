"""Numbers as periodic functions of them.

Legend: M members, R rows, F numbers, C frequencies, D functions of a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.networks.layer import Layer, Parameter, TrainingPass


@dataclass(frozen=True)
class Periodic(Layer):
    r"""Learn some functions of each number that are sums of waves, and pass on the number itself.

    A number x becomes x and, for each d, :math:`c_d + \sum_k a_{kd} \cos(2 \pi (f_k x + s_k))`, where all but x is
    learned: "PBLD", periodic with biases, linear, and dense [1]_. Numbers should be scaled.

    Parameters
    ----------
    n_in : int
        Numbers of a row.
    n_frequencies : int, default=16
        Waves of each number.
    width : int, default=3
        Functions of each number, itself not counted.
    sigma : float, default=0.1
        Standard deviation of the first frequencies.

    References
    ----------
    .. [1] Holzmüller, Grinsztajn and Steinwart, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular
       Data", NeurIPS 2024, appendix A; after Gorishniy, Rubachev and Babenko, NeurIPS 2022.

    Examples
    --------
    >>> from skbig.networks import Periodic
    >>> layer = Periodic(n_in=5)
    >>> layer.n_units, list(layer.parameters())
    (20, ['frequency', 'shift', 'wave', 'bias'])
    """

    n_in: int
    n_frequencies: int = 16
    width: int = 3
    sigma: float = 0.1

    @property
    def n_units(self) -> int:
        return self.n_in * (self.width + 1)

    def parameters(self) -> dict[str, Parameter]:
        waves = (self.n_in, self.n_frequencies, self.width)
        return {
            "frequency": Parameter((self.n_in, 1, self.n_frequencies), "frequency"),
            "shift": Parameter((self.n_in, 1, self.n_frequencies), "frequency"),
            "wave": Parameter(waves, "embedding"),
            "bias": Parameter((1, self.n_in * self.width), "bias"),
        }

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        bound = 1 / np.sqrt(self.n_frequencies)
        waves = (self.n_in, 1, self.n_frequencies)
        return {
            "frequency": random.normal(scale=self.sigma, size=waves),
            "shift": random.uniform(-0.5, 0.5, waves),
            "wave": random.uniform(-bound, bound, (self.n_in, self.n_frequencies, self.width)),
            "bias": random.uniform(-bound, bound, (1, self.n_in * self.width)),
        }

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        assert isinstance(X, Tensor)
        numbers = X.transpose(-2, -1).unsqueeze(-1)  # (..., F, R, 1)
        waves = torch.cos((numbers * parameters["frequency"] + parameters["shift"]) * (2 * math.pi))
        sums = (waves @ parameters["wave"]).transpose(-3, -2).flatten(-2)
        return torch.cat([X, sums + parameters["bias"]], -1)
