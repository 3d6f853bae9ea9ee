"""Shadow models: the same estimator on many halves of the rows, trained as one stack.

Legend: N rows, S shadows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from skbig._utils.device import plain_torch
from skbig.engine.population import Population
from skbig.engine.stacking import cohort, stackable
from skbig.estimators.given import Given
from skbig.estimators.preparation import prepare
from skbig.estimators.search_context import receiving_fits
from skbig.estimators.session import Session

BYTES_AT_ONCE = 2**28
"""Shadows are trained together up to so many bytes of rows."""


def halves(n_rows: int, n_shadows: int, random: np.random.RandomState) -> np.ndarray:
    """Return which rows each shadow trains on, (S, N) of bool: a half, and for the next one the other half."""
    masks = np.zeros((n_shadows, n_rows), dtype=bool)
    for first in range(0, n_shadows, 2):
        masks[first, random.permutation(n_rows)[: n_rows // 2]] = True
        masks[first + 1 : first + 2] = ~masks[first]
    return masks


def trained_shadows(
    estimator: Any, X: Any, y: np.ndarray, masks: np.ndarray, random: np.random.RandomState
) -> list[Any]:
    """Return clones of an estimator, each trained on its rows with a seed of its own.

    Networks of this package are trained as one stack, also behind the steps of a Pipeline, which each shadow fits to
    its own rows; all else by its own `fit`.
    """
    shadows = [_reseeded(clone(estimator), random) for _ in masks]
    at_once = max(1, BYTES_AT_ONCE // max(1, _bytes_of(X) // 2))
    for start in range(0, len(shadows), at_once):
        some = slice(start, start + at_once)
        _train(shadows[some], [(rows_of(X, mask), y[mask]) for mask in masks[some]])
    return shadows


def _train(shadows: Sequence[Any], rows: Sequence[tuple[Any, np.ndarray]]) -> None:
    received: list[tuple[Any, Given]] = []
    with receiving_fits(lambda network, given, held: received.append((network, given))):
        for shadow, (X, y) in zip(shadows, rows, strict=True):
            shadow.fit(X, y)
    groups: dict[Any, list[Session]] = {}
    for network, given in received:
        session = prepare(network, given, Given(None, None))
        groups.setdefault(cohort(session) if stackable(session) else id(session), []).append(session)
    for sessions in groups.values():
        _train_together(sessions)


def _train_together(sessions: list[Session]) -> None:
    if len(sessions) == 1:
        sessions[0].fit()
        return
    population = Population(sessions)
    with plain_torch(), sessions[0].backend.products():
        population.train()
    for session in sessions:
        if session in population.failed:
            prepare(session.estimator, session.given, Given(None, None)).fit()  # alone it says what is wrong
        else:
            session.keep()


def _reseeded(estimator: Any, random: np.random.RandomState) -> Any:
    """Give an estimator, and all that is within it, seeds of its own."""
    names = [name for name in estimator.get_params() if name == "random_state" or name.endswith("__random_state")]
    return estimator.set_params(**{name: int(random.randint(2**31 - 1)) for name in names})


def rows_of(X: Any, which: np.ndarray) -> Any:
    """Return some rows of an array, a sparse matrix or a table of pandas."""
    return X.iloc[np.flatnonzero(which)] if hasattr(X, "iloc") else X[which]


def _bytes_of(X: Any) -> int:
    if hasattr(X, "memory_usage"):
        return int(X.memory_usage().sum())
    return int(getattr(X, "nbytes", 0) or getattr(getattr(X, "data", None), "nbytes", 0))
