"""What becomes of a column of numbers: a place among bins, or a scaled number; and whether it was missing.

Legend: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skbig.tables.quantiles import distinct, quantiles

CLIP = 3.0
"""Scaled numbers are bent so that they stay within this bound."""


@dataclass(frozen=True)
class Numbers:
    """A column of numbers, fitted.

    Attributes
    ----------
    fill : float
        What stands for a missing one: the median.
    has_missing : bool
        Whether some were missing and some not, so that a column says which.
    centre, scale : float
        Median and interquartile range; for a column that is mostly one value, half of its range.
    knots, places : ndarray (K,)
        Rising numbers, and their places in [0, 1]: what lies between two knots is placed between their places.
    n_bins : int
        How many bins there are in [0, 1].
    """

    fill: float
    has_missing: bool
    centre: float
    scale: float
    knots: np.ndarray
    places: np.ndarray
    n_bins: int

    @property
    def is_constant(self) -> bool:
        """Whether nothing can be learnt from it."""
        return len(self.knots) < 2

    def filled(self, values: np.ndarray) -> np.ndarray:
        """Return the numbers with the median in the place of missing ones."""
        return np.where(np.isnan(values), self.fill, values)

    def placed(self, values: np.ndarray) -> np.ndarray:
        """Return the place of each number among the knots, in [0, 1]."""
        return np.interp(self.filled(values), self.knots, self.places)

    def among(self, n_bins: int) -> Numbers:
        """Return the column placed in the first of more bins."""
        places = self.places if n_bins == self.n_bins else self.places * (self.n_bins / n_bins)
        return replace(self, places=places, n_bins=n_bins)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Return ``z / sqrt(1 + (z / 3)^2)`` of the scaled numbers z: far ones are drawn near."""
        z = (self.filled(values) - self.centre) / self.scale
        return np.asarray(z / np.sqrt(1 + (z / CLIP) ** 2))


def fit_numbers(values: np.ndarray, weight: np.ndarray, n_bins: int, few_levels: int = 0) -> Numbers:
    """Fit a column of numbers (N,), NaN where missing; rows of weight zero count for nothing.

    It has as many bins as are asked for; more, where each of up to `few_levels` levels is to have its own place.
    """
    counted = weight > 0
    seen = counted & ~np.isnan(values)
    has_missing = bool((counted & ~seen).any())
    if not seen.any():
        return Numbers(0.0, False, 0.0, 1.0, np.zeros(1), np.zeros(1), n_bins)
    levels, share = distinct(values[seen], weight[seen])
    low, middle, high = quantiles(levels, share, np.array([0.25, 0.5, 0.75]))
    scale = high - low or (levels[-1] - levels[0]) / 2 or 1.0
    if len(levels) <= few_levels:
        n_bins = max(n_bins, len(levels) - 1)
    knots = _knots(levels, share, n_bins)
    places = _places(len(knots), n_bins)
    return Numbers(float(middle), has_missing, float(middle), float(scale), knots, places, n_bins)


def _knots(levels: np.ndarray, weight: np.ndarray, n_bins: int) -> np.ndarray:
    """Return at most ``n_bins + 1`` knots: every level, or quantiles.

    Where many rows have the same value quantiles coincide; the knots that are left are quantiles of the other levels,
    each counted once.
    """
    if len(levels) <= n_bins + 1:
        return levels
    knots = np.unique(quantiles(levels, weight, np.linspace(0, 1, n_bins + 1)))
    knots = np.union1d(knots, levels[[0, -1]])
    others = np.setdiff1d(levels, knots)
    n_left = n_bins + 1 - len(knots)
    if n_left > 0:
        place = np.linspace(0, len(others) - 1, n_left + 2)[1:-1]
        knots = np.union1d(knots, others[np.unique(place.round().astype(int))])
    return knots[: n_bins + 1] if len(knots) > n_bins + 1 else knots


def _places(n_knots: int, n_bins: int) -> np.ndarray:
    """Spread knots over the edges of the bins, which are at multiples of ``1 / n_bins``."""
    if n_knots == 1:
        return np.zeros(1)
    return np.asarray(np.linspace(0, n_bins, n_knots).round() / n_bins)
