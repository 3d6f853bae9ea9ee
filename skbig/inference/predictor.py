"""A fitted estimator that only predicts: frozen, for many threads, and quick for a single row.

Legend: M members, N rows, F features, K raw outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skbig.inference.one_row import OneRow


class Predictor:
    """What `predictor()` of a fitted estimator returns: called with rows, it gives what `predict` does.

    What it predicts with is a copy, which later fits do not reach; nothing in it changes, so that threads may share it.
    A single row that is a NumPy array of the right shape goes a short way, on which only its numbers are checked to be
    finite. All else is predicted by the copy of the estimator, with its checks and at its speed.

    Attributes
    ----------
    methods : tuple of str
        What it has of "predict", "predict_proba" and "decision_function", as functions of the same name.
    n_features_in_ : int
    is_quick : bool
        Whether a single row has a short way.
    classes_ : ndarray
        Only of a classifier.
    """

    def __init__(
        self, model: Any, one: OneRow | None, answers: Mapping[str, Callable[[np.ndarray], Any]], dtype: np.dtype[Any]
    ) -> None:
        self._model, self._one, self._dtype, self._shape = model, one, dtype, (1, model.n_features_in_)
        self._answer = dict(answers)
        self.is_quick = one is not None
        self.methods, self.n_features_in_ = tuple(answers), model.n_features_in_
        if hasattr(model, "classes_"):
            self.classes_ = model.classes_

    def __call__(self, X: Any) -> Any:
        """Return what `predict` of the estimator gives."""
        return self.predict(X)

    def predict(self, X: Any) -> Any:
        """Return labels, or numbers, as the estimator's `predict`."""
        raw = self._raw_of_row(X)
        return self._model.predict(X) if raw is None else self._answer["predict"](raw)

    def predict_proba(self, X: Any) -> Any:
        """Return probabilities, as the estimator's `predict_proba`."""
        raw = self._raw_of_row(X) if "predict_proba" in self._answer else None
        return self._model.predict_proba(X) if raw is None else self._answer["predict_proba"](raw)

    def decision_function(self, X: Any) -> Any:
        """Return raw predictions, as the estimator's `decision_function`."""
        raw = self._raw_of_row(X) if "decision_function" in self._answer else None
        return self._model.decision_function(X) if raw is None else self._answer["decision_function"](raw)

    def _raw_of_row(self, X: Any) -> np.ndarray | None:
        """Return raw predictions (M, 1, K) of a single row, or None for anything else."""
        if self._one is None or type(X) is not np.ndarray or X.shape != self._shape or X.dtype.kind != "f":
            return None
        row = X[0]
        if row.dtype != self._dtype:
            row = row.astype(self._dtype)
        # A sum of squares is finite where all numbers are, and moderate; else the long way says what is wrong.
        return self._one(row) if math.isfinite(row.dot(row)) else None

    def __repr__(self) -> str:
        return f"Predictor({self._model!r})"
