"""Matrices as products of two narrow ones.

Legend: M members.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skbig._utils.validation import Interval, check
from skbig.compress.last_step import fitted_copy, put_arrays, with_last
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.declaration import declared, parameters_of
from skbig.estimators.network import BigNetworkClassifier, BigNetworkRegressor
from skbig.networks.low_rank import LowRankMLP
from skbig.networks.mlp import MLP
from skbig.networks.network import BuiltNetwork

_OF_AN_MLP = {"coefs_", "intercepts_", "scales_", "offsets_", "running_means_", "running_variances_", "n_layers_"}


def low_rank(model: Any, rank: int) -> Any:
    """Return a copy of a fitted model whose matrices are products of two narrow ones, where that makes them smaller.

    Parameters
    ----------
    model : estimator
        Fitted: `BigMLPClassifier`, `BigMLPRegressor`, a `BigNetworkClassifier` or `BigNetworkRegressor` with an `MLP`,
        or a Pipeline that ends in one. It stays as it is.
    rank : int
        Width between the two. Of a matrix (n_in, n_out) it leaves ``rank * (n_in + n_out)`` numbers, the nearest in
        squares that there are [1]_.

    Returns
    -------
    model : BigNetworkClassifier or BigNetworkRegressor, or a Pipeline that ends in one
        Fitted, with ``network=LowRankMLP(...)`` and all other parameters as before. A `fit` with ``warm_start=True``
        makes up for what was lost.

    References
    ----------
    .. [1] Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika 1, 1936.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.compress import low_rank
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((32, 32), optimizer="lbfgs", alpha=0.1, max_iter=1000, random_state=0).fit(X, y)
    >>> small = low_rank(model, rank=12)
    >>> sum(weights.size for weights in small.weights_.values()) < sum(weights.size for weights in model.coefs_)
    True
    >>> bool(small.score(X, y) > 0.9)
    True
    """
    check("rank", "low_rank", rank, Interval(1, None, integer=True))
    copied, last = fitted_copy(model, "low_rank")
    network = last._network.network
    if not isinstance(network, MLP) or any(network.monotonic_cst):
        raise TypeError(
            f"low_rank takes a network that is an MLP without monotonic_cst, and {type(last).__name__} has "
            f"{network!r:.200}."
        )
    narrow = LowRankMLP(
        network.hidden_layer_sizes, int(rank), network.activation, network.dropout, network.normalization
    )
    smaller = _with_network(last, narrow)
    built = narrow.of_shape(last._network.n_features, last._network.n_outputs)
    put_arrays(smaller, built, _factored(last, narrow, built), keeps_zeros=False)
    return with_last(copied, smaller)


def _with_network(fitted: Any, network: LowRankMLP) -> Any:
    """Return an estimator for any network that has been fitted as this one."""
    kind: Any = BigNetworkClassifier if fitted._for_classes else BigNetworkRegressor
    shared = {name: value for name, value in parameters_of(fitted).items() if name in declared(kind)}
    smaller = kind(**shared | {"network": network})
    learnt = {name: value for name, value in vars(fitted).items() if name not in declared(fitted)}
    vars(smaller).update({name: value for name, value in learnt.items() if name not in _OF_AN_MLP})
    return smaller


def _factored(fitted: NetworkEstimator, network: LowRankMLP, built: BuiltNetwork) -> dict[str, np.ndarray]:
    """Return the arrays of the new network, (M, *shape)."""
    old, arrays = fitted._network_arrays(), {}
    to = iter(built.layer_names)
    for names, moments in fitted._network.layer_names:
        weight = old[names["weight"]]
        own = {kind: old[name] for kind, name in (names | moments).items()}
        if network.splits(*weight.shape[1:]):
            first = next(to)[0]
            arrays[first["weight"]], own["weight"] = _halves(weight, network.rank)
            arrays[first["bias"]] = np.zeros((len(weight), 1, network.rank), weight.dtype)
        parameters, statistics = next(to)
        arrays |= {name: own[kind] for kind, name in (parameters | statistics).items()}
    return arrays


def _halves(weight: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (M, n_in, rank) and (M, rank, n_out), whose product is the nearest to a matrix; both of like size."""
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    root = np.sqrt(values[:, :rank])
    halves = left[:, :, :rank] * root[:, None, :], right[:, :rank] * root[:, :, None]
    return halves[0].astype(weight.dtype), halves[1].astype(weight.dtype)
