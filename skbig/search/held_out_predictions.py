"""What candidates predict for the rows that they were not trained on: kept beside their scores, for an ensemble.

Legend: N rows of a fold, K classes or outputs.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from skbig.data.targets import of_labels
from skbig.estimators.sklearn_compat import rows_of
from skbig.search.nesting import last_step

PREDICTED = "held_out_predictions"
"""Where they are in a result, beside what scikit-learn puts there: as plain values, which a checkpoint can hold."""

METHODS = ("predict_proba", "decision_function", "predict")


@dataclass(frozen=True)
class HeldOut:
    """What a candidate predicts for a fold.

    Attributes
    ----------
    method : {'predict_proba', 'decision_function', 'predict'}
    values : ndarray (N, K) or (N,)
    quantiles : tuple of float
        Which quantiles the columns are, where several are predicted.
    """

    method: str
    values: np.ndarray
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Predicting:
    """scikit-learn's ``fit and score``, whose result also has the predictions of the rows it was scored on."""

    function: Callable[..., Any]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        result = self.function(*args, **keywords)
        if result.get("fit_error") is None:
            estimator, X, y = args[:3]
            held = predictions_of(estimator, rows_of(estimator, X, y, np.asarray(keywords["test"]))[0], y)
            if held is not None:
                result[PREDICTED] = packed(held)
        return result


def predictions_of(estimator: Any, X: Any, y: Any) -> HeldOut | None:
    """Return what a fitted estimator predicts, with a column for each class of y; None where it knows too few."""
    methods = METHODS if is_classifier(estimator) else METHODS[-1:]
    method = next(name for name in methods if hasattr(estimator, name))
    answer = getattr(estimator, method)(X)
    values = of_labels(answer, estimator.classes_) if isinstance(answer, list) else np.asarray(answer)
    if method == "predict":
        return HeldOut(method, values, tuple(getattr(last_step(estimator), "_quantiles", ())))
    if np.ndim(y) != 1:
        return HeldOut(method, values)
    classes, every = np.asarray(estimator.classes_), np.unique(np.asarray(y))
    if len(classes) == len(every):
        return HeldOut(method, values)
    if method != "predict_proba":
        return None  # a decision value against classes that it has not seen is none
    known = np.zeros((len(values), len(every)), values.dtype)
    known[:, np.searchsorted(every, classes)] = values
    return HeldOut(method, known)


def packed(held: HeldOut) -> dict[str, Any]:
    """Return predictions as texts and numbers."""
    file = io.BytesIO()
    np.save(file, held.values, allow_pickle=False)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return {"method": held.method, "values": text, "quantiles": list(held.quantiles)}


def unpacked(plain: dict[str, Any] | None) -> HeldOut | None:
    """Return predictions from texts and numbers; None where there are none, or they are not finite."""
    if plain is None:
        return None
    values = np.load(io.BytesIO(base64.b64decode(plain["values"])), allow_pickle=False)
    finite = values.dtype.kind != "f" or bool(np.isfinite(values).all())
    return HeldOut(plain["method"], values, tuple(plain["quantiles"])) if finite else None
