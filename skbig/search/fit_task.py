"""One fit of a search: a candidate on a fold. It is prepared, trained with others, and then scored by scikit-learn."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone

from skbig._utils.device import plain_torch
from skbig.engine.train import Observer
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.finite_predictions import check_predictions
from skbig.estimators.given import Given
from skbig.estimators.preparation import prepare
from skbig.estimators.search_context import fitting_candidate, receiving_fits
from skbig.estimators.session import Session
from skbig.estimators.sklearn_compat import hands_callbacks_on, has_callbacks, params_of_rows, tells_callbacks
from skbig.search.joblib_backend import Call
from skbig.search.nesting import last_step, levels, pipelines_of, settings_around
from skbig.search.pipeline_cache import PipelineCache, content_hash, own_steps
from skbig.search.privacy_spent import SPENT

RAN_OUT = "ran_out"
"""In a result, beside what scikit-learn puts there: whether `max_iter` ended the training before it converged."""


class FitTask:
    """A call of scikit-learn's ``fit and score``, of which the fit is done before.

    Attributes
    ----------
    estimator : estimator
        What is fitted and scored: one of ours, or one that holds it; None once its result is known.
    last : NetworkEstimator or None
        The estimator whose training joins others; None where scikit-learn's call has to fit on its own.
    key : str
        What tells the task from others of its search, also in another process.
    name : str
        That, and what tells its training from one of the same parameters on other rows; empty where nobody asks.
    seed : int or None
        What a network without a `random_state` draws from, so that it begins again as it has begun.
    candidate, split, n_splits : int
        Which candidate on which fold, counted from zero, of how many folds.
    session : Session or None
        Its training, once prepared.
    seconds : float
        What the fit has taken so far.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self.estimator: Any = call.args[0]
        self.parameters: Mapping[str, Any] = call.keywords.get("parameters") or {}
        self.train_rows = np.asarray(call.keywords["train"])
        self.candidate: int = call.keywords["candidate_progress"][0]
        self.split, self.n_splits = call.keywords["split_progress"]
        self.key = f"{hash_of(self.parameters)}-{self.split}"
        self.name = ""
        self.seed: int | None = None
        self.last: NetworkEstimator | None = None
        self.session: Session | None = None
        self.seconds = 0.0
        self._error: BaseException | None = None
        self._limit: tuple[int, int] | None = None

    def limit(self, n_epochs: int, schedule_epochs: int) -> None:
        """Train for so many epochs only, as the beginning of a training of `schedule_epochs`."""
        self._limit = n_epochs, schedule_epochs

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

    @cached_property
    def rows_key(self) -> tuple[int, str]:
        """What its training rows depend on: the fold, and the settings of the steps before the network."""
        around = settings_around(self.estimator, self.parameters)
        return self.split, hash_of(around) if around else ""

    def configure(self) -> None:
        """Give the estimator the candidate's parameters; what cannot be set is left to scikit-learn's error."""
        try:
            self.estimator.set_params(**clone(dict(self.parameters), safe=False))
        except Exception:
            return
        last = last_step(self.estimator)
        if isinstance(last, NetworkEstimator) and _fits_as_ours(last) and not self.is_heard():
            self.last = last

    def is_heard(self) -> bool:
        """Whether callbacks want to hear of what happens within the fit, as of each epoch."""
        parts = [part for _, part in levels(self.estimator)]
        return any(map(has_callbacks, parts)) or hands_callbacks_on(self.call.keywords.get("callback_ctx"))

    def prepare(
        self, cache: PipelineCache, device: str | None = None, begun: Callable[[FitTask], None] = lambda task: None
    ) -> None:
        """Do all of a fit that comes before the training; a failure is left to scikit-learn's call, to happen again.

        With a device, the training is placed there, wherever the estimator itself would be.
        """
        if self.last is None:
            return
        began = time.perf_counter()
        if self.session is None:
            self._begin(self.last, cache, device)
            begun(self)
        if self.session is not None:
            self.session.limit(*(self._limit or (self.session.n_epochs, self.session.recipe.schedule_epochs)))
        if self.is_ready:
            assert self.session is not None
            self.session.tracker.restore_latest()
        self.seconds += time.perf_counter() - began

    def _begin(self, last: NetworkEstimator, cache: PipelineCache, device: str | None) -> None:
        """Fit what is around the network, which hands over what it is given."""
        steps = [(pipeline, pipeline.steps) for pipeline in pipelines_of(self.estimator)]
        sessions: list[Session] = []

        def receive(estimator: NetworkEstimator, given: Given, held: Given) -> None:
            with plain_torch():
                sessions.append(prepare(estimator, given, held))

        X, y = self.call.args[1:3]
        fold = cache.fold(self.estimator, X, y, self.train_rows, self.split)
        fit_params = params_of_rows(X, self.call.keywords.get("fit_params"), self.train_rows)
        try:
            changed = _changed(last, device, self._random_state(last.random_state))
            with fitting_candidate(), receiving_fits(receive), fold.shared_by(self.estimator), changed as given:
                self.estimator.fit(fold.X, fold.y, **fit_params)
            (session,) = sessions
        except Exception:
            self.last = None
            for pipeline, own in steps:  # fitted steps are shared, and scikit-learn's call would fit them again
                pipeline.steps = own
            return
        _set(session.estimator, given)  # which may be a clone
        fold.share_rows(session)
        self.session = session

    def _random_state(self, given: Any) -> Any:
        """Return what is drawn from: whoever has to begin again draws the same."""
        if given is None:
            self.seed = fresh_seed() if self.seed is None else self.seed
            return self.seed
        return copy.deepcopy(given)

    def keep(self) -> None:
        """Make the estimator a fitted one, unless the fit has failed."""
        if self.last is None or self.session is None or self._error is not None:
            return
        self.session.keep()

    def train_alone(self, on_epoch: Observer) -> None:
        """Train without others; an error is kept, to be raised where scikit-learn expects it, and so is a warning."""
        assert self.session is not None
        try:
            self.session.fit([on_epoch])
        except Exception as error:
            self._error = error

    def score(self) -> Any:
        """Let scikit-learn fit, which is done already, score and report."""
        with fitting_candidate():
            if self.last is None:
                return self.call()
            own_steps(self.estimator)
            with _fitted_before(self.estimator, self._conclude):
                result = self.call.function(*self.call.args, **self._keywords_to_score())
        result["fit_time"] = self.seconds
        if self._limit is None and self.session is not None and self.session.ran_out:
            result[RAN_OUT] = True
        if self.session is not None and self.session.privacy is not None:
            result[SPENT] = (self.key, *self.session.spent())
        return result

    def _keywords_to_score(self) -> dict[str, Any]:
        """Return what scikit-learn is called with: without rows to fit, of which it would make a copy."""
        keywords = self.call.keywords
        if keywords.get("return_train_score") or tells_callbacks(keywords.get("callback_ctx")):
            return keywords
        return {**keywords, "train": self.train_rows[:0]}

    def _conclude(self) -> None:
        """Do what comes after a training: fail where it has failed. Of what its search warns once, nothing is said."""
        if self._error is not None:
            raise self._error
        assert self.session is not None
        if self.session.history.stop_reason == "interrupted":
            raise KeyboardInterrupt
        check_predictions(self.session)

    def forget(self) -> None:
        """Let go of rows and weights, of a task whose result is known or is another process's affair."""
        self.session = self.last = self.estimator = None
        self.call.args = ()


def fresh_seed() -> int:
    """Return a seed that nobody has chosen; NumPy's global generator stays as it is."""
    return int(np.random.SeedSequence().generate_state(1)[0])


def hash_of(parameters: Mapping[str, Any]) -> str:
    """Return a short name for parameters, the same in every process."""
    try:
        return content_hash(dict(parameters))
    except Exception:  # an open file, say
        text = repr(sorted(parameters.items(), key=lambda item: item[0]))
        return str(joblib.hash(re.sub(r" at 0x[0-9a-fA-F]+", "", text)))  # places in memory are those of one process


def _fits_as_ours(estimator: NetworkEstimator) -> bool:
    """Whether its `fit` is ours: a subclass may have another."""
    return type(estimator).fit.__module__.startswith("skbig.estimators.")


@contextmanager
def _changed(last: NetworkEstimator, device: str | None, random_state: Any) -> Iterator[dict[str, Any]]:
    """Change the device, if one is given, and the random state for a while; gives both as they were."""
    given = {"device": last.device, "random_state": last.random_state}
    _set(last, {"device": last.device if device is None else device, "random_state": random_state})
    try:
        yield given
    finally:
        _set(last, given)


def _set(estimator: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(estimator, name, value)


@contextmanager
def _fitted_before(estimator: Any, conclude: Callable[[], None]) -> Iterator[None]:
    """Let `set_params` and `fit` of a fitted estimator do nothing for one call of scikit-learn's ``fit and score``.

    That function sets, fits and scores one and the same object, and a scorer may look at its type. So the estimator
    itself has to be there, and its two methods are covered by attributes of the instance, until `fit` is called.
    """

    def set_params(**parameters: Any) -> Any:
        del parameters  # they are set
        return estimator

    def fit(*args: Any, **keywords: Any) -> Any:
        del args, keywords
        _uncover(estimator)
        conclude()
        return estimator

    vars(estimator).update(set_params=set_params, fit=fit)
    try:
        yield
    finally:
        _uncover(estimator)


def _uncover(estimator: Any) -> None:
    for name in ("set_params", "fit"):
        vars(estimator).pop(name, None)
