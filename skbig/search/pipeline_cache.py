"""What the candidates of a search share: the rows of a fold, and the fitted steps before the network."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
from sklearn.pipeline import Pipeline

from skbig.estimators.sklearn_compat import rows_of


class PipelineCache:
    """Folds and fitted steps that were made once, to be used again."""

    def __init__(self) -> None:
        self._folds: dict[Any, tuple[Any, Any]] = {}
        self._numbers: dict[str, int] = {}
        self._results: dict[Any, Any] = {}
        self._kept_alive: list[Any] = []

    def fold(self, estimator: Any, X: Any, y: Any, rows: np.ndarray) -> tuple[Any, Any]:
        """Return X and y of some rows: the same objects for the same rows, unless a memory of the user's reads them."""
        if any(pipeline.memory is not None for pipeline in pipelines_of(estimator)):
            return rows_of(estimator, X, y, rows)
        key = (id(X), id(y), joblib.hash(rows))
        if key not in self._folds:
            self._folds[key] = rows_of(estimator, X, y, rows)
        return self._folds[key]

    def number(self, rows: np.ndarray) -> int:
        """Return the number of a fold, by the order in which they were first seen."""
        return self._numbers.setdefault(joblib.hash(rows), len(self._numbers))

    @contextmanager
    def shared_by(self, estimator: Any) -> Iterator[None]:
        """Let a Pipeline look up fitted steps here while it fits; one that has a memory of its own keeps it."""
        pipelines = [pipeline for pipeline in pipelines_of(estimator) if pipeline.memory is None]
        for pipeline in pipelines:
            pipeline.memory = self
        try:
            yield
        finally:
            for pipeline in pipelines:
                pipeline.memory = None

    def cache(self, function: Callable[..., Any], ignore: Sequence[str] = ()) -> Callable[..., Any]:
        """Return the function with a memory, as scikit-learn asks a Pipeline's memory to do.

        The keywords that are ignored make no difference to the result.
        """

        def remembered(transformer: Any, X: Any, y: Any, *args: Any, **keywords: Any) -> Any:
            telling = {name: value for name, value in keywords.items() if name not in ignore}
            key = self._key(transformer, X, y, args, telling)
            if key is None:
                return function(transformer, _copy(X), y, *args, **keywords)
            if key not in self._results:
                self._results[key] = function(transformer, _copy(X), y, *args, **keywords)
                self._kept_alive.append((X, y))  # so that no other object gets their identity
            return self._results[key]

        return remembered

    def _key(self, transformer: Any, X: Any, y: Any, args: Any, keywords: Any) -> Any:
        """What a result depends on; None where it cannot be said."""
        try:
            return (id(X), id(y), content_hash((transformer, args, keywords)))
        except Exception:  # an open file, say
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


def pipelines_of(estimator: Any) -> Iterator[Pipeline]:
    """Yield a Pipeline and, where its last step is one too, that and so on."""
    while isinstance(estimator, Pipeline):
        yield estimator
        estimator = estimator.steps[-1][1]
