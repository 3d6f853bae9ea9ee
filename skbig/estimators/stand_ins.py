"""Stand-ins for a fitted estimator: its predictions are known, so that any metric's scorer can score them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if


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


class PredictedRegressor(RegressorMixin, _Predicted):
    """Answers with known predictions."""
