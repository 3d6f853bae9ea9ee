"""What is rare is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skbig._utils.validation import Interval, check
from skbig.privacy.masking import Masking, combinations, counts_of, without


class Suppress(Masking):
    """Leave out the values of rows of which fewer than k are alike, so that the table is k-anonymous [1]_.

    The rows stay, and what they hold in other columns; in `columns` their values become missing. So many combinations
    are left out that the rows without values are k or more, too, or none. In another table than that of `fit`, what was
    not frequent there is left out.

    A table that is k-anonymous may still tell of somebody: where all k rows have one diagnosis it is known of each.

    Parameters
    ----------
    k : int, default=5
        How many rows must be alike at least.
    columns : sequence of str or int, default=None
        Those by which somebody might be known: age, place, profession. None are all.

    Attributes
    ----------
    n_suppressed_ : int
        Rows of `fit` without values.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where X has names of columns.

    See Also
    --------
    Generalize : Makes more rows alike beforehand.
    k_anonymity : What a table has come to.

    References
    ----------
    .. [1] Sweeney, "k-Anonymity: A Model for Protecting Privacy", IJUFKS 10(5), 2002.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbig.privacy import Suppress, k_anonymity
    >>> people = pd.DataFrame({"age": ["20-30", "20-30", "60-70", "80-90"], "job": ["nurse"] * 4, "ill": [1, 0, 0, 1]})
    >>> masked = Suppress(k=2, columns=["age", "job"]).fit_transform(people)
    >>> masked["age"].isna().tolist(), k_anonymity(masked, ["age", "job"])
    ([False, False, True, True], 2)
    """

    def __init__(self, k: int = 5, *, columns: Sequence[Any] | None = None) -> None:
        self.k = k
        self.columns = columns

    def _learn(self, columns: list[np.ndarray]) -> None:
        check("k", "Suppress", self.k, Interval(1, None, integer=True))
        n_rows = len(columns[0])
        if n_rows < self.k:
            raise ValueError(f"No {self.k} rows can be alike in a table of n_samples={n_rows}. Use a smaller k.")
        counts = counts_of(self._combinations(columns))
        self._frequent = frozenset(_frequent(counts, self.k))
        self.n_suppressed_ = n_rows - sum(counts[combination] for combination in self._frequent)

    def _masked(self, columns: list[np.ndarray]) -> list[np.ndarray]:
        kept = np.array([combination in self._frequent for combination in self._combinations(columns)], dtype=bool)
        places = set(self._places(self.columns, "columns"))
        return [_left_out(column, kept) if place in places else column for place, column in enumerate(columns)]

    def _combinations(self, columns: list[np.ndarray]) -> list[tuple[Any, ...]]:
        return combinations([columns[place] for place in self._places(self.columns, "columns")])


def _frequent(counts: dict[tuple[Any, ...], int], k: int) -> list[tuple[Any, ...]]:
    """Return the combinations that stay: those of k rows or more, but for the rarest where too few would be left out.

    Rows that hold no values anyway are among those left out.
    """
    nothing = {combination for combination in counts if all(value is None for value in combination)}
    frequent = [combination for combination, n in counts.items() if n >= k and combination not in nothing]
    left_out = sum(counts.values()) - sum(counts[combination] for combination in frequent)
    for combination in sorted(frequent, key=counts.__getitem__):
        if left_out == 0 or left_out >= k:
            break
        frequent.remove(combination)
        left_out += counts[combination]
    return frequent


def _left_out(column: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return a column without some of its values: not a number among numbers, else None."""
    if kept.all():
        return column
    if column.dtype.kind in "biuf":
        return np.where(kept, column, np.nan)
    return without(column, ~kept)
