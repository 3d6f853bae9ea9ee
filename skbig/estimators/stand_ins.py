"""Stand-ins for a fitted estimator: its predictions are known, so that any metric's scorer can score them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import d2_pinball_score
from sklearn.utils.metaestimators import available_if

from skbig.estimators.tensors import for_metric, on_host


class _Predicted(BaseEstimator):
    """Stands for a fitted estimator whose predictions are known, so that any scorer can score them."""

    def __init__(self, answers: dict[str, np.ndarray] | None = None) -> None:
        self.answers = answers

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> np.ndarray:
        del X
        assert self.answers is not None
        return self.answers["predict"]


class PredictedClassifier(ClassifierMixin, _Predicted):
    """Answers with known classes, decision values and, for some losses, probabilities."""

    @property
    def classes_(self) -> np.ndarray:
        assert self.answers is not None
        return self.answers["classes"]

    def decision_function(self, X: Any) -> np.ndarray:
        del X
        assert self.answers is not None
        return self.answers["decision_function"]

    @available_if(lambda self: "predict_proba" in self.answers)
    def predict_proba(self, X: Any) -> np.ndarray:
        del X
        assert self.answers is not None
        return self.answers["predict_proba"]

    @available_if(lambda self: "predict_proba" in self.answers)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        del X
        assert self.answers is not None
        return self.answers["predict_log_proba"]


class ScoredClassifier(ClassifierMixin):
    """Scores predictions as classifiers do, also by targets in a tensor."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the part of the rows whose class, or whose labels all, are predicted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        return float(super().score(X, for_metric(y, "y"), for_metric(sample_weight, "sample_weight")))


class ScoredRegressor(RegressorMixin):
    """Scores predictions as regressors do, and those of several quantiles by their own loss."""

    _quantiles: tuple[float, ...] = ()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions, R^2.

        Of several quantiles, by ``loss=Quantile([...])``, it is the mean over them of the share of the pinball loss
        that is explained, `sklearn.metrics.d2_pinball_score`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        if not self._quantiles:
            return float(super().score(X, for_metric(y, "y"), for_metric(sample_weight, "sample_weight")))
        y, sample_weight = on_host(y, "y"), on_host(sample_weight, "sample_weight")
        columns = zip(on_host(self.predict(X), "X").T, self._quantiles, strict=True)
        explained = [d2_pinball_score(y, own, sample_weight=sample_weight, alpha=level) for own, level in columns]
        return float(np.mean(explained))


class PredictedRegressor(ScoredRegressor, _Predicted):
    """Answers with known predictions."""

    @property
    def _quantiles(self) -> tuple[float, ...]:  # type: ignore[override]
        assert self.answers is not None
        return tuple(self.answers.get("quantiles", ()))
