"""Weights as 8-bit integers, and what they cost.

Legend: N rows.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score

from skbig._utils.extras import import_extra
from skbig.exceptions import ExportError
from skbig.onnx.check import run_graph
from skbig.onnx.feeds import Feeds
from skbig.onnx.messages import logging_only


def quantized(graph: Any, model: Any, feeds: Feeds, y: Any, max_loss: float) -> tuple[Any, float]:
    """Return a graph with 8-bit weights, and how much score they lose.

    Raises
    ------
    ExportError
        When there is nothing to quantize, or more than `max_loss` is lost.
    """
    small = _with_integers(graph)
    if not any(node.op_type == "MatMulInteger" for node in small.graph.node):
        raise ExportError(f"quantize='int8' finds no product of a matrix in the graph of {type(model).__name__}.")
    loss = _loss(run_graph(graph, feeds)[0], run_graph(small, feeds)[0], y, is_classifier(model))
    if not loss <= max_loss:
        compared = "of its predictions" if y is None else "of its score"
        raise ExportError(
            f"quantize='int8' loses {loss:.4f} {compared} on the given rows, more than max_loss={max_loss}. Allow "
            "more, export without it, or train with a larger alpha or more units."
        )
    return small, loss


def _with_integers(graph: Any) -> Any:
    onnx = import_extra("onnx", "onnx", "skbig.onnx")
    quantization = import_extra("onnxruntime.quantization", "onnx", "skbig.onnx")
    with tempfile.TemporaryDirectory() as folder, logging_only(None, _is_others):
        path = Path(folder) / "graph.onnx"
        quantization.quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=["MatMul"],
            weight_type=quantization.QuantType.QInt8,
            per_channel=not _has_stacks(graph),
            reduce_range=True,  # without it processors that lack VNNI saturate
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        return onnx.load(str(path))


def _has_stacks(graph: Any) -> bool:
    """Whether members of an ensemble are multiplied at once: ONNX Runtime then knows one scale for a whole stack."""
    stacks = {tensor.name for tensor in graph.graph.initializer if len(tensor.dims) > 2}
    return any(node.op_type == "MatMul" and stacks & {*node.input} for node in graph.graph.node)


def _is_others(record: logging.LogRecord) -> bool:
    """Whether a record is not of the quantizer, which recommends things by the root logger of this process."""
    return "onnxruntime" not in record.pathname


def _loss(before: np.ndarray, after: np.ndarray, y: Any, of_classes: bool) -> float:
    """Return the score that is lost, by targets; or how far predictions are from those before."""
    score = accuracy_score if of_classes else r2_score
    if y is None:
        return max(0.0, float(1.0 - score(before, after)))
    target = np.asarray(y).reshape(before.shape)
    if before.dtype.kind == "O":
        target = target.astype(str).astype(object)
    return float(score(target, before) - score(target, after))
