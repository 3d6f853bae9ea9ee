"""Values of a parameter come in an order, at distances and in words in which a reader finds them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score

from skbig.components import SGD, AdamW, ClipNorm
from skbig.plots.values import NOT_SET, Levels, identity, shorten


@dataclass
class Plain:
    """Has a field without a default, and one that cannot be hashed."""

    size: int
    parts: Any = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (1_000_000, "1000000"),
        (0.1 + 0.2, "0.3"),
        (1e-5, "1e-5"),
        (2.5e-10, "2.5e-10"),
        (1e20, "1e20"),
        (1234.5, "1234.5"),
        (0.0, "0"),
        (-0.25, "-0.25"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), "0.1"),
        (np.int64(7), "7"),
        (np.True_, "True"),
        (None, "None"),
        (float("nan"), "nan"),
        ("adam", "adam"),
        ("", "''"),
        ((100,), "(100,)"),
        ([np.float64(0.9), 0.999], "[0.9, 0.999]"),
        (np.array([1, 2]), "[1, 2]"),
        (AdamW(), "AdamW()"),
        (AdamW(betas=(0.9, 0.95)), "AdamW(betas=(0.9, 0.95))"),
        (SGD, "SGD"),
        (Plain(3, [1, 2]), "Plain(size=3, parts=[1, 2])"),
        (accuracy_score, "accuracy_score"),
        (Ridge(alpha=2), "Ridge(alpha=2)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_value_is_short(value: Any, text: str) -> None:
    """Numbers have few digits, components only what is not their default, functions and classes their names."""
    assert shorten(value) == text


def test_a_long_value_is_cut() -> None:
    """What is longer than there is room for ends in dots, and no line is broken by its representation."""
    assert shorten("a" * 100, length=10) == "a" * 9 + "…"
    assert "\n" not in shorten(Ridge(alpha=1e-300, max_iter=10**9, random_state=10**9, solver="cholesky", tol=1e-30))


@pytest.mark.parametrize(
    "values",
    [
        [0.12345, 0.12346],
        [1.0000001, 1.0000002],
        ["a" * 60 + "b", "a" * 60 + "c"],
        ["a" * 200 + "b", "a" * 200 + "c"],
        [AdamW(betas=(0.9, 0.95)), AdamW(betas=(0.9, 0.9500001))],
    ],
    ids=["numbers", "close numbers", "words", "long words", "components"],
)
def test_labels_differ(values: list[Any]) -> None:
    """Two values never have one label."""
    assert len({*Levels.of(values).labels()}) == 2


@pytest.mark.parametrize(
    ("values", "ordered"),
    [
        ([3, 1, 2, 1], [1, 2, 3]),
        ([None, 0.5, 0.1], [0.1, 0.5, None]),
        (["b", "a", "b"], ["b", "a"]),
        ([NOT_SET, "scale", 0.1], [0.1, "scale", NOT_SET]),
        ([True, 1, 1.0, False], [1, True, False]),
        ([[1, 2], [1], [1, 2]], [[1], [1, 2]]),
        ([(128,), 64, (8, 8), (16,)], [64, (16,), (128,), (8, 8)]),
        ([("b",), ("a",), (1, "a")], [("b",), ("a",), (1, "a")]),
        ([AdamW(), SGD(), AdamW()], [AdamW(), SGD()]),
        ([np.inf, 2.0], [2.0, np.inf]),
        ([np.float64("nan"), 2.0, np.float64("nan"), "nan"], [2.0, float("nan"), "nan"]),
    ],
    ids=repr,
)
def test_levels_are_ordered(values: list[Any], ordered: list[Any]) -> None:
    """Numbers go up, tuples of them by length and size, words stay as they were named, and each value finds its own."""
    levels = Levels.of(values)
    assert repr([*levels.values]) == repr(ordered)
    assert [identity(levels.values[place]) for place in levels.index] == [identity(value) for value in values]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (np.logspace(-4, -1, 8), "log"),
        (np.random.RandomState(0).uniform(np.log(1e-6), 0, 50), "linear"),
        (np.exp(np.random.RandomState(0).uniform(np.log(1e-6), 0, 50)), "log"),
        (np.random.RandomState(0).uniform(0, 1, 50), "linear"),
        ([32, 64, 128], "log"),
        ([1, 10], "log"),
        ([1, 2, 3, 4, 5], "linear"),
        ([0.1, 0.2], "linear"),
        ([-1, 0, 1], "linear"),
        ([5], "linear"),
        ([0], "linear"),
        ([0, 1e-5, 1e-3, 1e-1], "levels"),
        ([0, 0.1, 0.2, 0.3], "linear"),
        (["a", "b"], "levels"),
        ([True, False], "levels"),
        ([1, None], "levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(list(value))[:30],
)
def test_the_scale_fits_the_values(values: Any, scale: str) -> None:
    """Values that go by ratios have a log scale, and those that no scale of numbers shows stand side by side."""
    assert Levels.of(list(values)).scale() == scale


def test_components_are_equal_by_what_they_are() -> None:
    """Two components with the same fields are one choice, also when they were made apart."""
    assert identity(AdamW(betas=(0.9, 0.95))) == identity(AdamW(betas=(0.9, 0.95)))
    assert identity(AdamW()) != identity(AdamW(betas=(0.9, 0.95)))
    assert identity(ClipNorm()) != identity(AdamW())
