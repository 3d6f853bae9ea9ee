"""The multi-layer perceptron."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Each, Interval, Options
from skbig.networks.activations import ACTIVATIONS
from skbig.networks.dense import NORMALIZATIONS, Dense
from skbig.networks.layer import Layer
from skbig.networks.monotonic import MonotonicDense
from skbig.networks.network import Network

_WIDTH = Interval(1, None, integer=True)


@dataclass(frozen=True)
class MLP(Network, name="mlp", recordable=True):
    """Hidden layers of ``affine -> normalization -> activation -> dropout``, then one affine layer.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(100,)
        Units of each hidden layer; ``()`` is a linear model.
    activation : str, default='relu'
        'identity', 'logistic', 'tanh', 'relu', 'gelu', 'silu', 'mish', 'selu', 'elu' or 'leaky_relu'.
    dropout : float in [0, 1), default=0.0
        Share of hidden units that are zeroed at random in each training step.
    normalization : {'batch', 'layer'} or None, default=None
        What is normalised between the sums of a hidden layer and its activation.
    monotonic_cst : tuple of {-1, 0, 1}, default=()
        For each feature whether all outputs rise with it (1), fall (-1) or may do either (0), held by `MonotonicDense`
        layers; ``()`` is no constraint.

    Examples
    --------
    >>> from skbig.networks import MLP
    >>> MLP((32,), dropout=0.1).of_shape(n_features=4, n_outputs=3).shapes
    {'weight0': (4, 32), 'weight1': (32, 3), 'bias0': (1, 32), 'bias1': (1, 3)}
    """

    hidden_layer_sizes: tuple[int, ...] = hyperparameter((100,), Each(_WIDTH))
    activation: str = hyperparameter("relu", Options(tuple(ACTIVATIONS)))
    dropout: Any = hyperparameter(0.0, Interval(0, 1, "left"), varies=True)
    normalization: str | None = hyperparameter(None, Options(NORMALIZATIONS))
    monotonic_cst: tuple[int, ...] = hyperparameter((), Each(Options((-1, 0, 1))))

    def build(self, n_features: int, n_outputs: int) -> Sequence[Layer]:
        gain = 2.0 if self.activation == "logistic" else 6.0
        widths = (n_features, *self.hidden_layer_sizes)
        hidden = [
            Dense(n_in, n_out, self.activation, self.dropout, self.normalization, gain)
            for n_in, n_out in itertools.pairwise(widths)
        ]
        layers = [*hidden, Dense(widths[-1], n_outputs, gain=gain)]
        return self._monotonic(layers, n_features) if any(self.monotonic_cst) else layers

    def _monotonic(self, layers: Sequence[Dense], n_features: int) -> list[MonotonicDense]:
        """Return such layers with the signs of the features, and behind them of no other sign than plus."""
        if len(self.monotonic_cst) != n_features:
            raise ValueError(
                f"monotonic_cst has shape {(len(self.monotonic_cst),)} but the input data X has {n_features} features."
            )
        made = []
        for i, layer in enumerate(layers):
            signs = self.monotonic_cst if i == 0 else (1,) * layer.n_in
            options = layer.activation, layer.dropout, layer.normalization, layer.gain
            made.append(MonotonicDense(layer.n_in, layer.n_out, signs, *options))
        return made
