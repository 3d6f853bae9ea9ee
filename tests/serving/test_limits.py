"""No client takes more than its share, and whoever tries is told."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from skbig.serving import Limits, TensorSpec, create_app
from tests.fitting import X, trained
from tests.serving.clients import Client, running

BODY = {"instances": X[:2].tolist()}
LIMITS = Limits(body_bytes=5000, rows=10)


class Slow:
    """A model that answers when it is told to."""

    platform, classes = "python", None
    inputs = (TensorSpec("X", "FP64", (-1, 4)),)
    outputs = (TensorSpec("predict", "FP64", (-1,)),)

    def __init__(self) -> None:
        self.open = threading.Event()

    def run(self, inputs: Any, outputs: Any) -> Any:
        assert self.open.wait(30)
        return {"predict": inputs["X"].sum(axis=1)}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with running({"values": trained("regression")}, limits=LIMITS, hosts=["127.0.0.1"]) as client:
        yield client


@pytest.fixture(scope="module")
def hasty() -> Iterator[Client]:
    """A server that waits half a second for a model which does not answer."""
    slow = Slow()
    with running({"slow": slow}, limits=Limits(seconds=0.5)) as client:
        yield client
        slow.open.set()


def test_a_large_body_is_refused(client: Client) -> None:
    """A body with more bytes than allowed is refused, whether it says so before or not."""
    answer = client.ask("/v1/models/values:predict", b" " * 5001)
    assert (answer.status, answer.content) == (413, {"error": "A request may have 5000 bytes at most."})
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    connection.request("POST", "/v1/models/values:predict", iter([b" " * 3000, b" " * 3000]), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert client.ask("/v1/models/values:predict", BODY).status == 200


def test_many_rows_are_refused(client: Client) -> None:
    """A request with more rows than allowed is refused, by both protocols."""
    answer = client.ask("/v1/models/values:predict", {"instances": [[0.0] * 4] * 11})
    assert (answer.status, answer.content) == (413, {"error": "A request may have 10 rows at most. Got 11."})
    tensor = {"name": "X", "shape": [11, 4], "datatype": "FP64", "data": [0.0] * 44}
    assert client.ask("/v2/models/values/infer", {"inputs": [tensor]}).status == 413


def test_a_slow_model_is_not_waited_for(hasty: Client) -> None:
    """A model that does not answer in time is a 504."""
    answer = hasty.ask("/v1/models/slow:predict", BODY)
    assert (answer.status, answer.content) == (504, {"error": "The model did not answer within 0.5 seconds."})


def test_a_slow_client_is_not_waited_for(hasty: Client) -> None:
    """A body that does not come in time is a 408."""
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=30) as connection:
        head = "POST /v1/models/slow:predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_packed_body_is_refused(client: Client) -> None:
    """A body that is compressed, and could be much larger than it looks, is refused."""
    body = gzip.compress(json.dumps(BODY).encode())
    answer = client.ask("/v1/models/values:predict", body, Content_Encoding="gzip")
    assert answer.status == 415


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "", "127.0.0.1:x"])
def test_another_name_is_refused(client: Client, host: str) -> None:
    """A page whose name points to this machine is not answered."""
    answer = client.ask("/v1/models/values:predict", BODY, Host=host)
    assert answer.status == 421
    assert client.ask("/v1/models/values:predict", BODY, Host="127.0.0.1:9999").status == 200


@pytest.mark.parametrize(
    "bad", [{"rows": 0}, {"body_bytes": 1.5}, {"seconds": 0}, {"seconds": -1.0}, {"batch_rows": None}, {"threads": 0}]
)
def test_limits_are_checked(bad: dict[str, Any]) -> None:
    """A limit out of range is an error that names it."""
    with pytest.raises(ValueError, match=f"The {next(iter(bad))!r} parameter of Limits must be"):
        create_app({"values": trained("regression")}, limits=Limits(**bad))


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "There is nothing to serve"),
        ({}, {}, "There is nothing to serve"),
        (["a", "b"], {"name": "c"}, "A name is for the model of a single path"),
        ("a", {"versions": 0}, "The 'versions' parameter of create_app must be"),
        ("a", {"poll": -1}, "The 'poll' parameter of create_app must be"),
    ],
)
def test_what_cannot_be_served_is_an_error(models: Any, options: dict[str, Any], message: str) -> None:
    """A call that makes no sense is refused before anything is opened."""
    with pytest.raises(ValueError, match=message):
        create_app(models, **options)
