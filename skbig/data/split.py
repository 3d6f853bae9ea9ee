"""Which rows are held out of a training.

scikit-learn's stratified split makes a Python object of every row, which is much memory for many rows.

Legend: N rows, C classes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig.data.tensor_rows import rows_of


def split(n_rows: int, fraction: float, random: np.random.Generator, labels: Any = None) -> tuple[Any, Any]:
    """Return the rows to train on and those that are held out, both rising.

    Parameters
    ----------
    n_rows : int
    fraction : float
        The part that is held out, rounded up.
    random : numpy.random.Generator
    labels : ndarray (N,), Tensor (N,) or None
        Each class is held out in proportion to its rows, and keeps one at least to train on; None: any rows are. The
        rows that a tensor's classes are split into are in tensors beside it.

    Raises
    ------
    ValueError
        When no rows would be left to train on.
    """
    n_held = math.ceil(fraction * n_rows)
    if n_held >= n_rows:
        raise ValueError("no rows would be left to train on")
    chosen = random.permutation(n_rows)[:n_held] if labels is None else _of_each_class(labels, n_held, random)
    if isinstance(chosen, Tensor):
        held_there = torch.zeros(n_rows, dtype=torch.bool, device=chosen.device).index_fill_(0, chosen, True)
        return (~held_there).nonzero().flatten(), held_there.nonzero().flatten()
    held = np.zeros(n_rows, dtype=bool)
    held[chosen] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def distinct(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return which labels there are, (C,), and how many rows each has, (C,), of an array or a tensor."""
    if not isinstance(labels, Tensor):
        return np.unique(labels, return_counts=True)
    classes, counts = torch.unique(labels, return_counts=True)
    return classes.cpu().numpy(), counts.cpu().numpy()


def _of_each_class(labels: Any, n_held: int, random: np.random.Generator) -> Any:
    by_class, counts = _by_class(labels)
    ranges = pairwise(np.cumsum([0, *counts]))
    parts = zip(ranges, _shares(counts, n_held), strict=True)
    places = [start + random.permutation(stop - start)[:n] for (start, stop), n in parts]
    return rows_of(by_class, np.concatenate(places))


def _by_class(labels: Any) -> tuple[Any, np.ndarray]:
    """Return all rows, those of a class after those of another, and how many each class has."""
    if isinstance(labels, Tensor):
        _, code, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        return code.argsort(stable=True), counts.cpu().numpy()
    classes = np.unique(labels)
    codes = np.searchsorted(classes, labels).astype(np.min_scalar_type(len(classes)))
    return np.argsort(codes, kind="stable"), np.bincount(codes, minlength=len(classes))


def _shares(counts: np.ndarray, n_held: int) -> np.ndarray:
    """How many of each class (C,): its share rounded down, one more where most was rounded off, but never all."""
    exact = counts * (n_held / counts.sum())
    shares = np.minimum(np.floor(exact).astype(int), counts - 1)
    order = np.argsort(shares - exact, kind="stable")
    with_room = order[shares[order] < counts[order] - 1]
    shares[with_room[: n_held - shares.sum()]] += 1
    return shares
