"""The loss of a student: its own, and how far its probabilities are from a teacher's.

Legend: M members, R rows of a batch, K columns of the raw prediction.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig.components.losses.base import Loss, over_columns


@dataclass(frozen=True)
class SoftLoss(Loss):
    r"""A blend of a loss of labels and of the cross-entropy with a teacher's probabilities [1]_.

    :math:`(1 - s)\, \ell(z, y) + s\, T^2\, H(q, \sigma(z / T))`, where :math:`q` are the teacher's probabilities at the
    temperature :math:`T`, and :math:`\sigma` is the softmax, or the logistic function of each column.

    Parameters
    ----------
    loss : Loss
        Of labels; with probabilities.
    multiclass : bool
        Whether there are three classes or more.
    temperature : float
    share : float in [0, 1]

    Notes
    -----
    Targets are the teacher's probabilities, K columns, and then the label: an index in one column, or K zeros and ones.
    Targets without the teacher's part, as those of validation rows, have the loss of labels.

    References
    ----------
    .. [1] Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """

    for_classes = True
    probabilistic = True

    loss: Loss = hyperparameter(dataclasses.MISSING)
    multiclass: bool = hyperparameter(dataclasses.MISSING)
    temperature: float = hyperparameter(1.0)
    share: float = hyperparameter(1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recordable", self.loss.recordable)

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        n_columns = raw.shape[-1]
        if not y.is_floating_point() or y.shape[-1] == n_columns:
            return self.loss.per_row(raw, y)
        soft, hard = y[..., :n_columns], y[..., n_columns:]
        of_teacher = self._cross_entropy(raw / self.temperature, soft) * self.temperature**2
        if self.share == 1.0:
            return of_teacher
        labels = hard.squeeze(-1).long() if self.multiclass else hard
        return of_teacher * self.share + self.loss.per_row(raw, labels) * (1.0 - self.share)

    def _cross_entropy(self, raw: Tensor, soft: Tensor) -> Tensor:
        if self.multiclass:
            return -(soft * F.log_softmax(raw, dim=-1)).sum(-1)
        return over_columns(F.binary_cross_entropy_with_logits(raw, soft, reduction="none"))

    def out_activation(self, multiclass: bool = False) -> str:
        return self.loss.out_activation(multiclass)

    def probabilities(self, raw: Tensor, multiclass: bool) -> Tensor:
        return self.loss.probabilities(raw, multiclass)
