"""Rows, targets and weights, as the user gave them and then checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skbig.data.array_rows import ArrayRows, is_large
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.estimators.tensors import on_host


@dataclass(frozen=True)
class Given:
    """Rows, targets and weights; as the user gave them, then checked.

    Attributes
    ----------
    X, y : rows and their targets
    weight : ndarray (N,) or None
    soft : ndarray (N, C) or None
        What a row is to be predicted as besides its target, for a loss that reads both.
    """

    X: Any
    y: Any
    weight: np.ndarray | None = None
    soft: np.ndarray | None = None

    @classmethod
    def unchecked(cls, X: Any, y: Any, weight: Any) -> Given:
        """Return what a user hands over."""
        return cls(X, y, weight)

    def on_host(self, *names: str) -> Given:
        """Return the same with arrays in place of tensors; `names` are those that the user gave them under."""
        X, y, weight = map(on_host, (self.X, self.y, self.weight), names)
        return Given(X, y, weight, self.soft)

    def take(self, index: np.ndarray) -> Given:
        """Return some of the rows; those in memory are copied."""
        return self._with(self.X.take(index) if isinstance(self.X, LazyRows) else self.X[index], index)

    def select(self, index: np.ndarray) -> Given:
        """Return some of the rows, without a copy of many: an index beside all of them."""
        X = self.X
        if isinstance(X, LazyRows | ArrayRows):
            return self._with(X.take(index), index)
        return self._with(ArrayRows(X, X.dtype, index), index) if is_large(X) else self.take(index)

    def _with(self, X: Any, index: np.ndarray) -> Given:
        weight, soft = (None if values is None else values[index] for values in (self.weight, self.soft))
        return Given(X, self.y[index], weight, soft)

    def encoded(self, encode: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return what the loss reads of each row, (N,) or (N, K); with soft targets they come before it, (N, C + K)."""
        hard = encode(self.y)
        return hard if self.soft is None else np.column_stack([self.soft, hard])

    def copied(self) -> Given:
        """Return the same with rows of its own in place of an index."""
        return replace(self, X=self.X.load()) if isinstance(self.X, ArrayRows) else self

    def without_weightless(self) -> Given:
        """Drop rows of weight zero: they take no part in anything, not even in the size of a batch."""
        if self.weight is None or self.weight.all():
            return self
        return self.select(np.flatnonzero(self.weight))
