"""Lion: the sign of an averaged gradient.

Legend: M members, n and k the two dims of a parameter `[M,n,k]`, P the parameters of a member, laid out flat in
`[M,1,P]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Each
from skbig.components.optimizers.base import BELOW_ONE, NOT_NEGATIVE, Factors, Optimizer, State, as_like, average, decay


@dataclass(frozen=True)
class Lion(Optimizer, name="lion", recordable=True):
    """Moves of one size: the sign of an averaged gradient.

    ``param -= rate * (sign(b1 * m + (1 - b1) * g) + weight_decay * param)``, then ``m = b2 * m + (1 - b2) * g``
    (Chen et al., 2023, "Symbolic discovery of optimization algorithms", arXiv:2302.06675).

    Parameters
    ----------
    betas : tuple of two floats, default=(0.9, 0.99)
        Memory of the average in the move and in what is kept, each in [0, 1).
    weight_decay : float, default=0.0
        How fast every parameter shrinks, intercepts too: per step, in units of the rate.

    Examples
    --------
    >>> from skbig.components import Lion
    >>> Lion().default_rate
    0.0001
    """

    default_rate: ClassVar[float] = 1e-4

    betas: tuple[float, float] = hyperparameter((0.9, 0.99), Each(BELOW_ONE, 2), varies=True)
    weight_decay: float = hyperparameter(0.0, NOT_NEGATIVE, varies=True)

    def init(self, param: Tensor) -> State:
        return {"mean": torch.zeros_like(param)}

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        decay(param, rate, self.weight_decay)
        sign = state["mean"].lerp(grad, as_like(1 - self.betas[0], grad)).sign_()
        average(state["mean"], grad, self.betas[1])
        param.addcmul_(sign, rate, value=-1)
