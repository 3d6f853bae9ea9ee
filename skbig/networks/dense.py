"""The dense layer: ``affine -> normalization -> activation -> dropout``.

Legend: M members, R rows, I inputs, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.networks.activations import ACTIVATIONS
from skbig.networks.initialization import glorot_uniform
from skbig.networks.layer import Layer, Parameter, TrainingPass
from skbig.networks.normalization import batch_moments, batch_norm, layer_norm
from skbig.networks.product_tap import tap_of_product
from skbig.networks.products import affine
from skbig.networks.row_gradients import Tap, copies

NORMALIZATIONS = (None, "batch", "layer")
SCALING = ("scale", "offset")


@dataclass(frozen=True)
class Dense(Layer):
    """A weighted sum of all inputs for each output, then what is made of the sums.

    Parameters
    ----------
    n_in, n_out : int
    activation : str
        One of `ACTIVATIONS`.
    dropout : float, or tensor of shape (M, 1, 1) where members differ
        Share of the outputs that is zeroed at random while training.
    normalization : {None, 'batch', 'layer'}
        What is normalised before the activation.
    gain : float
        First weights are drawn from U(-b, b) with ``b = sqrt(gain / (n_in + n_out))``.

    Examples
    --------
    >>> from skbig.networks import Dense
    >>> list(Dense(4, 2, activation="relu", normalization="layer").parameters())
    ['weight', 'bias', 'scale', 'offset']
    """

    n_in: int
    n_out: int
    activation: str = "identity"
    dropout: Any = 0.0
    normalization: str | None = None
    gain: float = 6.0

    reads_sparse = True

    @property
    def n_units(self) -> int:
        return self.n_out

    @property
    def couples_rows(self) -> bool:  # type: ignore[override]
        return self.normalization == "batch"

    @property
    def draws_noise(self) -> bool:
        return isinstance(self.dropout, Tensor) or self.dropout > 0.0

    def parameters(self) -> dict[str, Parameter]:
        own = {
            "weight": Parameter((self.n_in, self.n_out), "weight", penalized=True),
            "bias": Parameter((1, self.n_out), "bias"),
        }
        if self.normalization is None:
            return own
        return own | {name: Parameter((1, self.n_out), name) for name in SCALING}

    def statistics(self) -> dict[str, np.ndarray]:
        if self.normalization != "batch":
            return {}
        return {"mean": np.zeros((1, self.n_out)), "variance": np.ones((1, self.n_out))}

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        weight, bias = glorot_uniform(random, self.n_in, self.n_out, self.gain)
        first = {"weight": weight, "bias": bias}
        if self.normalization is None:
            return first
        return first | {"scale": np.ones((1, self.n_out)), "offset": np.zeros((1, self.n_out))}

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        Z = self.summed(X, parameters, statistics, training)
        return self.dropped(ACTIVATIONS[self.activation](Z), training)

    def summed(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        """Return what the activation is applied to: (M, R, O)."""
        Z = affine(X, parameters["weight"], parameters["bias"])
        return self._normalized(Z, parameters, statistics, training)

    def bound(self, largest_input: float, largest_parameter: float) -> float:
        if type(self) is not Dense or self.normalization is not None:  # a subclass may compute something else
            return math.inf
        # Twice that, and two: more than any activation makes of a sum, and more than the sum is rounded by.
        return 2 * (self.n_in * largest_input * largest_parameter + largest_parameter) + 2

    @property
    def has_row_gradients(self) -> bool:
        return self.normalization != "batch"

    def tapped(
        self, X: Tensor | SparseRows, parameters: Mapping[str, Tensor], training: TrainingPass
    ) -> tuple[Tensor, list[Tap]]:
        Z = tap_of_product(X, parameters["weight"], parameters["bias"])
        taps: list[Tap] = [Z]
        own = {}
        if self.normalization is not None:
            of_rows = [copies(name, parameters[name], Z.tensor.shape[-2], (1, self.n_out)) for name in SCALING]
            own = {tap.name: tap.tensor.squeeze(-2) for tap in of_rows}
            taps += of_rows
        normal = self._normalized(Z.tensor, own, {}, training)
        return self.dropped(ACTIVATIONS[self.activation](normal), training), taps

    def _normalized(
        self,
        Z: Tensor,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        if self.normalization is None:
            return Z
        scale, offset = parameters["scale"], parameters["offset"]
        if self.normalization == "layer":
            return layer_norm(Z, scale, offset)
        mean, variance = statistics["mean"], statistics["variance"]
        if training is None:
            return batch_norm(Z, scale, offset, mean, variance)
        share = training.share.unsqueeze(-1)
        share = (share / training.total(share.sum(-2, keepdim=True))).to(Z.dtype)  # sums to one
        batch_mean, batch_variance = batch_moments(Z, share, training.total)
        mean.lerp_(batch_mean.detach().to(mean.dtype), training.moments_rate)
        variance.lerp_(batch_variance.detach().to(mean.dtype), training.moments_rate)
        return batch_norm(Z, scale, offset, batch_mean, batch_variance)

    def dropped(self, X: Tensor, training: TrainingPass | None) -> Tensor:
        """Return outputs of which a share is zero while training."""
        if training is None or not self.draws_noise:
            return X
        keep = 1.0 - self.dropout
        if isinstance(keep, Tensor):
            keep = keep.to(X)
        return X * training.keep(X, keep).div_(keep)

    def cuts(self, *, by_outputs: bool) -> dict[str, int | None]:
        names = [*self.parameters(), *self.statistics()]
        if by_outputs:
            return dict.fromkeys(names, 1)
        return {name: 0 if name == "weight" else None for name in names}
