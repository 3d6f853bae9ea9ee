"""The losses of classifiers.

Legend: M members, R rows of a batch, K columns of the raw prediction. raw is [M,R,K] or [R,K]. Targets are class
indices [...,R] for three classes or more, else zeros and ones [...,R,K]: one column for two classes, or one per label.
A loss that is made for two classes is summed over columns: labels, or each class against the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Interval
from skbig.components.losses.base import Loss, along_rows, over_columns, rows_of_members

FEW_CLASSES = 64
"""Up to so many, a softmax is computed along the rows of the transposed prediction."""


@dataclass(frozen=True)
class LogLoss(Loss, name="log_loss", recordable=True):
    r"""The logistic loss, or cross-entropy: :math:`-\log p_y`, the loss of logistic regression.

    :math:`p` is the softmax of the raw prediction, or its logistic function for two classes and for labels.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of a row's target, in [0, 1), that is spread evenly over all classes [1]_.

    References
    ----------
    .. [1] Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture for Computer Vision",
       CVPR 2016, section 7.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import LogLoss
    >>> raw = torch.tensor([[0.0], [2.0]])
    >>> LogLoss().per_row(raw, torch.tensor([[1.0], [1.0]]))
    tensor([0.6931, 0.1269])
    >>> LogLoss().probabilities(raw, multiclass=False)
    tensor([[0.5000],
            [0.8808]])
    """

    for_classes = True
    probabilistic = True

    label_smoothing: float = hyperparameter(0.0, Interval(0, 1, closed="left"), varies=True)

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        smoothing = self.label_smoothing
        if y.is_floating_point():
            target = y if _is_zero(smoothing) else y * (1 - smoothing) + smoothing / 2
            return over_columns(F.binary_cross_entropy_with_logits(raw, target, reduction="none"))
        log_probabilities = _log_softmax(raw)
        loss = _cross_entropy(log_probabilities, y)
        if _is_zero(smoothing):
            return loss
        return torch.lerp(loss, -log_probabilities.mean(-1), along_rows(smoothing))


@dataclass(frozen=True)
class FocalLoss(Loss, name="focal", recordable=True):
    r"""The focal loss [1]_: :math:`-(1 - p_y)^\gamma \log p_y`, the log loss with little weight on easy rows.

    It suits rare classes. :math:`p` is as in `LogLoss`; the paper's :math:`\alpha` is the estimator's ``class_weight``.

    Parameters
    ----------
    gamma : float, default=2.0
        How much the easy rows are held back; 0 is the log loss.

    References
    ----------
    .. [1] Lin, Goyal, Girshick, He and Dollar, "Focal Loss for Dense Object Detection", ICCV 2017, equation 4.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import FocalLoss
    >>> FocalLoss(gamma=2.0).per_row(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [1.0]]))
    tensor([0.1733, 0.0018])
    """

    for_classes = True
    probabilistic = True

    gamma: float = hyperparameter(2.0, Interval(0, None, closed="left"), varies=True)

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        if y.is_floating_point():
            return over_columns(_focus(F.binary_cross_entropy_with_logits(raw, y, reduction="none"), self.gamma))
        return _focus(_cross_entropy(_log_softmax(raw), y), along_rows(self.gamma))


@dataclass(frozen=True)
class Hinge(Loss, name="hinge", recordable=True):
    r"""The loss of the linear support vector machine: :math:`\max(0, 1 - t z)` for a raw prediction z and t = -1 or 1.

    Three classes or more are each set against the rest, and the losses added. It gives no probabilities.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import Hinge
    >>> Hinge().per_row(torch.tensor([[-1.0], [0.5], [2.0]]), torch.tensor([[1.0], [1.0], [1.0]]))
    tensor([2.0000, 0.5000, 0.0000])
    """

    for_classes = True

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return over_columns(_shortfall(raw, y))


@dataclass(frozen=True)
class SquaredHinge(Loss, name="squared_hinge", recordable=True):
    r"""The hinge loss squared: :math:`\max(0, 1 - t z)^2` for a raw prediction z and t = -1 or 1.

    Three classes or more are each set against the rest, and the losses added. It gives no probabilities.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import SquaredHinge
    >>> SquaredHinge().per_row(torch.tensor([[-1.0], [0.5], [2.0]]), torch.tensor([[1.0], [1.0], [1.0]]))
    tensor([4.0000, 0.2500, 0.0000])
    """

    for_classes = True

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return over_columns(_shortfall(raw, y).square())


@dataclass(frozen=True)
class ModifiedHuber(Loss, name="modified_huber", recordable=True):
    r"""The squared hinge loss, but straight for rows far on the wrong side [1]_.

    It is :math:`\max(0, 1 - t z)^2` where :math:`t z \ge -1`, else :math:`-4 t z`, for a raw prediction z and t = -1 or
    1. Three classes or more are each set against the rest, and the losses added. It forgives outliers, and unlike the
    hinge losses it gives probabilities.

    References
    ----------
    .. [1] Zhang, "Solving Large Scale Linear Prediction Problems Using Stochastic Gradient Descent Algorithms",
       ICML 2004.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import ModifiedHuber
    >>> ModifiedHuber().per_row(torch.tensor([[-3.0], [0.5], [2.0]]), torch.tensor([[1.0], [1.0], [1.0]]))
    tensor([12.0000,  0.2500,  0.0000])
    """

    for_classes = True
    probabilistic = True

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        shortfall = _shortfall(raw, y)
        # Twice the Huber loss of the shortfall, whose bend is at 2: one fused kernel each way.
        return over_columns(F.huber_loss(shortfall, torch.zeros_like(shortfall), reduction="none", delta=2.0)) * 2

    def out_activation(self, multiclass: bool = False) -> str:
        return "identity"

    def probabilities(self, raw: Tensor, multiclass: bool) -> Tensor:
        """Return the raw prediction cut to [-1, 1] and moved to [0, 1]; several classes share one by proportion."""
        share = (raw.clamp(-1, 1) + 1) / 2
        if not multiclass:
            return share
        # A row that no class claims is shared evenly.
        share = torch.where(share.sum(-1, keepdim=True) > 0, share, 1.0)
        return share / share.sum(-1, keepdim=True)


def _is_zero(value: Any) -> bool:
    """Whether a hyperparameter is surely zero, so that its part of a formula can be left out."""
    return not isinstance(value, Tensor) and value == 0


def _log_softmax(raw: Tensor) -> Tensor:
    """Return the logarithms of the classes' probabilities, [...,R,K].

    Along a short last dim torch's kernel for CPUs takes ten times as long as along another one, where it works on many
    rows at a time.
    """
    if raw.device.type != "cpu" or raw.shape[-1] > FEW_CLASSES:
        return F.log_softmax(raw, dim=-1)
    if raw.dim() == 2:
        return F.log_softmax(raw.t(), dim=0).t()
    return F.log_softmax(raw.mT, dim=-2).mT


def _cross_entropy(log_probabilities: Tensor, y: Tensor) -> Tensor:
    """Return minus the log-probability, from [...,R,K], of each row's class, from [...,R]."""
    rows, classes = rows_of_members(log_probabilities, y)
    loss = F.nll_loss(rows, classes, reduction="none")
    return loss if log_probabilities.dim() == 2 else loss.view(y.shape)


def _focus(cross_entropy: Tensor, gamma: Any) -> Tensor:
    """Return ``(1 - p) ** gamma`` times the cross-entropy ``-log p``."""
    # expm1, as 1 - p is tiny for an easy row. The slope of a power below one is infinite at zero, hence the clamp.
    wrong = torch.expm1(-cross_entropy).neg().clamp_min(torch.finfo(cross_entropy.dtype).tiny)
    return wrong**gamma * cross_entropy


def _shortfall(raw: Tensor, y: Tensor) -> Tensor:
    """Return by how much the margin ``t * raw``, t = -1 or 1, falls short of one, [...,R,K]."""
    return F.relu(1 - _signs(raw, y) * raw)


def _signs(raw: Tensor, y: Tensor) -> Tensor:
    """Return the targets as -1 and 1, [...,R,K]; of several classes, a row's own is 1."""
    if y.is_floating_point():
        return y * 2 - 1
    return torch.full_like(raw, -1, requires_grad=False).scatter_(-1, y.unsqueeze(-1), 1.0)
