"""A session of ONNX Runtime as the server wants it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skbig.exceptions import ModelFileError
from skbig.serving.tensors import DTYPES, TensorSpec

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    **{f"tensor({kind}{bits})": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


class OnnxModel:
    """An ``onnxruntime.InferenceSession``, whose inputs and outputs are those of its graph.

    The maps of skl2onnx's ZipMap become columns. What the classes are called is read from them, or from the entry
    "classes" of the model's metadata, a JSON list.
    """

    platform = "onnxruntime"

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.classes = _named_classes(session)
        self._names = [node.name for node in session.get_outputs()]
        self.outputs = self._probed()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the outputs that are asked for."""
        for name, tensor in inputs.items():
            if tensor.dtype == object and any(item is None for item in tensor.flat):
                raise ValueError(f"A text of {name!r} is missing.")
        results = self._session.run(list(outputs), dict(inputs))
        return {name: _as_array(result) for name, result in zip(outputs, results, strict=True)}

    def _probed(self) -> tuple[TensorSpec, ...]:
        """Run two rows through the graph, by which the shapes of what comes out are known."""
        example = {spec.name: _example(spec) for spec in self.inputs}
        try:
            results = self._session.run(self._names, example)
        except Exception:  # it wants other rows than these
            return tuple(_spec(node) for node in self._session.get_outputs())
        for result in results:
            if isinstance(result, list) and self.classes is None:
                self.classes = list(result[0])
        pairs = zip(self._names, results, strict=True)
        return tuple(TensorSpec.of(name, _as_array(result)) for name, result in pairs)


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DATATYPES:
        raise ModelFileError(f"{node.name!r} of the graph is a {node.type}; tensors are served.")
    shape = tuple(n if isinstance(n, int) else -1 for n in node.shape)
    if not shape:
        raise ModelFileError(f"{node.name!r} of the graph has no rows: its shape is ().")
    return TensorSpec(node.name, _DATATYPES[node.type], shape)


def _example(spec: TensorSpec) -> np.ndarray:
    rows, *others = spec.shape
    shape = (2 if rows == -1 else rows, *(max(n, 1) for n in others))
    return np.full(shape, "" if spec.datatype == "BYTES" else 0, dtype=DTYPES[spec.datatype])


def _as_array(result: Any) -> np.ndarray:
    if isinstance(result, list):  # of maps from class to probability
        return np.array([list(row.values()) for row in result])
    return np.asarray(result)


def _named_classes(session: Any) -> list[Any] | None:
    named = session.get_modelmeta().custom_metadata_map.get("classes")
    try:
        classes = None if named is None else json.loads(named)
    except ValueError:
        return None
    return classes if isinstance(classes, list) else None
