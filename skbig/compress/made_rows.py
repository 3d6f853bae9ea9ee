"""Rows that are made of rows: near them, and as many as wanted, for a teacher to label.

Legend: N rows, F columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

EXCHANGED = 0.3
"""The share of a row's cells that are made from its neighbour's."""

MAX_LEVELS = 32
"""A category with more levels says nothing of who is near."""


def made_rows(X: Any, n_each: int, seed: int) -> Any:
    """Return `n_each` times as many rows, each of a row and its nearest neighbour, by MUNGE [1]_.

    Three in ten of a row's cells are drawn anew: a number from a normal distribution around the neighbour's, as wide as
    the two differ; anything else, or a whole number, is the neighbour's.

    Parameters
    ----------
    X : ndarray of shape (N, F), or DataFrame
    n_each, seed : int

    References
    ----------
    .. [1] Bucila, Caruana and Niculescu-Mizil, "Model Compression", KDD 2006.
    """
    random, frame = np.random.RandomState(seed), hasattr(X, "iloc")
    if sparse.issparse(X) or not (frame or (isinstance(X, np.ndarray) and X.ndim == 2)):
        raise ValueError(
            "n_made needs X as a dense array or a data frame of pandas: rows are made cell by cell. Use n_made=0, and "
            "give more rows as X_unlabeled."
        )
    columns = [X.iloc[:, j] for j in range(X.shape[1])] if frame else list(X.T)
    near = _neighbours(columns)
    made = {j: np.concatenate([_made(column, near, random) for _ in range(n_each)]) for j, column in enumerate(columns)}
    if not frame:
        return np.column_stack([made[j] for j in made]).astype(X.dtype)
    import pandas as pd

    series = [pd.Series(made[j], dtype=X.dtypes.iloc[j], name=X.columns[j]) for j in made]
    return pd.concat(series, axis=1)


def _made(column: Any, near: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return a column with some of its cells drawn anew."""
    own = np.asarray(column)
    theirs, change = own[near], random.uniform(size=len(own)) < EXCHANGED
    if own.dtype.kind == "f":
        spread = np.nan_to_num(np.abs(own - theirs))
        theirs = np.where(np.isfinite(theirs), random.normal(np.nan_to_num(theirs), spread), theirs)
    return np.where(change, theirs, own)


def _neighbours(columns: list[Any]) -> np.ndarray:
    """Return the number of each row's nearest other row, (N,), by numbers of one scale and categories that agree."""
    Z = np.column_stack(
        [part for column in columns for part in _scaled(np.asarray(column))] or [np.zeros(len(columns[0]))]
    )
    found: np.ndarray = NearestNeighbors(n_neighbors=2).fit(Z).kneighbors(Z, return_distance=False)
    return np.where(found[:, 0] == np.arange(len(Z)), found[:, 1], found[:, 0])  # of equal rows another may come first


def _scaled(column: np.ndarray) -> list[np.ndarray]:
    if column.dtype.kind in "fiub":
        values = column.astype(float)
        missing = np.isnan(values)
        values[missing] = 0.0 if missing.all() else values[~missing].mean()
        return [(values - values.mean()) / (values.std() or 1.0)]
    levels, codes = np.unique(column.astype(str), return_inverse=True)
    return [(codes == level).astype(float) for level in range(len(levels))] if len(levels) <= MAX_LEVELS else []
