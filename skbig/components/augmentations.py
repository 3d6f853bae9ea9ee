"""Augmentations: a training batch is changed a little, differently at every step; validation rows never are.

An augmentation is a function of the member's seed, the step and the row's position in the batch, through the `Noise` it
is given. It neither draws from a generator nor changes the rows it is handed.

Legend: S steps looked at together, M members, R rows of a batch, F features. X is [M,R,F].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from scipy.special import betaincinv
from torch import Tensor

from skbig._utils.component import Component, hyperparameter
from skbig._utils.random import Noise, Purpose
from skbig._utils.validation import Interval


@dataclass(frozen=True)
class Mix:
    """Rows that are blends of two: ``share`` of the row's own target and ``1 - share`` of its partner's.

    The loss of a row is ``share * loss(y) + (1 - share) * loss(y[partner])``.

    Parameters
    ----------
    partner : Tensor of int64, shape (M, R)
        The place in the batch of each row's partner.
    share : Tensor, shape (M, 1)
        How much of a row is its own.
    """

    partner: Tensor
    share: Tensor


@dataclass(frozen=True)
class Augmentation(Component):
    """Changes the rows of a training batch.

    Examples
    --------
    A user-made augmentation defines `apply`, and takes its random numbers from `noise`:

    >>> from dataclasses import dataclass
    >>> from skbig.components import Augmentation
    >>> @dataclass(frozen=True)
    ... class Erase(Augmentation):
    ...     def apply(self, X, noise, factors):
    ...         rows, features = X.shape[1:]
    ...         return X * noise.keep(rows, features, 1000, 0.9, X.dtype), None
    >>> Erase()
    Erase()
    """

    kind = "augmentation"
    mixes_rows: ClassVar[bool] = True
    """Whether a row may get parts of others; one that says it does not is used under privacy."""

    def factors(self, uniform: Tensor) -> tuple[Tensor, ...]:
        """Return the numbers of each step and member, computed ahead on the host, each of shape [S,M,1,1].

        `uniform`, float64 [S,M,1,1], holds a fresh random number in (0, 1) per step and member. `apply` gets them back
        one step at a time, as [M,1,1] of the rows' own type.
        """
        del uniform
        return ()

    def apply(self, X: Tensor, noise: Noise, factors: tuple[Tensor, ...]) -> tuple[Tensor, Mix | None]:
        """Return the changed rows, [M,R,F], and how their targets are blended, if they are."""
        raise NotImplementedError(f"{type(self).__name__} must define apply.")


@dataclass(frozen=True)
class Mixup(Augmentation, name="mixup", recordable=True):
    r"""Blend every row with a partner: ``share * x + (1 - share) * x[partner]``, and their losses alike [1]_.

    The share is drawn once per step and member from the symmetric distribution :math:`Beta(\alpha, \alpha)`; the
    partners are a random permutation of the batch.

    Parameters
    ----------
    alpha : float, default=0.2
        Small values blend little, 1 makes every share equally likely.

    References
    ----------
    .. [1] Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018, equation 1.

    Examples
    --------
    >>> from skbig.components import Mixup
    >>> Mixup(alpha=0.4)
    Mixup(alpha=0.4)
    """

    alpha: float = hyperparameter(0.2, Interval(0, None, closed="neither"), varies=True)

    def factors(self, uniform: Tensor) -> tuple[Tensor, ...]:
        alpha = _as_array(self.alpha)
        return (torch.as_tensor(betaincinv(alpha, alpha, uniform.cpu().numpy()), dtype=torch.float64),)

    def apply(self, X: Tensor, noise: Noise, factors: tuple[Tensor, ...]) -> tuple[Tensor, Mix | None]:
        (share,) = factors
        partner = noise.bits(X.shape[1], 1, Purpose.MIX_PARTNER).argsort(dim=1)
        mixed = torch.lerp(X.gather(1, partner.expand_as(X)), X, share)
        return mixed, Mix(partner.squeeze(2), share.squeeze(2))


@dataclass(frozen=True)
class GaussianNoise(Augmentation, name="gaussian_noise", recordable=True):
    """Add independent normal noise to every cell: ``x + scale * normal``.

    Parameters
    ----------
    scale : float, default=0.1
        The standard deviation of the noise, in the unit of X; 0.1 suits standardised columns.

    Examples
    --------
    >>> from skbig.components import GaussianNoise
    >>> GaussianNoise(scale=0.05)
    GaussianNoise(scale=0.05)
    """

    mixes_rows = False

    scale: float = hyperparameter(0.1, Interval(0, None, closed="left"), varies=True)

    def apply(self, X: Tensor, noise: Noise, factors: tuple[Tensor, ...]) -> tuple[Tensor, Mix | None]:
        normal = noise.normal(X.shape[1], X.shape[2], (Purpose.NOISE_ANGLE, Purpose.NOISE_RADIUS), X.dtype)
        return normal.mul_(_like(self.scale, X)).add_(X), None


@dataclass(frozen=True)
class SwapNoise(Augmentation, name="swap_noise", recordable=True):
    """Replace cells, each with a given probability, by the same column's value of a random row of the batch.

    A changed value is always one that its column really takes, so it suits columns of different scales, counts and
    one-hot codes.

    Parameters
    ----------
    probability : float, default=0.15
        The probability that a cell is replaced.

    Examples
    --------
    >>> from skbig.components import SwapNoise
    >>> SwapNoise(probability=0.1)
    SwapNoise(probability=0.1)
    """

    probability: float = hyperparameter(0.15, Interval(0, 1), varies=True)

    def apply(self, X: Tensor, noise: Noise, factors: tuple[Tensor, ...]) -> tuple[Tensor, Mix | None]:
        rows, features = X.shape[1:]
        probability = _like(self.probability, X)
        swapped = noise.keep(rows, features, Purpose.SWAP_WHETHER, probability, X.dtype).bool()
        # A remainder of 32 bits is uniform but for one part in 2**32 / rows.
        partner = noise.bits(rows, features, Purpose.SWAP_PARTNER).remainder_(rows).long()
        return torch.where(swapped, X.gather(1, partner), X), None


def _as_array(value: Any) -> Any:
    """A number, or the numbers of the members as an array `[M, 1, 1]`."""
    return value.to("cpu", torch.float64).numpy() if isinstance(value, Tensor) else value


def _like(value: Any, X: Tensor) -> Any:
    """A number, or the numbers of the members `[M, 1, 1]` in the type of X and where it is."""
    return value.to(X) if isinstance(value, Tensor) else value
