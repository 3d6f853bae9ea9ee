"""All that the predictions of a fitted estimator depend on.

Legend: M members, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skbig.components.losses.base import Loss
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.networks.network import BuiltNetwork


@dataclass(frozen=True)
class FittedNetwork:
    """A network with its numbers, and what its raw predictions mean.

    Attributes
    ----------
    network : BuiltNetwork
    arrays : dict of ndarray (M, *shape)
        Parameters and running statistics by name.
    loss : Loss
        It knows the link.
    targets : ClassTargets or RegressionTargets
    temperature : float
        By what raw predictions are divided.
    encodes : bool
        Whether the network reads what the estimator makes of the columns of a table, and not X itself.
    """

    network: BuiltNetwork
    arrays: Mapping[str, np.ndarray]
    loss: Loss
    targets: ClassTargets | RegressionTargets
    temperature: float = 1.0
    encodes: bool = False

    @property
    def n_members(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that is computed in."""
        return next(iter(self.arrays.values())).dtype

    @property
    def for_classes(self) -> bool:
        return isinstance(self.targets, ClassTargets)

    @property
    def multiclass(self) -> bool:
        """Whether one of three classes or more is predicted."""
        return isinstance(self.targets, ClassTargets) and self.targets.multiclass

    @property
    def two_classes(self) -> bool:
        """Whether one raw output tells between two classes."""
        return isinstance(self.targets, ClassTargets) and not (self.targets.multiclass or self.targets.multilabel)

    @property
    def one_class(self) -> bool:
        """Whether there is but one class, which is sure, whatever the raw output."""
        return isinstance(self.targets, ClassTargets) and len(self.targets.classes) == 1 and self.two_classes

    @property
    def pools(self) -> bool:
        """Whether raw predictions of several members are put together so that their link gives the mean prediction."""
        return self.for_classes and self.loss.has_log_odds

    @property
    def decodes(self) -> bool:
        """Whether a prediction is scaled and shifted, and cut off, after the link."""
        return isinstance(self.targets, RegressionTargets) and not isinstance(self.targets.scale, float)

    @property
    def link(self) -> str | None:
        """What makes a prediction of a raw one, by its name in `INVERSE_LINKS`.

        None where the loss has a formula of its own; 'identity' for a classifier without probabilities.
        """
        if self.for_classes and not self.loss.probabilistic:
            return "identity"
        own = type(self.loss).probabilities is not Loss.probabilities if self.for_classes else self.loss.has_own_link
        return None if own else self.loss.out_activation(self.multiclass)

    def of_layer(self, i: int, member: int | None = None) -> dict[str, np.ndarray]:
        """Return the numbers of layer i by their names in the layer: of a member, or of all, (M, *shape)."""
        parameters, statistics = self.network.layer_names[i]
        named = {name: self.arrays[full] for name, full in (parameters | statistics).items()}
        return named if member is None else {name: array[member] for name, array in named.items()}
