"""The laws of optimizers.

Legend: M members, two here; S steps; a parameter is [M,n,k], all parameters of a member in one row [M,1,P].
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from skbig.components.optimizers.base import Optimizer
from skbig.components.param_groups import SEVERAL_ROLES
from skbig.testing.laws import Blindfold, Run, check_members, expect, normal, same


def check_optimizer(optimizer: Optimizer) -> None:
    """Check shapes, that updates are made in place and go downhill, and the claims of the class."""
    if optimizer.full_batch:
        return _check_full_batch(optimizer)
    # What is not elementwise may count in low precision, where a member's neighbours show in the rounding. In float32 a
    # small move is rounded with the parameter that it is added to.
    tolerance, rough = 1e-7 if optimizer.elementwise else 0.03, 1e-5 / optimizer.default_rate
    for start in (normal(2, 4, 3), normal(2, 1, 3)):
        _check_shapes(optimizer, start)
        _check_in_place(optimizer, start)
        check_members(optimizer, _mean_move_from(start), "update", tolerance, rough)
        check_members(optimizer, _reach_after(start), "reach", tolerance, rough)
        _check_descent(optimizer, start)
    _check_roles(optimizer)
    if optimizer.elementwise:
        _check_elementwise(optimizer, [normal(2, 4, 3), normal(2, 1, 3)])


def _check_shapes(optimizer: Optimizer, param: Tensor) -> None:
    state = optimizer.init(param)
    legal = all(value.shape in (param.shape, (len(param), 1, 1)) for value in state.values())
    expect(legal, optimizer, "must keep a state of tensors like the parameter, or of shape [M, 1, 1].")
    for factor in _factors(optimizer, 3):
        legal = factor.dim() == 4 and len(factor) == 3 and factor.shape[2:] == (1, 1)
        expect(legal, optimizer, "must return factors of shape [S, 1, 1, 1] or [S, M, 1, 1].")


def _check_in_place(optimizer: Optimizer, start: Tensor) -> None:
    param, state = start.clone(), optimizer.init(start)
    before = dict(state)
    for step, grad in enumerate((param - 1, torch.zeros_like(param))):
        _update(optimizer, param, grad, state, step)
        finite = all(tensor.isfinite().all() for tensor in (param, *state.values()))
        expect(finite, optimizer, "must keep parameter and state finite, also where the gradient is zero.")
    expect(not torch.equal(param, start), optimizer, "must change the parameter in place.")
    in_place = state.keys() == before.keys() and all(state[name] is before[name] for name in state)
    expect(in_place, optimizer, "must change the tensors of its state in place, and neither add nor drop any.")


def _check_descent(optimizer: Optimizer, start: Tensor) -> None:
    end = _descend(optimizer, start, count=20)
    lower = (end - 1).square().sum((1, 2)) < (start - 1).square().sum((1, 2))
    expect(lower.all(), optimizer, "must go down a quadratic bowl.")


def _check_roles(optimizer: Optimizer) -> None:
    for role in SEVERAL_ROLES:
        other = optimizer.for_role(role)
        expect(isinstance(other, Optimizer), optimizer, "must return an optimizer for each role.")
        pairs = zip(_factors(optimizer, 3), _factors(other, 3), strict=False)
        alike = len(_factors(other, 3)) <= len(_factors(optimizer, 3)) and all(same(*pair) for pair in pairs)
        expect(alike, optimizer, "must return for a role an optimizer that reads the same factors.")


def _check_elementwise(optimizer: Optimizer, starts: list[Tensor]) -> None:
    apart = [_descend(optimizer, start).flatten(1) for start in starts]
    together = _descend(optimizer, torch.cat([start.flatten(1) for start in starts], dim=1).unsqueeze(1))
    right = same(torch.cat(apart, dim=1), together.squeeze(1))
    expect(right, optimizer, "is not elementwise: say `elementwise = False`.")


def _mean_move_from(start: Tensor) -> Run:
    """Return a run whose result is in units of the rate, where a wrong move is not small beside the parameter."""

    def run(some: Optimizer, members: slice, dtype: torch.dtype) -> Tensor:
        begin = start[members].to(dtype)
        return (_descend(some, begin) - begin) / (5 * some.default_rate)

    return run


def _reach_after(start: Tensor) -> Run:
    """Return a run whose result is the reach after a few steps, spread over the parameter."""

    def run(some: Optimizer, members: slice, dtype: torch.dtype) -> Tensor:
        param, state = _descended(some, start[members].to(dtype), 3)
        factors = tuple(factor[2].to(dtype) for factor in _factors(some, 3))
        with Blindfold(some, "reach"):
            reach = some.reach(state, factors)
        return (reach if isinstance(reach, Tensor) else torch.full_like(param, reach)).expand(param.shape)

    return run


def _descend(optimizer: Optimizer, start: Tensor, count: int = 5) -> Tensor:
    """Go some steps down the bowl around one."""
    return _descended(optimizer, start, count)[0]


def _descended(optimizer: Optimizer, start: Tensor, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    param, state = start.clone(), optimizer.init(start)
    for step in range(count):
        _update(optimizer, param, param - 1, state, step)
    return param, state


def _update(optimizer: Optimizer, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int) -> None:
    rate = torch.full((len(param), 1, 1), optimizer.default_rate, dtype=param.dtype)
    factors = tuple(factor[step].to(param.dtype) for factor in _factors(optimizer, step + 1))
    with Blindfold(optimizer, "update"):
        optimizer.update(param, grad, state, rate, factors)


def _factors(optimizer: Optimizer, count: int) -> tuple[Tensor, ...]:
    return optimizer.factors(torch.arange(1, count + 1, dtype=torch.float64).view(-1, 1, 1, 1))


def _check_full_batch(optimizer: Optimizer) -> None:
    point, losses = normal(5), []
    state: dict[str, Any] = {}
    start = _bowl(point)[0]
    for _ in range(100):
        loss, state = optimizer.iterate(_bowl, point, state, optimizer.default_rate)
        losses.append(loss)
        expect(math.isclose(loss, _bowl(point)[0]), optimizer, "must return the loss at the point it has moved to.")
        if optimizer.converged(state, 1e-4):
            break
    expect(losses == sorted(losses, reverse=True), optimizer, "must not let the loss grow.")
    expect(losses[-1] < start, optimizer, "must go down, changing the point in place.")
    expect(optimizer.converged(state, 1e-4), optimizer, "must find that it has converged at the bottom of a bowl.")


def _bowl(point: Tensor) -> tuple[float, Tensor]:
    """Return the loss and the gradient of a bowl that is not quadratic, so that one step is not enough."""
    return float((point - 1).cosh().sum()), (point - 1).sinh()
