"""TensorFlow Serving's REST API: what its requests say, and what its answers look like.

Source: https://www.tensorflow.org/tfx/serving/api_rest. A model has the signature "serving_default", which gives all of
its outputs, and one for each output by its name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skbig.serving.errors import RequestError
from skbig.serving.model import ServedModel
from skbig.serving.registry import Served
from skbig.serving.tensors import DTYPES, TensorSpec, plain_values, tensors_of

Tensors = dict[str, np.ndarray]
DEFAULT = "serving_default"
_TYPES = {
    "BOOL": "DT_BOOL",
    "BYTES": "DT_STRING",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    **{name: f"DT_{name}" for name in DTYPES if "INT" in name},
}


def predict_request(body: Any, model: ServedModel) -> tuple[Tensors, tuple[str, ...], bool]:
    """Return the inputs, the outputs that are asked for, and whether they are asked for by rows."""
    given = _object(body)
    outputs = _outputs_of(given.get("signature_name", DEFAULT), model)
    if ("instances" in given) == ("inputs" in given):
        raise RequestError("The request must have either 'instances' (a list of rows) or 'inputs' (columns).")
    by_rows = "instances" in given
    values = _columns_of_rows(given["instances"], "instances") if by_rows else given["inputs"]
    if not isinstance(values, dict):
        values = {"": values}
    return tensors_of(values, model.inputs), outputs, by_rows


def predict_response(outputs: Tensors, by_rows: bool) -> dict[str, Any]:
    """Return predictions by rows, or columns; an only output goes without its name."""
    columns = {name: plain_values(array) for name, array in outputs.items()}
    only = next(iter(columns.values())) if len(columns) == 1 else None
    if not by_rows:
        return {"outputs": columns if only is None else only}
    if only is not None:
        return {"predictions": only}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def examples_request(body: Any, model: ServedModel) -> Tensors:
    """Return the inputs of a request to classify or to regress."""
    given = _object(body)
    context = given.get("context", {})
    examples = given.get("examples")
    if not isinstance(examples, list) or not isinstance(context, dict):
        raise RequestError("The request must have 'examples', a list of objects, and may have 'context', an object.")
    if not all(isinstance(example, dict) for example in examples):
        raise RequestError("Each of the examples must be an object, from the name of a feature to its value.")
    return tensors_of(_columns_of_rows([{**context, **example} for example in examples], "examples"), model.inputs)


def probabilities_of(model: ServedModel) -> str:
    """Return the output that has a probability for each class."""
    for spec in model.outputs:
        is_table = len(spec.shape) == 2 and spec.datatype.startswith("FP")
        if is_table and model.classes is not None and spec.shape[1] in (-1, len(model.classes)):
            return spec.name
    raise RequestError(
        "This model gives no probabilities of classes, or does not say what they are called; use :predict."
    )


def classify_response(probabilities: np.ndarray, model: ServedModel) -> dict[str, Any]:
    """Return each class with its score, for each row."""
    labels = plain_values(np.asarray(model.classes))
    return {"result": [[list(pair) for pair in zip(labels, row, strict=True)] for row in plain_values(probabilities)]}


def value_of(model: ServedModel) -> str:
    """Return the output that has one number for each row."""
    for spec in model.outputs:
        is_number = spec.datatype not in ("BYTES", "BOOL")
        if model.classes is None and is_number and spec.shape[1:] in ((), (1,)):
            return spec.name
    raise RequestError("This model does not give one number for each row; use :predict.")


def regress_response(values: np.ndarray) -> dict[str, Any]:
    """Return one number for each row."""
    return {"result": plain_values(values.reshape(-1))}


def status_response(versions: list[Served]) -> dict[str, Any]:
    """Return the state of the versions."""
    fine = {"error_code": "OK", "error_message": ""}
    states = [{"version": str(served.version), "state": "AVAILABLE", "status": fine} for served in reversed(versions)]
    return {"model_version_status": states}


def metadata_response(served: Served) -> dict[str, Any]:
    """Return the signatures of a model."""
    model = served.model
    signatures = {
        name: {
            "inputs": {spec.name: _tensor_info(spec) for spec in model.inputs},
            "outputs": {spec.name: _tensor_info(spec) for spec in model.outputs if name in (DEFAULT, spec.name)},
            "method_name": "tensorflow/serving/predict",
        }
        for name in (DEFAULT, *(spec.name for spec in model.outputs))
    }
    return {
        "model_spec": {"name": served.name, "signature_name": "", "version": str(served.version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in spec.shape]
    shape = {"dim": dims, "unknown_rank": False}
    return {"dtype": _TYPES[spec.datatype], "tensor_shape": shape, "name": f"{spec.name}:0"}


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise RequestError("The request must be a JSON object.")
    return body


def _outputs_of(signature: Any, model: ServedModel) -> tuple[str, ...]:
    names = [spec.name for spec in model.outputs]
    if signature in (DEFAULT, ""):
        return tuple(names)
    if signature not in names:
        raise RequestError(f"The signatures of this model are {', '.join([DEFAULT, *names])}. Got {signature!r:.60}.")
    return (signature,)


def _columns_of_rows(rows: Any, name: str) -> Any:
    """Return rows of named values as columns; other rows as they are."""
    if not isinstance(rows, list) or not rows:
        raise RequestError(f"{name!r} must be a list of at least one row.")
    if not isinstance(rows[0], dict):
        return rows
    names = rows[0].keys()
    if not all(isinstance(row, dict) and row.keys() == names for row in rows):
        raise RequestError("All rows must have values of the same names.")
    return {name: [row[name] for row in rows] for name in names}
