"""Fitted models and pipelines as ONNX graphs, and as SavedModels of TensorFlow.

Needs skl2onnx, onnx and onnxruntime: ``pip install "skbig[onnx]"``, for a SavedModel ``skbig[saved-model]``. Importing
this module registers the estimators of this package with skl2onnx, so that its own functions convert them, too.

Read `export.py` first. `converter.py` adds the nodes of an estimator to a `graph.py`: `tables.py` what becomes of the
columns of a table, `layers.py` a network, `modules.py` a module of the user's. `feeds.py` and `check.py` try the graph.
`saved_model.py` makes operations of TensorFlow of its nodes, by `tensorflow_nodes.py`.
"""

from skbig.onnx.export import to_onnx
from skbig.onnx.graph import Graph
from skbig.onnx.layers import convert_layer
from skbig.onnx.registration import register_if_installed as _register_if_installed
from skbig.onnx.saved_model import to_saved_model

__all__ = ["Graph", "convert_layer", "to_onnx", "to_saved_model"]

_register_if_installed()
