"""The usual scores, computed where the predictions are: a number comes back from a device, not all predictions.

Legend: N rows, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sklearn.metrics import accuracy_score, r2_score
from torch import Tensor

from skbig.components.losses.base import Loss
from skbig.data.targets import ClassTargets
from skbig.estimators.scoring import Metric

Score = Callable[[Tensor, Tensor, Tensor | None, Loss], Tensor]
"""``score(raw, y, weight, loss)`` of raw predictions (N, K), encoded targets (N,) or (N, K), weights (N,) or None."""


def device_scores(metrics: Sequence[Metric], targets: Any, device: torch.device) -> dict[str, Score]:
    """Return the scores that are computed on a card, by the names of the metrics; on a host scikit-learn computes."""
    if device.type != "cuda":
        return {}
    found = {metric.name: _formula(metric, targets) for metric in metrics if metric.by_predictions}
    return {name: score for name, score in found.items() if score is not None}


def _formula(metric: Metric, targets: Any) -> Score | None:
    if isinstance(targets, ClassTargets):
        return accuracy if metric.formula is accuracy_score else None
    # Predictions are those of the loss, in the unit of y.
    plain = isinstance(targets.scale, float) and targets.per_target == 1
    return r2 if metric.formula is r2_score and plain else None


def accuracy(raw: Tensor, y: Tensor, weight: Tensor | None, loss: Loss) -> Tensor:
    """Return the part of the rows whose class, or whose labels all, are right."""
    del loss  # the larger raw prediction has the larger probability
    right = raw.max(-1).indices == y if y.dim() == 1 else ((raw > 0) == (y > 0)).all(-1)
    right = right.double()
    return right.mean() if weight is None else (right * weight).sum() / weight.sum()


def r2(raw: Tensor, y: Tensor, weight: Tensor | None, loss: Loss) -> Tensor:
    """Return the mean over the outputs of 1 - residual / total, as scikit-learn's `r2_score` defines it.

    An output that does not vary has 1 where it is predicted exactly, and else 0.
    """
    predicted, y = loss.predict(raw).double(), y.double()
    w = torch.ones_like(y[:, :1]) if weight is None else weight.double()[:, None]
    residual = (w * (y - predicted).square()).sum(0)
    total = (w * (y - (w * y).sum(0) / w.sum()).square()).sum(0)
    constant = (residual == 0).double()
    return torch.where(total == 0, constant, 1 - residual / total).mean()
