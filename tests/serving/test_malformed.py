"""Nothing that a client sends is answered with a 500, or with what it should not get."""

from __future__ import annotations

import copy
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fitting import X
from tests.serving.clients import Client, running
from tests.serving.test_tensorflow_rest import MODELS, TABLE

# Of NumPy, for numbers near the end of float64: no error of the server's.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

N_MALFORMED = 1000
HEADER = "Inference-Header-Content-Length"

JUNK: list[Any] = [
    *(None, True, False, "", "x", "NaN", "1.5", 0, -1, 1.5, 1e308, -1e308, 2**31, 2**63, 2**64, 10**30, 10**400),
    *([], {}, [[]], [{}], [None], [[1, 2], [3]], [[[[[[1]]]]]], {"b64": "!"}, {"b64": "/w=="}, {"b64": 5}, {"X": {}}),
    *([1, "a"], ["\ud800"], "\x00", "é" * 1000, {"": []}, [[1e999]], "🙂", [True, None], {"a": {"b": {"c": []}}}),
]
VALID: dict[str, list[Any]] = {
    "/v1/models/values:predict": [
        {"instances": X[:2].tolist()},
        {"inputs": {"X": X[:2].tolist()}, "signature_name": "predict"},
    ],
    "/v1/models/table:predict": [{"instances": TABLE[:2].to_dict("records")}, {"inputs": TABLE[:2].to_dict("list")}],
    "/v1/models/words:classify": [{"examples": [{"X": X[0].tolist()}], "context": {}}],
    "/v1/models/values:regress": [{"examples": [{"X": X[0].tolist()}], "signature_name": "predict"}],
    "/v2/models/values/infer": [
        {
            "id": "1",
            "inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP64", "data": X[0].tolist(), "parameters": {}}],
            "outputs": [{"name": "predict", "parameters": {"binary_data": False}}],
            "parameters": {"binary_data_output": False},
        }
    ],
    "/v2/models/table/infer": [
        {
            "inputs": [
                {"name": "size", "shape": [1], "datatype": "FP64", "data": [1.0]},
                {"name": "city", "shape": [1, 1], "datatype": "BYTES", "data": ["Bern"]},
                {"name": "age", "shape": [1, 1], "datatype": "INT64", "data": [3]},
            ]
        }
    ],
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with running(MODELS) as client:
        yield client


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within a value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(body: Any, generator: random.Random) -> Any:
    """Return the body with a value somewhere replaced, removed, or repeated."""
    body = copy.deepcopy(body)
    *way, last = ("body", *generator.choice(list(places(body))))
    holder: Any = {"body": body}
    root = holder
    for key in way:
        holder = holder[key]
    kind = generator.choice(["replace", "replace", "replace", "remove", "repeat"])
    if kind == "remove" and way:
        del holder[last]
    elif kind == "repeat" and isinstance(holder, list):
        holder.insert(last, holder[last])
    else:
        holder[last] = copy.deepcopy(generator.choice(JUNK))
    return root["body"]


def garbled(raw: bytes, generator: random.Random) -> bytes:
    """Return bytes that are cut, or of which some are others."""
    raw = bytearray(raw)
    if generator.random() < 0.3:
        return bytes(raw[: generator.randrange(len(raw))])
    for _ in range(generator.randint(1, 4)):
        raw[generator.randrange(len(raw))] = generator.randrange(256)
    return bytes(raw)


def requests(seed: int) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Yield requests without end, most of which are malformed in one way or another."""
    generator = random.Random(seed)
    while True:
        path = generator.choice(list(VALID))
        body = changed(generator.choice(VALID[path]), generator)
        if generator.random() < 0.3:
            body = changed(body, generator)
        raw = json.dumps(body).encode()
        if generator.random() < 0.2:
            raw = garbled(raw, generator)
        headers = {}
        if generator.random() < 0.2:
            raw += generator.randbytes(generator.choice([0, 1, 8, 32]))
            headers[HEADER] = generator.choice([str(len(raw)), str(len(raw) - 8), "0", "-1", "x", "9" * 30, "4"])
        yield path, raw, headers


@pytest.mark.parametrize("seed", [0, 1])
def test_a_thousand_malformed_requests_are_the_clients_fault(client: Client, seed: int) -> None:
    """Malformed requests are answered with a 4xx and a sentence, and the next good one is answered as ever."""
    refused, statuses = 0, set()
    for path, raw, headers in requests(seed):
        status, content, _ = client.ask(path, raw, **headers)
        statuses.add(status)
        assert status == 200 or 400 <= status < 500, (status, path, raw, headers, content)
        if status != 200:
            assert isinstance(content["error"], str) and content["error"]
            refused += 1
        if refused == N_MALFORMED // 2:
            break
    answer = client.predict("values", instances=X[:1].tolist())["predictions"]
    np.testing.assert_allclose(answer, MODELS["values"].predict(X[:1]), rtol=1e-12)
    assert 400 in statuses


@pytest.mark.parametrize(
    ("tensor", "tail", "message"),
    [
        ({"shape": [1, 4], "datatype": "FP64"}, bytes(31), "has 31 bytes, which do not make 4 of FP64"),
        ({"shape": [1, 4], "datatype": "FP64"}, bytes(40), "has 40 bytes, which do not make 4 of FP64"),
        ({"shape": [2**30, 2**30], "datatype": "FP64"}, bytes(32), "which do not make"),
        ({"shape": [1, -4], "datatype": "FP64"}, bytes(32), "must be a list of one to eight whole numbers"),
        ({"shape": [4], "datatype": "BYTES"}, b"\xff\xff\xff\xff", "is longer than its bytes"),
        ({"shape": [4], "datatype": "BYTES"}, b"\x01\x00", "end within a length"),
        ({"shape": [1, 4], "datatype": "BF16"}, bytes(8), "must be one of BOOL"),
        ({"shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}, bytes(32), "it can have one of them"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(client: Client, tensor: dict[str, Any], tail: bytes, message: str) -> None:
    """Bytes must be as many as type and shape say, and within what was sent."""
    entry = {"name": "X", **tensor, "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"inputs": [entry]}).encode()
    answer = client.ask("/v2/models/values/infer", head + tail, **{HEADER: str(len(head))})
    assert answer.status == 400
    assert message in answer.content["error"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, 3]], "'X' must have the shape (rows, 4). Got (1, 3) instead."),
        ([[1, 2, 3, 4], [1, 2]], "'X' must be a list of at least one row, and its rows must have equal lengths."),
        ([[1, 2, 3, "4"]], "The values of 'X' must be numbers. Got '4' instead."),
        ([[1, 2, 3, {}]], "The values of 'X' must be numbers. Got {} instead."),
        ([[1, 2, 3, None]], "The model refuses these rows: Input X contains NaN."),
        ([[1, 2, 3, 10**400]], "The values of 'X' must be floats."),
        ([], "'instances' must be a list of at least one row."),
        ([[]], "'X' must be a list of at least one row"),
        ("text", "'instances' must be a list of at least one row."),
        ([{"Y": 1, "Z": 2}], "The inputs of this model are 'X'; 'X' is missing."),
    ],
)
def test_the_sentence_says_what_is_wrong(client: Client, rows: Any, message: str) -> None:
    """What a value must be, and what it is."""
    answer = client.ask("/v1/models/values:predict", {"instances": rows})
    assert answer.status == 400
    assert message in answer.content["error"]


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"instances": NaN}', "[1e999", b"\xff\xfe", '{"a": ' + "9" * 5000]
)
def test_what_is_no_json_is_refused(client: Client, text: str | bytes) -> None:
    """Text that is no JSON, or nested without end, is refused as such."""
    raw = text if isinstance(text, bytes) else text.encode()
    answer = client.ask("/v1/models/values:predict", raw, method="POST")
    assert answer.status == 400
    assert answer.content["error"].startswith("The request is not JSON: ")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/models", 404),
        ("DELETE", "/v1/models/values", 405),
        ("PUT", "/v2/models/values/infer", 405),
        ("GET", "/v1/models/../../etc/passwd", 404),
        ("GET", "/v1/models/%00", 404),
        ("POST", "/v1/models/values:explode", 404),
        ("POST", "/v1/models/values/versions/x:predict", 404),
        ("POST", "/v1/models/values/versions/" + "9" * 40 + ":predict", 404),
        ("POST", "/v2/models/values/versions/-1/infer", 404),
        ("GET", "/v2/models/values/versions/²", 404),
    ],
)
def test_addresses_that_are_none_are_refused(client: Client, method: str, path: str, status: int) -> None:
    """An address that is not there is a 404, a method that is not possible a 405, both with a sentence."""
    body = b"{}" if method in ("POST", "PUT") else None
    answer = client.ask(path.replace("²", "%C2%B2"), body, method=method)
    assert answer.status == status
    assert isinstance(answer.content["error"], str)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/models/values:predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/models/values:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST /v1/models/values:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    ],
)
def test_what_is_no_http_is_refused(client: Client, raw: bytes) -> None:
    """Bytes that are no request are answered with a 400, or not at all, and others are served on."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert client.ask("/v2/health/live").status == 200


def test_a_client_that_goes_is_no_error(client: Client) -> None:
    """A connection that closes within a request leaves the server as it was."""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
            connection.sendall(b"POST /v1/models/values:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
    np.testing.assert_allclose(
        client.predict("values", instances=X[:1].tolist())["predictions"], MODELS["values"].predict(X[:1])
    )
