"""One fit of a search: a candidate on a fold. It is prepared, trained with others, and then scored by scikit-learn."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from skbig.backends.single import plain_torch
from skbig.engine.train import Observer
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.checkpointing import without_addresses
from skbig.estimators.given import Given
from skbig.estimators.session import Session, prepare
from skbig.estimators.sklearn_compat import hands_callbacks_on, has_callbacks, params_of_rows
from skbig.search.joblib_backend import Call
from skbig.search.pipeline_cache import PipelineCache, content_hash, pipelines_of

RAN_OUT = "ran_out"
"""In a result, beside what scikit-learn puts there: whether `max_iter` ended the training before it converged."""

FIT_PARAMETERS = ("sample_weight", "X_val", "y_val", "sample_weight_val")


class Task:
    """A call of scikit-learn's ``fit and score``, of which the fit is done ahead.

    Attributes
    ----------
    estimator : estimator
        What is fitted and scored: one of ours, or a Pipeline that ends in one.
    last : NetworkEstimator or None
        The estimator whose training joins others; None where scikit-learn's call has to fit on its own.
    key : str
        What tells the task from others of its search, also in another process.
    name : str
        That, and what tells its training from one of the same parameters on other rows; empty where nobody asks.
    candidate, split, n_splits : int
        Which candidate on which fold, counted from zero, of how many folds.
    session : Session or None
        Its training, once prepared.
    seconds : float
        What the fit has taken so far.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self.estimator: BaseEstimator = call.args[0]
        self.parameters: Mapping[str, Any] = call.keywords.get("parameters") or {}
        self.train_rows = np.asarray(call.keywords["train"])
        self.candidate: int = call.keywords["candidate_progress"][0]
        self.split, self.n_splits = call.keywords["split_progress"]
        self.key = f"{hash_of(self.parameters)}-{self.split}"
        self.name = ""
        self.last: NetworkEstimator | None = None
        self.session: Session | None = None
        self.seconds = 0.0
        self._error: BaseException | None = None
        self._limit: tuple[int, int] | None = None

    def limit(self, n_epochs: int, schedule_epochs: int) -> None:
        """Train for so many epochs only, as the beginning of a training of `schedule_epochs`."""
        self._limit = n_epochs, schedule_epochs

    def go_on_from(self, other: Task) -> None:
        """Take over what another task of the same candidate and fold has come to."""
        self.estimator, self.last, self.session = other.estimator, other.last, other.session
        self.name = other.name
        self._error = other._error
        self.call.args = (self.estimator, *self.call.args[1:])

    @property
    def is_ready(self) -> bool:
        """Whether there is a training that has not ended."""
        session = self.session
        ended = session is None or session.recipe.max_epochs == 0 or bool(session.tracker.stopped.all())
        return not ended and self._error is None

    @property
    def is_sound(self) -> bool:
        """Whether its training has not failed."""
        return self._error is None

    def configure(self) -> None:
        """Give the estimator the candidate's parameters; what cannot be set is left to scikit-learn's error."""
        if self.session is not None:
            return
        try:
            self.estimator.set_params(**clone(dict(self.parameters), safe=False))
        except Exception:
            return
        last = last_step(self.estimator)
        if isinstance(last, NetworkEstimator) and _fits_as_ours(last) and not self.is_heard():
            self.last = last

    def is_heard(self) -> bool:
        """Whether callbacks want to hear of what happens within the fit, as of each epoch."""
        parts = [*pipelines_of(self.estimator), last_step(self.estimator)]
        return any(map(has_callbacks, parts)) or hands_callbacks_on(self.call.keywords.get("callback_ctx"))

    def prepare(
        self, steps: PipelineCache, device: str | None = None, begun: Callable[[Task], None] = lambda task: None
    ) -> None:
        """Do all of a fit that comes before the training; a failure is left to scikit-learn's call, to happen again.

        With a device, the training is placed there, wherever the estimator itself would be.
        """
        if self.last is None:
            return
        began = time.perf_counter()
        if self.session is None:
            self._begin(steps, device)
            begun(self)
        if self.session is not None:
            self.session.limit(*(self._limit or (self.last.max_iter, self.session.recipe.schedule_epochs)))
        if self.is_ready:
            assert self.session is not None
            self.session.tracker.restore_latest()
        self.seconds += time.perf_counter() - began

    def _begin(self, steps: PipelineCache, device: str | None) -> None:
        assert self.last is not None
        X, y = self.call.args[1:3]
        keywords = self.call.keywords
        X, y = steps.fold(self.estimator, X, y, self.train_rows)
        fit_params = params_of_rows(self.call.args[1], keywords.get("fit_params"), self.train_rows)
        last, random_state = self.last, copy.deepcopy(getattr(self.last, "random_state", None))
        try:
            given = _given_to(last, self.estimator, X, y, fit_params, steps)
            with plain_torch(), _placed(last, device):
                self.session = prepare(last, *given)
        except Exception:
            self.last = None
        finally:  # who has to begin again draws the same seeds
            if random_state is not None:
                last.random_state = random_state

    def keep(self) -> None:
        """Make the estimator a fitted one, unless the fit has failed."""
        if self.last is None or self.session is None or self._error is not None:
            return
        self.session.keep()

    def train_alone(self, on_epoch: Observer) -> None:
        """Train without others; an error is kept, to be raised where scikit-learn expects it, and so is a warning."""
        assert self.last is not None and self.session is not None
        try:
            self.session.fit([on_epoch])
        except Exception as error:
            self._error = error

    def score(self) -> Any:
        """Let scikit-learn fit, which is done already, score and report."""
        if self.last is None:
            return self.call()
        with done_ahead(self.estimator, self._conclude):
            result = self.call()
        result["fit_time"] = self.seconds
        if self._limit is None and self.session is not None and self.session.ran_out:
            result[RAN_OUT] = True
        return result

    def _conclude(self) -> None:
        """Do what comes after a training: fail where it has failed. Of what its search warns once, nothing is said."""
        if self._error is not None:
            raise self._error
        assert self.session is not None
        if self.session.history.stop_reason == "interrupted":
            raise KeyboardInterrupt

    def forget(self) -> None:
        """Let go of rows and weights."""
        self.session = None


def hash_of(parameters: Mapping[str, Any]) -> str:
    """Return a short name for parameters, the same in every process."""
    try:
        return content_hash(dict(parameters))
    except Exception:  # an open file, say
        return str(joblib.hash(without_addresses(repr(sorted(parameters.items(), key=lambda item: item[0])))))


def last_step(estimator: Any) -> Any:
    """Return the last step of a Pipeline, or the estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _fits_as_ours(estimator: NetworkEstimator) -> bool:
    """Whether its `fit` is ours: a subclass may have another."""
    return type(estimator).fit.__module__.startswith("skbig.estimators.")


def _given_to(
    last: NetworkEstimator, estimator: Any, X: Any, y: Any, fit_params: Mapping[str, Any], steps: PipelineCache
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
def done_ahead(estimator: Any, conclude: Callable[[], None]) -> Iterator[None]:
    """Let `set_params` and `fit` of an estimator do nothing for a while, since they are done, but conclude the fit."""

    def fit(*args: Any, **keywords: Any) -> Any:
        del args, keywords
        for name in ("set_params", "fit"):  # a scorer gets the estimator as it is
            vars(estimator).pop(name)
        conclude()
        return estimator

    def set_params(**parameters: Any) -> Any:
        del parameters
        return estimator

    with _method(estimator, "set_params", set_params), _method(estimator, "fit", fit):
        yield


@contextmanager
def _placed(estimator: NetworkEstimator, device: str | None) -> Iterator[None]:
    given = estimator.device
    estimator.device = given if device is None else device
    try:
        yield
    finally:
        estimator.device = given


@contextmanager
def _method(instance: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    vars(instance)[name] = function
    try:
        yield
    finally:
        vars(instance).pop(name, None)
