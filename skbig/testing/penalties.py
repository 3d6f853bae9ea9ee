"""The laws of penalties.

Legend: M members, two here; weights are [M,1,P], or [M,in,out] where the penalty is not elementwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skbig.components.penalties import Penalty
from skbig.testing.laws import Blindfold, check_gradient, check_members, expect, normal, same


def check_penalty(penalty: Penalty) -> None:
    """Check the value, the gradient, the proximal step, and that each member has its own."""
    weight = normal(2, 1, 12) if penalty.elementwise else normal(2, 4, 3)
    _check_value(penalty, weight)
    # The proximal step of a tiny threshold goes down the gradient of the part with a corner, away from it.
    tiny = 1e-7
    corner = (weight - _shrunk(penalty, weight, tiny)) / tiny
    check_gradient(penalty, penalty.value, weight, _added(penalty, weight, 1.0) + corner)
    for strength in (0.3, torch.full((2, 1, 1), 0.3, dtype=torch.float64)):
        _check_strength(penalty, weight, strength)
    check_members(penalty, lambda some, members, dtype: some.value(weight[members].to(dtype)), "value")
    check_members(penalty, lambda some, members, dtype: _added(some, weight[members].to(dtype), 0.3), "gradient")
    check_members(penalty, lambda some, members, dtype: _shrunk(some, weight[members].to(dtype), 0.3), "proximal step")


def _check_value(penalty: Penalty, weight: Tensor) -> None:
    value = penalty.value(weight)
    expect(value.shape == (2, 1, 1), penalty, "must have a value of shape [M, 1, 1].")
    expect(value.isfinite().all(), penalty, "must be finite.")
    for other in (weight, weight.abs() * 0.1, weight.abs() * -0.1):
        smallest = (penalty.value(torch.zeros_like(weight)) <= penalty.value(other)).all()
        expect(smallest, penalty, "must be smallest at zero.")
    if penalty.elementwise:
        parts = penalty.value(weight[..., :5]) + penalty.value(weight[..., 5:])
        expect(same(parts, value), penalty, "is not elementwise: say `elementwise = False`.")


def _check_strength(penalty: Penalty, weight: Tensor, strength: Any) -> None:
    right = same(_added(penalty, weight, strength), 0.3 * _added(penalty, weight, 1.0))
    expect(right, penalty, "must add its gradient times the strength, a float or a tensor [M, 1, 1].")
    shrunk = _shrunk(penalty, weight, strength)
    expect((shrunk.abs() <= weight.abs()).all(), penalty, "must not let a weight grow in its proximal step.")
    declared = penalty.proximal or torch.equal(shrunk, weight)
    expect(declared, penalty, "must say `proximal = True`, as it has a proximal step.")


def _added(penalty: Penalty, weight: Tensor, strength: Any) -> Tensor:
    """Return what a penalty adds to a gradient."""
    grad, before = torch.ones_like(weight), weight.clone()
    with Blindfold(penalty, "add_gradient"):
        penalty.add_gradient(grad, weight, strength)
    expect(torch.equal(weight, before), penalty, "must not change the weight in add_gradient.")
    return grad - 1


def _shrunk(penalty: Penalty, weight: Tensor, threshold: Any) -> Tensor:
    weight = weight.clone()
    with Blindfold(penalty, "shrink"):
        penalty.shrink(weight, threshold)
    return weight
