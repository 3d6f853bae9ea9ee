"""One row through a network of three hidden layers of 256: the estimator, its predictor, and ONNX Runtime if there.

Run: python -m benchmarks.one_row
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier
from skbig.serving import predictor

ROUNDS, CALLS = 200, 50


def ways() -> dict[str, Callable[[], Any]]:
    random = np.random.RandomState(0)
    X = random.normal(size=(500, 20)).astype(np.float32)
    y = (X[:, :3] @ random.normal(size=(3, 3))).argmax(axis=1)
    model = BigMLPClassifier((256, 256, 256), max_iter=5, tol=0.0, schedule="cosine", random_state=0).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    quick, quick_pipeline, row = model.predictor(), predictor(pipeline), X[:1]
    found: dict[str, Callable[[], Any]] = {
        "estimator, predict": lambda: model.predict(row),
        "predictor, predict": lambda: quick.predict(row),
        "estimator, predict_proba": lambda: model.predict_proba(row),
        "predictor, predict_proba": lambda: quick.predict_proba(row),
        "Pipeline, predict": lambda: pipeline.predict(row),
        "predictor of the Pipeline": lambda: quick_pipeline.predict(row),
    }
    with suppress(ImportError):
        import onnxruntime

        from skbig.onnx import to_onnx

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(to_onnx(model, X).SerializeToString(), options)
        found["ONNX Runtime"] = lambda: session.run(None, {"X": row})
    return found


def main() -> None:
    torch.set_num_threads(1)
    best: dict[str, float] = {}
    found = ways()
    for _ in range(ROUNDS):  # interleaved, so that a busy moment meets all
        for name, way in found.items():
            best[name] = min(best.get(name, np.inf), timeit.timeit(way, number=CALLS) / CALLS)
    for name, seconds in best.items():
        print(f"{name:28} {seconds * 1e6:8.1f} us")


if __name__ == "__main__":
    main()
