"""A whole Pipeline that only predicts: frozen, for many threads, and quick for a single row.

Legend: F features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from skbig.inference.predictor import Predictor


class PipelinePredictor:
    """What `predictor` returns of a Pipeline: its steps, and the `Predictor` of the last one."""

    def __init__(self, model: Pipeline) -> None:
        self._model = copy.deepcopy(model)
        steps = [step for _, step in self._model.steps[:-1] if step not in (None, "passthrough")]
        self._last: Predictor = self._model.steps[-1][1].predictor()
        scales = [_scale_of(step) for step in steps]
        self._scales: Sequence[Callable[[np.ndarray], None]] = [scale for scale in scales if scale is not None]
        n_features = getattr(self._model, "n_features_in_", None)  # a first step may know of none
        ours = type(model) is Pipeline and n_features is not None  # a subclass may predict in its own way
        self._is_short = ours and len(self._scales) == len(steps)
        self.is_quick = self._is_short and self._last.is_quick
        self._shape = (1, n_features)
        self.methods = self._last.methods
        if hasattr(self._last, "classes_"):
            self.classes_ = self._last.classes_

    def __call__(self, X: Any) -> Any:
        """Return what `predict` of the Pipeline gives."""
        return self.predict(X)

    def predict(self, X: Any) -> Any:
        """Return labels, or numbers, as the Pipeline's `predict`."""
        scaled = self._scaled(X)
        return self._model.predict(X) if scaled is None else self._last.predict(scaled)

    def predict_proba(self, X: Any) -> Any:
        """Return probabilities, as the Pipeline's `predict_proba`."""
        scaled = self._scaled(X)
        return self._model.predict_proba(X) if scaled is None else self._last.predict_proba(scaled)

    def decision_function(self, X: Any) -> Any:
        """Return raw predictions, as the Pipeline's `decision_function`."""
        scaled = self._scaled(X)
        return self._model.decision_function(X) if scaled is None else self._last.decision_function(scaled)

    def _scaled(self, X: Any) -> np.ndarray | None:
        """Return a single row after the steps, or None for anything else, or steps that do more than scale."""
        if not self._is_short or type(X) is not np.ndarray or X.shape != self._shape or X.dtype.char not in "fd":
            return None
        if not np.isfinite(X).all():
            return None  # the long way says what is wrong
        scaled = X.copy()
        for scale in self._scales:
            scale(scaled)
        return scaled


def predictor(model: BaseEstimator) -> Predictor | PipelinePredictor:
    """Return a frozen predictor of a fitted estimator, or of a whole Pipeline; threads may share it.

    It answers as the model does. A single row that is a NumPy array goes a short way, several times sooner: where all
    steps before the network are `StandardScaler`, `MinMaxScaler`, `MaxAbsScaler` or `RobustScaler`. All else is
    predicted by a copy of the model.

    Parameters
    ----------
    model : estimator or Pipeline
        Fitted; of a search the best one is taken.

    Returns
    -------
    predictor : callable
        ``predictor(X)`` is ``predict(X)``; it has `predict_proba` and `decision_function` where the model has.

    Raises
    ------
    TypeError
        When the model, or its last step, is no estimator of this package.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigMLPClassifier
    >>> from skbig.serving import predictor
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), BigMLPClassifier((8,), optimizer="lbfgs", random_state=0)).fit(X, y)
    >>> predictor(model)(X[:1])
    array([0])
    """
    model = getattr(model, "best_estimator_", model)
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    if not hasattr(last, "predictor"):
        raise TypeError(
            "predictor takes a fitted estimator of this package, or a Pipeline that ends with one. "
            f"Got {model!r:.200} instead."
        )
    return PipelinePredictor(model) if isinstance(model, Pipeline) else last.predictor()


def _scale_of(step: Any) -> Callable[[np.ndarray], None] | None:
    """Return what a scaler does to a row, in place and in the order in which it does it; None of any other step."""
    if type(step) is StandardScaler:
        return partial(_shift_and_divide, step.mean_ if step.with_mean else None, step.scale_)
    if type(step) is RobustScaler:
        centre, scale = (step.center_ if step.with_centering else None), (step.scale_ if step.with_scaling else None)
        return partial(_shift_and_divide, centre, scale)
    if type(step) is MaxAbsScaler and not getattr(step, "clip", False):
        return partial(_shift_and_divide, None, step.scale_)
    if type(step) is MinMaxScaler:
        return partial(_multiply_and_shift, step.scale_, step.min_, step.feature_range if step.clip else None)
    return None


def _shift_and_divide(centre: np.ndarray | None, scale: np.ndarray | None, row: np.ndarray) -> None:
    if centre is not None:
        row -= centre
    if scale is not None:
        row /= scale


def _multiply_and_shift(
    scale: np.ndarray, shift: np.ndarray, bounds: tuple[float, float] | None, row: np.ndarray
) -> None:
    row *= scale
    row += shift
    if bounds is not None:
        np.clip(row, *bounds, out=row)
