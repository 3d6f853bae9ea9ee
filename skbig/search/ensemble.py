"""Ensembles of a search's candidates: chosen by what they predict for rows that they were not trained on.

Legend: C candidates, N rows of all folds one after another, K classes or outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skbig.data.targets import of_labels
from skbig.estimators.stand_ins import PredictedClassifier, PredictedRegressor, ScoredRegressor
from skbig.search.held_out_predictions import HeldOut
from skbig.search.nesting import last_step


def greedy_weights(values: np.ndarray, score: Callable[[np.ndarray], float], size: int) -> tuple[np.ndarray, float]:
    """Return how often each candidate is in the best ensemble, (C,), and its score.

    One candidate after another joins, of all those with which the mean prediction scores best, also one that is in
    already; of the ensembles on the way, of at most so many, the best one is taken.

    Parameters
    ----------
    values : ndarray (C, N, K) or (C, N)
    score : callable
        ``score(values)`` of mean predictions (N, K) or (N,).
    size : int

    References
    ----------
    Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models", ICML 2004.
    """
    total, chosen = np.zeros(values.shape[1:]), np.zeros(len(values), dtype=int)
    best, best_score = chosen.copy(), -np.inf
    for n in range(1, size + 1):
        scores = [score((total + own) / n) for own in values]
        joins = int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))
        total, chosen[joins] = total + values[joins], chosen[joins] + 1
        if scores[joins] > best_score:
            best, best_score = chosen.copy(), scores[joins]
    return best, float(best_score)


def stand_in(held: HeldOut, classes: np.ndarray | None, *, multilabel: bool = False) -> Any:
    """Return what answers a scorer with predictions of an ensemble."""
    if classes is None:
        return PredictedRegressor({"predict": held.values, "quantiles": np.array(held.quantiles)})
    answers = {"classes": classes, "predict": labels_of(held.method, held.values, classes, multilabel=multilabel)}
    if held.method == "predict":
        return PredictedClassifier(answers)
    answers[held.method] = held.values
    if held.method == "predict_proba":
        binary = held.values.ndim == 2 and held.values.shape[1] == 2 == len(classes)
        with np.errstate(divide="ignore"):
            answers["predict_log_proba"] = np.log(held.values)
        answers["decision_function"] = held.values[:, 1] if binary else held.values
    return PredictedClassifier(answers)


def labels_of(method: str, values: np.ndarray, classes: np.ndarray, *, multilabel: bool = False) -> np.ndarray:
    """Return the labels of mean probabilities or decision values; of several labels zeros and ones (N, K)."""
    threshold = 0.5 if method == "predict_proba" else 0.0
    if multilabel:
        return (values > threshold).astype(int)
    chosen = (values > threshold).astype(int) if values.ndim == 1 else values.argmax(axis=1)
    return np.asarray(classes[chosen])


class _Ensemble(BaseEstimator):
    """Predicts by the weighted mean of several estimators.

    Parameters
    ----------
    estimators : sequence of estimator
    weights : sequence of float
    """

    def __init__(self, estimators: Sequence[Any] = (), weights: Sequence[float] = ()) -> None:
        self.estimators, self.weights = estimators, weights

    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit a copy of each estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        **params : dict
            Of their `fit`.

        Returns
        -------
        self : estimator
        """
        self.estimators_ = [clone(estimator).fit(X, y, **params) for estimator in self.estimators]
        return self

    def adopt(self, estimators: Sequence[Any]) -> Self:
        """Take estimators that are fitted."""
        self.estimators_ = list(estimators)
        return self

    @property
    def n_features_in_(self) -> int:
        return int(self.estimators_[0].n_features_in_)

    def _mean(self, method: str, X: Any) -> np.ndarray:
        check_is_fitted(self, "estimators_")
        answers = [(getattr(estimator, method)(X), estimator) for estimator in self.estimators_]
        arrays = [of_labels(own, estimator.classes_) if isinstance(own, list) else own for own, estimator in answers]
        return np.average(np.array(arrays), axis=0, weights=np.asarray(self.weights, dtype=float))


def _can(method: str) -> Callable[[_Ensemble], bool]:
    """Return whether all estimators have a method."""

    def check(ensemble: _Ensemble) -> bool:
        parts = getattr(ensemble, "estimators_", ensemble.estimators)
        return len(parts) > 0 and all(hasattr(part, method) for part in parts)

    return check


class EnsembleClassifier(ClassifierMixin, _Ensemble):
    """Predicts by the weighted mean of the probabilities, or decision values, of several classifiers.

    Parameters
    ----------
    estimators : sequence of estimator
    weights : sequence of float

    Attributes
    ----------
    estimators_ : list of estimator
        Those that are fitted.
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted; of trees that predict several labels a list of those of each.
    """

    @property
    def classes_(self) -> Any:
        return self.estimators_[0].classes_

    @available_if(_can("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the mean probability of each class, or label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
        """
        return self._mean("predict_proba", X)

    @available_if(_can("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the mean decision value of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        values : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._mean("decision_function", X)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class, or the labels, of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        check_is_fitted(self, "estimators_")
        method = "predict_proba" if hasattr(self, "predict_proba") else "decision_function"
        values, multilabel = self._mean(method, X), np.ndim(self.estimators_[0].predict(X[:1])) == 2
        return labels_of(method, values, self.classes_, multilabel=multilabel)


class EnsembleRegressor(ScoredRegressor, _Ensemble):
    """Predicts by the weighted mean of several regressors.

    Parameters
    ----------
    estimators : sequence of estimator
    weights : sequence of float

    Attributes
    ----------
    estimators_ : list of estimator
        Those that are fitted.
    """

    @property
    def _quantiles(self) -> tuple[float, ...]:  # type: ignore[override]
        return tuple(getattr(last_step(self.estimators_[0]), "_quantiles", ()))

    def predict(self, X: Any) -> np.ndarray:
        """Return the mean prediction of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._mean("predict", X)


def ensemble_of(estimators: Sequence[Any], weights: Sequence[float]) -> EnsembleClassifier | EnsembleRegressor:
    """Return fitted estimators as one."""
    kind = EnsembleClassifier if is_classifier(estimators[0]) else EnsembleRegressor
    return kind(list(map(clone, estimators)), list(weights)).adopt(estimators)
