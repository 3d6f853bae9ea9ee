"""One fit of a search: a candidate on a fold. It is prepared, trained with others, and then scored by scikit-learn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from skbig.backends.single import plain_torch
from skbig.estimators.base import BaseBigMLP, Session
from skbig.estimators.preparation import Given
from skbig.estimators.sklearn_bridge import has_callbacks, params_of_rows
from skbig.search.calls import Call
from skbig.search.shared import SharedSteps

FIT_PARAMETERS = ("sample_weight", "X_val", "y_val", "sample_weight_val")


class Task:
    """A call of scikit-learn's ``fit and score``, of which the fit is done ahead.

    Attributes
    ----------
    estimator : estimator
        What is fitted and scored: one of ours, or a Pipeline that ends in one.
    last : BaseBigMLP or None
        The estimator whose training joins others; None where scikit-learn's call has to fit on its own.
    session : Session or None
        Its training, once prepared.
    seconds : float
        What the fit has taken so far.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self.estimator: BaseEstimator = call.args[0]
        self.parameters: Mapping[str, Any] = call.keywords.get("parameters") or {}
        self.train_rows = call.keywords["train"]
        self.last: BaseBigMLP | None = None
        self.session: Session | None = None
        self.seconds = 0.0
        self._error: BaseException | None = None

    def configure(self) -> None:
        """Give the estimator the candidate's parameters; what cannot be set is left to scikit-learn's error."""
        try:
            self.estimator.set_params(**clone(dict(self.parameters), safe=False))
        except Exception:
            return
        last = last_step(self.estimator)
        self.last = last if isinstance(last, BaseBigMLP) and _fits_as_ours(last) else None

    def prepare(self, steps: SharedSteps) -> None:
        """Do all of a fit that comes before the training; a failure is left to scikit-learn's call, to happen again."""
        if self.last is None:
            return
        began = time.perf_counter()
        X, y = self._call.args[1:3]
        keywords = self._call.keywords
        X, y = steps.fold(self.estimator, X, y, self.train_rows)
        fit_params = params_of_rows(self._call.args[1], keywords.get("fit_params"), self.train_rows)
        try:
            given = _given_to(self.last, self.estimator, X, y, fit_params, steps)
            with plain_torch():
                self.session = self.last._prepare(*given, incremental=False, classes=None)
        except Exception:
            self.last = None
        self.seconds += time.perf_counter() - began

    def keep(self) -> None:
        """Make the estimator a fitted one."""
        assert self.last is not None and self.session is not None
        self.last._keep(self.last._fitted(self.session))

    def train_alone(self) -> None:
        """Train without others; an error is kept, to be raised where scikit-learn expects it."""
        assert self.last is not None and self.session is not None
        try:
            self.last._run_and_keep(self.session, dict(vars(self.last)))
        except Exception as error:
            self._error = error

    def score(self) -> Any:
        """Let scikit-learn fit, which is done already, score and report."""
        if self.last is None:
            return self._call()
        if self._error is None:
            assert self.session is not None
            self.last._after(self.session)
        with done_ahead(self.estimator, self._error):
            result = self._call()
        result["fit_time"] = self.seconds
        return result

    def forget(self) -> None:
        """Let go of rows and weights."""
        self.session = None


def last_step(estimator: Any) -> Any:
    """Return the last step of a Pipeline, or the estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _fits_as_ours(estimator: BaseBigMLP) -> bool:
    """Whether its `fit` is ours: a subclass may have another, and callbacks want to hear of each epoch."""
    home = type(estimator).fit.__module__  # type: ignore[attr-defined]
    return home.startswith("skbig.estimators.") and not has_callbacks(estimator)


def _given_to(
    last: BaseBigMLP, estimator: Any, X: Any, y: Any, fit_params: Mapping[str, Any], steps: SharedSteps
) -> tuple[Given, Given]:
    """Fit what comes before the last step, and return what would be given to its `fit`."""
    received: list[tuple[Given, Given]] = []

    def receive(X: Any, y: Any = None, sample_weight: Any = None, **more: Any) -> Any:
        unknown = set(more).difference(FIT_PARAMETERS)
        if unknown:
            raise TypeError(f"fit() got unexpected keyword arguments {sorted(unknown)}")
        held = Given(more.get("X_val"), more.get("y_val"), more.get("sample_weight_val"))
        received.append((Given(X, y, sample_weight), held))
        return last

    with _method(last, "fit", receive), steps.shared_by(estimator):
        estimator.fit(X, y, **fit_params)
    return received[0]


@contextmanager
def done_ahead(estimator: Any, error: BaseException | None) -> Iterator[None]:
    """Let `set_params` and `fit` of an estimator do nothing for a while, since they are done; or `fit` fail again."""

    def fit(*args: Any, **keywords: Any) -> Any:
        del args, keywords
        if error is not None:
            raise error
        return estimator

    def set_params(**parameters: Any) -> Any:
        del parameters
        return estimator

    with _method(estimator, "set_params", set_params), _method(estimator, "fit", fit):
        yield


@contextmanager
def _method(instance: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    vars(instance)[name] = function
    try:
        yield
    finally:
        vars(instance).pop(name, None)
