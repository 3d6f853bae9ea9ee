"""Quantiles of weighted values: a value of weight two is the value twice.

Legend: N values.
"""

from __future__ import annotations

import numpy as np


def distinct(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct values, and the weight of each."""
    levels, place = np.unique(values, return_inverse=True)
    return levels, np.bincount(place, weight, minlength=len(levels))


def quantiles(levels: np.ndarray, weight: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the smallest of some sorted values below which, itself included, lies each share of the weight."""
    below = np.cumsum(weight)
    # A share that is met but for rounding is met.
    place = np.searchsorted(below, shares * below[-1] * (1 - 1e-12), side="left")
    return levels[place.clip(0, len(levels) - 1)]
