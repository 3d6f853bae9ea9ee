"""A graph is run in ONNX Runtime, and must predict what the model predicts.

Legend: N rows, C columns of a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from skbig._utils.extras import import_extra
from skbig.exceptions import ExportError
from skbig.onnx.feeds import Feeds

TOLERANCE = 1e-5
"""Of probabilities; of other numbers it is a share of the largest of their column."""


def run_graph(graph: Any, feeds: Feeds) -> list[np.ndarray]:
    """Return the outputs of a graph.

    Raises
    ------
    ExportError
        When ONNX Runtime does not take the graph, or the rows.
    """
    runtime = import_extra("onnxruntime", "onnx", "skbig.onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and not written to the standard error, too
    try:
        session = runtime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [np.asarray(result) for result in session.run(None, feeds.inputs)]
    except Exception as error:
        raise ExportError(f"ONNX Runtime does not run the graph: {error}") from error


def check_graph(graph: Any, model: Any, feeds: Feeds) -> float:
    """Compare a graph with its model, and return the largest difference.

    Raises
    ------
    ExportError
        When a label differs, or a number by more than `TOLERANCE`.
    """
    return check_results(run_graph(graph, feeds), model, feeds)


def check_results(found: list[np.ndarray], model: Any, feeds: Feeds) -> float:
    """Compare the outputs of a graph with what its model makes of the same rows; as `check_graph`."""
    wanted = results_of(model, feeds.rows)
    largest = 0.0
    for name, value in wanted.items():
        if name == "predict" and is_classifier(model):
            continue
        difference = _difference(found[-1], value, is_share=name == "predict_proba")
        if not difference.max(initial=0.0) <= TOLERANCE:
            row = int(np.unravel_index(np.nanargmax(np.nan_to_num(difference, nan=np.inf)), difference.shape)[0])
            raise ExportError(
                f"The graph predicts something else than {type(model).__name__}.{name}: they differ by up to "
                f"{np.nan_to_num(difference, nan=np.inf).max():.2g}, in row {row}. {_cause(model)}"
            )
        largest = max(largest, float(difference.max(initial=0.0)))
    if is_classifier(model):
        _check_labels(found[0], wanted, model)
    return largest


def results_of(model: Any, rows: Any) -> dict[str, np.ndarray]:
    """Return what the model makes of rows, by method: labels and probabilities or scores, or numbers."""
    return {name: np.asarray(getattr(model, name)(rows)) for name in _methods(model)}


def _methods(model: Any) -> Iterator[str]:
    if is_classifier(model):
        yield "predict"
        for name in ("predict_proba", "decision_function"):
            if hasattr(model, name):
                yield name
                return
    else:
        yield "predict" if hasattr(model, "predict") else "transform"


def _difference(found: np.ndarray, wanted: np.ndarray, *, is_share: bool) -> np.ndarray:
    """Return how far two tables are apart: (N, C)."""
    wanted = wanted.reshape(len(wanted), -1)
    if wanted.shape[1] == 1 and found.ndim == 2 and found.shape[1] == 2:  # scores of both classes
        found = found[:, 1:]
    found = found.reshape(len(found), -1).astype(float)
    if found.shape != wanted.shape:
        raise ExportError(f"The graph gives a table of shape {found.shape}, and the model one of {wanted.shape}.")
    scale = 1.0 if is_share else np.maximum(np.abs(wanted).max(axis=0), 1e-30)
    return np.abs(found - wanted) / scale


def _check_labels(found: np.ndarray, wanted: dict[str, np.ndarray], model: Any) -> None:
    labels = wanted.pop("predict")
    scores = next(iter(wanted.values()), None)
    same = found.reshape(labels.shape).astype(labels.dtype) == labels
    if scores is not None:
        same |= _is_tied(scores, labels)
    if not same.all():
        raise ExportError(
            f"The graph and {type(model).__name__}.predict give other labels for {np.mean(~same):.2%} of the rows, "
            f"such as row {int(np.argwhere(~same)[0, 0])}. {_cause(model)}"
        )


def _is_tied(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether a label is undecided within the tolerance, so that rounding may give the other one."""
    if labels.ndim == 2:  # labels that each may be there
        return np.abs(scores - 0.5) < TOLERANCE
    if scores.ndim == 1:
        return np.abs(scores) < TOLERANCE
    if scores.shape[1] == 1:  # there is but one
        return np.zeros(len(scores), dtype=bool)
    top = np.sort(scores, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0] < 2 * TOLERANCE


def _cause(model: Any) -> str:
    if hasattr(model, "steps") or hasattr(model, "estimator"):
        return (
            "Either skl2onnx converts a step wrongly, or numbers of the rows do not fit into float32, as a date in "
            "seconds, or lie at a border of a bin. Export with dtype='float64', or the last step alone, to see which."
        )
    return "Numbers of the rows may not fit into float32: scale them first, or export with dtype='float64'."
