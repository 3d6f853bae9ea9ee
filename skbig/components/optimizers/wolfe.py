"""A search along a line, for a step that meets the strong Wolfe conditions.

Nocedal & Wright (2006), "Numerical optimization", algorithms 3.5 and 3.6, as one loop: as long as the loss falls the
step grows, and as soon as a lower place is bracketed the bracket shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from skbig.components.optimizers.vectors import Vector, largest

ENOUGH = 1e-4
"""Share of the descent that the slope at the start promises, which a step has to come to."""

FLATTER = 0.9
"""The slope at a step may be so much of that at the start."""

MAX_PROBES = 25
"""Evaluations after which the best step that was seen is taken."""

FARTHEST = 10.0
"""So many times the step may grow at once."""

INSIDE = 0.1
"""Share of a bracket that the next step keeps away from its ends, and of its last growth that a step grows at least."""


class Probe(NamedTuple):
    """What was found at a step along the line: the loss, its slope along it, the point (P,) and the gradient (P,)."""

    step: float
    loss: float
    slope: float
    point: Vector
    gradient: Vector

    @property
    def is_finite(self) -> bool:
        """Whether loss and slope are."""
        return math.isfinite(self.loss) and math.isfinite(self.slope)


def search(at: Callable[[float], Probe], start: Probe, step: float, closest: float) -> Probe:
    """Return the first probe that meets the strong Wolfe conditions, or the lowest one.

    Parameters
    ----------
    at : callable
        Takes a step, and returns its probe.
    start : Probe
        Of the step 0, with a negative slope.
    step : float
        To be tried first.
    closest : float
        The search ends where a lower place is bracketed by points of which no number differs by more.
    """
    before, low, high = start, start, None
    for _ in range(MAX_PROBES):
        trial = at(step)
        if not _falls(trial, start) or trial.loss >= low.loss:
            high = trial
        elif abs(trial.slope) <= FLATTER * -start.slope:
            return trial
        else:
            leaves = trial.slope > 0 if high is None else trial.slope * (high.step - low.step) >= 0
            before, low, high = low, trial, low if leaves else high
        if high is not None and largest(high.point - low.point) <= closest:
            break
        step = _farther(before, low) if high is None else _between(low, high)
    return low


def _falls(trial: Probe, start: Probe) -> bool:
    """Whether a step descends far enough for its length; not, where anything is not finite."""
    return trial.is_finite and trial.loss <= start.loss + ENOUGH * trial.step * start.slope


def _farther(before: Probe, low: Probe) -> float:
    """Return a longer step, after one at which the loss still falls: far longer, where it falls ever faster."""
    lowest, most = _lowest_of_cubic(before, low), FARTHEST * low.step
    if not lowest > low.step:
        return most
    return min(max(lowest, low.step + INSIDE * (low.step - before.step)), most)


def _between(low: Probe, high: Probe) -> float:
    """Return a step within a bracket, and not too close to its ends."""
    left, right = sorted((low.step, high.step))
    lowest, margin = _lowest_of_cubic(low, high), INSIDE * (right - left)
    return (left + right) / 2 if math.isnan(lowest) else min(max(lowest, left + margin), right - margin)


def _lowest_of_cubic(one: Probe, other: Probe) -> float:
    """Return where the cubic with these losses and slopes is lowest; not a number, where it is so nowhere."""
    width = other.step - one.step
    mean = one.slope + other.slope - 3 * (other.loss - one.loss) / width
    scale = max(abs(mean), abs(one.slope), abs(other.slope))  # no square of it need be a number
    if not (other.is_finite and 0 < scale < math.inf):
        return math.nan
    square = (mean / scale) ** 2 - (one.slope / scale) * (other.slope / scale)
    root = math.copysign(scale * math.sqrt(square), width) if square >= 0 else math.nan
    curve = other.slope - one.slope + 2 * root
    return other.step - width * (other.slope + root - mean) / curve if curve else math.nan
