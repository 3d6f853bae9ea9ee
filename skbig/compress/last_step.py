"""The network in what a user hands over: itself, the last step of a Pipeline, what a search found.

Legend: N rows.
"""

from __future__ import annotations

import copy
from math import inf
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skbig.estimators.base import NetworkEstimator
from skbig.estimators.given import Given
from skbig.estimators.preparation import prepare


def fitted_copy(model: Any, name: str) -> tuple[Any, NetworkEstimator]:
    """Return a copy of a fitted model, and the estimator of this package in it.

    Raises
    ------
    TypeError
        When there is none.
    """
    for found in ("best_estimator_", "student_"):
        model = getattr(model, found, model)
    last = model[-1] if isinstance(model, Pipeline) else model
    if not isinstance(last, NetworkEstimator):
        raise TypeError(
            f"{name} takes an estimator of this package, or a Pipeline that ends in one. Got {last!r:.200}."
        )
    check_is_fitted(last)
    model = copy.deepcopy(model)
    return model, model[-1] if isinstance(model, Pipeline) else model


def rows_for(model: Any, X: Any) -> Any:
    """Return rows as the last step reads them."""
    return model[:-1].transform(X) if isinstance(model, Pipeline) and len(model.steps) > 1 else X


def some_rows(X: Any, index: np.ndarray) -> Any:
    """Return rows by their numbers, of an array, a sparse one, a data frame or a list."""
    if hasattr(X, "iloc"):
        return X.iloc[index]
    return X[index] if hasattr(X, "shape") else [X[i] for i in index]


def count_rows(X: Any) -> int:
    """Return how many rows there are, of the same."""
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def with_last(model: Any, last: Any) -> Any:
    """Return the model with another last step."""
    if not isinstance(model, Pipeline):
        return last
    model.steps[-1] = (model.steps[-1][0], last)
    return model


def tune(estimator: Any, X: Any, y: Any, weight: Any, n_epochs: int) -> None:
    """Train a fitted estimator on for some epochs, by a schedule that begins anew; its parameters stay."""
    meanwhile: dict[str, Any] = {
        "warm_start": True,
        "max_iter": n_epochs,
        "early_stopping": False,
        "checkpoint_dir": None,
    }
    meanwhile |= {"n_iter_no_change": inf}
    before = {name: getattr(estimator, name) for name in meanwhile}
    vars(estimator).update(meanwhile)
    try:
        prepare(estimator, Given(X, y, weight), Given(None, None)).fit()
    finally:
        vars(estimator).update(before)


def put_arrays(estimator: Any, network: Any, arrays: dict[str, np.ndarray], *, keeps_zeros: bool) -> None:
    """Give a fitted estimator another network of the same task, and its numbers (M, *shape); training begins anew."""
    vars(estimator).update(estimator._public_weights(network, arrays), _network=network)
    estimator.set_weights(estimator.get_weights())  # with which the optimizer begins anew
    estimator._progress = {**estimator._progress, "keeps_zeros": keeps_zeros}
