"""Rows that are held out are some of each class, as many as asked for, and another choice for another seed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from skbig.data.split import split

LABELS: dict[str, Any] = {
    "any": None,
    "two": np.repeat([0, 1], [6, 94]),
    "words": np.repeat(["a", "b", "c"], [21, 33, 46]),
    "objects": np.repeat(np.array(["a", "b"], dtype=object), 50),
    "many": np.arange(100) // 3 - 5.5,
}


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.333, 0.5, 0.62])
@pytest.mark.parametrize("labels", LABELS)
def test_rows_are_parted(labels: str, fraction: float) -> None:
    """Every row is in one part, in its order, and each class is parted as scikit-learn parts it."""
    y = LABELS[labels]
    y = y[:99] if labels == "many" else y  # whose last class has one row
    n_rows = 99 if labels == "many" else 100
    if labels == "many" and not 33 / 99 <= fraction <= 66 / 99:
        pytest.skip("too few rows for so many classes")
    train, held = split(n_rows, fraction, random(), y)
    theirs = train_test_split(np.arange(n_rows), test_size=fraction, stratify=y, random_state=0)
    assert [len(train), len(held)] == [len(part) for part in theirs]
    np.testing.assert_array_equal(np.sort(np.r_[train, held]), np.arange(n_rows))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    if y is not None:
        ours, expected = (np.unique(y[part], return_counts=True)[1] for part in (held, theirs[1]))
        assert np.abs(ours - expected).max() <= 1  # ties are broken at random there
        assert len(ours) == len(np.unique(y))


@pytest.mark.parametrize("labels", ["any", "two", "words"])
def test_a_seed_is_a_choice(labels: str) -> None:
    """The same seed holds out the same rows, another seed others, and in the long run each as often."""
    y = LABELS[labels]
    first = split(100, 0.25, random(3), y)[1]
    np.testing.assert_array_equal(split(100, 0.25, random(3), y)[1], first)
    drawn = np.concatenate([split(100, 0.25, random(seed), y)[1] for seed in range(400)])
    often = np.bincount(drawn, minlength=100) / 400
    assert abs(often.mean() - 0.25) < 1e-9
    share = np.full(100, 0.25)
    if labels == "two":
        share = np.repeat([np.mean(often[:6]), np.mean(often[6:])], [6, 94])
    assert np.abs(often - share).max() < 0.12  # five standard errors


@pytest.mark.parametrize(
    ("n_rows", "fraction", "labels", "message"),
    [
        (1, 0.1, None, "no rows would be left"),
        (4, 0.9, None, "no rows would be left"),
    ],
)
def test_too_few_rows(n_rows: int, fraction: float, labels: Any, message: str) -> None:
    """Where no row would be left to train on, the error says so."""
    with pytest.raises(ValueError, match=message):
        split(n_rows, fraction, random(), labels)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5, 0.66])
@pytest.mark.parametrize("counts", [(1, 3), (1, 1, 1, 27), (10, 10, 10), (2, 2, 2, 2), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [int, object])
def test_every_class_is_trained_on(counts: tuple[int, ...], fraction: float, dtype: Any) -> None:
    """A class with one row, or one of more classes than rows are held out, keeps a row to train on at least."""
    labels = np.repeat(np.array(["a", "b", "c", "d"][: len(counts)]), counts)
    labels = labels.astype(object) if dtype is object else np.unique(labels, return_inverse=True)[1]
    train, held = split(len(labels), fraction, random(), labels)
    np.testing.assert_array_equal(np.unique(labels[train]), np.unique(labels))
    assert len(held) <= np.ceil(fraction * len(labels))
    np.testing.assert_array_equal(np.sort(np.r_[train, held]), np.arange(len(labels)))


def test_many_rows_take_little_memory() -> None:
    """A row takes some numbers while it is parted, and no Python object."""
    y = np.arange(1_000_000) % 7
    tracemalloc.start()
    try:
        split(len(y), 0.1, random(), y)
        assert tracemalloc.get_traced_memory()[1] < 40 * len(y)
    finally:
        tracemalloc.stop()
