"""A loss of targets that were scaled, where its formula depends on their unit.

Legend: M members, R rows of a batch, K columns of the raw prediction.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig.components.losses.base import Loss


@dataclass(frozen=True)
class InUnits(Loss):
    """A loss of a regressor whose raw predictions and targets are ``(y - centre) / scale`` of what it is made for.

    It is divided by the loss of being off by one, so that it is about one where training begins.

    Parameters
    ----------
    loss : Loss
    scale, centre : float
    """

    loss: Loss = hyperparameter(dataclasses.MISSING)
    scale: float = hyperparameter(dataclasses.MISSING)
    centre: float = hyperparameter(0.0)

    _off_by_one: ClassVar[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "recordable", self.loss.recordable)
        object.__setattr__(self, "_off_by_one", self._measured())

    def _measured(self) -> float:
        near = torch.full((1, 1), float(self.centre), dtype=torch.float64)
        value = float(self.loss.per_row(near + float(self.scale), near).sum())
        return value if 0 < value < math.inf else 1.0

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return self.loss.per_row(self._in_unit(raw), self._in_unit(y)) / self._off_by_one

    def _in_unit(self, values: Tensor) -> Tensor:
        scaled = values * self.scale
        return scaled + self.centre if self.centre else scaled

    def check_targets(self, y: object) -> None:
        self.loss.check_targets(y)  # type: ignore[arg-type]

    @property
    def columns_per_target(self) -> int:
        return self.loss.columns_per_target

    def reporting_scale(self, n_outputs: int) -> float:
        """Return what makes of a summed loss the one in the unit of y."""
        return self.loss.reporting_scale(n_outputs) * self._off_by_one
