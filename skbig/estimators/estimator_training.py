"""A training of an estimator: what `engine` trains, and what it takes to judge and to save it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skbig._utils.device import SingleDevice
from skbig.engine.train import Training
from skbig.estimators.checkpointing import Saver
from skbig.estimators.given import Given
from skbig.estimators.interface import EstimatorInterface


@dataclass(kw_only=True)
class EstimatorTraining(Training):
    """A training of an estimator, which other processes may take part in.

    Attributes
    ----------
    estimator : EstimatorInterface
    targets : ClassTargets or RegressionTargets
    backend : SingleDevice
        In which numbers, and on what kind of device.
    saver : Saver or None
        The observer that writes checkpoints.
    held : dict of Given, or None
        The checked validation rows, by the name of each set.
    """

    estimator: EstimatorInterface
    targets: Any
    backend: SingleDevice
    saver: Saver | None = None
    held: dict[str, Given] | None = None
