"""The laws of augmentations.

Legend: M members, two here; R rows of a batch; F features. X is [M,R,F].
"""

from __future__ import annotations

import torch
from torch import Tensor

from skbig._utils.random import Noise, step_keys
from skbig.components.augmentations import Augmentation, Mix
from skbig.testing.laws import BOTH, Blindfold, check_members, expect, normal, same


def check_augmentation(augmentation: Augmentation) -> None:
    """Check that new rows come back, that they are the same again, and that each member has its own."""
    X = normal(2, 10, 3)
    before, changed = X.clone(), _augment(augmentation, X)
    expect(torch.equal(X, before), augmentation, "must leave the rows it is given as they are.")
    expect(changed.isfinite().all(), augmentation, "must keep the rows finite.")
    again = same(_augment(augmentation, X), changed)
    expect(again, augmentation, "must be a function of the noise it is given: the same noise, the same rows.")
    check_members(augmentation, lambda some, members, dtype: _augment(some, X.to(dtype), members), "change")


def _augment(augmentation: Augmentation, X: Tensor, members: slice = BOTH) -> Tensor:
    """Return the changed rows of some members and, where targets are blended, how, as two columns more."""
    uniform = torch.tensor([0.3, 0.8], dtype=torch.float64)[members].view(1, -1, 1, 1)
    noise = Noise(torch.from_numpy(step_keys([3, 4][members], 0, 1)[0]))
    factors = tuple(factor[0].to(X.dtype) for factor in augmentation.factors(uniform))
    with Blindfold(augmentation, "apply"):
        changed, mix = augmentation.apply(X[members], noise, factors)
    legal = changed.shape == X[members].shape and changed.dtype == X.dtype
    expect(legal, augmentation, "must return rows of the same shape and dtype.")
    return changed if mix is None else torch.cat([changed, _blend(augmentation, mix, changed)], dim=-1)


def _blend(augmentation: Augmentation, mix: Mix, X: Tensor) -> Tensor:
    """Return partners and shares as columns, [M,R,2]."""
    legal = mix.partner.shape == X.shape[:2] and mix.partner.dtype == torch.int64
    expect(legal, augmentation, "must name the partners by their places in the batch, int64 [M, R].")
    within = (mix.partner >= 0) & (mix.partner < X.shape[1]) & (mix.share >= 0) & (mix.share <= 1)
    expect(within.all(), augmentation, "must blend with rows of the batch, and with shares between zero and one.")
    return torch.stack([mix.partner.to(X), mix.share.expand(X.shape[:2])], dim=-1)
