"""Batch normalization within a module of a user's: torch's, but for rows that do not all count the same.

Legend: R rows, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skbig.networks.layer import TrainingPass, itself


@dataclass
class StepContext:
    """What a batch norm within a module is told of the forward pass that it takes part in.

    Attributes
    ----------
    training : TrainingPass or None
        None when it predicts.
    share : Tensor (R,) or None
        Each row's share of the loss.
    """

    training: TrainingPass | None = None
    share: Tensor | None = None


def watch_batch_norms(module: nn.Module, context: StepContext, frozen: set[str]) -> None:
    """Let the batch norms of a module read the context; those whose tensors are frozen keep their running moments."""
    for name, norm in module.named_modules():
        if isinstance(norm, nn.SyncBatchNorm) or getattr(type(norm), "forward", None) is _BatchNorm.forward:
            kept = f"{name}.running_mean" if name else "running_mean"
            norm.forward = partial(_forward, norm, context, kept in frozen)


def _forward(norm: _BatchNorm, context: StepContext, keeps: bool, X: Tensor) -> Tensor:
    training = context.training
    if training is None or keeps:
        by_batch = norm.running_mean is None
        return nn.functional.batch_norm(
            X, norm.running_mean, norm.running_var, norm.weight, norm.bias, by_batch, 0.0, norm.eps
        )
    several_values = X.shape[0] * math.prod(X.shape[2:]) > 1
    plain = training.equal and training.total is itself and several_values and norm.momentum is not None
    if plain and not isinstance(norm, nn.SyncBatchNorm):
        return _BatchNorm.forward(norm, X)
    assert context.share is not None
    return _weighted(norm, training, context.share, X)


def _weighted(norm: _BatchNorm, training: TrainingPass, share: Tensor, X: Tensor) -> Tensor:
    """Normalise by moments in which each row counts by its share, over all parts of the batch.

    The running variance is the unbiased one, as torch's: that of n values times n / (n - 1).
    """
    axes = [0, *range(2, X.dim())]
    rows, channels = (-1, *[1] * (X.dim() - 1)), (1, -1, *[1] * (X.dim() - 2))
    values_of_row = math.prod(X.shape[2:])
    places = X.shape[0] // share.shape[0]  # of each row, where a module has folded another axis into the rows
    values, weight = X.to(share.dtype), share.repeat_interleave(places)
    weight = (weight / (training.total(weight.sum()) * values_of_row)).view(rows)
    mean = training.total((values * weight).sum(axes))
    difference = values - mean.view(channels)
    variance = training.total((difference.square() * weight).sum(axes))
    with torch.no_grad():
        count = training.total((share > 0).sum().to(share.dtype)) * (values_of_row * places)
        _move_running_moments(norm, mean, variance * (count / (count - 1).clamp(min=1.0)))
    normal = difference * torch.rsqrt(variance + norm.eps).view(channels)
    if norm.weight is not None:
        normal = torch.addcmul(norm.bias.view(channels), normal, norm.weight.view(channels))
    return normal.to(X.dtype)


def _move_running_moments(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None:
        return
    counted = norm.num_batches_tracked
    assert counted is not None
    counted.add_(1)
    rate = 1.0 / counted.to(mean.dtype) if norm.momentum is None else norm.momentum
    for running, batch in ((norm.running_mean, mean), (norm.running_var, variance)):
        running.add_((batch.to(running.dtype) - running) * rate)
