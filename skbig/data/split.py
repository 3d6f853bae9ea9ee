"""Which rows are held out of a training.

scikit-learn's stratified split makes a Python object of every row, which is much memory for many rows.

Legend: N rows, C classes.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np


def split(
    n_rows: int, fraction: float, random: np.random.Generator, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those that are held out, both rising.

    Parameters
    ----------
    n_rows : int
    fraction : float
        The part that is held out, rounded up.
    random : numpy.random.Generator
    labels : ndarray (N,), or None
        Each class is held out in proportion to its rows, and keeps one at least to train on; None: any rows are.

    Raises
    ------
    ValueError
        When no rows would be left to train on.
    """
    n_held = math.ceil(fraction * n_rows)
    if n_held >= n_rows:
        raise ValueError("no rows would be left to train on")
    held = np.zeros(n_rows, dtype=bool)
    if labels is None:
        held[random.permutation(n_rows)[:n_held]] = True
    else:
        held[_of_each_class(labels, n_held, random)] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _of_each_class(labels: np.ndarray, n_held: int, random: np.random.Generator) -> np.ndarray:
    classes = np.unique(labels)
    code = np.searchsorted(classes, labels).astype(np.min_scalar_type(len(classes)))
    counts = np.bincount(code, minlength=len(classes))
    by_class = np.argsort(code, kind="stable")
    ranges = pairwise(np.cumsum([0, *counts]))
    parts = zip(ranges, _shares(counts, n_held), strict=True)
    return np.concatenate([random.permutation(by_class[start:stop])[:n] for (start, stop), n in parts])


def _shares(counts: np.ndarray, n_held: int) -> np.ndarray:
    """How many of each class (C,): its share rounded down, one more where most was rounded off, but never all."""
    exact = counts * (n_held / counts.sum())
    shares = np.minimum(np.floor(exact).astype(int), counts - 1)
    order = np.argsort(shares - exact, kind="stable")
    with_room = order[shares[order] < counts[order] - 1]
    shares[with_room[: n_held - shares.sum()]] += 1
    return shares
