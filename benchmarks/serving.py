"""One row a request, from 1, 8 and 64 clients: requests that wait run together or each alone; other servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.options import Options
from skbig import BigMLPRegressor, trusted_types

ROOT = Path(__file__).parents[1]
CLIENTS = (1, 8, 64)
N_FEATURES = 30

# What every server can serve, trained where it is served: versions differ.
TRAIN = """
import sys, joblib, numpy as np
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rng = np.random.default_rng(0)
X = rng.normal(size=(500, 30))
network = MLPRegressor(hidden_layer_sizes=(256, 256, 256), max_iter=2, random_state=0)
model = make_pipeline(StandardScaler(), network).fit(X, X[:, 0])
joblib.dump(model, sys.argv[1])
"""
BENTO = """
import bentoml, joblib, numpy as np
@bentoml.service(workers=1)
class Model:
    def __init__(self):
        self.model = joblib.load("model.joblib")
    @bentoml.api(BATCHED)
    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model.predict(X)
"""


@dataclass(frozen=True)
class Server:
    """A running server, and what it is asked."""

    port: int
    path: str
    body: bytes

    def load(self, n_clients: int, duration: float) -> list[float]:
        """Return how long each request of so many clients took."""
        words = [sys.executable, "-m", "benchmarks.http_load", str(self.port), self.path, str(n_clients), str(duration)]
        done = subprocess.run(words, input=self.body, stdout=subprocess.PIPE, cwd=ROOT, check=True)
        seconds: list[float] = json.loads(done.stdout)
        return seconds


def serving(options: Options) -> str:
    """Return what requests take with and without batches, for a network, a pipeline that reads a table, and trees."""
    lines = [f"{'one row a request':44}{'clients':>8}{'p50 ms':>9}{'p99 ms':>9}{'requests/s':>12}"]
    with TemporaryDirectory() as made:
        models = _write_models(Path(made))
        for name, body in list(models.items())[: 1 if options.quick else None]:
            for how, more in (("requests that wait together", ()), ("each alone", ("--batch-rows", "1"))):
                with _ours(Path(made) / f"{name}.skops", body, name, *more) as server:
                    lines += _measured(f"{name}, {how}", server, options)
    return "\n".join(lines)


def serving_peers(options: Options) -> str:
    """Return what requests take on other servers, whose environments were given, for scikit-learn's MLPRegressor."""
    lines = [f"{'MLPRegressor (256, 256, 256), one row':44}{'clients':>8}{'p50 ms':>9}{'p99 ms':>9}{'requests/s':>12}"]
    with TemporaryDirectory() as made:
        for name, python in {"skbig": Path(sys.executable), **options.servers}.items():
            folder = Path(made) / name
            folder.mkdir()
            subprocess.run([python, "-W", "ignore", "-c", TRAIN, folder / "model.joblib"], check=True)
            with PEERS[name](python, folder) as server:
                lines += _measured(name, server, options)
    missing = sorted(PEERS.keys() - options.servers.keys() - {"skbig"})
    return "\n".join(
        [*lines, *(f"{name} was not given (--server {name}=PYTHON), so it is left out." for name in missing)]
    )


def _measured(name: str, server: Server, options: Options) -> Iterator[str]:
    duration = 0.2 if options.quick else 3.0
    server.load(8, duration / 2)
    for n_clients in CLIENTS[:1] if options.quick else CLIENTS:
        seconds = server.load(n_clients, duration)
        p99 = quantiles(seconds, n=100)[98]
        speed = len(seconds) / duration
        yield f"{name:44}{n_clients:8d}{1e3 * median(seconds):9.2f}{1e3 * p99:9.2f}{speed:12.0f}"


def _write_models(folder: Path) -> dict[str, bytes]:
    """Write the models, and return a request for each."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, N_FEATURES)).astype(np.float32)
    table = pd.DataFrame(X[:, :5], columns=list("abcde")).assign(city=rng.choice(["Bern", "Rom", "Wien"], 2000))
    y = X[:, 0]
    network = BigMLPRegressor(hidden_layer_sizes=(256, 256, 256), max_iter=2, schedule="cosine", random_state=0)
    columns = make_column_transformer((OneHotEncoder(), ["city"]), remainder=StandardScaler())
    models = {
        "network": network.fit(X, y),
        "table": make_pipeline(columns, BigMLPRegressor((64,), max_iter=2, schedule="cosine")).fit(table, y),
        "trees": HistGradientBoostingRegressor(max_iter=100).fit(X, y),
    }
    for name, model in models.items():
        skops.io.dump(model, folder / f"{name}.skops")
    row = table.iloc[:1].to_dict("records")
    plain = {"instances": X[:1].tolist()}
    return {name: json.dumps({"instances": row} if name == "table" else plain).encode() for name in models}


@contextmanager
def _ours(path: Path, body: bytes, name: str, *more: str) -> Iterator[Server]:
    untrusted = skops.io.get_untrusted_types(file=path) if path.suffix == ".skops" else []
    types = [word for each in sorted({*untrusted} - {*trusted_types()}) for word in ("--trust-type", each)]
    port = _free_port()
    words = [sys.executable, "-m", "skbig", "serve", str(path), "--port", str(port), *types, *more]
    with _running(words, ROOT, port):
        yield Server(port, f"/v1/models/{name}:predict", body)


@contextmanager
def _ours_of_joblib(python: Path, folder: Path) -> Iterator[Server]:
    path = folder / "model.joblib"
    with _ours(path, _tensor_request(), "model", "--trust-pickle", str(path)) as server:
        yield Server(server.port, "/v2/models/model/infer", server.body)


@contextmanager
def _mlserver(python: Path, folder: Path) -> Iterator[Server]:
    port = _free_port()
    parameters = {"uri": "./model.joblib"}
    settings = {"name": "model", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
    settings |= {"max_batch_size": 64, "max_batch_time": 0.002}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    general = {"http_port": port, "grpc_port": _free_port(), "metrics_port": _free_port(), "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(general))
    with _running([str(python.with_name("mlserver")), "start", str(folder)], folder, port):
        yield Server(port, "/v2/models/model/infer", _tensor_request())


@contextmanager
def _bentoml(python: Path, folder: Path) -> Iterator[Server]:
    port = _free_port()
    (folder / "service.py").write_text(BENTO.replace("BATCHED", "batchable=True, max_batch_size=64"))
    words = [str(python.with_name("bentoml")), "serve", "service:Model", "--port", str(port), "--host", "127.0.0.1"]
    with _running(words, folder, port):
        yield Server(port, "/predict", json.dumps({"X": [[0.5] * N_FEATURES]}).encode())


PEERS = {"skbig": _ours_of_joblib, "mlserver": _mlserver, "bentoml": _bentoml}


def _tensor_request() -> bytes:
    tensor = {"name": "X", "shape": [1, N_FEATURES], "datatype": "FP64", "data": [0.5] * N_FEATURES}
    return json.dumps({"inputs": [tensor], "outputs": [{"name": "predict"}]}).encode()


@contextmanager
def _running(words: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a server until the block ends; it is asked when it listens."""
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT) if folder == ROOT else ""}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=quiet, stderr=quiet, env=surroundings, cwd=folder) as process:
        try:
            while process.poll() is None and not _listens(port):
                time.sleep(0.1)
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(words)} has ended with status {process.returncode}.")
            time.sleep(2)  # some listen before their models are there
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


SECTIONS = {"serving": serving, "serving-peers": serving_peers}
