"""Curves share their memory, and nobody sees it."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skbig.engine.curve import Curve


def curve_of(*numbers: float) -> Curve:
    curve = Curve()
    for number in numbers:
        curve = curve.and_then(np.array([number, number + 1]))
    return curve


def test_it_is_a_sequence() -> None:
    """Epochs are found from either end, and by slices; there are no others."""
    curve = curve_of(1.0, 2.0, 3.0)
    assert len(curve) == 3
    assert bool(curve) and not Curve()
    assert [values[0] for values in curve] == [1.0, 2.0, 3.0]
    assert curve[0][0] == curve[-3][0] == 1.0
    assert [values[0] for values in curve[1:]] == [2.0, 3.0]
    for index in (3, -4):
        with pytest.raises(IndexError):
            curve[index]


def test_it_never_changes() -> None:
    """Two that go on from one have epochs and means of their own, whichever was asked for its means first."""
    start = curve_of(1.0, 2.0)
    one = start.and_then(np.array([3.0]))
    other = start.and_then(np.array([4.0]))
    assert other.means() == [1.5, 2.5, 4.0]
    assert one.means() == [1.5, 2.5, 3.0]
    assert start.means() == [1.5, 2.5]
    assert len(start) == 2
    assert one.and_then(np.array([5.0])).means() == [1.5, 2.5, 3.0, 5.0]


def test_means_are_computed_once() -> None:
    """What goes on from a curve knows its means; the lists are the caller's."""
    start = curve_of(1.0, 2.0)
    means = start.means()
    longer = start.and_then(np.array([7.0]))
    assert longer._means == means
    means.clear()
    assert longer.means() == [1.5, 2.5, 7.0]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda curve: pickle.loads(pickle.dumps(curve))])
def test_a_copy_has_what_the_curve_has(copied) -> None:  # type: ignore[no-untyped-def]
    """And not what others that went on from it have noted down."""
    start = curve_of(1.0, 2.0)
    before = pickle.dumps(start)
    start.and_then(np.array([3.0])).means()
    assert copied(start).means() == [1.5, 2.5]
    assert pickle.dumps(start) == before


def test_threads_may_ask_for_it_at_once() -> None:
    """Means are noted down once, whoever computes them meanwhile."""
    interval = sys.getswitchinterval()
    values = [np.array([float(i), i + 1.0]) for i in range(5000)]
    expected = [value.mean() for value in values]
    together = threading.Barrier(4)

    def means_of(curve: Curve) -> list[float]:
        together.wait()
        return curve.means()

    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(10):
                curve = Curve(values)
                assert all(means == expected for means in pool.map(means_of, [curve] * 4))
                assert curve.and_then(np.array([-1.0])).means() == [*expected, -1.0]
    finally:
        sys.setswitchinterval(interval)
