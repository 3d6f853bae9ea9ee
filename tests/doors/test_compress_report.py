"""The table of `skbig.compress.report`, with graphs of ONNX Runtime in it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.compress import report

pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")


def test_graphs_stand_beside_their_models() -> None:
    """Each model has a line for its graph, which scores as it does, and for the one with 8-bit weights, smaller."""
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = BigMLPClassifier((128, 128), optimizer="lbfgs", random_state=0).fit(X, names)
    own, graph, small = report({"net": model}, X, names, onnx=True, n_rows=300).rows
    assert [own.name, graph.name, small.name] == ["net", "net, ONNX", "net, ONNX int8"]
    assert graph.score == own.score and small.score > own.score - 0.05
    assert small.megabytes < 0.5 * graph.megabytes


def test_graphs_of_numbers() -> None:
    """Graphs of regressors are scored by R2."""
    X, y = load_diabetes(return_X_y=True)
    model = BigMLPRegressor((64,), standardize_target=True, optimizer="lbfgs", max_iter=30, alpha=1.0, random_state=0)
    with pytest.warns(match="hasn't converged"):
        model.fit(X, y)
    own, graph, _ = report(model, X, y, onnx=True, n_rows=300).rows
    assert graph.score == pytest.approx(own.score, abs=1e-4)
