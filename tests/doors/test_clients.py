"""Clients of others talk to our server, and get what the model itself gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fitting import X
from tests.serving.clients import Client, running
from tests.serving.test_tensorflow_rest import MODELS, TABLE

# Of gevent and of the client itself.
pytestmark = pytest.mark.filterwarnings("default")

http = pytest.importorskip("tritonclient.http")


@pytest.fixture(scope="module")
def server() -> Iterator[Client]:
    with running(MODELS) as client:
        yield client


@pytest.fixture(scope="module")
def triton(server: Client) -> Iterator[Any]:
    client = http.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4)
    yield client
    client.close()


def inputs_of(arrays: dict[str, tuple[np.ndarray, str]], *, binary: bool) -> list[Any]:
    inputs = []
    for name, (array, datatype) in arrays.items():
        made = http.InferInput(name, list(array.shape), datatype)
        made.set_data_from_numpy(array, binary_data=binary)
        inputs.append(made)
    return inputs


def test_triton_sees_that_the_server_is_well(triton: Any) -> None:
    """Health and metadata are as the client expects them."""
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready("words") and triton.is_model_ready("words", "1")
    assert not triton.is_model_ready("nobody")
    assert triton.get_server_metadata()["name"] == "skbig"
    metadata = triton.get_model_metadata("table")
    assert [entry["datatype"] for entry in metadata["inputs"]] == ["FP64", "BYTES", "FP64"]


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_triton_gets_labels_and_probabilities(triton: Any, binary_in: bool, binary_out: bool) -> None:
    """Numbers and text come through as JSON and as bytes."""
    outputs = [http.InferRequestedOutput(name, binary_data=binary_out) for name in ("predict", "predict_proba")]
    result = triton.infer("words", inputs_of({"X": (X[:5], "FP64")}, binary=binary_in), outputs=outputs, request_id="7")
    labels = [each.decode() if isinstance(each, bytes) else each for each in result.as_numpy("predict")]
    assert labels == MODELS["words"].predict(X[:5]).tolist()
    np.testing.assert_allclose(result.as_numpy("predict_proba"), MODELS["words"].predict_proba(X[:5]))
    assert result.get_response()["id"] == "7"


@pytest.mark.parametrize("binary", [False, True])
def test_triton_sends_a_table(triton: Any, binary: bool) -> None:
    """Columns of text and numbers, float32 too, go in."""
    rows = TABLE[:4]
    arrays = {
        "size": (rows["size"].to_numpy(np.float32), "FP32"),
        "city": (rows["city"].to_numpy(object), "BYTES"),
        "age": (rows["age"].to_numpy()[:, np.newaxis], "FP64"),
    }
    result = triton.infer("table", inputs_of(arrays, binary=binary))
    np.testing.assert_allclose(result.as_numpy("predict_proba"), MODELS["table"].predict_proba(rows), rtol=1e-5)


def test_triton_is_told_what_is_wrong(triton: Any) -> None:
    """An error is the client's exception, with our sentence and status."""
    utils = pytest.importorskip("tritonclient.utils")
    with pytest.raises(utils.InferenceServerException, match=r"must have the shape \(rows, 4\)") as caught:
        triton.infer("words", inputs_of({"X": (X[:5, :3].copy(), "FP64")}, binary=True))
    assert caught.value.status() == "400"


def test_triton_asks_many_things_at_once(triton: Any) -> None:
    """Requests side by side get each their own answer."""
    asked = [triton.async_infer("values", inputs_of({"X": (X[i : i + 3], "FP64")}, binary=True)) for i in range(40)]
    for i, answer in enumerate(asked):
        found = answer.get_result().as_numpy("predict")
        np.testing.assert_allclose(found, MODELS["values"].predict(X[i : i + 3]))
