"""Whether a model that has been trained predicts numbers.

The last step of a training may be the one too far, and a link such as exp may make infinity of a large raw prediction,
of which neither the loss nor the weights tell.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skbig.components.losses.base import Loss
from skbig.data.rows import Rows
from skbig.engine.epoch import ADVICE
from skbig.engine.train import Training
from skbig.estimators.prediction import raw_predictions
from skbig.exceptions import DivergenceError

CHECKED_ROWS = 1024
"""So many of the training rows are predicted after the last epoch."""


def are_finite(raw: Tensor, loss: Loss) -> Tensor:
    """Whether raw predictions (..., K), and what the link of a regressor makes of them, are finite: one truth value."""
    return torch.isfinite(raw if loss.for_classes else loss.predict(raw)).all()


def check_predictions(training: Training) -> None:
    """Raise DivergenceError when a trained model's predictions of its first training rows are not finite.

    Rows that are not in memory are left out: reading them again may take long.
    """
    rows: Any = training.rows
    if not isinstance(rows, Rows) or not training.history.loss:
        return
    members = training.shown
    X = rows.features(slice(CHECKED_ROWS))
    raw = raw_predictions(members.network, members.parameters, members.statistics, X)
    if not are_finite(raw, training.recipe.loss):
        raise DivergenceError(
            f"The predictions of the training rows are not finite any more: after epoch {members.epochs}, step "
            f"{members.steps}, at the learning rate {training.history.rate[-1].max():g}. The weights are kept. {ADVICE}"
        )
