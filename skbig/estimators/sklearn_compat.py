"""Everything that depends on scikit-learn's version or touches what is not public in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring, get_scorer, get_scorer_names
from sklearn.metrics._scorer import _BaseScorer, _PassthroughScorer
from sklearn.model_selection._validation import _insert_error_scores
from sklearn.utils._metadata_requests import MetadataRequest, MethodMetadataRequest
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.metaestimators import available_if as _available_if
from sklearn.utils.validation import (
    _check_method_params,
    _check_y,
)

from skbig.engine.train import EpochReport
from skbig.estimators.search_context import inside_search
from skbig.estimators.tensors import on_host
from skbig.estimators.types import Method

try:  # scikit-learn >= 1.9
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:
    from skbig.estimators.callbacks import CallbackSupportMixin
    from skbig.estimators.callbacks import with_callbacks as _with_callbacks


__all__ = [
    "CallbackSupportMixin",
    "available_if",
    "callback_observer",
    "check_y",
    "format_results",
    "hands_callbacks_on",
    "has_callbacks",
    "inside_cross_validation",
    "inside_loop_of_fits",
    "is_metric",
    "makes_arrays",
    "metric_of",
    "params_of_refit",
    "params_of_rows",
    "rows_of",
    "scorer_of",
    "scorer_types",
    "scorers_in",
    "tells_callbacks",
    "with_callbacks",
]


def with_callbacks(method: Method) -> Method:
    """Let scikit-learn's callbacks know of a fit; its signature stays what it is."""
    wrapped: Method = _with_callbacks(method)
    return wrapped


def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]:
    """Let an estimator have a method where it says so; the signature stays what it is."""
    wrap: Callable[[Method], Method] = _available_if(check)
    return wrap


check_y = _check_y
"""Checks targets as scikit-learn's estimators do."""


def makes_arrays(transformer: Any) -> bool:
    """Whether what a transformer makes stays as it is: neither `set_output` nor the configuration wants a table."""
    own = getattr(transformer, "_sklearn_output_config", {})
    return bool(own.get("transform", get_config()["transform_output"]) == "default")


def scorer_of(scoring: Any) -> Callable[..., float]:
    """Return a scorer by name or as given.

    Raises
    ------
    ValueError
        When it is a metric, which takes no estimator.
    """
    scorer: Callable[..., float] = check_scoring(scoring=scoring)
    return scorer


def is_metric(scoring: Any) -> bool:
    """Whether a scorer looks at nothing but targets and predictions."""
    return isinstance(scoring, _BaseScorer)


def metric_of(scorer: Any) -> Callable[..., float]:
    """Return the function of a metric's scorer: ``function(y, predictions)``."""
    function: Callable[..., float] = scorer._score_func
    return function


def formula_of(scorer: Any) -> Callable[..., float] | None:
    """Return the function of a metric's scorer that is the score itself, of what is predicted; else None."""
    plain = not scorer._kwargs and scorer._sign == 1 and getattr(scorer, "_response_method", "predict") == "predict"
    return metric_of(scorer) if plain else None


def scorer_types() -> list[str]:
    """Return the full names of the classes and functions that scorers by name, and a model's own score, consist of."""
    scorers = [get_scorer(name) for name in get_scorer_names()]
    parts = {_PassthroughScorer, *map(type, scorers), *(scorer._score_func for scorer in scorers)}
    parts |= {MetadataRequest, MethodMetadataRequest}  # an older scorer keeps its requests
    return sorted(f"{part.__module__}.{part.__qualname__}" for part in parts)


def scorers_in(scorer: Any) -> Any:
    """Return what a search scores by: a dict of scorers where it has several, else the one; None for its own score."""
    return None if isinstance(scorer, _PassthroughScorer) else getattr(scorer, "_scorers", scorer)


def rows_of(estimator: BaseEstimator, X: Any, y: Any, index: np.ndarray) -> tuple[Any, Any]:
    """Return some rows of X and y, as a search hands them to `fit`."""
    return _safe_split(estimator, X, y, index)


def params_of_rows(X: Any, params: dict[str, Any] | None, index: np.ndarray) -> dict[str, Any]:
    """Return parameters of `fit` for some rows: those with one entry per row of X are cut as well."""
    return _check_method_params(X, params=params or {}, indices=index)


def params_of_refit(search: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a search hands over to the `fit` of its best estimator, of what its own was given."""
    return dict(search._get_routed_params_for_fit(dict(params)).estimator.fit)


def format_results(
    search: Any, parameters: list[dict[str, Any]], n_splits: int, results: list[Any], more: dict[str, Any]
) -> dict[str, Any]:
    """Return what a search keeps as `cv_results_`, from the result of each candidate on each split."""
    if callable(search.scoring):  # only now is it known by which names a failed fit is scored
        _insert_error_scores(results, search.error_score)
    formatted: dict[str, Any] = search._format_results(parameters, n_splits, results, more)
    return formatted


def has_callbacks(estimator: BaseEstimator) -> bool:
    """Whether scikit-learn's callbacks want to hear of this estimator's fits."""
    return bool(getattr(estimator, "_skl_callbacks", None))


def hands_callbacks_on(context: Any) -> bool:
    """Whether callbacks of a search want to hear of what happens within the fits that it makes."""
    for callback in getattr(context, "_callbacks", []):
        depth = getattr(callback, "max_propagation_depth", 0)
        if depth is None or context._propagation_depth < depth:
            return True
    return False


def tells_callbacks(context: Any) -> bool:
    """Whether callbacks of a search are told of its fits."""
    return bool(getattr(context, "_callbacks", None))


def inside_loop_of_fits() -> bool:
    """Whether one Ctrl-C should end more than this fit: a search, a cross-validation, or another loop of joblib's."""
    return inside_search() or _is_called_by("sklearn.model_selection", "joblib.")


def inside_cross_validation() -> bool:
    """Whether a caller makes a fit for each fold or candidate."""
    return inside_search() or _is_called_by("sklearn.model_selection._validation")


def _is_called_by(*modules: str) -> bool:
    """Whether a function of scikit-learn's, or of joblib's, is among the callers.

    Their loops leave no trace that a fit could read: they clone an estimator and call `fit`, as a user does. So the
    callers are looked through here, and only where it matters and happens rarely: after Ctrl-C, and where a directory
    of checkpoints would be shared by many fits.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(modules):
            return True
        frame = frame.f_back
    return False


@contextmanager
def callback_observer(
    estimator: Any, X: Any, y: Any, sample_weight: Any, n_epochs: int, attributes: Callable[[], dict[str, Any]]
) -> Iterator[Callable[[EpochReport], bool | None] | None]:
    """Give an observer that passes each epoch on to scikit-learn's callbacks as one task, or None without callbacks."""
    if not vars(estimator).keys() & {"_skl_callbacks", "_parent_callback_ctx"}:
        yield None
        return
    metadata = {} if sample_weight is None else {"sample_weight": on_host(sample_weight, "sample_weight")}
    facts = {"estimator": estimator, "X": on_host(X, "X"), "y": on_host(y, "y"), "metadata": metadata}
    context = estimator._init_callback_context(max_subtasks=n_epochs)
    if not getattr(estimator, "_skl_callbacks", None):
        yield None
        return
    context.call_on_fit_task_begin(**facts)
    tasks = _EpochTasks(context, facts, attributes) if n_epochs else None
    try:
        yield tasks
    finally:
        if tasks is not None:
            tasks.close()
        context.call_on_fit_task_end(**facts, reconstruction_attributes=attributes)


class _EpochTasks:
    """Opens a task per epoch: the next begins when the last has ended, and `close` ends the one that never ran."""

    def __init__(self, context: Any, facts: dict[str, Any], attributes: Callable[[], dict[str, Any]]) -> None:
        self._context, self._facts, self._attributes = context, facts, attributes
        self._task = self._begin()

    def _begin(self) -> Any:
        return self._context.subcontext(task_name="epoch").call_on_fit_task_begin(**self._facts)

    def __call__(self, report: EpochReport) -> bool:
        task, self._task = self._task, None  # it ends once, also when a callback fails
        stop = task.call_on_fit_task_end(**self._facts, reconstruction_attributes=self._attributes)
        self._task = None if stop or report.last else self._begin()
        return bool(stop)

    def close(self) -> None:
        if self._task is not None:
            self._task.call_on_fit_task_end(**self._facts)
            self._task = None
