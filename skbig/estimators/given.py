"""Rows, targets and weights, as the user gave them and then checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skbig.data.streaming.lazy_rows import LazyRows
from skbig.estimators.tensors import on_host


@dataclass(frozen=True)
class Given:
    """Rows, targets and weights; as the user gave them, then checked."""

    X: Any
    y: Any
    weight: np.ndarray | None = None

    def on_host(self, *names: str) -> Given:
        """Return the same with arrays in place of tensors; `names` are those that the user gave them under."""
        return Given(*map(on_host, (self.X, self.y, self.weight), names))

    def take(self, index: np.ndarray) -> Given:
        """Return some of the rows."""
        X = self.X.take(index) if isinstance(self.X, LazyRows) else self.X[index]
        return Given(X, self.y[index], None if self.weight is None else self.weight[index])

    def without_weightless(self) -> Given:
        """Drop rows of weight zero: they take no part in anything, not even in the size of a batch."""
        if self.weight is None or self.weight.all():
            return self
        return self.take(np.flatnonzero(self.weight))
