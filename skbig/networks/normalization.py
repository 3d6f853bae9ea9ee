"""How layers normalise, as functions of tensors.

Legend: M members, R rows, W width. A plain fit (M = 1) runs the same lines without the members axis: every formula
looks at the last two axes only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skbig.networks.layer import Total, itself

EPSILON = 1e-5


def layer_norm(X: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Normalise each row over its features (Ba, Kiros & Hinton, 2016)."""
    normal = torch.nn.functional.layer_norm(X, X.shape[-1:], eps=EPSILON)
    return torch.addcmul(offset, normal, scale)


def batch_norm(X: Tensor, scale: Tensor, offset: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Normalise each feature by a given mean and variance of shape (M, 1, W) (Ioffe & Szegedy, 2015)."""
    return torch.addcmul(offset, X - mean, scale * torch.rsqrt(variance + EPSILON))


def batch_moments(X: Tensor, share: Tensor, total: Total = itself) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each feature over the rows, each of shape (M, 1, W).

    `share` (M, R, 1) is the weight of each row and sums to one, so a row of weight two counts as two rows. Where the
    rows are a part of the batch, `total` sums over the parts.
    """
    mean = total((X * share).sum(-2, keepdim=True))
    return mean, total(((X - mean).square() * share).sum(-2, keepdim=True))
