"""Fitted models and pipelines as ONNX graphs.

Needs skl2onnx, onnx and onnxruntime: ``pip install "skbig[onnx]"``. Importing this module registers the estimators of
this package with skl2onnx, so that its own functions convert them, too.
"""

from skbig.onnx.export import to_onnx
from skbig.onnx.graph import Graph
from skbig.onnx.layers import convert_layer
from skbig.onnx.registration import register_if_installed as _register_if_installed

__all__ = ["Graph", "convert_layer", "to_onnx"]

_register_if_installed()
