"""From what a search's candidates predict to the ensemble that it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier

from skbig.estimators.sklearn_compat import params_of_refit, rows_of
from skbig.search.ensemble import ensemble_of, greedy_weights, stand_in
from skbig.search.held_out_predictions import HeldOut


def assemble(
    search: Any, held_out: Sequence[tuple[np.ndarray, HeldOut] | None], X: Any, y: Any, params: Mapping[str, Any]
) -> None:
    """Give a fitted search an ensemble of the candidates of its last evaluation for its best estimator.

    Raises
    ------
    ValueError
        When no candidate has predictions for the rows of all folds.
    """
    first = len(search.cv_results_["params"]) - len(held_out)
    known = {first + i: held for i, held in enumerate(held_out) if held is not None}
    if not known:
        raise ValueError(
            "ensemble_size needs candidates that predict all rows left out, and there is none: of each, a fit has "
            "failed, or a fold lacks a class. Use StratifiedKFold, or ensemble_size=None."
        )
    rows, like = next(iter(known.values()))
    scores = _scorer(search, rows, like, X, y)
    values = np.array([held.values for _, held in known.values()])
    counts, search.ensemble_score_ = greedy_weights(values, scores, search.ensemble_size)
    weights = np.zeros(len(search.cv_results_["params"]))
    weights[list(known)] = counts / counts.sum()
    search.ensemble_weights_ = weights
    chosen = np.flatnonzero(weights)
    fit_params = params_of_refit(search, params)
    fitted = [_refitted(search, int(i), X, y, fit_params) for i in chosen]
    search.best_estimator_ = ensemble_of(fitted, weights[chosen].tolist())


def _refitted(search: Any, candidate: int, X: Any, y: Any, fit_params: Mapping[str, Any]) -> Any:
    """Return a candidate fitted on all rows; the best one has been."""
    if candidate == search.best_index_:
        return search.best_estimator_
    parameters = clone(search.cv_results_["params"][candidate], safe=False)
    return clone(clone(search.estimator).set_params(**parameters)).fit(X, y, **fit_params)


def _scorer(search: Any, rows: np.ndarray, like: HeldOut, X: Any, y: Any) -> Any:
    """Return what scores mean predictions of the rows of all folds, as the search scores a candidate."""
    scorer = search.scorer_[search.refit] if search.multimetric_ else search.scorer_
    own_X, own_y = rows_of(search.estimator, X, y, rows)
    classes = None
    if is_classifier(search.estimator):
        classes = np.arange(np.shape(own_y)[1]) if np.ndim(own_y) == 2 else np.unique(np.asarray(y))

    multilabel = np.ndim(own_y) == 2

    def score(values: np.ndarray) -> float:
        return float(scorer(stand_in(replace(like, values=values), classes, multilabel=multilabel), own_X, own_y))

    return score
