"""What the transformers that mask a table share: which columns they change, and how a table is put together again.

Legend: N rows, F columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data


class Masking(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """A transformer that changes cells, and keeps rows, columns and their names."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn what is needed of a table.

        Parameters
        ----------
        X : {array-like, pandas DataFrame} of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : estimator
        """
        del y
        self._learn(self._columns(X, reset=True))
        return self

    def transform(self, X: Any) -> Any:
        """Return the masked table: an array, or a DataFrame where X is one.

        Parameters
        ----------
        X : {array-like, pandas DataFrame} of shape (n_samples, n_features)

        Returns
        -------
        X_new : {ndarray, pandas DataFrame} of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        return _put_together(X, self._masked(self._columns(X, reset=False)))

    def _learn(self, columns: list[np.ndarray]) -> None:
        raise NotImplementedError

    def _masked(self, columns: list[np.ndarray]) -> list[np.ndarray]:
        raise NotImplementedError

    def _columns(self, X: Any, *, reset: bool) -> list[np.ndarray]:
        """Check a table, and return its columns, (N,) each."""
        if hasattr(X, "iloc"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if not len(X):
                raise ValueError(f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is required.")
            return [X.iloc[:, i].to_numpy() for i in range(X.shape[1])]
        kept = {"dtype": None, "ensure_all_finite": "allow-nan", "ensure_2d": True}
        return list(validate_data(self, X, reset=reset, **kept).T)

    def _places(self, columns: Any, name: str) -> list[int]:
        """Return where columns are that are told by name or number; None stands for all."""
        if columns is None:
            return list(range(self.n_features_in_))
        if isinstance(columns, str | int) or not isinstance(columns, Sequence | np.ndarray | Mapping):
            raise ValueError(
                f"The {name!r} parameter of {type(self).__name__} must be a list of names or numbers of columns, or "
                f"None for all. Got {columns!r} instead."
            )
        return [self._place(column, name) for column in columns]

    def _place(self, column: Any, name: str) -> int:
        names = list(getattr(self, "feature_names_in_", []))
        if column in names:
            return names.index(column)
        if isinstance(column, int | np.integer) and -self.n_features_in_ <= column < self.n_features_in_:
            return int(column) % self.n_features_in_
        known = names or f"0 to {self.n_features_in_ - 1}"
        raise ValueError(
            f"The {name!r} parameter of {type(self).__name__} must name columns of X: {known}. Got {column!r}."
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def is_missing(values: np.ndarray) -> np.ndarray:
    """Return which values are None or not a number, (N,) of bool."""
    if values.dtype.kind in "fcmM":
        return np.asarray(np.isnat(values) if values.dtype.kind in "mM" else np.isnan(values))
    if values.dtype.kind != "O":
        return np.zeros(len(values), dtype=bool)
    # What is not a number is not equal to itself; the missing value of pandas has no answer.
    return np.array(
        [value is None or type(value).__name__ == "NAType" or value != value for value in values], dtype=bool
    )


def without(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return values as objects, with None where they are missing."""
    kept = values.astype(object)
    kept[missing] = None
    return kept


def texts_of(column: np.ndarray) -> list[str | None]:
    """Return values as texts, and None where they are missing: alike, in whatever type a column keeps them."""
    if column.dtype.kind in "mM":  # of another unit a time would have another text, and in nanoseconds be a number
        column = column.astype(f"{column.dtype.kind}8[us]")
    missing = is_missing(column)
    return [None if absent else _text(value) for value, absent in zip(column.tolist(), missing, strict=True)]


def _text(value: Any) -> str:
    """Return a value as text: a whole number alike, whether it is kept as a float or not."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)


def k_anonymity(X: Any, columns: Sequence[Any] | None = None) -> int:
    """Return how many rows at least are alike in some columns: the k of k-anonymity [1]_.

    Parameters
    ----------
    X : {array-like, pandas DataFrame} of shape (n_samples, n_features)
    columns : sequence of str or int, default=None
        Those by which somebody might be known; None are all.

    Returns
    -------
    k : int
        Rows of the rarest combination of values. Missing values are alike.

    References
    ----------
    .. [1] Sweeney, "k-Anonymity: A Model for Protecting Privacy", IJUFKS 10(5), 2002.

    Examples
    --------
    >>> from skbig.privacy import k_anonymity
    >>> k_anonymity([["20-30", "12*"], ["20-30", "12*"], ["30-40", "12*"]])
    1
    """
    table = Masking()
    values = table._columns(X, reset=True)
    places = table._places(columns, "columns")
    return min(counts_of(combinations([values[place] for place in places])).values())


def combinations(columns: Sequence[np.ndarray]) -> list[tuple[Any, ...]]:
    """Return what each row holds, as what can be compared; missing values are alike."""
    plain = [without(column, is_missing(column)) for column in columns]
    return list(zip(*plain, strict=True))


def counts_of(rows: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], int]:
    """Return how often each combination occurs, in the order in which they come."""
    counts: dict[tuple[Any, ...], int] = {}
    for row in rows:
        counts[row] = counts.get(row, 0) + 1
    return counts


def _put_together(X: Any, columns: list[np.ndarray]) -> Any:
    """Return columns as a table like X."""
    if hasattr(X, "iloc"):
        import pandas as pd

        named = {i: pd.Series(column, index=X.index) for i, column in enumerate(columns)}
        return pd.DataFrame(named, index=X.index).set_axis(X.columns, axis=1)
    numbers = all(column.dtype.kind in "biuf" for column in columns)
    dtype = np.result_type(*columns) if numbers else object
    return np.stack([column.astype(dtype) for column in columns], axis=1)
