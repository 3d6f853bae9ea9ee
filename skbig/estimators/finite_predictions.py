"""Whether a model that has been trained predicts numbers.

The last step of a training may be the one too far, and a link such as exp may make infinity of a large raw prediction,
of which neither the loss nor the weights tell.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from skbig._utils.threads import thread_count
from skbig.components.losses.base import Loss
from skbig.data.rows import Rows
from skbig.engine.epoch import ADVICE
from skbig.engine.members import Members
from skbig.engine.train import Training
from skbig.estimators.prediction import raw_predictions
from skbig.exceptions import DivergenceError

CHECKED_ROWS = 1024
"""So many of the training rows are predicted after the last epoch."""


def are_finite(raw: Tensor, loss: Loss) -> Tensor:
    """Whether raw predictions (..., K), and what the link of a regressor makes of them, are finite: one truth value."""
    return torch.isfinite(raw if loss.for_classes else loss.predict(raw)).all()


def has_plain_link(loss: Loss) -> bool:
    """Whether predictions are finite where raw ones are, whatever they are."""
    return loss.for_classes or (loss.out_activation() == "identity" and not loss.has_own_link)


def stay_finite(members: Members, X: Any) -> bool:
    """Whether features and parameters are so small that no raw prediction of these rows can be too large a number."""
    flat = members.flat
    if not isinstance(X, Tensor) or X.dtype != flat.dtype:
        return False
    inputs, parameters = largest(X), largest(flat)
    return isfinite(inputs + parameters) and members.network.bound(inputs, parameters) < torch.finfo(flat.dtype).max


def largest(values: Tensor) -> float:
    """Return the largest number without its sign; NaN where one is NaN."""
    return max(abs(each.item()) for each in torch.aminmax(values))


def check_predictions(training: Training) -> None:
    """Raise DivergenceError when a trained model's predictions of its first training rows are not finite.

    Rows that are not in memory are left out: reading them again may take long.
    """
    rows: Any = training.rows
    if not isinstance(rows, Rows) or not training.history.loss:
        return
    members = training.shown
    X = rows.features(slice(CHECKED_ROWS))
    with thread_count(1):
        is_known = has_plain_link(training.recipe.loss) and stay_finite(members, X)  # sooner than they are computed
    if is_known:
        return
    raw = raw_predictions(members.network, members.parameters, members.statistics, X)
    if not are_finite(raw, training.recipe.loss):
        raise DivergenceError(
            f"The predictions of the training rows are not finite any more: after epoch {members.epochs}, step "
            f"{members.steps}, at the learning rate {training.history.rate[-1].max():g}. The weights are kept. {ADVICE}"
        )
