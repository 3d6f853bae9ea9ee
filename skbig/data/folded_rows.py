"""Rows of which each member leaves out a part of its own.

Legend: M members, N rows of the set, H rows that a member leaves out, L = N - H rows that it reads, S rows of a part
that all leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np

from skbig.data.rows import Rows, epoch_order
from skbig.data.steps import Order


@dataclass(frozen=True)
class FoldedRows(Rows):
    """A set of rows of which each member leaves out a part: the others have read what may judge it.

    Attributes
    ----------
    left_out : mapping of int to ndarray (H,)
        Which rows a member does not read, by its seed; all leave out as many.
    """

    left_out: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Rows that a member reads."""
        return super().n_rows - len(next(iter(self.left_out.values())))

    def n_shared(self, size: int) -> int:
        """Return how many rows of each fold all members leave out, where a fold has so many rows."""
        n_left_out = len(next(iter(self.left_out.values())))
        return (n_left_out - size) // (len(self.left_out) - 1)

    @cached_property
    def read(self) -> dict[int, np.ndarray]:
        """Which rows (L,) a member reads, by its seed."""
        every = np.arange(super().n_rows)
        return {seed: np.setdiff1d(every, rows, assume_unique=True) for seed, rows in self.left_out.items()}

    def order(self, seeds: list[int], epoch: int, shuffle: bool, batch_size: int) -> Order:
        """Return in which order members read the rows: a function of their seeds and the epoch."""
        del batch_size
        distinct = list(dict.fromkeys(seeds))
        orders = [self.read[seed][epoch_order([seed], epoch, self.n_rows, shuffle)[0]] for seed in distinct]
        return Order(np.stack(orders), np.array([distinct.index(seed) for seed in seeds]))


def leave_out_alike(one: Rows, other: Rows) -> bool:
    """Whether members leave out the same rows of two sets."""
    if not (isinstance(one, FoldedRows) and isinstance(other, FoldedRows)):
        return False
    if one.left_out.keys() != other.left_out.keys():
        return False
    return all(np.array_equal(rows, other.left_out[seed]) for seed, rows in one.left_out.items())


def folded(rows: Rows, left_out: Mapping[int, np.ndarray]) -> FoldedRows:
    """Return a set of rows of which members leave out a part."""
    return FoldedRows(**{each.name: getattr(rows, each.name) for each in fields(rows)}, left_out=left_out)


MAX_PART = 625
"""A part of more rows would judge its member no better: they are worth more to learn from."""

SHARED_FROM = 2_000
"""Of more rows all members leave out some: of fewer these would say nothing."""

ROWS_PER_SHARED, MAX_SHARED = 40, 400
"""They leave out one of so many, and no more than would say no more."""


def n_shared(n_rows: int, n_folds: int, size: int) -> int:
    """Return how many rows of each of some folds all members leave out, where a fold has so many rows."""
    if n_rows <= SHARED_FROM:
        return 0
    # Places of different folds differ, so that of two rows of a class, which lie side by side, one is left out at most.
    return min(min(n_rows // ROWS_PER_SHARED, MAX_SHARED) // n_folds, size // n_folds)


def shared_places(n_folds: int, size: int, n_each: int) -> np.ndarray:
    """Return which places of each of some folds have rows that all members leave out, (M, S).

    By these one can tell what the mean of members comes to on new rows, which each of them alone cannot tell. They are
    spread over what was dealt out, each fold's between those of the others: where that is sorted by class, all leave
    out about as large a share of each class, and of a few rows at most one.
    """
    one_after_another = np.arange(n_each) * n_folds + np.arange(n_folds)[:, None]
    return (2 * one_after_another + 1) * size // max(1, 2 * n_each * n_folds)


def with_shared(folds: np.ndarray, n_each: int) -> np.ndarray:
    """Return which rows members leave out: each its own fold (M, H), and what all leave out of the others'."""
    n_folds, size = folds.shape
    shared = np.take_along_axis(folds, shared_places(n_folds, size, n_each), axis=1)
    return np.stack([np.r_[own, np.delete(shared, m, axis=0).ravel()] for m, own in enumerate(folds)])


def deal_out(n_rows: int, n_folds: int, random: np.random.Generator, labels: np.ndarray | None) -> np.ndarray:
    """Return disjoint folds of rows, (M, H): as large as can and need be, with about as many rows of a class in each.

    A class of one row is in none: whoever did not read it could not know it.
    """
    order = random.permutation(n_rows)
    if labels is not None:
        _, of_row, counts = np.unique(labels, return_inverse=True, return_counts=True)
        order = order[counts[of_row[order]] > 1]
    size = min(len(order) // n_folds, MAX_PART)
    order = order[: size * n_folds]
    if labels is not None:
        order = order[np.argsort(of_row[order], kind="stable")]
    return order.reshape(size, n_folds).T
