"""What a fitted pipeline tells of the columns that it reads: which are text, and values that it knows."""

from __future__ import annotations

from collections import UserList
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


def known_values(estimator: Any) -> dict[int, Any]:
    """Return, for columns that an encoder or a vectorizer reads, by their index, a value that it knows."""
    known: dict[int, Any] = {}
    for step, columns in _readers(estimator):
        for part in _steps(step):
            values = _values(part)
            if values is not None:
                known.update(zip(columns, values, strict=False))
                break
    return known


def reads_documents(estimator: Any) -> bool:
    """Whether a row is a text, and not a list of features."""
    return hasattr(_steps(estimator)[0], "build_analyzer")


def _values(step: Any) -> Iterable[Any] | None:
    if hasattr(step, "build_analyzer"):
        return [""]
    categories = getattr(step, "categories_", None)
    return None if categories is None else [_plain(each[0]) if len(each) else 0 for each in categories]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _readers(estimator: Any) -> Iterator[tuple[Any, list[int]]]:
    """Yield the steps that read columns of the input, and the indices of these."""
    first = _steps(estimator)[0]
    names = [str(name) for name in getattr(first, "feature_names_in_", ())]
    n_features = getattr(first, "n_features_in_", 0)
    if not hasattr(first, "transformers_"):
        if not hasattr(first, "build_analyzer"):
            yield first, list(range(n_features))
        return
    for _, step, columns in first.transformers_:
        if not isinstance(step, str):  # "drop" or "passthrough"
            yield step, _indices(columns, names, n_features)


def _indices(columns: Any, names: list[str], n_features: int) -> list[int]:
    """Return the columns of a ColumnTransformer as indices: they may be names, indices, a mask or a slice."""
    if isinstance(columns, slice) and isinstance(columns.start or columns.stop, str):
        start = 0 if columns.start is None else names.index(columns.start)
        stop = n_features if columns.stop is None else names.index(columns.stop) + 1
        return list(range(start, stop))
    if isinstance(columns, UserList):  # of scikit-learn 1.6, which warns when it is read
        columns = columns.data
    if not isinstance(columns, slice):
        columns = np.atleast_1d(np.asarray(columns))
        if columns.dtype.kind not in "iub":
            return [names.index(str(name)) for name in columns]
    return [int(index) for index in np.atleast_1d(np.arange(n_features)[columns])]


def _steps(estimator: Any) -> list[Any]:
    """Return the steps of a pipeline, or what is none; of a search, those of its best model."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    return [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
