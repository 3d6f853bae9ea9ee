"""How long explanations take, beside SHAP's default explainer and captum: ``python -m benchmarks.explanation``.

Ten rows of thirty features of a Pipeline with a scaler, as a page that explains its answers computes them. SHAP and
captum are needed. SHAP predicts some hundred thousand rows for it, so that the ratio grows with the network; with
corners ('relu') our own integrals need more points. Times are those of the processor, since they hardly depend on what
else the machine does.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier
from skbig.explain import expected_gradients, integrated_gradients

N_ROWS, ROUNDS = 10, 5
NETWORKS = [((100,), "relu"), ((100,), "silu"), ((256, 256, 256), "relu"), ((256, 256, 256), "silu")]


def candidates(sizes: tuple[int, ...], activation: str) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return what is timed, and how often, by name."""
    import captum.attr
    import shap

    X, y = load_breast_cancer(return_X_y=True)
    network = BigMLPClassifier(sizes, activation=activation, max_iter=20, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network).fit(X, y)
    integrated = captum.attr.IntegratedGradients(pipeline[-1].to_torch().raw)
    tensor, rows = torch.from_numpy(pipeline[0].transform(X[:N_ROWS])), X[:N_ROWS]
    return {
        "skbig integrated_gradients": (lambda: integrated_gradients(pipeline, rows), ROUNDS),
        "skbig expected_gradients": (lambda: expected_gradients(pipeline, rows, X[:100]), ROUNDS),
        "captum IntegratedGradients": (lambda: integrated.attribute(tensor, target=0, n_steps=50), ROUNDS),
        "shap.Explainer": (lambda: shap.Explainer(pipeline.predict_proba, X, seed=0)(rows, silent=True), 1),
    }


def warm_up() -> None:
    """Let SHAP compile what it compiles at its first use."""
    import shap

    rows = np.random.default_rng(0).normal(size=(5, 30))
    shap.Explainer(lambda X: X.sum(1), rows, seed=0)(rows[:1], silent=True)


def compare(sizes: tuple[int, ...], activation: str) -> None:
    timed = candidates(sizes, activation)
    medians = {}
    for name, (run, rounds) in timed.items():
        if rounds > 1:
            run()  # what is loaded at first
        seconds = []
        for _ in range(rounds):
            begin = time.process_time()
            run()
            seconds.append(time.process_time() - begin)
        medians[name] = statistics.median(seconds)
    print(f"\n{sizes}, {activation}")
    for name, median in medians.items():
        print(f"{name:28} {1000 * median:9.1f} ms {median / medians['skbig integrated_gradients']:8.1f} times")


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    warm_up()
    print(f"{N_ROWS} rows of 30 features, one thread, torch {torch.__version__}, NumPy {np.__version__}")
    for sizes, activation in NETWORKS:
        compare(sizes, activation)


if __name__ == "__main__":
    main()
