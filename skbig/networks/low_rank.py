"""The multi-layer perceptron whose matrices are products of two narrow ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skbig._utils.component import constraints_of, hyperparameter
from skbig._utils.validation import Interval
from skbig.networks.dense import Dense
from skbig.networks.layer import Layer
from skbig.networks.mlp import MLP
from skbig.networks.network import Network


@dataclass(frozen=True)
class LowRankMLP(Network, name="low_rank_mlp", recordable=True):
    """An `MLP` in which a matrix (n_in, n_out) is the product of (n_in, rank) and (rank, n_out), where that is smaller.

    `skbig.compress.low_rank` makes it of a trained one; it can be trained from scratch, too.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(100,)
        As of `MLP`.
    rank : int, default=16
        Width between the two.
    activation : str, default='relu'
        As of `MLP`.
    dropout : float in [0, 1), default=0.0
        As of `MLP`.
    normalization : {'batch', 'layer'} or None, default=None
        As of `MLP`.

    Examples
    --------
    >>> from skbig.networks import LowRankMLP
    >>> network = LowRankMLP((100,), rank=8).of_shape(n_features=50, n_outputs=3)
    >>> {name: shape for name, shape in network.shapes.items() if name.startswith("weight")}
    {'weight0': (50, 8), 'weight1': (8, 100), 'weight2': (100, 3)}
    """

    hidden_layer_sizes: tuple[int, ...] = hyperparameter((100,), *constraints_of(MLP, "hidden_layer_sizes"))
    rank: int = hyperparameter(16, Interval(1, None, integer=True))
    activation: str = hyperparameter("relu", *constraints_of(MLP, "activation"))
    dropout: Any = hyperparameter(0.0, *constraints_of(MLP, "dropout"), varies=True)
    normalization: str | None = hyperparameter(None, *constraints_of(MLP, "normalization"))

    def build(self, n_features: int, n_outputs: int) -> Sequence[Layer]:
        gain = 2.0 if self.activation == "logistic" else 6.0
        widths = (n_features, *self.hidden_layer_sizes, n_outputs)
        layers: list[Layer] = []
        for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
            if self.splits(n_in, n_out):
                layers.append(Dense(n_in, self.rank, gain=gain))
                n_in = self.rank
            if i == len(widths) - 2:
                layers.append(Dense(n_in, n_out, gain=gain))
            else:
                layers.append(Dense(n_in, n_out, self.activation, self.dropout, self.normalization, gain))
        return layers

    def splits(self, n_in: int, n_out: int) -> bool:
        """Whether two narrow matrices have fewer numbers than the whole one."""
        return self.rank * (n_in + n_out) < n_in * n_out
