"""Modules of one's own become graphs by torch's exporter, within the graph of the whole model."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from skbig import BigModuleClassifier, BigModuleRegressor
from skbig.exceptions import ExportError
from skbig.onnx import to_onnx
from tests.fitting import MANY_VALUES, WORDS, X

pytestmark = pytest.mark.filterwarnings("default")

pytest.importorskip("skl2onnx")
pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

SIGNALS = np.random.RandomState(0).normal(size=(len(X), 3, 8))
CODES = np.random.RandomState(0).randint(0, 10, size=(len(X), 5))


class Convolution(nn.Module):
    """Reads signals, (rows, channels, times)."""

    def __init__(self, n_outputs: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Conv1d(input_shape[0], 4, 3)
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.2)
        self.last = nn.Linear(4 * (input_shape[1] - 2), n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.last(self.drop(torch.relu(self.norm(self.first(X)))).flatten(1))


class Words(nn.Module):
    """Reads whole numbers."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(10, 4), nn.Linear(4, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.last(self.embedding(X).mean(1))


class Branching(nn.Module):
    """Looks at its numbers, which no graph can."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.last = nn.Linear(n_features, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        raw = self.last(X)
        return raw if float(X.detach().sum()) > 1e9 else raw + 1.0


def fitted(model: Any, rows: np.ndarray, y: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(rows, y)


def run(graph: Any, rows: np.ndarray) -> list[Any]:
    return runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"X": rows}
    )


def test_rows_of_any_shape(capfd: pytest.CaptureFixture[str]) -> None:
    """An ensemble of convolutions reads signals, for any number of them, and nothing is printed."""
    model = fitted(BigModuleRegressor(Convolution, n_members=2, max_iter=3, random_state=0), SIGNALS, MANY_VALUES)
    graph = to_onnx(model, SIGNALS)
    for n_rows in (1, 7, len(SIGNALS)):
        rows = SIGNALS[:n_rows].astype(np.float32)
        np.testing.assert_allclose(run(graph, rows)[0], model.predict(SIGNALS[:n_rows]), rtol=1e-4, atol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_whole_numbers() -> None:
    """A module that begins with an embedding is given whole numbers."""
    model = fitted(BigModuleClassifier(Words, max_iter=3, random_state=0), CODES, WORDS)
    labels, probabilities = run(to_onnx(model, CODES, target_opset=18), CODES)
    assert labels.tolist() == model.predict(CODES).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(CODES), atol=1e-5)


def test_in_a_pipeline() -> None:
    """Steps before a module and its link are in the same graph; in 8 bits, and in float64."""
    network = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, 3))
    model = fitted(make_pipeline(StandardScaler(), BigModuleClassifier(network, max_iter=3)), X, WORDS)
    small = to_onnx(model, X, quantize="int8", max_loss=0.1)
    assert any(node.op_type == "MatMulInteger" for node in small.graph.node)
    probabilities = run(to_onnx(model, X, dtype="float64"), X)[1]
    np.testing.assert_allclose(probabilities, model.predict_proba(X), rtol=1e-10)


def test_what_cannot_be_exported_says_so() -> None:
    """An old opset, and a module that looks at its numbers, are refused in a sentence."""
    model = fitted(BigModuleRegressor(Branching, max_iter=3), X, MANY_VALUES)
    with pytest.raises(ExportError, match=r"The module cannot become nodes of ONNX; torch.onnx.export says"):
        to_onnx(model, X)
    with pytest.raises(ExportError, match=r"torch exports modules from opset 18 on. Got target_opset=15"):
        to_onnx(model, X, target_opset=15)


def test_the_exporter_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxscript the error says how to install it."""
    model = fitted(BigModuleRegressor(nn.Linear(4, 2), max_iter=3), X, MANY_VALUES)
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'pip install "skbig\[onnx\]"'):
        to_onnx(model, X)
