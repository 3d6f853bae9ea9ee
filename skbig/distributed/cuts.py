"""How parameters are cut into parts, of which each of several processes holds one.

Legend: M members, n ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cut:
    """How one parameter is cut.

    The parts are those of ``torch.chunk``: all of the same length but for the last ones, which may be empty.

    Attributes
    ----------
    shape : tuple of int
        The matrix that is cut, members axis left out: the parameter, or a line of its numbers, ``(numbers, 1)``.
    dim : {0, 1} or None
        Along which dim; None: every rank has it whole.
    """

    shape: tuple[int, int]
    dim: int | None

    def bounds(self, rank: int, n_ranks: int) -> tuple[int, int]:
        """Return where the part of a rank begins and ends along `dim`."""
        if self.dim is None:
            return 0, self.shape[0]
        size = self.shape[self.dim]
        length = -(-size // n_ranks)
        return min(rank * length, size), min((rank + 1) * length, size)

    def part_shape(self, rank: int, n_ranks: int) -> tuple[int, int]:
        """Return the shape of a rank's part."""
        start, stop = self.bounds(rank, n_ranks)
        n_in, n_out = self.shape
        return (n_in, stop - start) if self.dim == 1 else (stop - start, n_out)

    def part(self, whole: np.ndarray, rank: int, n_ranks: int) -> np.ndarray:
        """Return a rank's part of the numbers of a parameter, (M, 1, whole) -> (M, 1, part)."""
        start, stop = self.bounds(rank, n_ranks)
        own = whole.reshape(len(whole), *self.shape)
        own = own[:, :, start:stop] if self.dim == 1 else own[:, start:stop]
        return own.reshape(len(whole), 1, -1)

    def whole(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Put the parts of all ranks together again, (M, 1, part) -> (M, 1, whole)."""
        if self.dim is None:
            return parts[0]
        shapes = [self.part_shape(rank, len(parts)) for rank in range(len(parts))]
        laid = [part.reshape(len(part), *shape) for part, shape in zip(parts, shapes, strict=True)]
        return np.concatenate(laid, self.dim + 1).reshape(len(parts[0]), 1, -1)
