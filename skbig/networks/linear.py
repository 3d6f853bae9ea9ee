"""The linear model: a network without a hidden layer, which begins at zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.sparse import SparseRows
from skbig._utils.validation import Boolean
from skbig.networks.layer import Layer, Parameter, TrainingPass
from skbig.networks.network import Network
from skbig.networks.product_tap import tap_of_product
from skbig.networks.products import affine
from skbig.networks.row_gradients import Tap


@dataclass(frozen=True)
class LinearLayer(Layer):
    """A weighted sum of all inputs for each output.

    Attributes
    ----------
    n_in, n_out : int
    fit_intercept : bool
        Whether something is added to each sum.
    """

    n_in: int
    n_out: int
    fit_intercept: bool = True

    reads_sparse = True

    @property
    def n_units(self) -> int:
        return self.n_out

    def parameters(self) -> dict[str, Parameter]:
        own = {"weight": Parameter((self.n_in, self.n_out), "weight", penalized=True)}
        return own | ({"bias": Parameter((1, self.n_out), "bias")} if self.fit_intercept else {})

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        del random  # the loss is convex, so that every beginning leads to the same end
        return {name: np.zeros(parameter.shape) for name, parameter in self.parameters().items()}

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        weight = parameters["weight"]
        bias = parameters["bias"] if self.fit_intercept else weight.new_zeros(1, self.n_out)
        return affine(X, weight, bias)

    def bound(self, largest_input: float, largest_parameter: float) -> float:
        # Twice that: more than it is rounded by.
        return 2 * (self.n_in * largest_input * largest_parameter + largest_parameter)

    def tapped(
        self, X: Tensor | SparseRows, parameters: Mapping[str, Tensor], training: TrainingPass
    ) -> tuple[Tensor, list[Tap]]:
        del training
        tap = tap_of_product(X, parameters["weight"], parameters.get("bias"))
        return tap.tensor, [tap]

    def cuts(self, *, by_outputs: bool) -> dict[str, int | None]:
        return {name: 1 if by_outputs else 0 if name == "weight" else None for name in self.parameters()}


@dataclass(frozen=True)
class Linear(Network, name="linear", recordable=True):
    """A linear model: raw predictions are weighted sums of the features.

    Parameters
    ----------
    fit_intercept : bool, default=True
        Whether an intercept is added.

    Examples
    --------
    >>> from skbig.networks import Linear
    >>> Linear().of_shape(n_features=4, n_outputs=3).shapes
    {'weight0': (4, 3), 'bias0': (1, 3)}
    """

    fit_intercept: bool = hyperparameter(True, Boolean())

    def build(self, n_features: int, n_outputs: int) -> Sequence[Layer]:
        return [LinearLayer(n_features, n_outputs, bool(self.fit_intercept))]
