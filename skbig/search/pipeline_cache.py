"""What the candidates of a search share: the rows of a fold, and the fitted steps before the network."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import ref

import joblib
import numpy as np

from skbig.data.rows import Rows
from skbig.data.stacked_rows import same_rows
from skbig.estimators.given import Given
from skbig.estimators.search_context import fitting_at_once
from skbig.estimators.session import Session
from skbig.estimators.sklearn_compat import rows_of
from skbig.estimators.validation import FoldedValidation, validation_of
from skbig.search.nesting import pipelines_of

MAX_KEPT_BYTES = 2**23
"""Rows of folds are kept for later stacks up to here; what is more is made again when it is wanted again."""


class PipelineCache:
    """The folds of a search that are in memory."""

    def __init__(self) -> None:
        self._folds: dict[int, Fold] = {}

    def fold(self, estimator: Any, X: Any, y: Any, rows: np.ndarray, number: int) -> Fold:
        """Return the rows of a fold: the same object for the same number, unless a memory of the user's reads them."""
        if any(pipeline.memory is not None for pipeline in pipelines_of(estimator)):
            return Fold(*rows_of(estimator, X, y, rows))
        if number not in self._folds:
            self._folds[number] = Fold(*rows_of(estimator, X, y, rows))
        return self._folds[number]

    def keep(self, wanted: Collection[int]) -> None:
        """Let go of all folds but those that are wanted next, and of others as many as are small together."""
        left = MAX_KEPT_BYTES - sum(fold.n_bytes for number, fold in self._folds.items() if number in wanted)
        for number in [number for number in self._folds if number not in wanted]:
            left -= self._folds[number].n_bytes
            if left < 0:
                del self._folds[number]


class Fold:
    """The training rows of a fold, and what the steps before the network have made of them.

    It is the `memory` of Pipelines while they fit: a step that another candidate has fitted is not fitted again.

    Attributes
    ----------
    X, y : rows and targets, as the search was given them
    """

    def __init__(self, X: Any, y: Any) -> None:
        self.X, self.y = X, y
        self._results: dict[Any, Any] = {}
        self._made: list[tuple[Any, Any]] = [(X, y)]  # kept alive, so that no other object gets their identity
        self._sessions: list[ref[Session]] = []

    @property
    def n_bytes(self) -> int:
        """Bytes of the rows, and of what was made of them."""
        return sum({id(values): bytes_of(values) for made in self._made for values in made}.values())

    @contextmanager
    def shared_by(self, estimator: Any) -> Iterator[None]:
        """Let a Pipeline look up fitted steps here while it fits; one that has a memory of its own keeps it."""
        pipelines = [pipeline for pipeline in pipelines_of(estimator) if pipeline.memory is None]
        for pipeline in pipelines:
            pipeline.memory = self
        try:
            yield
        finally:
            for pipeline in [*pipelines, *pipelines_of(estimator, fitted=True)]:
                if pipeline.memory is self:
                    pipeline.memory = None

    def __sklearn_clone__(self) -> Fold:
        return self

    def cache(self, function: Callable[..., Any], ignore: Sequence[str] = ()) -> Callable[..., Any]:
        """Return the function with a memory, as scikit-learn asks a Pipeline's memory to do.

        The keywords that are ignored make no difference to the result.
        """

        def remembered(transformer: Any, X: Any, y: Any, *args: Any, **keywords: Any) -> Any:
            telling = {name: value for name, value in keywords.items() if name not in ignore}
            key = _key(transformer, X, y, args, telling)
            if key in self._results:
                return self._results[key]
            with fitting_at_once():  # also a network, where it is a step before the last
                result = function(transformer, _copy(X), y, *args, **keywords)
            if key is not None and _copied(result[1]) is not None:
                self._results[key] = result
                self._made += [(X, y), (result[0], None)]
            return result

        return remembered

    def share_rows(self, session: Session) -> None:
        """Let a session that holds out the same rows as an earlier one have the same objects: they are copies."""
        others = [other for other in (known() for known in self._sessions) if other is not None]
        for other in others:
            if isinstance(session.rows, Rows) and isinstance(other.rows, Rows) and same_rows(session.rows, other.rows):
                session.rows = other.rows
                break
        held = session.held
        for other in others:
            folds = isinstance(session.validation, FoldedValidation)  # small ones, of each training its own
            if not folds and held is not None and other.held is not None and _holds_the_same(held, other.held):
                parts = (session.targets, session.recipe.loss, session.backend, session.first_epoch)
                session.held = other.held
                session.validation = validation_of(session.estimator, other.held, *parts)
                break
        self._sessions.append(ref(session))


def _holds_the_same(one: Mapping[str, Given], other: Mapping[str, Given]) -> bool:
    """Whether two have the same sets of validation rows, by the same names."""
    if list(one) != list(other):
        return False
    pairs = [pair for name in one for pair in zip(_parts_of(one[name]), _parts_of(other[name]), strict=True)]
    return all(a is b or (type(a) is type(b) is np.ndarray and np.array_equal(a, b)) for a, b in pairs)


def _parts_of(given: Given) -> tuple[Any, Any, Any]:
    return given.X, given.y, given.weight


def _key(transformer: Any, X: Any, y: Any, args: Any, keywords: Any) -> Any:
    """What a result depends on; None where it cannot be said."""
    try:
        return (id(X), id(y), content_hash((transformer, args, keywords)))
    except Exception:  # an open file, say
        return None


def own_steps(estimator: Any) -> None:
    """Give a candidate copies of the fitted steps that it shares with others: one may change when it is used."""
    for pipeline in pipelines_of(estimator, fitted=True):
        if pipeline.memory is None:
            *before, last = pipeline.steps
            pipeline.steps = [*((name, _copied(step) or step) for name, step in before), last]


def _copied(step: Any) -> Any:
    """Return a copy of a fitted step; None for what cannot be copied, as a lock, and is shared by nobody."""
    try:
        return copy.deepcopy(step)
    except Exception:
        return None


def content_hash(value: Any) -> str:
    """Return what is the same for equal values, in every process; functions are told apart by their code.

    Raises
    ------
    Exception
        Of any kind, when a part of the value cannot be pickled.
    """
    try:
        return str(joblib.hash(value))
    except Exception:  # a lambda, say
        return str(joblib.hash(pickle.dumps(joblib.wrap_non_picklable_objects(value))))


def _copy(X: Any) -> Any:
    """Return rows that a step may change in place, as one without a copy of its own does."""
    return X.copy() if hasattr(X, "copy") else X


def bytes_of(values: Any) -> int:
    """Return about how many bytes rows or targets take; 0 for what does not tell."""
    if hasattr(values, "memory_usage"):  # a frame or a series
        return int(np.sum(values.memory_usage()))
    if hasattr(values, "indptr"):
        return int(values.data.nbytes + values.indices.nbytes + values.indptr.nbytes)
    return int(getattr(values, "nbytes", 0))
