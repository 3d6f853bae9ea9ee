"""The Open Inference Protocol, version 2, as KServe, Triton and MLServer speak it, with binary tensors.

Sources: https://github.com/kserve/open-inference-protocol, and Triton's extension "binary_tensor_data": the JSON comes
first, as long as the header Inference-Header-Content-Length says, then the tensors that have a `binary_data_size`.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from skbig.serving.errors import RequestError
from skbig.serving.model import ServedModel
from skbig.serving.registry import Served
from skbig.serving.tensors import DTYPES, TensorSpec, datatype_of, flat_values, tensors_of

Tensors = dict[str, np.ndarray]
EXTENSIONS = ["binary_tensor_data"]
HEADER = "inference-header-content-length"


@dataclass(frozen=True)
class InferRequest:
    """What is asked: inputs, outputs, and which of these are wanted as bytes."""

    inputs: Tensors
    outputs: tuple[str, ...]
    binary: frozenset[str]
    id: str | None


def split_body(body: bytes, head_length: str | None) -> tuple[memoryview, memoryview]:
    """Return the JSON of a request, and the bytes that follow it."""
    whole = memoryview(body)
    if head_length is None:
        return whole, whole[len(whole) :]
    if not head_length.isdecimal() or not 0 < int(head_length[:20]) <= len(body):
        raise RequestError(f"{HEADER} must be the length of the JSON, {len(body)} at most. Got {head_length!r:.60}.")
    return whole[: int(head_length)], whole[int(head_length) :]


def parse_infer(body: Any, raw: memoryview, model: ServedModel) -> InferRequest:
    """Return what a request says; `raw` holds the bytes after its JSON."""
    if not isinstance(body, dict):
        raise RequestError("The request must be a JSON object.")
    request_id = body.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError("'id' must be a string.")
    outputs, binary = _asked(body, model)
    values, start = {}, 0
    for tensor in _list_of_objects(body.get("inputs"), "inputs"):
        value, start = _value(tensor, raw, start)
        if tensor["name"] in values:
            raise RequestError(f"The input {tensor['name']!r:.60} is given twice.")
        values[tensor["name"]] = value
    if start != len(raw):
        raise RequestError(f"{len(raw) - start} bytes follow the JSON that belong to no input.")
    return InferRequest(tensors_of(values, model.inputs), outputs, binary, request_id)


def _list_of_objects(value: Any, name: str) -> list[dict[str, Any]]:
    fits = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    if not fits or not all(isinstance(item.get("name"), str) for item in value):
        raise RequestError(f"{name!r} must be a list of objects, each with a 'name'.")
    if not all(isinstance(item.get("parameters", {}), dict) for item in value):
        raise RequestError("'parameters' must be an object.")
    return list(value)


def _asked(body: dict[str, Any], model: ServedModel) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the outputs that are asked for, all by default, and those that are wanted as bytes."""
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError("'parameters' must be an object.")
    names, all_binary = [spec.name for spec in model.outputs], parameters.get("binary_data_output") is True
    asked: list[dict[str, Any]] = [{"name": name} for name in names]
    if body.get("outputs"):
        asked = _list_of_objects(body["outputs"], "outputs")
    for output in asked:
        if output["name"] not in names:
            raise RequestError(f"The outputs of this model are {', '.join(names)}. Got {output['name']!r:.60}.")
    wanted = {output["name"]: output.get("parameters", {}).get("binary_data", all_binary) for output in asked}
    return tuple(wanted), frozenset(name for name, binary in wanted.items() if binary is True)


def _value(tensor: dict[str, Any], raw: memoryview, start: int) -> tuple[np.ndarray, int]:
    """Return the array of a tensor in the request, and where the bytes of the next one begin."""
    name, datatype = tensor["name"], tensor.get("datatype")
    shape: list[int] = tensor.get("shape")  # type: ignore[assignment]
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise RequestError(f"The datatype of {name!r:.60} must be one of {', '.join(DTYPES)}. Got {datatype!r:.60}.")
    if not _is_shape(shape):
        raise RequestError(f"The shape of {name!r:.60} must be a list of one to eight whole numbers.")
    size = tensor.get("parameters", {}).get("binary_data_size")
    if size is None:
        return _from_json(tensor.get("data"), name, shape, datatype), start
    if "data" in tensor:
        raise RequestError(f"{name!r:.60} has 'data' and a 'binary_data_size'; it can have one of them.")
    if type(size) is not int or not 0 <= size <= len(raw) - start:
        raise RequestError(
            f"The 'binary_data_size' of {name!r:.60} is {size!r:.60}, and {len(raw) - start} bytes are left."
        )
    return _from_bytes(raw[start : start + size], name, shape, datatype), start + size


def _is_shape(shape: Any) -> bool:
    is_list = isinstance(shape, list) and 0 < len(shape) <= 8
    return is_list and all(type(size) is int and 0 <= size < 2**31 for size in shape)


def _from_json(data: Any, name: str, shape: list[int], datatype: str) -> np.ndarray:
    if not isinstance(data, list):
        raise RequestError(f"The data of {name!r:.60} must be a list.")
    values: list[Any] = []
    _flatten(data, values, depth=len(shape))
    if len(values) != math.prod(shape):
        raise RequestError(f"{name!r:.60} has {len(values)} values; its shape {shape} wants {math.prod(shape)}.")
    if datatype == "BYTES":
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array.reshape(shape)
    return _numbers(values, name).reshape(shape)


def _flatten(data: list[Any], values: list[Any], depth: int) -> None:
    """Collect the values of nested lists, which are nested no deeper than the shape is long."""
    for item in data:
        if isinstance(item, list):
            if depth <= 1:
                raise RequestError("The data is nested deeper than its shape.")
            _flatten(item, values, depth - 1)
        else:
            values.append(item)


def _numbers(values: list[Any], name: str) -> np.ndarray:
    try:
        return np.array(values)
    except (ValueError, OverflowError):
        raise RequestError(f"The data of {name!r:.60} cannot be read as an array.") from None


def _from_bytes(raw: memoryview, name: str, shape: list[int], datatype: str) -> np.ndarray:
    """Return the array of little-endian numbers, or of texts that each come after their length in four bytes."""
    if datatype == "BYTES":
        texts = list(_texts(raw, name))
        count = len(texts)
    else:
        dtype = DTYPES[datatype].newbyteorder("<")
        count = len(raw) // dtype.itemsize if len(raw) % dtype.itemsize == 0 else -1
    if count != math.prod(shape):
        raise RequestError(f"{name!r:.60} has {len(raw)} bytes, which do not make {math.prod(shape)} of {datatype}.")
    if datatype == "BYTES":
        array = np.empty(count, dtype=object)
        array[:] = texts
    elif datatype == "BOOL":
        array = np.frombuffer(raw, dtype=np.uint8) != 0
    else:
        array = np.frombuffer(raw, dtype=dtype)
    return array.reshape(shape)


def _texts(raw: memoryview, name: str) -> Any:
    start = 0
    while start < len(raw):
        if len(raw) - start < 4:
            raise RequestError(f"The bytes of {name!r:.60} end within a length.")
        (length,) = struct.unpack_from("<I", raw, start)
        start += 4
        if length > len(raw) - start:
            raise RequestError(f"A text of {name!r:.60} is longer than its bytes.")
        yield bytes(raw[start : start + length])
        start += length


def infer_response(served: Served, request: InferRequest, outputs: Tensors) -> tuple[bytes, int | None]:
    """Return the body of the answer, and the length of its JSON where bytes come after it."""
    described, tail = [], []
    for name, array in outputs.items():
        entry: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if name in request.binary:
            raw = _to_bytes(array)
            tail.append(raw)
            entry["parameters"] = {"binary_data_size": len(raw)}
        else:
            entry["data"] = flat_values(array)
        described.append(entry)
    answer = {"model_name": served.name, "model_version": str(served.version), "outputs": described}
    if request.id is not None:
        answer["id"] = request.id
    head = json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()
    return b"".join([head, *tail]), len(head) if tail else None


def _to_bytes(array: np.ndarray) -> bytes:
    if datatype_of(array) != "BYTES":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [str(text).encode() for text in array.flat]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def metadata_response(served: Served, versions: list[int]) -> dict[str, Any]:
    """Return the inputs and outputs of a model."""
    return {
        "name": served.name,
        "versions": [str(version) for version in versions],
        "platform": served.model.platform,
        "inputs": [_described(spec) for spec in served.model.inputs],
        "outputs": [_described(spec) for spec in served.model.outputs],
    }


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
