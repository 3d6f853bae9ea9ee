"""Penalties: what large weights cost.

The engine adds ``strength * value`` to the loss. A penalty gives its gradient apart from the network's, which is
cheaper than differentiating it with the loss, and leaves a part with a corner at zero to `shrink`, after the update.

Legend: M members, P weights of a member. Weights and their gradients are [M,1,P], all of a member's in one vector, or
[M,in,out], a matrix at a time, where the penalty is not elementwise. A value is [M,1,1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skbig._utils.component import Component, hyperparameter
from skbig._utils.reduction import BLOCK, half_sum_of_squares, norm
from skbig._utils.validation import Interval

N_NEWTON_STEPS = 5
"""Of the lengths of rows whose weights have thresholds of their own; for one threshold one is exact."""


@dataclass(frozen=True)
class Penalty(Component):
    """What the weights of a member cost.

    A smooth penalty needs `value` only: what else is here follows from it. A subclass says more where it knows a
    shorter way to its gradient, or has a part with a corner at zero.

    Attributes
    ----------
    elementwise : bool
        Whether every weight is penalised by itself, so that all weights may come as one vector [M,1,P]. If not,
        the matrix [M,in,out] of each layer comes alone.
    proximal : bool
        Whether the penalty has a part with a corner at zero, and `shrink` makes exact zeros.

    Examples
    --------
    A user-made smooth penalty defines its `value`:

    >>> from dataclasses import dataclass
    >>> import torch
    >>> from skbig.components import Penalty
    >>> @dataclass(frozen=True)
    ... class Quartic(Penalty):
    ...     def value(self, weight):
    ...         return weight.pow(4).sum((-2, -1), keepdim=True)
    >>> grad = torch.zeros(1, 1, 2)
    >>> Quartic().add_gradient(grad, torch.tensor([[[1.0, 2.0]]]), 0.5)
    >>> grad
    tensor([[[ 2., 16.]]])
    """

    kind = "penalty"
    elementwise: ClassVar[bool] = True
    proximal: ClassVar[bool] = False

    def value(self, weight: Tensor) -> Tensor:
        """Return the whole penalty of each member, without its strength, [M,1,1]."""
        raise NotImplementedError(f"{type(self).__name__} must define value.")

    def add_gradient(self, grad: Tensor, weight: Tensor, strength: float | Tensor) -> None:
        """Add, in place, `strength` times the gradient of the smooth part; here that is all of `value`."""
        leaf = weight.detach().requires_grad_()
        with torch.enable_grad():
            (direction,) = torch.autograd.grad(self.value(leaf).sum(), leaf)
        _add(grad, direction, strength)

    def shrink(self, weight: Tensor, threshold: float | Tensor) -> None:
        """Take, in place, the proximal step of `threshold` times the part with a corner; here there is none."""


@dataclass(frozen=True)
class L2(Penalty, name="l2", recordable=True):
    r"""Half the sum of squares: :math:`\frac{1}{2} \sum_i w_i^2`, as in scikit-learn's ``MLPClassifier``.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import L2
    >>> L2().value(torch.tensor([[[3.0, 4.0]]]))
    tensor([[[12.5000]]])
    """

    def value(self, weight: Tensor) -> Tensor:
        return _half_square(weight)

    def add_gradient(self, grad: Tensor, weight: Tensor, strength: float | Tensor) -> None:
        _add(grad, weight, strength)


@dataclass(frozen=True)
class L1(Penalty, name="l1", recordable=True):
    r"""The sum of sizes: :math:`\sum_i |w_i|`. Weights that the data do not need become exactly zero.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import L1
    >>> weight = torch.tensor([[[3.0, -0.5, -4.0]]])
    >>> L1().shrink(weight, 1.0)
    >>> weight
    tensor([[[ 2.,  0., -3.]]])
    """

    proximal = True

    def value(self, weight: Tensor) -> Tensor:
        return _sum_of_sizes(weight)

    def add_gradient(self, grad: Tensor, weight: Tensor, strength: float | Tensor) -> None:
        """Leave the gradient as it is: no part is smooth."""

    def shrink(self, weight: Tensor, threshold: float | Tensor) -> None:
        _soften(weight, threshold)


@dataclass(frozen=True)
class ElasticNet(Penalty, name="elasticnet", recordable=True):
    r"""A blend of L1 and L2 [1]_: :math:`\rho \sum_i |w_i| + \frac{1 - \rho}{2} \sum_i w_i^2`.

    Parameters
    ----------
    l1_ratio : float, default=0.15
        The share :math:`\rho` of L1, in [0, 1], as in scikit-learn's ``SGDClassifier``.

    References
    ----------
    .. [1] Zou and Hastie, "Regularization and Variable LazyRows via the Elastic Net", Journal of the Royal
       Statistical Society B 67, 2005.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import ElasticNet
    >>> ElasticNet(l1_ratio=0.5).value(torch.tensor([[[3.0, -4.0]]]))
    tensor([[[9.7500]]])
    """

    proximal = True

    l1_ratio: float = hyperparameter(0.15, Interval(0, 1), varies=True)

    def value(self, weight: Tensor) -> Tensor:
        return _sum_of_sizes(weight) * self.l1_ratio + _half_square(weight) * (1 - self.l1_ratio)

    def add_gradient(self, grad: Tensor, weight: Tensor, strength: float | Tensor) -> None:
        _add(grad, weight, strength * (1 - self.l1_ratio))

    def shrink(self, weight: Tensor, threshold: float | Tensor) -> None:
        _soften(weight, threshold * self.l1_ratio)


@dataclass(frozen=True)
class GroupL1(Penalty, name="group_l1", recordable=True):
    r"""The group lasso [1]_ [2]_: the sum of the norms of rows, :math:`\sum_i \sqrt{\sum_j w_{ij}^2}`, of every matrix.

    A row of a layer's weight is what leaves one of its inputs. Rows that the data do not need become exactly zero as a
    whole: in the first layer a feature is left out, in a later one a hidden unit. Of a linear model this is the penalty
    of scikit-learn's ``MultiTaskLasso``.

    References
    ----------
    .. [1] Yuan and Lin, "Model selection and estimation in regression with grouped variables", Journal of the Royal
       Statistical Society B 68, 2006.
    .. [2] Scardapane, Comminiello, Hussain and Uncini, "Group sparse regularization for deep neural networks",
       Neurocomputing 241, 2017.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import GroupL1
    >>> weight = torch.tensor([[[3.0, 4.0], [0.6, 0.8]]])
    >>> GroupL1().value(weight)
    tensor([[[6.]]])
    >>> GroupL1().shrink(weight, 2.5)
    >>> weight
    tensor([[[1.5000, 2.0000],
             [0.0000, 0.0000]]])
    """

    elementwise = False
    proximal = True

    def value(self, weight: Tensor) -> Tensor:
        return norm(_sums_of_rows(weight.square()).sqrt().mT, 1)

    def add_gradient(self, grad: Tensor, weight: Tensor, strength: float | Tensor) -> None:
        """Leave the gradient as it is: no part is smooth."""

    def shrink(self, weight: Tensor, threshold: float | Tensor) -> None:
        _shorten(weight, torch.as_tensor(threshold, dtype=weight.dtype, device=weight.device))


def _half_square(weight: Tensor) -> Tensor:
    return half_sum_of_squares(_row(weight))


def _sum_of_sizes(weight: Tensor) -> Tensor:
    return norm(_row(weight), 1)


def _row(weight: Tensor) -> Tensor:
    return weight.reshape(len(weight), 1, -1)


def _add(grad: Tensor, direction: Tensor, strength: Any) -> None:
    """Add ``strength * direction`` to `grad` in one operation."""
    if isinstance(strength, Tensor):
        grad.addcmul_(direction, strength)
    else:
        grad.add_(direction, alpha=strength)


def _soften(weight: Tensor, threshold: Any) -> None:
    """Move every weight towards zero by `threshold`; a closer one becomes exactly zero, as it is taken from itself."""
    weight.sub_(weight.clamp(-threshold, threshold))


def _shorten(weight: Tensor, threshold: Tensor) -> None:
    r"""Take the proximal step of the norms of rows, where each weight has a threshold t of its own.

    It is the u that makes :math:`\frac{1}{2} \sum_j (u_j - w_j)^2 / t_j + |u|` least for a row. That is zero where
    :math:`|w / t| \le 1`, and else :math:`u_j = w_j s / (s + t_j)` with the length :math:`s = |u|`, which solves
    :math:`|w / (s + t)| = 1`: found by Newton's method for :math:`1 / |w / (s + t)| = 1`, which is concave in s, and
    linear where all thresholds of a row are the same.
    """
    tiny = torch.finfo(weight.dtype).tiny
    square = weight.square()
    none = _sums_of_rows((weight / threshold.clamp_min(tiny)).square()) <= 1
    length = _sums_of_rows(square).sqrt()
    for _ in range(N_NEWTON_STEPS):
        shares = square / (length + threshold).clamp_min(tiny).square()
        norm_of_row = _sums_of_rows(shares).sqrt()
        slope = _sums_of_rows(shares / (length + threshold).clamp_min(tiny)).clamp_min(tiny)
        length = (length + (norm_of_row - 1) * norm_of_row.square() / slope).clamp_min(0)
    weight.mul_(length / (length + threshold).clamp_min(tiny)).masked_fill_(none, 0.0)


def _sums_of_rows(values: Tensor) -> Tensor:
    """Return sums [M,in,1] that have the same bits on any number of threads."""
    sums = [block.sum(-1, keepdim=True) for block in values.split(BLOCK, -1)]
    return sums[0] if len(sums) == 1 else torch.cat(sums, -1).sum(-1, keepdim=True)
