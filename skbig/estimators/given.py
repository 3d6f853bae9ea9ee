"""Rows, targets and weights, as the user gave them and then checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skbig.data.streaming.lazy_rows import LazyRows


@dataclass(frozen=True)
class Given:
    """Rows, targets and weights; as the user gave them, then checked."""

    X: Any
    y: Any
    weight: np.ndarray | None = None

    def take(self, index: np.ndarray) -> Given:
        """Return some of the rows."""
        X = self.X.take(index) if isinstance(self.X, LazyRows) else self.X[index]
        return Given(X, self.y[index], None if self.weight is None else self.weight[index])

    def without_weightless(self) -> Given:
        """Drop rows of weight zero: they take no part in anything, not even in the size of a batch."""
        if self.weight is None or self.weight.all():
            return self
        return self.take(np.flatnonzero(self.weight))
