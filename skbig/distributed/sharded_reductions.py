"""What training asks of all parameters at once, where each process holds a part of them.

Legend: M members, P parameters of one member that this process holds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skbig._utils.reduction import norm


class ShardedReductions:
    """Sums over the processes; each parameter is held by one of them, or by all.

    Parameters
    ----------
    add_up : callable
        Sums a tensor over the processes.
    n_parted : int
        How many numbers of a member this process alone holds; they come first.
    """

    def __init__(self, add_up: Callable[[Tensor], Tensor], n_parted: int) -> None:
        self._add_up, self._n_parted = add_up, n_parted

    def total(self, value: Tensor) -> Tensor:
        return self._add_up(value)

    def norm(self, flat: Tensor) -> Tensor:
        parted, rest = flat.split([self._n_parted, flat.shape[2] - self._n_parted], 2)
        return (self._add_up(norm(parted).square()) + norm(rest).square()).sqrt()

    def all_finite(self, flat: Tensor) -> bool:
        return not bool(self._add_up((~torch.isfinite(flat).all()).to(flat.dtype).view(1)))
