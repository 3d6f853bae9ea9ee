"""Scikit-learn's search and ours on the same small task, and every attribute of theirs compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigGridSearchCV
from tests.fitting import WORDS, X, small

GRID = {"learning_rate": [0.1, 0.01]}


def piped(**parameters: Any) -> Pipeline:
    return Pipeline([("scaler", StandardScaler()), ("net", small("multiclass", **parameters))])


def both(
    estimator: Any, grid: Any = GRID, X: Any = X, y: Any = WORDS, fit: dict[str, Any] | None = None, **settings: Any
) -> tuple[Any, Any]:
    """Fit scikit-learn's search and ours, compare them, and return them."""
    settings = {"cv": 2, "error_score": "raise"} | settings
    theirs, ours = (kind(clone(estimator), grid, **settings) for kind in (GridSearchCV, BigGridSearchCV))
    theirs.fit(X, y, **(fit or {}))
    ours.fit(X, y, **(fit or {}))
    assert_alike(theirs, ours)
    return theirs, ours


def assert_alike(theirs: Any, ours: Any) -> None:
    """Compare every fitted attribute of two searches but times."""
    assert fitted_names(ours) == fitted_names(theirs)
    for name in fitted_names(theirs) - {"cv_results_", "best_estimator_", "refit_time_", "scorer_", "best_score_"}:
        assert repr(getattr(ours, name)) == repr(getattr(theirs, name)), name
    if hasattr(theirs, "best_score_"):
        assert ours.best_score_ == pytest.approx(theirs.best_score_, nan_ok=True)
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for name, values in theirs.cv_results_.items():
        if name.startswith(("split", "mean_t", "std_t")):
            np.testing.assert_allclose(ours.cv_results_[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
        elif not name.endswith("_time"):
            assert repr(ours.cv_results_[name]) == repr(values), name


def fitted_names(search: Any) -> set[str]:
    return {name for name in vars(search) if name.endswith("_") and not name.startswith("_")}


def negative_loss(estimator: Any, X: Any, y: Any) -> float:
    return -log_loss(y, estimator.predict_proba(X), labels=estimator.classes_)
