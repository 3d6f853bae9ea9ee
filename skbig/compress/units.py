"""Hidden layers with fewer units, and the network that is left.

Legend: M members, R rows, H units of a layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skbig.compress.last_step import count_rows, put_arrays, some_rows
from skbig.data.rows import as_tensor
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.tensors import on_host
from skbig.networks.dense import Dense
from skbig.networks.network import BuiltNetwork

MAX_ROWS = 4096
"""How many rows are enough to see what units do."""


def fewer_units(estimator: NetworkEstimator, X: Any, sizes: list[int]) -> None:
    """Leave to the hidden layers of a fitted estimator so many units, those that matter most on some rows."""
    network = estimator._network
    arrays = {name: np.array(array) for name, array in estimator._network_arrays().items()}
    outputs = _outputs(estimator, X)
    hidden = [i for i, layer in enumerate(network.layers[:-1]) if isinstance(layer, Dense)]
    for i, n_kept in zip(hidden, sizes, strict=True):
        _keep_units(network, arrays, i, outputs[i], n_kept)
    smaller = network.network.replace(hidden_layer_sizes=tuple(sizes))
    _ask_for(estimator, smaller)
    put_arrays(estimator, smaller.of_shape(network.n_features, network.n_outputs), arrays, keeps_zeros=False)


def _keep_units(network: BuiltNetwork, arrays: dict[str, np.ndarray], i: int, output: np.ndarray, n_kept: int) -> None:
    """Cut the arrays of layer i, whose output on some rows is (M, R, H), and those of the next layer."""
    own = [name for names in network.layer_names[i] for name in names.values()]
    after = network.layer_names[i + 1][0]
    weight, bias = arrays[after["weight"]], arrays[after["bias"]]
    strength = output.std(axis=1) * np.linalg.norm(weight, axis=2)
    kept = np.sort(np.argsort(-strength, axis=1, kind="stable")[:, :n_kept], axis=1)
    gone = np.ones(strength.shape, dtype=bool)
    np.put_along_axis(gone, kept, False, axis=1)
    means = np.where(gone, output.mean(axis=1), 0.0)[:, None]
    arrays[after["bias"]] = (bias + means @ weight).astype(bias.dtype)
    arrays[after["weight"]] = np.take_along_axis(weight, kept[:, :, None], axis=1)
    for name in own:
        arrays[name] = np.take_along_axis(arrays[name], kept[:, None, :], axis=2)


def _outputs(estimator: NetworkEstimator, X: Any) -> list[np.ndarray]:
    """Return what each layer gives on some rows, (M, R, H)."""
    network, n_members = estimator._network, len(estimator._progress["seeds"])
    every = np.unique(np.linspace(0, count_rows(X) - 1, MAX_ROWS).astype(int))
    rows = estimator._check_rows(on_host(some_rows(X, every), "X"), estimator._row_dtype())
    dense = rows if isinstance(rows, np.ndarray) else rows.toarray() if hasattr(rows, "toarray") else rows.load()
    parameters, statistics = estimator._tensors(torch.device("cpu"))
    Z: Any = as_tensor(dense)
    Z = Z if n_members == 1 else Z.expand(n_members, *Z.shape)
    outputs = []
    with torch.no_grad():
        for i in range(len(network.layers)):
            Z = network.layer(i, Z, parameters, statistics, None)
            outputs.append(Z.view(n_members, *Z.shape[-2:]).numpy())
    return outputs


def _ask_for(estimator: Any, network: Any) -> None:
    """Let the parameters ask for a network of these sizes."""
    if hasattr(estimator, "hidden_layer_sizes"):
        estimator.hidden_layer_sizes = network.hidden_layer_sizes
    else:
        estimator.network = network
