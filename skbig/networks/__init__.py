"""The networks: what is trained.

Read `network.py` first: what a network is, declared (`Network`) and for the shape of the data (`BuiltNetwork`). A
network is a list of layers (`layer.py`); `dense.py` is one, and `mlp.py` the network that is made of it. The
products of layers are in `products.py`, how they normalise in `normalization.py`, their first weights in
`initialization.py`.
"""

from typing import TYPE_CHECKING

from skbig._utils.component import late_components as _late_components
from skbig._utils.late_names import late_names as _late_names
from skbig.networks.dense import Dense
from skbig.networks.layer import Layer, Parameter, TrainingPass
from skbig.networks.mlp import MLP
from skbig.networks.monotonic import MonotonicDense
from skbig.networks.network import BuiltNetwork, Network

if TYPE_CHECKING:
    from skbig.networks.columns import Columns
    from skbig.networks.embedding import Embedding, OneHot
    from skbig.networks.linear import Linear
    from skbig.networks.low_rank import LowRankMLP
    from skbig.networks.periodic import Periodic
    from skbig.networks.piecewise import PiecewiseLinear
    from skbig.networks.tabular import TabularMLP
else:
    _layers = {
        "columns": ["Columns"],
        "embedding": ["Embedding", "OneHot"],
        "periodic": ["Periodic"],
        "piecewise": ["PiecewiseLinear"],
    }
    _catalogue = {
        "network": {
            "linear": {"linear": "Linear"},
            "low_rank": {"low_rank_mlp": "LowRankMLP"},
            "tabular": {"tabular_mlp": "TabularMLP"},
        },
    }
    __getattr__, __dir__ = _late_names(__name__, _layers | _late_components(__name__, _catalogue))

__all__ = [
    "MLP",
    "BuiltNetwork",
    "Columns",
    "Dense",
    "Embedding",
    "Layer",
    "Linear",
    "LowRankMLP",
    "MonotonicDense",
    "Network",
    "OneHot",
    "Parameter",
    "Periodic",
    "PiecewiseLinear",
    "TabularMLP",
    "TrainingPass",
]
