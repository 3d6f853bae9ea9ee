"""Fitted weights by the names of the network: what the estimators for any network keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skbig.estimators.attributes import NetworkAttributes
from skbig.estimators.interface import EstimatorInterface
from skbig.networks.network import BuiltNetwork


class NamedWeights(NetworkAttributes, EstimatorInterface):
    """Keeps parameters as `weights_` and what is not trained as `buffers_`."""

    def _public_weights(self, network: BuiltNetwork, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        one = next(iter(arrays.values())).shape[0] == 1
        shown = {name: np.asarray(value[0]) if one else value for name, value in arrays.items()}
        weights = network.weight_names
        return {
            "weights_": {name: shown[name] for name in weights},
            "buffers_": {name: value for name, value in shown.items() if name not in weights},
        }

    def _network_arrays(self) -> dict[str, np.ndarray]:
        one = len(self._progress["seeds"]) == 1
        return {name: value[None] if one else value for name, value in (self.weights_ | self.buffers_).items()}
