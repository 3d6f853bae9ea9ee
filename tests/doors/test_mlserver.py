"""MLServer's runtime for scikit-learn loads our files, and gives what our own server gives."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.fitting import MULTICLASS, X, fitted, small
from tests.serving.clients import ROOT, Client, running

pytest.importorskip("mlserver_sklearn")
pytestmark = pytest.mark.filterwarnings("default")

MODEL = fitted(make_pipeline(StandardScaler(), small("multiclass")), X, MULTICLASS)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A running MLServer with our pipeline, as joblib has written it."""
    folder = tmp_path_factory.mktemp("mlserver")
    joblib.dump(MODEL, folder / "model.joblib")
    implementation = "mlserver_sklearn.SKLearnModel"
    model = {"name": "words", "implementation": implementation, "parameters": {"uri": "./model.joblib"}}
    ports = {name: free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    (folder / "model-settings.json").write_text(json.dumps(model))
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    words = [str(Path(sys.executable).with_name("mlserver")), "start", str(folder)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = folder / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(words, env=surroundings, cwd=folder, stdout=file, stderr=file) as process,
    ):
        try:
            wait_until_ready(process, ports["http_port"], log)
            with Client(ports["http_port"]) as client:
                yield client
        finally:
            process.terminate()


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while process.poll() is None:
        try:
            with Client(port) as client:
                if client.ask("/v2/models/words/ready").status == 200:
                    return
        except (ConnectionError, http.client.HTTPException):
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def infer(client: Client, *outputs: str) -> dict[str, Any]:
    tensor = {"name": "X", "shape": [6, 4], "datatype": "FP64", "data": X[:6].ravel().tolist()}
    asked = {"inputs": [tensor], "outputs": [{"name": name} for name in outputs]}
    answer = client.ask("/v2/models/words/infer", asked)
    assert answer.status == 200, answer
    return {entry["name"]: entry for entry in answer.content["outputs"]}


def test_mlserver_predicts_as_the_model(mlserver: Client) -> None:
    """Labels and probabilities of MLServer are those of the pipeline that was saved."""
    found = infer(mlserver, "predict", "predict_proba")
    assert found["predict"]["data"] == MODEL.predict(X[:6]).tolist()
    np.testing.assert_allclose(np.reshape(found["predict_proba"]["data"], (6, 3)), MODEL.predict_proba(X[:6]))


def test_the_same_request_has_the_same_answer_here(mlserver: Client) -> None:
    """What is written for MLServer works with our server, and gives the same values."""
    theirs = infer(mlserver, "predict", "predict_proba")
    with running({"words": MODEL}) as client:
        ours = infer(client, "predict", "predict_proba")
    assert ours["predict"]["data"] == theirs["predict"]["data"]
    assert ours["predict_proba"]["datatype"] == theirs["predict_proba"]["datatype"]
    assert ours["predict_proba"]["shape"] == theirs["predict_proba"]["shape"]
    np.testing.assert_allclose(ours["predict_proba"]["data"], theirs["predict_proba"]["data"])
