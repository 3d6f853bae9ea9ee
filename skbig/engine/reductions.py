"""What training asks of all parameters at once: a norm, a sum, whether all numbers are finite.

Legend: M members, P parameters of one member.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from skbig._utils.reduction import all_finite, norm


class Reductions(Protocol):
    """Reduces parameters to few numbers."""

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all parameters, of which a value is that over the parameters of this process."""
        ...

    def norm(self, flat: Tensor) -> Tensor:
        """Return the 2-norm of each member's numbers (M, 1, P): (M, 1, 1)."""
        ...

    def all_finite(self, flat: Tensor) -> bool:
        """Whether all numbers (M, 1, P) are finite."""
        ...


class WholeReductions:
    """Where this process has all parameters."""

    def total(self, value: Tensor) -> Tensor:
        return value

    def norm(self, flat: Tensor) -> Tensor:
        return norm(flat)

    def all_finite(self, flat: Tensor) -> bool:
        return all_finite(flat)


WHOLE = WholeReductions()
