"""The command: it serves, minds its files, and leaves when it is told, in good order."""

from __future__ import annotations

import re
import signal
import socket
import sys
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io

import skbig
from skbig.cli import main
from skbig.serving import create_app, serve
from skbig.serving.server import _is_loopback
from tests.fitting import X, trained
from tests.serving.clients import ROOT, Client, command
from tests.serving.test_metrics import numbers

MODEL = trained("regression")
posix = pytest.mark.skipif(sys.platform == "win32", reason="A process is asked to end by a signal.")


class Sleepy:
    """A scaler that takes its time."""

    n_features_in_ = 4

    def predict(self, X: Any) -> Any:
        threading.Event().wait(0.3)
        return MODEL.predict(X)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    skops.io.dump(MODEL, tmp_path / "values.skops")
    return tmp_path / "values.skops"


@posix
def test_the_command_serves_until_it_is_told_to_end(model: Path) -> None:
    """It serves by its names only; what is on its way when SIGTERM comes is answered, and the process ends by it."""
    joblib.dump(Sleepy(), sleepy := model.with_name("sleepy.joblib"))
    with command(model, sleepy, "--trust-pickle", sleepy) as (process, port), Client(port) as client:
        assert client.predict("values", instances=X[:3].tolist())["predictions"] == MODEL.predict(X[:3]).tolist()
        assert client.ask("/v2/health/live", Host=f"localhost:{port}").status == 200
        assert client.ask("/v2/health/live", Host="example.com").status == 421
        with ThreadPoolExecutor(3) as pool:
            answers = [pool.submit(ask_slowly, port) for _ in range(3)]
            while numbers(client).get(("skbig_rows_total", "sleepy"), 0) == 0:  # the first one is being computed
                pass
            process.send_signal(signal.SIGTERM)
            found = [answer.result() for answer in answers]
        assert process.wait(60) == -signal.SIGTERM
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=30)
    answered = [answer for answer in found if answer is not None]
    np.testing.assert_allclose(answered, [MODEL.predict(X[:1])] * len(answered))
    assert answered


def ask_slowly(port: int) -> Any:
    """Return the prediction of the slow model; None where the server had ended before it was asked."""
    with Client(port) as client, suppress(ConnectionRefusedError):
        return client.predict("sleepy", instances=X[:1].tolist())["predictions"]


@pytest.mark.thorough
@posix
def test_workers_share_a_port_and_their_numbers(model: Path) -> None:
    """Several processes answer at one port, each with the metrics of all, and end together."""
    with command(model, "--workers", "2") as (process, port), ExitStack() as stack:
        expected = MODEL.predict(X[:2]).tolist()
        clients = [stack.enter_context(Client(port)) for _ in range(8)]
        for client in clients:
            assert client.predict("values", instances=X[:2].tolist())["predictions"] == expected
        assert {numbers(client)["skbig_rows_total", "values"] for client in clients} == {16}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.skops"], "skbig serve: There is no file or folder gone.skops."),
        (["model.joblib"], "model.joblib can run any code when it is loaded. If you trust whoever can write it"),
        (["broken.skops"], "skbig serve: broken.skops cannot be loaded: BadZipFile"),
        (["broken.skops", "--workers", "2"], "skbig serve: broken.skops cannot be loaded: BadZipFile"),
        (["notes.txt"], "notes.txt is of no known kind."),
        (["values.skops", "--workers", "0"], "The 'workers' parameter of serve must be"),
        (["values.skops", "--port", "99999"], "The 'port' parameter of serve must be"),
        (["values.skops", "--max-rows", "0"], "The 'rows' parameter of Limits must be"),
        (["values.skops", "model.joblib", "--name", "a"], "A name is for the model of a single path"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(
    arguments: list[str],
    message: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unchanged_globals: None,
) -> None:
    """The command ends with status 1 and a sentence, and not with a traceback."""
    monkeypatch.chdir(model.parent)
    joblib.dump(MODEL, "model.joblib")
    for name in ("broken.skops", "notes.txt"):
        Path(name).write_text("no model")
    assert main(["serve", *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_port_that_is_taken_is_said(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that another server has is an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert main(["serve", str(model), "--port", str(other.getsockname()[1])]) == 1
    assert "Address already in use" in capsys.readouterr().err


def test_models_in_memory_have_one_worker() -> None:
    """Several processes cannot share a model that is in the memory of one."""
    with pytest.raises(ValueError, match="Several workers serve model files"):
        serve({"values": MODEL}, workers=2)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_it_is_known_who_can_reach_an_address(host: str, expected: bool) -> None:
    """An address of this machine only is told from others."""
    assert _is_loopback(host) is expected


def test_the_command_is_installed_and_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``skbig`` is the command, and ``skbig --version`` the version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"skbig": "skbig.cli:main"}
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"{skbig.__version__}\n"


def test_without_a_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server's libraries are missing, the error says how to install them."""
    for module in ("starlette.applications", "prometheus_client"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=re.escape('pip install "skbig[serve]"')):
                create_app({"values": MODEL})
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=re.escape('pip install "skbig[serve]"')):
        serve({"values": MODEL})
