"""Models that learn bit by bit: streams of small batches by `partial_fit`, `warm_start`, callbacks.

They have to be as fast as scikit-learn's, and after many calls as fast as at first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.options import Options
from benchmarks.pairs import MakeRow, Pair, PairSection, timed_pair
from benchmarks.peers import NEVER, Task, make_rows, not_converged
from skbig import BigMLPClassifier

N_CALLS = 20_000
COMPARED = 500
"""How many calls at the beginning, after as many that are left out, and at the end are set side by side."""

FLAT = 1.1


def models(hidden: tuple[int, ...], **settings: Any) -> tuple[Any, Any]:
    """Return ours and scikit-learn's."""
    shared: dict[str, Any] = {"hidden_layer_sizes": hidden, "random_state": 0, "max_iter": N_CALLS, **settings}
    return BigMLPClassifier(device="cpu", **shared), MLPClassifier(**shared)


def stream(name: str, task: Task, n_calls: int, options: Options) -> Pair:
    """Time calls of `partial_fit` with one small batch each, of new models."""
    X, y = make_rows(task)
    n_calls = 3 if options.quick else n_calls

    def run(which: int) -> None:
        model = models(task.hidden)[which]
        for _ in range(n_calls):
            model.partial_fit(X, y, classes=range(task.n_classes))

    runs = (partial(run, 0), partial(run, 1))
    return timed_pair(name, *runs, "MLPClassifier", options, wanted=1.0, n_units=n_calls)


def flatness(name: str, call: Callable[[Any], Any], settings: dict[str, Any], n_calls: int, options: Options) -> Pair:
    """Measure how many times longer the last calls of many take than the first, of ours and of scikit-learn's."""
    n_calls = 8 if options.quick else n_calls
    n_compared = min(COMPARED, n_calls // 4)
    grown = []
    for model in models((16,), **settings):
        seconds = []
        with not_converged():
            for _ in range(n_calls):
                start = perf_counter()
                call(model)
                seconds.append(perf_counter() - start)
        grown.append(median(seconds[-n_compared:]) / median(seconds[n_compared : 2 * n_compared]))
    note = f"the last {n_compared} calls over the first, of {n_calls:,}"
    return Pair(name, grown[:1], grown[1:], "MLPClassifier", limit=FLAT, note=note, is_time=False)


SMALL = Task(5, (16,), 32, n_rows=32, n_epochs=1, n_classes=3)
X_SMALL, Y_SMALL = make_rows(SMALL)


def one_batch(model: Any) -> None:
    model.partial_fit(X_SMALL, Y_SMALL, classes=range(SMALL.n_classes))


def one_epoch(model: Any) -> None:
    model.fit(X_SMALL, Y_SMALL)


class Stopwatch:
    """A callback of scikit-learn's that looks at the model after each epoch, and notes the time."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def setup(self, estimator: Any, context: Any) -> None:
        pass

    def teardown(self, estimator: Any, context: Any) -> None:
        pass

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any, y: Any, metadata: Any) -> None:
        pass

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> bool:
        self.times.append(perf_counter())
        return False


def callbacks(options: Options) -> Pair:
    """Measure how many times longer the last epochs of a long fit take than the first, when a callback looks on."""
    n_epochs = 8 if options.quick else N_CALLS
    n_compared = min(COMPARED, n_epochs // 4)
    if find_spec("sklearn.callback") is None:
        return Pair(
            "callbacks-flat", [float("nan")], note="scikit-learn has callbacks from version 1.9 on", is_time=False
        )
    watch = Stopwatch()
    settings: dict[str, Any] = {"max_iter": n_epochs, "tol": 0.0, "n_iter_no_change": NEVER, "random_state": 0}
    with not_converged():
        BigMLPClassifier((16,), device="cpu", **settings).set_callbacks(watch).fit(X_SMALL, Y_SMALL)
    seconds = np.diff(watch.times)
    grown = float(np.median(seconds[-n_compared:]) / np.median(seconds[n_compared : 2 * n_compared]))
    note = f"the last {n_compared} epochs over the first, of {n_epochs:,}"
    return Pair("callbacks-flat", [grown], limit=FLAT, note=note, is_time=False)


MIDDLE, LARGE = Task(500, (100,), 32, n_rows=32, n_epochs=1), Task(500, (1000, 1000), 32, n_rows=32, n_epochs=1)
ROWS: dict[str, MakeRow] = {
    "32x5": partial(stream, "32x5", SMALL, 200),
    "32x500": partial(stream, "32x500", MIDDLE, 200),
    "32x500-large": partial(stream, "32x500-large", LARGE, 10),
    "flat": partial(flatness, "flat", one_batch, {}, N_CALLS),
    "warm-start-flat": partial(flatness, "warm-start-flat", one_epoch, {"warm_start": True, "max_iter": 1}, N_CALLS),
    "callbacks-flat": callbacks,
}
SECTIONS = {
    "partial-fit": PairSection("batches of 32 rows by partial_fit, (16,), (100,) and (1000, 1000): a call", ROWS),
}
