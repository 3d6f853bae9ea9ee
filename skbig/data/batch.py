"""Some rows for each member, as a step takes them.

Legend: M members, R rows of a batch, F features, K outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from skbig._utils.sparse import SparseRows


class Batch(NamedTuple):
    """Some rows for each member. For one member the members axis is left out.

    Attributes
    ----------
    X : Tensor (M, R, F), or sparse rows
    y : Tensor (M, R) of class indices, or (M, R, K)
    share : Tensor (M, R)
        Each row's share of the loss: its weight over the number of rows.
    first_row : int
        Where the rows begin in the whole batch, when they are a part of one.
    sizes : tuple of int, or None
        How many rows each member has, where some have fewer than others; the rest are padding, of share zero.
    n_whole : int or None
        How many rows the whole batch has, when these are a part of one.
    equal : bool
        Whether all rows are known to have the same share.
    """

    X: Tensor | SparseRows
    y: Tensor
    share: Tensor
    first_row: int = 0
    sizes: tuple[int, ...] | None = None
    n_whole: int | None = None
    equal: bool = False

    @property
    def n_rows(self) -> int:
        return self.share.shape[-1]

    @property
    def counted_rows(self) -> int:
        """Rows of the whole batch, by which its loss and its penalty are counted."""
        return self.n_rows if self.n_whole is None else self.n_whole

    def parts(self, n_parts: int) -> Iterator[Batch]:
        """Split a batch along its rows; the shares stay those of the whole."""
        bounds = np.linspace(0, self.n_rows, min(n_parts, self.n_rows) + 1).astype(int).tolist()
        for start, stop in itertools.pairwise(bounds):
            yield self.part(start, stop)

    def part(self, start: int, stop: int) -> Batch:
        """Return some of the rows; their shares stay those of the whole."""
        axis = self.share.dim() - 1
        y, share = (tensor.narrow(axis, start, stop - start) for tensor in (self.y, self.share))
        X = self.X.narrow(axis, start, stop - start) if isinstance(self.X, Tensor) else self.X.part(start, stop)
        return Batch(X, y, share, self.first_row + start, n_whole=self.counted_rows, equal=self.equal)
