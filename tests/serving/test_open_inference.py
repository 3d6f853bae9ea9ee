"""The Open Inference Protocol: JSON and bytes in, JSON and bytes out, the model's own answers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import skbig
from tests.fitting import X, trained
from tests.serving.clients import Answer, Client, running
from tests.serving.test_tensorflow_rest import MODELS, TABLE

HEADER = "inference-header-content-length"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with running({**MODELS, "labels": trained("multilabel")}) as client:
        yield client


def ask_in_bytes(client: Client, name: str, tensors: list[tuple[dict[str, Any], bytes]], **more: Any) -> Answer:
    """Ask with tensors whose bytes follow the JSON."""
    inputs = [{**entry, "parameters": {"binary_data_size": len(raw)}} for entry, raw in tensors]
    head = json.dumps({"inputs": inputs, **more}).encode()
    body = head + b"".join(raw for _, raw in tensors)
    return client.ask(f"/v2/models/{name}/infer", body, **{HEADER.replace("-", "_"): str(len(head))})


def arrays_of(answer: Answer) -> dict[str, np.ndarray]:
    """Return the numbers of an answer whose tensors follow its JSON."""
    length = int(answer.headers[HEADER])
    head, rest = json.loads(answer.content[:length]), answer.content[length:]
    arrays = {}
    for entry in head["outputs"]:
        size = entry["parameters"]["binary_data_size"]
        kind = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8"}[entry["datatype"]]
        arrays[entry["name"]] = np.frombuffer(rest[:size], kind).reshape(entry["shape"])
        rest = rest[size:]
    assert not rest
    return arrays


def test_json_gives_what_the_model_gives(client: Client) -> None:
    """Every output comes back with its type and shape; those that are asked for, and in their order."""
    found = client.infer("words", {"X": X[:5]})
    assert (found["predict"] == MODELS["words"].predict(X[:5])).all()
    np.testing.assert_allclose(found["predict_proba"], MODELS["words"].predict_proba(X[:5]))
    assert list(client.infer("words", {"X": X[:5]}, "predict_proba", "predict")) == ["predict_proba", "predict"]
    assert list(client.infer("words", {"X": X[:5]}, "predict")) == ["predict"]


def test_multilabel_targets_keep_their_shape(client: Client) -> None:
    """An output with several columns has as many as the model."""
    model = trained("multilabel")
    found = client.infer("labels", {"X": X[:5]})
    assert (found["predict"] == model.predict(X[:5])).all()
    np.testing.assert_allclose(found["predict_proba"], model.predict_proba(X[:5]))


@pytest.mark.parametrize("nested", [False, True])
def test_data_may_be_flat_or_nested(client: Client, nested: bool) -> None:
    """The values of a tensor come in one list, or in one for each row."""
    data = X[:2].tolist() if nested else X[:2].ravel().tolist()
    tensor = {"name": "X", "shape": [2, 4], "datatype": "FP64", "data": data}
    answer = client.ask("/v2/models/values/infer", {"id": "7", "inputs": [tensor]})
    assert answer.content["id"] == "7"
    assert (answer.content["model_name"], answer.content["model_version"]) == ("values", "1")
    np.testing.assert_allclose(answer.content["outputs"][0]["data"], MODELS["values"].predict(X[:2]))


@pytest.mark.parametrize(("datatype", "dtype"), [("FP64", "<f8"), ("FP32", "<f4"), ("INT64", "<i8"), ("UINT8", "u1")])
def test_bytes_give_what_json_gives(client: Client, datatype: str, dtype: str) -> None:
    """A tensor in little-endian bytes, of any type of number, is the same as in JSON."""
    rows = np.abs(X[:5] * 4).astype(dtype)
    tensor = {"name": "X", "shape": [5, 4], "datatype": datatype}
    answer = ask_in_bytes(client, "values", [(tensor, rows.tobytes())])
    np.testing.assert_allclose(
        answer.content["outputs"][0]["data"], MODELS["values"].predict(rows.astype(float)), rtol=1e-6
    )


def test_outputs_come_in_bytes_where_asked(client: Client) -> None:
    """An output that is asked for in bytes, or all of them, follow the JSON."""
    tensor = ({"name": "X", "shape": [3, 4], "datatype": "FP64"}, X[:3].tobytes())
    expected = MODELS["values"].predict(X[:3])
    for more in (
        {"outputs": [{"name": "predict", "parameters": {"binary_data": True}}]},
        {"parameters": {"binary_data_output": True}},
    ):
        answer = ask_in_bytes(client, "values", [tensor], **more)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert (arrays_of(answer)["predict"] == expected).all()
    mixed = {"outputs": [{"name": "predict"}, {"name": "predict_proba", "parameters": {"binary_data": True}}]}
    answer = ask_in_bytes(client, "words", [tensor], **mixed)
    head = json.loads(answer.content[: int(answer.headers[HEADER])])
    assert head["outputs"][0]["data"] == MODELS["words"].predict(X[:3]).tolist()
    assert head["outputs"][1]["parameters"] == {"binary_data_size": 3 * 3 * 8}


def test_texts_come_after_their_lengths(client: Client) -> None:
    """Text goes in and comes out as bytes that follow their length."""
    rows = TABLE[:3]
    cities = b"".join(struct.pack("<I", len(city.encode())) + city.encode() for city in rows["city"])
    columns = [
        ({"name": "size", "shape": [3], "datatype": "FP64"}, rows["size"].to_numpy().tobytes()),
        ({"name": "city", "shape": [3, 1], "datatype": "BYTES"}, cities),
        ({"name": "age", "shape": [3, 1], "datatype": "FP32"}, rows["age"].to_numpy(np.float32).tobytes()),
    ]
    answer = ask_in_bytes(client, "table", columns, outputs=[{"name": "predict", "parameters": {"binary_data": True}}])
    raw, found = answer.content[int(answer.headers[HEADER]) :], []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        found.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    assert found == MODELS["table"].predict(rows).tolist()


def test_a_table_goes_in_as_one_tensor_or_by_columns(client: Client) -> None:
    """Columns by name give what the model gives for the table."""
    rows = TABLE[:4]
    found = client.infer("table", {name: rows[name].to_numpy(object if name == "city" else float) for name in rows})
    np.testing.assert_allclose(found["predict_proba"], MODELS["table"].predict_proba(rows))


def test_the_metadata_describes_inputs_and_outputs(client: Client) -> None:
    """The metadata has the names, types and shapes of what goes in and comes out."""
    assert client.ask("/v2/models/words/versions/1").content == {
        "name": "words",
        "versions": ["1"],
        "platform": "sklearn",
        "inputs": [{"name": "X", "datatype": "FP64", "shape": [-1, 4]}],
        "outputs": [
            {"name": "predict", "datatype": "BYTES", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]},
        ],
    }


def test_the_server_tells_its_health(client: Client) -> None:
    """The server is alive and ready, and says what it is."""
    assert client.ask("/v2/health/live").content == {"live": True}
    assert client.ask("/v2/health/ready").content == {"ready": True}
    assert client.ask("/v2/models/words/ready").content == {"name": "words", "ready": True}
    assert client.ask("/v2/models/nobody/ready").status == 404
    expected = {"name": "skbig", "version": skbig.__version__, "extensions": ["binary_tensor_data"]}
    assert client.ask("/v2").content == expected
