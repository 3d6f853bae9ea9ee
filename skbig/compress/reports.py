"""What each way to a smaller model costs: one table, measured on the user's own rows.

Legend: N rows.
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import joblib
import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted

from skbig._utils.extras import import_extra
from skbig._utils.validation import Boolean, Interval, check
from skbig.compress.last_step import count_rows, fitted_copy, some_rows
from skbig.estimators.base import NetworkEstimator
from skbig.onnx.export import to_onnx
from skbig.onnx.feeds import feeds_of

SECONDS = 0.2
"""How long a single row is predicted again and again."""

TRIALS = 3
"""How often many rows are; the quickest counts."""


class Measured(NamedTuple):
    """What was measured of one way.

    Attributes
    ----------
    name : str
    megabytes : float
        Of a file with what it takes to predict, zeros packed.
    one_row : float
        Microseconds for a single row, on one request after the other.
    many_rows : float
        Milliseconds for `n_rows` rows at once.
    score : float
        Accuracy, or R2.
    """

    name: str
    megabytes: float
    one_row: float
    many_rows: float
    score: float


@dataclass(frozen=True)
class Report:
    """A table of sizes, times and scores; printed, it is a text.

    Attributes
    ----------
    rows : tuple of Measured
    n_rows : int
        How many rows were predicted at once.
    """

    rows: tuple[Measured, ...]
    n_rows: int

    def frame(self) -> Any:
        """Return the table as a DataFrame of pandas."""
        import pandas as pd

        return pd.DataFrame(self.rows).set_index("name")

    def __str__(self) -> str:
        head = ("", "MB", "one row, us", f"{self.n_rows:,} rows, ms", "score")
        lines = [head, *(_cells(measured) for measured in self.rows)]
        first, *rest = (max(map(len, column)) for column in zip(*lines, strict=True))
        aligned = [
            [name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, rest, strict=True))]
            for name, *cells in lines
        ]
        return "\n".join("  ".join(cells) for cells in aligned)


def _cells(measured: Measured) -> tuple[str, ...]:
    name, megabytes, one_row, many_rows, score = measured
    return name, f"{megabytes:.3f}", f"{one_row:.0f}", f"{many_rows:.1f}", f"{score:.4f}"


def report(models: Any, X: Any, y: Any, *, onnx: bool = False, n_rows: int = 100_000) -> Report:
    """Measure models beside each other: size, time for one row and for many, and score, on your rows.

    Parameters
    ----------
    models : mapping of str to estimator, or estimator
        Fitted, by the name that stands in the table.
    X, y : rows and their labels or numbers
        Which the models have not seen; they are repeated until they are `n_rows`.
    onnx : bool, default=False
        Whether to measure each model also as a graph of ONNX Runtime, and as one with 8-bit weights, where it becomes
        one (``pip install "skbig[onnx]"``).
    n_rows : int, default=100_000

    Returns
    -------
    report : Report
        ``print(report)``, or ``report.frame()``.

    Raises
    ------
    skbig.exceptions.ExportError
        With ``onnx=True``, when a model has no equal in ONNX, or its graph predicts something else.

    Notes
    -----
    Models take turns, and of each the quickest time counts, so that what else the machine does disturbs them alike. A
    single row of an estimator of this package is predicted by its frozen `predictor`, as a server would. Sizes are of
    files packed by zlib, which makes little of zeros.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.compress import prune, report
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((64, 64), optimizer="lbfgs", random_state=0).fit(X, y)
    >>> ways = {"whole": model, "half the units": prune(model, X, y, 0.5, structured=True)}
    >>> table = report(ways, X, y, n_rows=1000)
    >>> table.rows[0].megabytes > table.rows[1].megabytes
    True
    """
    check("onnx", "report", onnx, Boolean())
    check("n_rows", "report", n_rows, Interval(1, None, integer=True))
    named = dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}
    if not named:
        raise ValueError("report takes one model or more. Got none.")
    many = some_rows(X, np.arange(n_rows) % count_rows(X))
    ways = [way for name, model in named.items() for way in _ways(name, model, X, y, onnx)]
    times = [[np.inf, np.inf] for _ in ways]
    one = some_rows(X, np.arange(1))
    for _ in range(TRIALS):
        for best, way in zip(times, ways, strict=True):
            best[0] = min(best[0], _seconds_of_one(way.of_one, way.feed(one)))
            best[1] = min(best[1], _seconds(way.of_many, way.feed(many)))
    measured = zip(ways, times, strict=True)
    return Report(
        tuple(Measured(w.name, w.n_bytes / 1e6, one_s * 1e6, many_s * 1e3, w.score) for w, (one_s, many_s) in measured),
        n_rows,
    )


class _Way(NamedTuple):
    """One way to predict."""

    name: str
    n_bytes: int
    score: float
    feed: Callable[[Any], Any]
    of_one: Callable[[Any], Any]
    of_many: Callable[[Any], Any]


def _ways(name: str, model: Any, X: Any, y: Any, onnx: bool) -> Sequence[_Way]:
    check_is_fitted(model)
    stored = io.BytesIO()
    joblib.dump(_what_predicts(model), stored)
    n_bytes = len(zlib.compress(stored.getvalue()))
    own = _Way(name, n_bytes, float(model.score(X, y)), lambda rows: rows, _predictor_of(model), model.predict)
    if not onnx:
        return [own]
    return [own, _graph(f"{name}, ONNX", model, X, y, None), _graph(f"{name}, ONNX int8", model, X, y, "int8")]


def _graph(name: str, model: Any, X: Any, y: Any, quantize: str | None) -> _Way:
    runtime = import_extra("onnxruntime", "onnx", "skbig.compress.report")
    content = to_onnx(model, X, quantize=quantize, y=y, max_loss=1.0).SerializeToString()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def feed(rows: Any) -> Any:
        return feeds_of(model, rows, "float32").inputs

    def predict(fed: Any) -> Any:
        return session.run(None, fed)[0]

    predicted = predict(feed(X)).reshape(np.shape(y))
    score = accuracy_score if is_classifier(model) else r2_score
    return _Way(name, len(zlib.compress(content)), float(score(np.asarray(y), predicted)), feed, predict, predict)


def _what_predicts(model: Any) -> Any:
    """Return the model without what it would go on training with."""
    try:
        bare, last = fitted_copy(model, "report")
    except TypeError:  # a model of another library
        return model
    last.set_weights(last.get_weights())
    return bare


def _predictor_of(model: Any) -> Callable[[Any], Any]:
    """Return how a single row is predicted."""
    model = getattr(model, "student_", model)
    predict: Callable[[Any], Any] = model.predictor() if isinstance(model, NetworkEstimator) else model.predict
    return predict


def _seconds(predict: Callable[[Any], Any], rows: Any) -> float:
    began = time.perf_counter()
    predict(rows)
    return time.perf_counter() - began


def _seconds_of_one(predict: Callable[[Any], Any], row: Any) -> float:
    """Return the quickest of many predictions of a row."""
    best, end = np.inf, time.perf_counter() + SECONDS / TRIALS
    while time.perf_counter() < end:
        best = min(best, _seconds(predict, row))
    return float(best)
