"""A module of the user's own as nodes: torch exports it, and its graph is put into the one that is written.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skbig._utils.extras import import_extra
from skbig.exceptions import ExportError
from skbig.inference.fitted_network import FittedNetwork
from skbig.inference.torch_module import member_module
from skbig.networks.modules.layer import ModuleLayer
from skbig.networks.modules.network import ModuleNetwork
from skbig.onnx.graph import Graph
from skbig.onnx.messages import first_line, logging_only

OLDEST_OPSET = 18
"""That torch exports to."""
EXPORTER_LOG = "torch.onnx._internal.exporter._registration"


class Stack(nn.Module):
    """The raw predictions of all members: (N, K), or of several (M, N, K)."""

    def __init__(self, fitted: FittedNetwork) -> None:
        super().__init__()
        self.members = nn.ModuleList(member_module(fitted, member) for member in range(fitted.n_members))

    def forward(self, X: Tensor) -> Tensor:
        raw = [member(X) for member in self.members]
        return raw[0] if len(raw) == 1 else torch.stack(raw)


def is_module(fitted: FittedNetwork) -> bool:
    """Whether a network is a module of the user's."""
    return isinstance(fitted.network.network, ModuleNetwork)


def row_dtype(fitted: FittedNetwork, graph: Graph) -> np.dtype[Any]:
    """Return in which dtype a module reads rows."""
    network = fitted.network.network
    assert isinstance(network, ModuleNetwork)
    return np.dtype(network.row_dtype or graph.dtype)


def convert_module(graph: Graph, fitted: FittedNetwork, X: str) -> str:
    """Add the nodes of a module: rows of its shape -> (N, K), or (M, N, K).

    Raises
    ------
    ExportError
        When torch does not export the module.
    """
    (layer,) = fitted.network.layers
    assert isinstance(layer, ModuleLayer)
    if graph.opset < OLDEST_OPSET:
        raise ExportError(f"torch exports modules from opset {OLDEST_OPSET} on. Got target_opset={graph.opset}.")
    like = np.zeros((2, *layer.row_shape), row_dtype(fitted, graph))
    module = Stack(fitted).to(torch.from_numpy(np.zeros(1, graph.dtype)).dtype).eval()
    return graph.model(_exported(module, torch.from_numpy(like), graph.opset), X)


def _exported(module: nn.Module, rows: Tensor, opset: int) -> Any:
    """Return a module as an ONNX model with one input and one output, for any number of rows."""
    import_extra("onnxscript", "onnx", "skbig.onnx")
    inliner = import_extra("onnx.inliner", "onnx", "skbig.onnx")
    try:
        with logging_only(EXPORTER_LOG, _is_error), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (rows,),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                verbose=False,
            )
            assert program is not None
            return inliner.inline_local_functions(program.model_proto)
    except Exception as error:
        raise ExportError(
            f"The module cannot become nodes of ONNX; torch.onnx.export says: {first_line(error)}"
        ) from error


def _is_error(record: logging.LogRecord) -> bool:
    """Whether a record is more than what torch's exporter tells of itself."""
    return record.levelno >= logging.ERROR
