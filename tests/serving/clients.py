"""A server on a free port, in this process or one of its own, and a client of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvicorn

from skbig.serving import create_app

ROOT = Path(__file__).parents[2]


class Answer(NamedTuple):
    status: int
    content: Any  # the value of its JSON, else bytes
    headers: dict[str, str]


class Client:
    """Asks a server over one connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, path: str, body: Any = None, *, method: str | None = None, **headers: str) -> Answer:
        """Send a request, by POST if it has a body: bytes as they are, else as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        response = self._connection.getresponse()
        content = response.read()
        if response.headers["content-type"] == "application/json":
            content = json.loads(content)
        return Answer(response.status, content, {name.lower(): value for name, value in response.getheaders()})

    def predict(self, name: str, **body: Any) -> Any:
        """Return what TensorFlow Serving's API answers, which must not be an error."""
        answer = self.ask(f"/v1/models/{name}:predict", body)
        assert answer.status == 200, answer
        return answer.content

    def infer(self, name: str, inputs: dict[str, np.ndarray], *outputs: str) -> dict[str, np.ndarray]:
        """Return what the Open Inference Protocol answers, as arrays."""
        kinds = {"f": "FP64", "i": "INT64", "O": "BYTES", "U": "BYTES", "b": "BOOL"}
        tensors = [
            {"name": key, "shape": value.shape, "datatype": kinds[value.dtype.kind], "data": value.ravel().tolist()}
            for key, value in inputs.items()
        ]
        asked = {"outputs": [{"name": each} for each in outputs]} if outputs else {}
        answer = self.ask(f"/v2/models/{name}/infer", {"inputs": tensors, **asked})
        assert answer.status == 200, answer
        return {each["name"]: np.reshape(each["data"], each["shape"]) for each in answer.content["outputs"]}

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def running(models: Any, **options: Any) -> Iterator[Client]:
    """Serve models in this process, on a thread."""
    server = uvicorn.Server(uvicorn.Config(create_app(models, **options), port=0, lifespan="on", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        assert server.started, "The server has not started."
        with Client(server.servers[0].sockets[0].getsockname()[1]) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def command(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run ``skbig serve`` on a free port; give the process, once it is ready, and the port."""
    words = [sys.executable, "-m", "skbig", "serve", "--port", "0", *map(str, arguments)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=surroundings, cwd=ROOT) as process:
        try:
            yield process, _wait_until_ready(process)
        finally:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r" at http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("".join(said))
