"""Layers side by side, each for columns of its own.

Legend: M members, R rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.networks.layer import Layer, Parameter, TrainingPass


@dataclass(frozen=True)
class Columns(Layer):
    """Let each layer read the next columns, and put what they give side by side.

    Columns that are left over are passed on as they are.

    Parameters
    ----------
    n_in : int
        Features of a row.
    parts : tuple of (str, Layer)
        Layers by name, each with `n_in`, the number of columns that it reads. Their parameters are called
        ``name_parameter``.

    Examples
    --------
    >>> from skbig.networks import Columns, Embedding, PiecewiseLinear
    >>> front = Columns(7, (("number", PiecewiseLinear(4, n_bins=8, width=2)), ("category", Embedding((5, 9), 3))))
    >>> front.n_units, list(front.parameters())
    (15, ['number_table', 'number_bias', 'category_table'])
    """

    n_in: int
    parts: tuple[tuple[str, Layer], ...]

    @property
    def n_left(self) -> int:
        """How many columns are passed on."""
        return self.n_in - sum(part.n_in for _, part in self.parts)  # type: ignore[attr-defined]

    @property
    def n_units(self) -> int:
        return self.n_left + sum(part.n_units for _, part in self.parts)

    @property
    def couples_rows(self) -> bool:  # type: ignore[override]
        return any(part.couples_rows for _, part in self.parts)

    @property
    def draws_noise(self) -> bool:
        return any(part.draws_noise for _, part in self.parts)

    def parameters(self) -> dict[str, Parameter]:
        return {f"{name}_{own}": value for name, part in self.parts for own, value in part.parameters().items()}

    def statistics(self) -> dict[str, np.ndarray]:
        return {f"{name}_{own}": value for name, part in self.parts for own, value in part.statistics().items()}

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        return {f"{name}_{own}": value for name, part in self.parts for own, value in part.initial(random).items()}

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        assert isinstance(X, Tensor)
        results, start = [], 0
        for name, part in self.parts:
            size: int = part.n_in  # type: ignore[attr-defined]
            own = {key: parameters[f"{name}_{key}"] for key in part.parameters()}
            moments = {key: statistics[f"{name}_{key}"] for key in part.statistics()}
            results.append(part.forward(X.narrow(-1, start, size), own, moments, training))
            start += size
        if self.n_left:
            results.append(X.narrow(-1, start, self.n_left))
        return results[0] if len(results) == 1 else torch.cat(results, -1)
