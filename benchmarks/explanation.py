"""How long explanations take, beside SHAP's default explainer and captum: ``python -m benchmarks.explanation``.

Ten rows of thirty features, as a page that explains its answers computes them. SHAP and captum are needed; each is
timed as its guide calls it, one after the other in turn.
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

N_ROWS, ROUNDS = 10, 3


def candidates() -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name."""
    import captum.attr
    import shap

    X, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), BigMLPClassifier((100,), early_stopping=True, random_state=0)).fit(X, y)
    scaled, network = pipeline[0].transform(X), pipeline[-1]
    module, rows, background = network.to_torch().raw, X[:N_ROWS], X[:100]
    integrated = captum.attr.IntegratedGradients(module)
    tensor = torch.from_numpy(scaled[:N_ROWS])
    return {
        "skbig integrated_gradients": lambda: integrated_gradients(pipeline, rows),
        "skbig expected_gradients": lambda: expected_gradients(pipeline, rows, background),
        "captum IntegratedGradients": lambda: integrated.attribute(tensor, target=0, n_steps=50),
        "shap.Explainer": lambda: shap.Explainer(network, scaled[:100], seed=0)(scaled[:N_ROWS], silent=True),
        "shap.Explainer, raw": lambda: shap.Explainer(network.decision_function, scaled[:100], seed=0)(scaled[:N_ROWS]),
    }


def main() -> None:
    warnings.simplefilter("ignore")
    timed = candidates()
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for run in timed.values():  # what is compiled, or loaded, is at first
        run()
    for _ in range(ROUNDS):
        for name, run in timed.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    ours = statistics.median(seconds["skbig integrated_gradients"])
    print(f"{N_ROWS} rows of 30 features, torch on {torch.get_num_threads()} threads, NumPy {np.__version__}")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:28} {1000 * median:9.1f} ms {median / ours:8.1f} times")


if __name__ == "__main__":
    main()
