"""Estimators in Flower's hands: as its clients, and as real processes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from skbig import BigMLPClassifier
from skbig.federated import client
from tests.small import data

ROOT = Path(__file__).parents[2]
X, CLASSES = data("multiclass", 60)


def model() -> BigMLPClassifier:
    return BigMLPClassifier((5,), batch_size=20, random_state=0).initialize(4, [0, 1, 2])


def test_without_flower_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without flwr the error says how to install it."""
    monkeypatch.setitem(sys.modules, "flwr.client", None)
    with pytest.raises(ImportError, match=r'pip install "skbig\[federated\]"'):
        client(model(), X, CLASSES)


def test_a_client_does_what_its_estimator_does() -> None:
    """A round is `set_weights` and some calls of `partial_fit`; an evaluation is `score`."""
    common = pytest.importorskip("flwr.common")
    server, own = model(), model()
    flower: Any = client(own, X[:20], CLASSES[:20], X_val=X[20:], y_val=CLASSES[20:], n_epochs=2)
    parameters = common.ndarrays_to_parameters(server.get_weights())
    answer = flower.fit(common.FitIns(parameters, {}))
    expected = copy.deepcopy(server).partial_fit(X[:20], CLASSES[:20]).partial_fit(X[:20], CLASSES[:20])
    for ours, theirs in zip(expected.get_weights(), common.parameters_to_ndarrays(answer.parameters), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert answer.num_examples == 20 and answer.metrics == {"loss": expected.loss_}
    judged = flower.evaluate(common.EvaluateIns(answer.parameters, {}))
    assert judged.metrics == {"score": expected.score(X[20:], CLASSES[20:])} and judged.num_examples == 40
    once = flower.fit(common.FitIns(parameters, {"n_epochs": 1}))
    assert once.metrics != answer.metrics


def test_what_is_no_client() -> None:
    """Errors say what a client must be."""
    pytest.importorskip("flwr")
    with pytest.raises(TypeError, match="client takes an estimator of this package"):
        client(LogisticRegression(), X, CLASSES)  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        client(BigMLPClassifier(), X, CLASSES)
    with pytest.raises(ValueError, match="'n_epochs' parameter of client"):
        client(model(), X, CLASSES, n_epochs=0)
    with pytest.raises(ValueError, match="give both, or neither"):
        client(model(), X, CLASSES, y_val=CLASSES)


def test_three_clients_and_a_server_are_processes(tmp_path: Path) -> None:
    """The example's one command starts a server and three clients, which learn together and leave nothing running."""
    pytest.importorskip("flwr")
    command = [sys.executable, str(ROOT / "examples" / "federated" / "run.py"), "2"]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stderr
    scores = [float(line.split(": ")[1].split()[0]) for line in done.stdout.splitlines()]
    assert len(scores) == 3 and scores[-1] > scores[0] + 0.2
