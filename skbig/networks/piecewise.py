"""Numbers as piecewise linear functions of them.

Legend: M members, R rows, F numbers, B bins, D functions of a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.networks.layer import Layer, Parameter, TrainingPass


@dataclass(frozen=True)
class PiecewiseLinear(Layer):
    r"""Learn some piecewise linear functions of each number: the piecewise linear encoding, and a matrix on it.

    The bins of a number in [0, 1] have equal width, :math:`1 / B`. Bin b is :math:`t_b = \min(1, \max(0, B x - b))`
    full, where the first may have less than nothing and the last more than all, and function d is
    :math:`c_d + \sum_b t_b w_{bd}` [1]_. Put scikit-learn's ``QuantileTransformer`` in front, and the bins are those of
    quantiles.

    Parameters
    ----------
    n_in : int
        Numbers of a row.
    n_bins : int
        Bins of each.
    width : int
        Functions of each.
    begins_straight : bool, default=False
        Whether a function begins as a straight line, which few rows bend less; else each bin has a random slope.
    n_rectified : int, default=0
        So many functions of each number, the first ones, are rectified: :math:`\max(0, \cdot)`.

    References
    ----------
    .. [1] Gorishniy, Rubachev and Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning",
       NeurIPS 2022, section 3.2.

    Examples
    --------
    >>> import torch
    >>> from skbig.networks import PiecewiseLinear
    >>> layer = PiecewiseLinear(n_in=1, n_bins=2, width=1)
    >>> tables = {"table": torch.tensor([[[4.0], [-2.0]]]), "bias": torch.tensor([[1.0]])}
    >>> layer.forward(torch.tensor([[0.0], [0.25], [0.5], [1.0]]), tables, {}, None).flatten().tolist()
    [1.0, 3.0, 5.0, 3.0]
    """

    n_in: int
    n_bins: int
    width: int
    begins_straight: bool = False
    n_rectified: int = 0

    @property
    def n_units(self) -> int:
        return self.n_in * self.width

    def parameters(self) -> dict[str, Parameter]:
        table = Parameter((self.n_in, self.n_bins, self.width), "embedding")
        return {"table": table, "bias": Parameter((1, self.n_units), "bias")}

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        bound = 1 / np.sqrt(self.n_bins)
        shape = (self.n_in, self.n_bins, self.width)
        if self.begins_straight:  # which has risen as far at the end, in the mean
            slope = random.uniform(-1, 1, (self.n_in, 1, self.width)) / self.n_bins
            table = np.repeat(slope, self.n_bins, axis=1)
        else:
            table = random.uniform(-bound, bound, shape)
        return {"table": table, "bias": random.uniform(-bound, bound, (1, self.n_units))}

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        assert isinstance(X, Tensor)
        # On a CPU rows of a table are read; a GPU adds up gradients of rows that are read twice in no certain order.
        values = self._read(X, parameters["table"]) if X.device.type == "cpu" else self._multiplied(X, parameters)
        return self._rectified(values + parameters["bias"])

    def _rectified(self, values: Tensor) -> Tensor:
        """Rectify some functions of each number."""
        if not self.n_rectified:
            return values
        function = torch.arange(self.n_units, device=values.device) % self.width
        least = torch.where(function < self.n_rectified, 0.0, -math.inf)
        return values.clamp(min=least.to(values.dtype))

    def _read(self, X: Tensor, table: Tensor) -> Tensor:
        """Take what the bins up to the last one add up to, and go back along its slope: (..., R, F * D)."""
        bins = (X * self.n_bins).floor().clamp(0, self.n_bins - 1)
        empty = (bins + 1 - X * self.n_bins).unsqueeze(-1)
        both = torch.cat([table.cumsum(-2), table], -1).flatten(0, -2)
        n_tables = both.shape[0] // self.n_bins
        first = torch.arange(n_tables, device=X.device).view(-1, 1, self.n_in) * self.n_bins  # of each table
        index = bins.long() + (first if X.dim() == 3 else first.squeeze(0))
        # The gradient of `gather` sorts by rows first; that of `embedding` adds row by row, in twice the time.
        read = both.gather(0, index.reshape(-1, 1).expand(-1, both.shape[1])).unflatten(0, index.shape)
        end, slope = read.split(self.width, -1)
        return torch.addcmul(end, empty, slope, value=-1).flatten(-2)

    def _multiplied(self, X: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Multiply how full the bins are with the table: (..., R, F * D)."""
        table = parameters["table"]
        place = (X * self.n_bins).unsqueeze(-1)
        full = (place - torch.arange(self.n_bins, device=X.device)).clamp(0, 1)
        full = torch.cat([full[..., :1] + place.clamp_max(0), full[..., 1:]], -1)
        full = torch.cat([full[..., :-1], full[..., -1:] + (place - self.n_bins).clamp_min(0)], -1)
        return (full.transpose(-3, -2) @ table).transpose(-3, -2).flatten(-2)
