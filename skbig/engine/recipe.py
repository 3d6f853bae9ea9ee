"""What to do: every choice of a training, resolved, checked and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skbig.components.augmentations import Augmentation
from skbig.components.averages import Average
from skbig.components.clipping import Clipping
from skbig.components.losses.base import Loss
from skbig.components.optimizers.base import Optimizer
from skbig.components.param_groups import ParamGroups
from skbig.components.penalties import Penalty
from skbig.components.privacy import DPSGD
from skbig.components.schedules.base import Schedule
from skbig.networks.network import BuiltNetwork


@dataclass(frozen=True)
class Recipe:
    """The resolved components and the counts of a training. It never changes while training.

    Attributes
    ----------
    network : BuiltNetwork
    loss, penalty, optimizer, schedule, clipping, average, augmentation : component or None
    alpha, rate : float, or tensor of shape (M, 1, 1) where members differ
        Strength of the penalty; base rate of the optimizer. So may the network's dropout differ, and the fields of
        components that declare it.
    batch_size : int
        Rows of a batch.
    max_epochs : int
        Epochs of this training.
    schedule_epochs : int, or array of shape (M,)
        Epochs over which the schedule runs from 0 to 1.
    max_time : float or None
        Seconds after which the training ends, and the schedule with it.
    shuffle : bool
    tol, patience : float, int, or arrays of shape (M,)
        Training stops, or a plateau reduces the rate, after more than `patience` epochs that improve by less than
        `tol`.
    keep_best : bool
        Whether the weights of the best validation score are kept at the end.
    param_groups : ParamGroups or None
        Which parameters have a rate or a weight decay of their own.
    bf16 : bool
        Whether the forward and backward pass run in bfloat16; the weights themselves stay float32.
    rows_at_once : int or None
        Rows of a batch whose gradient is computed at once; those of its parts are added. None: all.
    fedprox : float, or tensor of shape (M, 1, 1) where members differ
        How strongly the parameters are held near those with which the training began.
    keeps_zeros : bool
        Whether penalized parameters that are exactly zero stay so: those of a pruned network.
    privacy : DPSGD or None
        With its noise settled.
    steps_forgotten : int
        Steps of earlier trainings that are not counted any more, and whose random numbers must not come again.
    """

    network: BuiltNetwork
    loss: Loss
    penalty: Penalty | None
    optimizer: Optimizer
    schedule: Schedule
    clipping: Clipping | None
    augmentation: Augmentation | None
    alpha: Any
    rate: Any
    batch_size: int
    max_epochs: int
    schedule_epochs: Any
    max_time: float | None = None
    shuffle: bool = True
    tol: Any = 1e-4
    patience: Any = 10
    keep_best: bool = False
    param_groups: ParamGroups | None = None
    average: Average | None = None
    bf16: bool = False
    rows_at_once: int | None = None
    fedprox: Any = 0.0
    keeps_zeros: bool = False
    privacy: DPSGD | None = None
    steps_forgotten: int = 0

    @property
    def active_penalty(self) -> Penalty | None:
        """The penalty, unless its strength is zero for all members."""
        return None if isinstance(self.alpha, float) and self.alpha == 0 else self.penalty

    @property
    def anchored(self) -> bool:
        """Whether the members are held near where they began."""
        return not (isinstance(self.fedprox, float) and self.fedprox == 0)

    @property
    def n_parts(self) -> int:
        """In how many parts a batch is computed, because no more rows of it are wanted at once."""
        return 1 if self.rows_at_once is None else -(-self.batch_size // self.rows_at_once)

    @property
    def draws_noise(self) -> bool:
        """Whether a step needs random numbers."""
        return self.network.draws_noise or self.augmentation is not None or self.privacy is not None

    @property
    def recordable(self) -> bool:
        """Whether every component lets a step be recorded and replayed: none branches on values, or leaves torch."""
        return self.gradient_recordable and _all_recordable(self.optimizer, self.clipping, self.augmentation)

    @property
    def stackable(self) -> bool:
        """Whether members may be trained as one stack: every component keeps them apart, recorded or not."""
        others = (self.loss, self.penalty, self.optimizer, self.clipping, self.augmentation)
        return (self.network.recordable or self.network.network.keeps_apart) and _all_recordable(*others)

    @property
    def gradient_recordable(self) -> bool:
        """Whether that is so of loss and gradient alone."""
        return _all_recordable(self.network, self.loss, self.penalty)


def _all_recordable(*components: Any) -> bool:
    return all(component.recordable for component in components if component is not None)
