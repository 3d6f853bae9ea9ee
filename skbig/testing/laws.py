"""What the laws of all kinds are made of.

Legend: M members, two here. A member's part of any result is its slice along the first dim. All is float64.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from skbig.components.component import Component, stack

Run = Callable[[Any, slice], Tensor]
"""Takes a component and a slice of the two members, and returns what becomes of these, [members, ...]."""

BOTH = slice(0, 2)

LOOKS = {"item", "tolist", "numpy", "equal", "allclose", "nonzero", "unique"}
LOOKS |= {"__array__", "__bool__", "__contains__", "__float__", "__index__", "__int__"}
"""Functions of torch whose result is a value, or has a shape that depends on values."""


def expect(holds: Any, component: Component, law: str) -> None:
    """Raise AssertionError with the component and its law unless it holds."""
    if not holds:
        raise AssertionError(f"{type(component).__name__} {law}")


def same(first: Tensor, second: Tensor, tolerance: float = 1e-7) -> bool:
    """Return whether two results are equal in shape and, but for rounding, in value."""
    return first.shape == second.shape and torch.allclose(first, second, rtol=tolerance, atol=tolerance)


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


def check_members(component: Component, run: Run, what: str, tolerance: float = 1e-7) -> None:
    """Check that two members with different hyperparameters get what each gets alone."""
    pair = [component, _neighbour(component)]
    together = run(stack(pair), BOTH)
    for member, alone in enumerate(pair):
        here = slice(member, member + 1)
        law = f"must treat a member in a population as it treats it alone, but its {what} does not."
        expect(same(together[here], run(alone, here), tolerance), component, law)


def check_gradient(component: Component, value: Callable[[Tensor], Tensor], point: Tensor, gradient: Tensor) -> None:
    """Check the gradient of a summed value along a few directions."""
    for seed in range(3):
        move = normal(*point.shape, seed=seed + 10) * 1e-6
        difference = (value(point + move).sum() - value(point - move).sum()) / 2
        right = math.isclose(float((gradient * move).sum()), float(difference), rel_tol=1e-4, abs_tol=1e-10)
        expect(right, component, "must have the gradient that finite differences of its value have.")


def _neighbour(component: Component) -> Component:
    """Return a component that differs in every number that may vary, where another legal one is found."""
    for field in dataclasses.fields(component):
        if field.metadata.get("varies", False):
            component = next(_legal_changes(component, field.name), component)
    return component


def _legal_changes(component: Component, name: str) -> Iterator[Component]:
    value = getattr(component, name)
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(number, Real) for number in numbers):
        return
    for factor, shift in ((0.9, 0.0), (1.1, 0.0), (1.0, 0.1), (1.0, -0.1)):
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
