"""What the laws of all kinds are made of.

Legend: M members, two here. A member's part of any result is its slice along the first dim. All is float64, and what
becomes of two members float32 besides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from skbig._utils.component import Component, place, stack

Run = Callable[[Any, slice, torch.dtype], Tensor]
"""Takes a component, a slice of the two members and a dtype; returns what becomes of these in it, [members, ...]."""

BOTH = slice(0, 2)
IN_DOUBLE = ("optimizer", "schedule", "average", "network")
"""The kinds whose hyperparameters stay in float64, for what they compute beforehand."""

LOOKS = {"item", "tolist", "numpy", "equal", "allclose", "nonzero", "unique"}
LOOKS |= {"__array__", "__bool__", "__contains__", "__float__", "__index__", "__int__"}
"""Functions of torch whose result is a value, or has a shape that depends on values."""


def expect(holds: Any, component: Component, law: str) -> None:
    """Raise AssertionError with the component and its law unless it holds."""
    if not holds:
        raise AssertionError(f"{type(component).__name__} {law}")


def same(first: Tensor, second: Tensor, tolerance: float = 1e-7) -> bool:
    """Return whether two results are equal in shape and, but for rounding, in value."""
    return first.shape == second.shape and torch.allclose(first, second, rtol=tolerance, atol=tolerance, equal_nan=True)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, none of them near zero, where some formulas have a corner."""
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers + numbers.sign() * 0.05


class Blindfold(TorchFunctionMode):
    """Lets a component do anything with tensors but look at their values."""

    def __init__(self, component: Component, what: str) -> None:
        super().__init__()
        self._component, self._what = component, what

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        law = f"must not look at the value of a tensor in {self._what}, as it is recorded once and replayed."
        expect(getattr(function, "__name__", "") not in LOOKS, self._component, law)
        return function(*args, **(kwargs or {}))


def check_members(
    component: Component, run: Run, what: str, tolerance: float = 1e-7, rough: float | None = 1e-4
) -> None:
    """Check that two members with different hyperparameters get what each gets alone.

    In float32 the tolerance is `rough`; None leaves float32 out.
    """
    for other in _neighbours(component):
        _check_pair([component, other], run, what, torch.float64, tolerance)
        if rough is not None:
            _check_pair([component, other], run, what, torch.float32, max(tolerance, rough))


def _check_pair(pair: Sequence[Component], run: Run, what: str, dtype: torch.dtype, tolerance: float) -> None:
    together = _run_stack(pair, run, what, dtype)
    law = f"must compute in the dtype of the numbers that it is given, but its {what} is {together.dtype} for {dtype}."
    expect(together.dtype == dtype, pair[0], law)
    for member, alone in enumerate(pair):
        here = slice(member, member + 1)
        law = f"must treat a member in a population as it treats it alone, but its {what} does not."
        expect(same(together[here], run(alone, here, dtype), tolerance), pair[0], law)


def _run_stack(pair: Sequence[Component], run: Run, what: str, dtype: torch.dtype) -> Tensor:
    component = stack(pair)
    if component.kind not in IN_DOUBLE:
        component = place(component, torch.empty((), dtype=dtype))
    try:
        return run(component, BOTH, dtype)
    except NotImplementedError:  # says what is missing
        raise
    except RuntimeError as error:
        law = f"must take a tensor [M, 1, 1] for a number that differs between members, but its {what} fails in {dtype}"
        raise AssertionError(f"{type(pair[0]).__name__} {law}: {error}") from error


def check_gradient(component: Component, value: Callable[[Tensor], Tensor], point: Tensor, gradient: Tensor) -> None:
    """Check the gradient of a summed value along a few directions."""
    for seed in range(3):
        move = normal(*point.shape, seed=seed + 10) * 1e-6
        difference = (value(point + move).sum() - value(point - move).sum()) / 2
        right = math.isclose(float((gradient * move).sum()), float(difference), rel_tol=1e-4, abs_tol=1e-10)
        expect(right, component, "must have the gradient that finite differences of its value have.")


def _neighbours(component: Component) -> list[Component]:
    """Return components that differ in every number that may vary, where another legal one, or zero, is found."""
    return [_changed(component, _legal_moves), _changed(component, _legal_zeros)]


def _changed(component: Component, changes: Callable[[Component, str], Iterator[Component]]) -> Component:
    for field in dataclasses.fields(component):
        if field.metadata.get("varies", False):
            component = next(changes(component, field.name), component)
    return component


def _legal_moves(component: Component, name: str) -> Iterator[Component]:
    for factor, shift in ((0.9, 0.0), (1.1, 0.0), (1.0, 0.1), (1.0, -0.1)):
        yield from _legal_change(component, name, factor, shift)


def _legal_zeros(component: Component, name: str) -> Iterator[Component]:
    """Yield what zero among other numbers is: often a part of the formula that a member alone leaves out."""
    return _legal_change(component, name, 0.0, 0.0)


def _legal_change(component: Component, name: str, factor: float, shift: float) -> Iterator[Component]:
    """Yield the component with a number, or each of a tuple, changed, if it is then another and legal."""
    value = getattr(component, name)
    numbers = value if isinstance(value, tuple) else (value,)
    if all(isinstance(number, Real) for number in numbers):
        changed = tuple(number * factor + shift for number in numbers)
        other = component.replace(**{name: changed if isinstance(value, tuple) else changed[0]})
        if changed != numbers and _is_legal(other):
            yield other


def _is_legal(component: Component) -> bool:
    try:
        component.check()
    except ValueError:
        return False
    return True
