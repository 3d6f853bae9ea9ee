"""Categories as vectors: of zeros and a one, or learned.

Legend: M members, R rows, C columns of codes, L codes of all columns, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.networks.layer import Layer, Parameter, TrainingPass


@dataclass(frozen=True)
class OneHot(Layer):
    """Put a column for each code but 0 in the place of a column of codes.

    Code 0 stands for what is not known, and becomes zeros.

    Parameters
    ----------
    n_codes : tuple of int
        Of each column of codes how many there are, code 0 counted.

    Examples
    --------
    >>> import torch
    >>> from skbig.networks import OneHot
    >>> OneHot((3, 2)).forward(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), {}, {}, None)
    tensor([[0., 1., 0.],
            [1., 0., 1.]])
    """

    n_codes: tuple[int, ...]

    @property
    def n_in(self) -> int:
        """Columns of codes."""
        return len(self.n_codes)

    @property
    def n_units(self) -> int:
        return sum(self.n_codes) - len(self.n_codes)

    def parameters(self) -> dict[str, Parameter]:
        return {}

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        del random
        return {}

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        assert isinstance(X, Tensor)
        columns = X.split(1, -1)
        known = [column == torch.arange(1, n, device=X.device) for column, n in zip(columns, self.n_codes, strict=True)]
        return torch.cat(known, -1).to(X.dtype)


@dataclass(frozen=True)
class Embedding(Layer):
    """Put a learned vector in the place of each code.

    Code 0 stands for what is not known; its vector begins at zero.

    Parameters
    ----------
    n_codes : tuple of int
        Of each column of codes how many there are, code 0 counted.
    width : int, default=8
        Numbers of a vector.

    Examples
    --------
    >>> import torch
    >>> from skbig.networks import Embedding
    >>> layer = Embedding(n_codes=(3, 2), width=1)
    >>> tables = {"table": torch.tensor([[0.0], [1.5], [2.5], [0.0], [-1.0]])}
    >>> layer.forward(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), tables, {}, None)
    tensor([[ 2.5000,  0.0000],
            [ 1.5000, -1.0000]])
    """

    n_codes: tuple[int, ...]
    width: int = 8

    @property
    def n_in(self) -> int:
        """Columns of codes."""
        return len(self.n_codes)

    @property
    def n_units(self) -> int:
        return self.n_in * self.width

    @property
    def first(self) -> list[int]:
        """Where the vectors of each column begin in the table."""
        return [0, *accumulate(self.n_codes)][:-1]

    def parameters(self) -> dict[str, Parameter]:
        return {"table": Parameter((sum(self.n_codes), self.width), "embedding")}

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        table = random.normal(scale=0.3, size=(sum(self.n_codes), self.width))
        table[self.first] = 0.0
        return {"table": table}

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        assert isinstance(X, Tensor)
        table = parameters["table"]
        parts = []
        for column, first, n in zip(X.split(1, -1), self.first, self.n_codes, strict=True):
            parts.append(_rows_of(table.narrow(-2, first, n), column.squeeze(-1).long().clamp(0, n - 1)))
        return torch.cat(parts, -1)


def _rows_of(table: Tensor, codes: Tensor) -> Tensor:
    """Read ``table[codes]`` within each member: (M, L, D) and (M, R) -> (M, R, D); or without M."""
    if table.dim() == 2:
        return torch.nn.functional.embedding(codes, table)
    first = torch.arange(table.shape[0], device=table.device).unsqueeze(-1) * table.shape[1]
    return torch.nn.functional.embedding(codes + first, table.flatten(0, 1))
