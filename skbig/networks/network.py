"""The network as a component: what an estimator trains, declared; and what it is once the data's shape is known.

Legend: M members, R rows, F features, K raw outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from skbig._utils.component import Component, form_of
from skbig._utils.random import legacy_generator
from skbig._utils.sparse import SparseRows
from skbig.networks.layer import Layer, Parameter, TrainingPass
from skbig.networks.row_gradients import NamedTap


@dataclass(frozen=True)
class Network(Component):
    """A network: its layers, for any number of features and outputs.

    To make one, subclass it as a frozen dataclass, declare its hyperparameters with `hyperparameter`, and define
    `build`. The layers may be those of this package (`Dense`, `Embedding`, `Residual`) or your own subclasses of
    `Layer`. Say ``class Mine(Network, recordable=True)`` where no layer looks at the value of a tensor or leaves torch,
    so that steps are recorded; `skbig.testing.check_component` verifies it.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from skbig.networks import Dense, Network
    >>> @dataclass(frozen=True)
    ... class Bottleneck(Network):
    ...     width: int = 2
    ...     def build(self, n_features, n_outputs):
    ...         return [Dense(n_features, self.width, activation="tanh"), Dense(self.width, n_outputs)]
    >>> Bottleneck().of_shape(4, 3).shapes
    {'weight0': (4, 2), 'weight1': (2, 3), 'bias0': (1, 2), 'bias1': (1, 3)}
    """

    kind: ClassVar[str] = "network"
    keeps_apart: ClassVar[bool] = False
    """Whether members are known to be computed apart although steps are not recorded."""

    autocasts: ClassVar[bool] = False
    """Whether, in bfloat16, torch chooses for each operation what it is computed in; else all is."""

    def build(self, n_features: int, n_outputs: int) -> Sequence[Layer]:
        """Return the layers in their order: the first reads (M, R, n_features), the last gives (M, R, n_outputs)."""
        raise NotImplementedError(f"{type(self).__name__} must define build(n_features, n_outputs): its layers.")

    def first_values(self, layers: Sequence[Layer], seed: int) -> list[dict[str, np.ndarray]]:
        """Return what each layer begins with: its parameters, and statistics that depend on the seed."""
        with legacy_generator(seed) as random:  # for scikit-learn's first weights
            return [layer.initial(random) for layer in layers]

    def name_of(self, name: str, i: int) -> str:
        """Return how a parameter or statistic of layer i is called in the network."""
        return f"{name}{i}"

    def likely_size(self) -> float:
        """Return about how many numbers it has to train, where the shapes of X and y are not known."""
        return float(sum(map(math.prod, self.of_shape(1, 1).shapes.values())))

    def of_shape(self, n_features: int, n_outputs: int) -> BuiltNetwork:
        """Return the network for a number of features and of raw outputs."""
        make = BuiltNetwork if form_of(self) is None else _built
        return make(self, n_features, n_outputs)


@dataclass(frozen=True)
class BuiltNetwork:
    """A network for a certain number of features and outputs: its parameters, first values and forward pass.

    Parameters are named by their layer: ``weight0`` is the weight of the first one. Those that are penalized come
    first in every table, then those of one role after another.

    Parameters
    ----------
    network : Network
    n_features, n_outputs : int

    Examples
    --------
    >>> from skbig.networks import MLP
    >>> built = MLP((8,)).of_shape(n_features=3, n_outputs=1)
    >>> list(built.shapes), built.penalized, built.couples_rows
    (['weight0', 'weight1', 'bias0', 'bias1'], ['weight0', 'weight1'], False)
    >>> built.initial(seeds=[0, 1])["weight0"].shape
    (2, 3, 8)
    """

    network: Network
    n_features: int
    n_outputs: int

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what follows from the fields."""
        return {"network": self.network, "n_features": self.n_features, "n_outputs": self.n_outputs}

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in their order."""
        return tuple(self.network.build(self.n_features, self.n_outputs))

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Every parameter by name."""
        declared = self._named(layer.parameters() for layer in self.layers)
        head = _head(self.layers[-1])
        if head is not None:
            name = self.network.name_of(head, len(self.layers) - 1)
            declared[name] = replace(declared[name], role="head")
        roles = list(dict.fromkeys([*ROLES, *(parameter.role for parameter in declared.values())]))
        order = {name: (not each.penalized, roles.index(each.role)) for name, each in declared.items()}
        return {name: declared[name] for name in sorted(declared, key=order.__getitem__)}

    @cached_property
    def roles(self) -> dict[str, str]:
        """What each parameter does: 'weight', 'head' (the weight of the last layer), 'bias', ..."""
        return {name: parameter.role for name, parameter in self.parameters.items()}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter, members axis left out."""
        return {name: parameter.shape for name, parameter in self.parameters.items()}

    @cached_property
    def statistics_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each running statistic, which is not optimised; members axis left out."""
        return {name: value.shape for name, value in self._statistics.items()}

    @cached_property
    def penalized(self) -> list[str]:
        """The parameters that a penalty acts on: the first ones of `shapes`."""
        return [name for name, parameter in self.parameters.items() if parameter.penalized]

    @property
    def weight_names(self) -> list[str]:
        """The parameters, also those that are not trained: what is no running statistic."""
        return [*self.shapes, *(name for layer in self.layers for name in layer.frozen)]

    @cached_property
    def n_penalized(self) -> int:
        """How many numbers the penalized parameters hold."""
        return sum(math.prod(self.shapes[name]) for name in self.penalized)

    @cached_property
    def layer_names(self) -> list[tuple[dict[str, str], dict[str, str]]]:
        """Of each layer the parameters and the statistics: their names in the layer, and in the network."""
        return [
            (self._names(layer.parameters(), i), self._names(layer.statistics(), i))
            for i, layer in enumerate(self.layers)
        ]

    def _names(self, own: Iterable[str], i: int) -> dict[str, str]:
        return {name: self.network.name_of(name, i) for name in own}

    @cached_property
    def couples_rows(self) -> bool:
        """Whether what a row comes to depends on the other rows of its batch, as under a batch norm."""
        return any(layer.couples_rows for layer in self.layers)

    @cached_property
    def without_row_gradients(self) -> list[Layer]:
        """The layers that do not tell the gradients of single rows."""
        return [layer for layer in self.layers if not layer.has_row_gradients]

    @cached_property
    def draws_noise(self) -> bool:
        """Whether a forward pass needs random numbers while training."""
        return any(layer.draws_noise for layer in self.layers)

    @cached_property
    def n_units(self) -> int:
        """How many numbers all layers hold for a row: what its activations take in memory."""
        return self.n_features + sum(layer.n_units for layer in self.layers)

    @cached_property
    def width(self) -> int:
        """How many numbers the widest layer holds for a row."""
        return max(self.n_features, *(layer.most_units for layer in self.layers))

    @cached_property
    def n_products(self) -> int:
        """How many products a forward pass takes for a row, about."""
        return sum(layer.n_products for layer in self.layers)

    @property
    def stacks(self) -> bool:
        """Whether several members are computed at once."""
        return all(layer.stacks for layer in self.layers)

    @property
    def recordable(self) -> bool:
        """Whether a step may be recorded and replayed."""
        return self.network.recordable and all(layer.recordable for layer in self.layers)

    def first_values(self, seeds: Sequence[int]) -> dict[str, np.ndarray]:
        """Return the first parameters and running statistics, with a leading members axis."""
        members = [self._statistics | self._named(self.network.first_values(self.layers, seed)) for seed in seeds]
        names = [*self.shapes, *self.statistics_shapes]
        if len(members) == 1:
            return {name: members[0][name][None] for name in names}
        return {name: np.stack([member[name] for member in members]) for name in names}

    def initial(self, seeds: Sequence[int]) -> dict[str, np.ndarray]:
        """Return the first parameters alone."""
        first = self.first_values(seeds)
        return {name: first[name] for name in self.shapes}

    def initial_statistics(self, n_members: int) -> dict[str, np.ndarray]:
        """Return the first running statistics, of members without a seed."""
        return {n: np.broadcast_to(value, (n_members, *value.shape)).copy() for n, value in self._statistics.items()}

    @cached_property
    def _statistics(self) -> dict[str, np.ndarray]:
        return self._named(layer.statistics() for layer in self.layers)

    def _named(self, layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Name what each layer has of its own."""
        name_of = self.network.name_of
        return {name_of(name, i): value for i, own in enumerate(layers) for name, value in own.items()}

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        X: Tensor | SparseRows,
        training: TrainingPass | None,
    ) -> Tensor:
        """Return the raw prediction: X (M, R, F) -> (M, R, K), or the same without M.

        With `training`, noise is drawn, and running statistics are updated.
        """
        for i in range(len(self.layers)):
            X = self.layer(i, X, parameters, statistics, training)
        assert isinstance(X, Tensor)
        return X

    def bound(self, largest_input: float, largest_parameter: float) -> float:
        """Return what no number exceeds that is computed to predict; infinity where a layer knows nothing of it."""
        bounds = [largest_input]
        for layer in self.layers:
            bounds.append(layer.bound(bounds[-1], largest_parameter))
        return max(bounds)

    def tapped(
        self, parameters: Mapping[str, Tensor], X: Tensor | SparseRows, training: TrainingPass
    ) -> tuple[Tensor, list[NamedTap]]:
        """Return the raw prediction, and what tells the gradients of single rows by all parameters."""
        taps: list[NamedTap] = []
        for i, (layer, (names, _)) in enumerate(zip(self.layers, self.layer_names, strict=True)):
            own = {name: parameters[full] for name, full in names.items()}
            X, of_layer = layer.tapped(_as_read(X, layer, own), own, replace(training, layer=i))
            taps += [NamedTap(tap, names) for tap in of_layer]
        assert isinstance(X, Tensor)
        return X, taps

    def layer(
        self,
        i: int,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        """Return what layer i makes of its input; of the parameters, its own are read."""
        own, moments = self.layer_names[i]
        if training is not None:
            training = replace(training, layer=i)
        layer, values = self.layers[i], {name: parameters[full] for name, full in own.items()}
        moving = {name: statistics[full] for name, full in moments.items()}
        return layer.forward(_as_read(X, layer, values), values, moving, training)


def _as_read(X: Tensor | SparseRows, layer: Layer, parameters: Mapping[str, Tensor]) -> Tensor | SparseRows:
    """Write sparse rows out for a layer that knows nothing of them, in what it computes in: it may be bfloat16."""
    if not isinstance(X, SparseRows) or layer.reads_sparse:
        return X
    like = next(iter(parameters.values()), None)
    return X.dense() if like is None else X.dense().to(like.dtype)


@lru_cache(maxsize=64)
def _built(network: Network, n_features: int, n_outputs: int) -> BuiltNetwork:
    """Keep what a fit has found out about its network for the next ones."""
    return BuiltNetwork(network, n_features, n_outputs)


def _head(layer: Layer) -> str | None:
    """Return the name of the last layer's weight, if it has one and no more."""
    weights = [name for name, parameter in layer.parameters().items() if parameter.role == "weight"]
    return weights[0] if len(weights) == 1 else None


ROLES = ("weight", "head", "bias", "scale", "offset")
"""Roles in the order in which parameters lie in memory; those that a layer of a user's names besides come after."""
