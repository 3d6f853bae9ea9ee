"""The network for tables: numbers and categories are embedded, and a multi-layer perceptron reads what they became."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skbig._utils.component import constraints_of, hyperparameter
from skbig._utils.validation import COUNT, Boolean, Each, Interval, Options
from skbig.networks.columns import Columns
from skbig.networks.dense import Dense
from skbig.networks.embedding import Embedding, OneHot
from skbig.networks.layer import Layer
from skbig.networks.mlp import MLP
from skbig.networks.network import Network
from skbig.networks.periodic import Periodic
from skbig.networks.piecewise import PiecewiseLinear

NUMBER_EMBEDDINGS = ("piecewise_linear", "periodic", None)


@dataclass(frozen=True)
class TabularMLP(Network, name="tabular_mlp", recordable=True):
    """Embeddings of numbers and categories in front of an `MLP`.

    The features of X are a code for each category, in the order of how many codes there are, then numbers, then what is
    passed on as it is. `BigTabularClassifier` and `BigTabularRegressor` make such an X of any table.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Units of each hidden layer.
    activation : str, default='relu'
        As of `MLP`.
    dropout : float in [0, 1), default=0.0
        As of `MLP`.
    normalization : {'batch', 'layer'} or None, default=None
        As of `MLP`.
    number_embedding : {'piecewise_linear', 'periodic'} or None, default='piecewise_linear'
        What becomes of a number: `PiecewiseLinear`, of a number in [0, 1]; `Periodic`, of a scaled number; or it stays.
    n_bins : int, default=32
        Bins of a number that is embedded piecewise.
    begins_straight : bool, default=False
        As of `PiecewiseLinear`.
    number_width : int, default=8
        Functions of a number.
    rectified : float in [0, 1], default=0.0
        Share of the piecewise linear functions of a number, rounded to a whole one, that are rectified: these may be
        zero over a whole range.
    n_frequencies : int, default=16
        As of `Periodic`.
    sigma : float, default=0.1
        As of `Periodic`.
    n_codes : tuple of int, default=()
        Of each category how many codes there are, code 0, for what is not known, counted.
    category_width : int, default=8
        Numbers of a category's vector.
    max_one_hot : int, default=9
        Up to so many levels a category becomes zeros and a one.
    n_passed : int, default=0
        Features that are passed on.
    dropout_in : {'all', 'last'}, default='all'
        Which hidden layers have dropout. In the last it leaves the mean of a prediction as it is; in others it spreads
        the sums of the layer after, and shifts what its activation makes of them.

    Examples
    --------
    >>> from skbig.networks import TabularMLP
    >>> network = TabularMLP((32,), n_bins=16, number_width=4, n_codes=(3, 40), category_width=5)
    >>> list(network.of_shape(n_features=6, n_outputs=1).shapes.items())[:2]
    [('weight1', (23, 32)), ('weight2', (32, 1))]
    """

    hidden_layer_sizes: tuple[int, ...] = hyperparameter((256, 256), *constraints_of(MLP, "hidden_layer_sizes"))
    activation: str = hyperparameter("relu", *constraints_of(MLP, "activation"))
    dropout: Any = hyperparameter(0.0, *constraints_of(MLP, "dropout"), varies=True)
    normalization: str | None = hyperparameter(None, *constraints_of(MLP, "normalization"))
    number_embedding: str | None = hyperparameter("piecewise_linear", Options(NUMBER_EMBEDDINGS))
    n_bins: int = hyperparameter(32, COUNT)
    begins_straight: bool = hyperparameter(False, Boolean())
    number_width: int = hyperparameter(8, COUNT)
    rectified: float = hyperparameter(0.0, Interval(0, 1))
    n_frequencies: int = hyperparameter(16, COUNT)
    sigma: float = hyperparameter(0.1, Interval(0, None, "neither"))
    n_codes: tuple[int, ...] = hyperparameter((), Each(COUNT))
    category_width: int = hyperparameter(8, COUNT)
    max_one_hot: int = hyperparameter(9, Interval(0, None, integer=True))
    n_passed: int = hyperparameter(0, Interval(0, None, integer=True))
    dropout_in: str = hyperparameter("all", Options(("all", "last")))

    def build(self, n_features: int, n_outputs: int) -> Sequence[Layer]:
        front = self._front(n_features)
        first = [] if front is None else [front]
        widths = (n_features if front is None else front.n_units, *self.hidden_layer_sizes)
        n_without = len(self.hidden_layer_sizes) - 1 if self.dropout_in == "last" else 0
        hidden = [
            Dense(n_in, n_out, self.activation, self.dropout if i >= n_without else 0.0, self.normalization)
            for i, (n_in, n_out) in enumerate(itertools.pairwise(widths))
        ]
        return [*first, *hidden, Dense(widths[-1], n_outputs)]

    def _front(self, n_features: int) -> Columns | None:
        """Return the embeddings, or None where there are none."""
        n_numbers = n_features - len(self.n_codes) - self.n_passed
        if n_numbers < 0:
            raise ValueError(
                f"{self!r} reads {len(self.n_codes)} categories and passes on {self.n_passed} features, and X has "
                f"{n_features} features."
            )
        if list(self.n_codes) != sorted(self.n_codes):
            raise ValueError(f"The 'n_codes' parameter of {type(self).__name__} must rise. Got {self.n_codes!r}.")
        few = tuple(n for n in self.n_codes if n <= self.max_one_hot + 1)
        many = self.n_codes[len(few) :]
        parts: list[tuple[str, Layer]] = [("few", OneHot(few))] if few else []
        parts += [("category", Embedding(many, self.category_width))] if many else []
        if n_numbers and self.number_embedding == "piecewise_linear":
            sizes = (n_numbers, self.n_bins, self.number_width)
            n_rectified = round(self.rectified * self.number_width)
            parts.append(("number", PiecewiseLinear(*sizes, self.begins_straight, n_rectified)))
        if n_numbers and self.number_embedding == "periodic":
            parts.append(("number", Periodic(n_numbers, self.n_frequencies, self.number_width, self.sigma)))
        return Columns(n_features, tuple(parts)) if parts else None
