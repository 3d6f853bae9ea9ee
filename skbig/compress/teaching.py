"""What a teacher says of rows: soft targets for a student.

Legend: N rows, K columns of the student's raw prediction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from skbig.data.targets import of_labels

SMALLEST = 1e-6
"""Probabilities are kept from 0 and 1 by so much: of a forest's zero there is no logarithm."""


def taught(teacher: Any, X: Any, y: Any, weight: np.ndarray | None) -> Any:
    """Return the fitted teacher: a clone that has learnt these rows, or a frozen one as it is."""
    if isinstance(teacher, FrozenEstimator):
        return teacher
    return clone(teacher).fit(X, y, **_weights_for(teacher, weight))


def answers(teacher: Any, X: Any) -> np.ndarray:
    """Return a fitted teacher's probabilities (N, n_classes or n_labels), or its numbers."""
    if not is_classifier(teacher):
        return np.asarray(teacher.predict(X), dtype=float)
    said = teacher.predict_proba(X)
    return of_labels(said, teacher.classes_) if isinstance(said, list) else np.asarray(said, dtype=float)


def answers_out_of_fold(teacher: Any, X: Any, y: Any, weight: np.ndarray | None, cv: Any) -> np.ndarray:
    """Return the same of teachers that have not seen the row they answer for."""
    method = "predict_proba" if is_classifier(teacher) else "predict"
    said = cross_val_predict(teacher, X, y, cv=cv, method=method, params=_weights_for(teacher, weight))
    if isinstance(said, list):
        return of_labels(said, [np.unique(own) for own in np.asarray(y).T])
    return np.asarray(said, dtype=float)


def of_classes(probabilities: np.ndarray, known: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the columns of some classes, which sum to one.

    Raises
    ------
    ValueError
        When the teacher does not know one of them.
    """
    unknown = np.setdiff1d(classes, known)
    if len(unknown):
        raise ValueError(f"y has the classes {unknown.tolist()}, which the teacher does not know: {known.tolist()}.")
    chosen = probabilities[:, np.searchsorted(known, classes)]
    return chosen / np.maximum(chosen.sum(axis=1, keepdims=True), SMALLEST)


def soft_targets(probabilities: np.ndarray, temperature: float, *, multiclass: bool, multilabel: bool) -> np.ndarray:
    """Return probabilities at a temperature, as the student's loss reads them, (N, K)."""
    p = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    if multiclass:
        return np.asarray(softmax(np.log(p) / temperature, axis=1))
    p = p if multilabel else p[:, -1:]
    return np.asarray(expit((np.log(p) - np.log1p(-p)) / temperature))


def _weights_for(teacher: Any, weight: np.ndarray | None) -> dict[str, Any]:
    """Return weights as `fit` of a teacher takes them: of a Pipeline its last step, under its name."""
    prefix, last = "", teacher
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        prefix += f"{step}__"
    if weight is None or not has_fit_parameter(last, "sample_weight"):
        return {}
    routed = get_config()["enable_metadata_routing"]  # then a Pipeline takes no names of steps, but what is requested
    return {"sample_weight" if routed else f"{prefix}sample_weight": weight}
