"""A search along a line ends where the strong Wolfe conditions hold, or at the lowest step that it has seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from skbig.components.optimizers.wolfe import ENOUGH, FLATTER, MAX_PROBES, Probe, search

Curve = Callable[[float], tuple[float, float]]


@dataclass
class Line:
    """A loss along a line, and the steps at which it was asked for."""

    curve: Curve
    steps: list[float] = field(default_factory=list)

    def __call__(self, step: float) -> Probe:
        self.steps.append(step)
        loss, slope = self.curve(step)
        return Probe(step, loss, slope, torch.tensor([step], dtype=torch.float64), torch.empty(0))


CURVES: dict[str, Curve] = {
    "quadratic": lambda t: ((t - 1) ** 2, 2 * (t - 1)),
    "far": lambda t: ((t / 1e4 - 1) ** 2, 2 * (t / 1e4 - 1) / 1e4),
    "near": lambda t: ((1e4 * t - 1) ** 2, 2e4 * (1e4 * t - 1)),
    "huge": lambda t: (1e300 * (t - 1) ** 2, 2e300 * (t - 1)),
    "tiny": lambda t: (1e-300 * (t - 1) ** 2, 2e-300 * (t - 1)),
    "quartic": lambda t: ((t - 2) ** 4, 4 * (t - 2) ** 3),
    "ever steeper": lambda t: (-(t**2) - t, -2 * t - 1) if t < 9 else (5 * (t - 10.9) ** 2 - 108.05, 10 * (t - 10.9)),
    "wavy": lambda t: ((t - 5) ** 2 / 10 + math.sin(3 * t), (t - 5) / 5 + 3 * math.cos(3 * t) - 3.5),
    "wall": lambda t: (-t - math.log(3 - t), -1 + 1 / (3 - t)) if t < 3 else (math.nan, math.nan),
    "cliff": lambda t: (-t, -1.0) if t < 1 else (math.inf, math.inf),
    "kink": lambda t: (abs(t - 1), math.copysign(1.0, t - 1)),
}


@pytest.mark.parametrize("step", [1e-3, 0.3, 1.0, 40.0])
@pytest.mark.parametrize("name", ["quadratic", "far", "near", "huge", "tiny", "quartic", "ever steeper", "wall"])
def test_the_end_meets_the_conditions(name: str, step: float) -> None:
    """Whatever step is tried first, the loss has fallen far enough, and the slope is flatter."""
    line = Line(CURVES[name])
    start = line(0.0)
    end = search(line, start, step, 1e-12)
    assert end.loss <= start.loss + ENOUGH * end.step * start.slope
    assert abs(end.slope) <= FLATTER * abs(start.slope)
    assert len(line.steps) <= 12
    assert line.steps[-1] == end.step


@pytest.mark.parametrize("step", [0.3, 1.0, 40.0])
@pytest.mark.parametrize("name", CURVES)
def test_the_end_is_the_lowest(name: str, step: float) -> None:
    """Where the conditions are met nowhere, or by a curve that contradicts its slopes, the lowest step is taken."""
    line = Line(CURVES[name])
    start = line(0.0)
    end = search(line, start, step, 1e-12)
    assert len(line.steps) <= MAX_PROBES + 1
    enough = [s for s in line.steps if line.curve(s)[0] <= start.loss + ENOUGH * s * start.slope]
    assert end.loss == min(line.curve(s)[0] for s in enough)
    assert end.loss <= start.loss


def test_a_bracket_that_is_closed_ends_the_search() -> None:
    """Points that hardly differ are not told apart further."""
    line = Line(CURVES["kink"])
    end = search(line, line(0.0), 5.0, 0.5)
    assert abs(end.step - 1) <= 0.5
    assert len(line.steps) < 8


def test_where_nothing_falls_the_start_is_the_end() -> None:
    """A slope that promises a descent that is nowhere leads back to the start."""
    line = Line(lambda t: (t, -1.0))
    start = line(0.0)
    assert search(line, start, 1.0, 1e-12) is start
