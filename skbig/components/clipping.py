"""Clipping: an upper limit for gradients, so that a few wild rows cannot throw the weights far away.

Legend: M members. A gradient is [M,...], of three dims like its parameter; the norm over all of a member's gradients,
and a hyperparameter that differs between members, is [M,1,1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from skbig._utils.component import Component, hyperparameter
from skbig._utils.validation import Interval


@dataclass(frozen=True)
class Clipping(Component):
    """Limits the gradients of each member.

    Attributes
    ----------
    needs_norm : bool
        Whether `apply` looks at the norm; the engine computes it only then.

    Examples
    --------
    A user-made clipping changes the gradients in `apply`:

    >>> from dataclasses import dataclass
    >>> import torch
    >>> from skbig.components import Clipping
    >>> @dataclass(frozen=True)
    ... class Normalize(Clipping):
    ...     needs_norm = True
    ...     def apply(self, grads, norm):
    ...         for grad in grads:
    ...             grad.div_(norm)
    >>> grad = torch.tensor([[[3.0, 4.0]]])
    >>> Normalize().apply([grad], torch.tensor([[[5.0]]]))
    >>> grad
    tensor([[[0.6000, 0.8000]]])
    """

    kind = "clipping"
    needs_norm: ClassVar[bool] = False

    def apply(self, grads: Sequence[Tensor], norm: Tensor | None) -> None:
        """Change the gradients in place; `norm` is [M,1,1], or None where `needs_norm` is false."""
        raise NotImplementedError(f"{type(self).__name__} must define apply.")


@dataclass(frozen=True)
class ClipNorm(Clipping, name="norm", recordable=True):
    r"""Shorten a gradient that is longer than `max_norm`, keeping its direction: :math:`g \min(1, m / \|g\|)` [1]_.

    The norm is taken over all parameters of a member, as by ``torch.nn.utils.clip_grad_norm_``.

    Parameters
    ----------
    max_norm : float, default=1.0
        The greatest norm, in the unit of the loss over that of a weight.

    References
    ----------
    .. [1] Pascanu, Mikolov and Bengio, "On the Difficulty of Training Recurrent Neural Networks", ICML 2013,
       algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import ClipNorm
    >>> grad = torch.tensor([[[3.0, 4.0]]])
    >>> ClipNorm(max_norm=1.0).apply([grad], torch.tensor([[[5.0]]]))
    >>> grad
    tensor([[[0.6000, 0.8000]]])
    """

    needs_norm = True

    max_norm: float = hyperparameter(1.0, Interval(0, None, closed="neither"), varies=True)

    def apply(self, grads: Sequence[Tensor], norm: Tensor | None) -> None:
        assert norm is not None  # as needs_norm is true
        factor = (self.max_norm / (norm + 1e-6)).clamp(max=1.0)  # torch's guard against a norm of zero
        for grad in grads:
            grad.mul_(factor)


@dataclass(frozen=True)
class ClipValue(Clipping, name="value", recordable=True):
    r"""Cut every entry of a gradient to `max_value`: :math:`\max(-m, \min(m, g))`, as ``clip_grad_value_`` of torch.

    Parameters
    ----------
    max_value : float, default=1.0
        The greatest size of an entry, in the unit of the loss over that of a weight.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import ClipValue
    >>> grad = torch.tensor([[[3.0, -0.5, -4.0]]])
    >>> ClipValue(max_value=1.0).apply([grad], None)
    >>> grad
    tensor([[[ 1.0000, -0.5000, -1.0000]]])
    """

    max_value: float = hyperparameter(1.0, Interval(0, None, closed="neither"), varies=True)

    def apply(self, grads: Sequence[Tensor], norm: Tensor | None) -> None:
        for grad in grads:
            grad.clamp_(-self.max_value, self.max_value)
