"""Random numbers of a model of texts: a function of the row and of the position in its text.

How many positions a batch has depends on its longest text, and so on the other rows. A random number must not: a member
trains the same alone and in a stack, and a batch the same whole and in parts.

Legend: M members, R rows, L positions of a batch, H heads, D numbers of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from skbig._utils.random import Noise
from skbig.networks.modules.draws import CountedDraws


class PlacedDraws(CountedDraws):
    """Takes the place of the operations that draw, in tensors whose first axis is that of the members' rows.

    Parameters
    ----------
    noise : Noise
        Of M members.
    n_rows : int
        Of a member.
    most_positions : int
        How many positions the longest text may have.
    """

    def __init__(self, noise: Noise, n_rows: int, most_positions: int) -> None:
        super().__init__(noise, n_rows, stacked=False)
        self._most = most_positions

    def _in_rows(self, shape: torch.Size, draw: Callable[[Noise, int, int], Tensor]) -> Tensor:
        """Return numbers of shape (M R, ...)."""
        if shape[0] != self._noise.n_members * self._n_rows:
            raise ValueError(
                f"it draws random numbers of shape {tuple(shape)}, whose first axis is not that of the texts. Use a "
                "model without dropout there, or tune='head'."
            )
        columns, whole_width = self._columns(shape[1:])
        noise = self._noise.of_columns(columns, whole_width)
        return draw(noise, self._n_rows, math.prod(shape[1:])).view(shape)

    def _columns(self, own: Sequence[int]) -> tuple[Tensor, int]:
        """Return where numbers of a shape stand in those of the longest text, and how many these are.

        Positions are the first axis of vectors (L, D), and both axes of an attention's weights (H, L, L).
        """
        positions = {2: (0,), 3: (1, 2)}.get(len(own), ())
        whole = [self._most if axis in positions else size for axis, size in enumerate(own)]
        place = torch.zeros((), dtype=torch.int64, device=self._noise.device)
        for axis, size in enumerate(own):
            along = torch.arange(size, device=place.device)
            place = place.unsqueeze(-1) + along * math.prod(whole[axis + 1 :])
        return place.flatten(), math.prod(whole)
