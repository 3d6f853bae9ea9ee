"""How long explanations take, beside SHAP's default explainer and captum: ``python -m benchmarks.explanation``.

Ten rows of thirty features, as a page that explains its answers computes them: of a Pipeline with a scaler, and of the
network alone. All with their default parameters, in turns, each at its best: SHAP with the rows of the training set as
background, of which it takes a hundred. SHAP and captum are needed. SHAP predicts some hundred thousand rows for it, so
that the ratio grows with the network; those of several hidden layers with corners ('relu') need more points of ours.
"""

from __future__ import annotations

import argparse
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
from skbig.explain import expected_gradients, gradients, integrated_gradients

N_ROWS, ROUNDS, SHARE = 10, 7, 0.02
"""Rows, rounds, and for how many seconds what is quick is repeated in each."""

NETWORKS = [((100,), "relu"), ((100,), "silu"), ((256, 256, 256), "relu"), ((256, 256, 256), "silu")]
SHAP = "shap.Explainer"


def candidates(model: Any, X: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name."""
    import captum.attr
    import shap

    rows = X[:N_ROWS]
    network = model[-1] if hasattr(model, "steps") else model
    scaled = torch.from_numpy(model[:-1].transform(rows) if hasattr(model, "steps") else rows)
    integrated = captum.attr.IntegratedGradients(network.to_torch().raw)
    return {
        "gradients": lambda: gradients(model, rows),
        "integrated_gradients": lambda: integrated_gradients(model, rows),
        "expected_gradients": lambda: expected_gradients(model, rows, X[-100:]),
        "... of probabilities": lambda: integrated_gradients(model, rows, response_method="predict_proba"),
        "captum IntegratedGradients": lambda: integrated.attribute(scaled, target=0, n_steps=50),
        SHAP: lambda: shap.Explainer(model.predict_proba, X, seed=0)(rows, silent=True),
    }


def warm_up() -> None:
    """Let SHAP compile what it compiles at its first use."""
    import shap

    rows = np.random.default_rng(0).normal(size=(5, 30))
    shap.Explainer(lambda X: X.sum(1), rows, seed=0)(rows[:1], silent=True)


def medians(timed: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median seconds of each, measured in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(ROUNDS):
        for name, run in timed.items():
            spent = 0.0
            while spent < SHARE:
                begin = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - begin)
                spent += seconds[name][-1]
    return {name: statistics.median(each) for name, each in seconds.items()}


def compare(title: str, timed: dict[str, Callable[[], Any]]) -> None:
    found = medians(timed)
    print(f"\n{title}")
    for name, median in found.items():
        print(f"{name:28} {1000 * median:9.2f} ms   SHAP takes {found[SHAP] / median:7.1f} times as long", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", type=int, nargs="+", default=range(len(NETWORKS)), help="only these of them")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    warm_up()
    print(f"{N_ROWS} rows of 30 features, {given.threads} thread(s), torch {torch.__version__}, NumPy {np.__version__}")
    X, y = load_breast_cancer(return_X_y=True)
    for sizes, activation in (NETWORKS[i] for i in given.networks):
        network = BigMLPClassifier(sizes, activation=activation, max_iter=20, random_state=0)
        pipeline = make_pipeline(StandardScaler(), network).fit(X, y)
        compare(f"{sizes}, {activation}, behind a StandardScaler", candidates(pipeline, X))
        compare(f"{sizes}, {activation}, rows scaled before", candidates(pipeline[-1], pipeline[0].transform(X)))


if __name__ == "__main__":
    main()
