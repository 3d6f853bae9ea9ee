"""Muon: momentum, made orthogonal, for the hidden weight matrices; AdamW for the rest.

Legend: M members; a weight is `[M,in,out]`, where torch's own is `[out,in]`; intercepts and scales are `[M,1,out]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Boolean, Each, Interval, Options
from skbig.components.optimizers.adam import AdamW, adam_factors, adam_move, adam_state
from skbig.components.optimizers.base import (
    BELOW_ONE,
    NOT_NEGATIVE,
    Factors,
    Optimizer,
    State,
    as_like,
    average,
    decay,
)


@dataclass(frozen=True)
class Muon(Optimizer, name="muon", recordable=True):
    """Momentum with all its singular values brought near one.

    ``b = momentum * b + (1 - momentum) * g`` and ``param -= rate * r * orthogonal(b)``, where a few Newton-Schulz steps
    ``X = a X + (b X X' + c (X X')^2) X`` make the matrix orthogonal and r depends on its shape (Jordan et al., 2024,
    "Muon: an optimizer for hidden layers in neural networks"; Liu et al., 2025, arXiv:2502.16982). As its authors
    advise, it moves the weights of hidden layers alone; the last layer's, embeddings, intercepts and scales take
    `AdamW`'s move with the same weight decay, and the same rate where `param_groups` of the estimator gives no other.

    Parameters
    ----------
    momentum : float, default=0.95
        Memory of the averaged gradient, in [0, 1).
    nesterov : bool, default=True
        Average once more: ``momentum * b + (1 - momentum) * g`` in place of b.
    ns_coefficients : tuple of three floats, default=(3.4445, -4.775, 2.0315)
        The a, b and c of a Newton-Schulz step.
    ns_steps : int, default=5
        How many of them.
    ns_precision : {"bfloat16", "parameter"}, default="bfloat16"
        What they are computed in: bfloat16 as in ``torch.optim.Muon``, or the dtype of the parameter, which is slower
        on a GPU, and does not turn a change of a gradient's last bit into one of a thousandth of the move.
    eps : float, default=1e-7
        The least norm that a matrix is divided by.
    weight_decay : float, default=0.1
        How fast every parameter shrinks, intercepts too: per step, in units of the rate.
    adjust_rate : {"original", "match_rms_adamw"}, default="original"
        ``r = sqrt(max(1, out / in))``, or ``r = 0.2 * sqrt(max(in, out))``, which makes moves as large as AdamW's.
    adam_betas : tuple of two floats, default=(0.9, 0.999)
        The betas of AdamW's moves.
    adam_eps : float, default=1e-8
        The eps of AdamW's moves.

    Examples
    --------
    >>> from skbig.components import Muon
    >>> Muon(adjust_rate="match_rms_adamw").elementwise
    False
    """

    elementwise: ClassVar[bool] = False

    momentum: float = hyperparameter(0.95, BELOW_ONE, varies=True)
    nesterov: bool = hyperparameter(True, Boolean())
    ns_coefficients: tuple[float, float, float] = hyperparameter((3.4445, -4.775, 2.0315), Each(Interval(), 3))
    ns_steps: int = hyperparameter(5, Interval(1, 99, integer=True))
    ns_precision: str = hyperparameter("bfloat16", Options(("bfloat16", "parameter")))
    eps: float = hyperparameter(1e-7, NOT_NEGATIVE, varies=True)
    weight_decay: float = hyperparameter(0.1, NOT_NEGATIVE, varies=True)
    adjust_rate: str = hyperparameter("original", Options(("original", "match_rms_adamw")))
    adam_betas: tuple[float, float] = hyperparameter((0.9, 0.999), Each(BELOW_ONE, 2), varies=True)
    adam_eps: float = hyperparameter(1e-8, NOT_NEGATIVE, varies=True)

    def for_role(self, role: str) -> Optimizer:
        return self if role == "weight" else AdamW(self.adam_betas, self.adam_eps, self.weight_decay)

    def init(self, param: Tensor) -> State:
        return {"momentum": torch.zeros_like(param)} if _is_matrix(param) else adam_state(param)

    def factors(self, step: Tensor) -> Factors:
        return adam_factors(step, self.adam_betas, self.adam_eps)

    def update(self, param: Tensor, grad: Tensor, state: State, rate: Tensor, factors: Factors) -> None:
        decay(param, rate, self.weight_decay)
        if _is_matrix(param):
            average(state["momentum"], grad, self.momentum)
            direction = state["momentum"]
            if self.nesterov:
                direction = grad.lerp_(direction, as_like(self.momentum, grad))
            param.addcmul_(self._orthogonal(direction), rate * self._ratio(param), value=-1)
        else:
            adam_move(param, grad, state, self.adam_betas, rate * factors[0], factors[1])

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        """Bring the singular values of each member's matrix near one."""
        a, b, c = self.ns_coefficients
        # Products of X X' are smallest when X lies down; torch's matrices, the transposes of ours, are laid down alike.
        upright = matrix.shape[-2] >= matrix.shape[-1]
        X = self._in_precision(matrix.mT if upright else matrix)
        X = X / torch.linalg.vector_norm(X, dim=(-2, -1), keepdim=True).clamp_min(as_like(self.eps, X))
        for _ in range(self.ns_steps):
            gram = X @ X.mT
            X = torch.baddbmm(X, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), X, beta=a)
        return (X.mT if upright else X).to(matrix.dtype)

    def _in_precision(self, matrix: Tensor) -> Tensor:
        # The default rounds as torch.optim.Muon does, so that "muon" takes the steps of torch's. The price: gradients
        # that differ in the last bit, as those of a member alone and in a population, may round apart.
        return matrix.bfloat16() if self.ns_precision == "bfloat16" else matrix

    def _ratio(self, param: Tensor) -> float:
        n_in, n_out = param.shape[-2:]
        if self.adjust_rate == "original":
            return math.sqrt(max(1.0, n_out / n_in))
        return 0.2 * math.sqrt(max(n_in, n_out))


def _is_matrix(param: Tensor) -> bool:
    return param.shape[-2] > 1
