"""Small data and short fits for the tests of the estimators."""

from __future__ import annotations

import warnings
from typing import Any

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skbig import BigMLPClassifier, BigMLPRegressor

N_ROWS = 60
X = np.random.RandomState(0).normal(size=(N_ROWS, 4))
_SIGNAL = X @ np.array([[1.0, 0.5, -1.0], [-0.5, 1.0, 0.2], [0.3, -0.2, 0.8], [0.0, 0.4, -0.3]])
BINARY = (_SIGNAL[:, 0] > 0.4).astype(int)
MULTICLASS = _SIGNAL.argmax(axis=1)
MULTILABEL = (_SIGNAL > 0.3).astype(int)
WORDS = np.array(["low", "mid", "top"])[MULTICLASS]
VALUES = _SIGNAL[:, 0] + 0.1
MANY_VALUES = _SIGNAL[:, :2] - 0.2

TASKS = {
    "binary": (BigMLPClassifier, BINARY),
    "multiclass": (BigMLPClassifier, MULTICLASS),
    "multilabel": (BigMLPClassifier, MULTILABEL),
    "regression": (BigMLPRegressor, VALUES),
    "multi-output": (BigMLPRegressor, MANY_VALUES),
}
ANY_TASK = pytest.mark.parametrize("task", TASKS)
BOTH = pytest.mark.parametrize("task", ["binary", "regression"], ids=["classifier", "regressor"])


def small(task: str, **parameters: Any) -> Any:
    """Return a small estimator for a task: three epochs, unless told otherwise."""
    return TASKS[task][0](**{"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0} | parameters)


def target(task: str) -> np.ndarray:
    return TASKS[task][1]


def fitted(estimator: Any, X: Any = X, y: Any = BINARY, *args: Any, **kwargs: Any) -> Any:
    """Fit, and accept that so few epochs do not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y, *args, **kwargs)


def trained(task: str, **parameters: Any) -> Any:
    """Return a small estimator that has been fitted to the data of its task."""
    return fitted(small(task, **parameters), X, target(task))


def weights_of(estimator: Any) -> np.ndarray:
    """Return all weights of a network in one array."""
    return np.concatenate([array.ravel() for array in (*estimator.coefs_, *estimator.intercepts_)])


def state_of(estimator: Any) -> str:
    """Return what is the same exactly when every attribute of the estimator is."""
    return str(joblib.hash(vars(estimator)))


def content_of(value: Any) -> str:
    """Return what is the same when the numbers are, whatever a container has noted down beside them."""
    if isinstance(value, dict):
        return "; ".join(map(content_of, value.values()))
    if sparse.issparse(value):
        return str(joblib.hash(value))
    return repr(value if isinstance(value, list) else np.asarray(value).tolist())
