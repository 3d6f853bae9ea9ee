"""Labels go to what a loss reads and come back the same."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from skbig.data.targets import ClassTargets, RegressionTargets, class_targets

LABELS: dict[str, np.ndarray] = {
    "integers": np.array([7, -1, 3, 7, 3]),
    "two integers": np.array([5, 2, 5, 5, 2]),
    "bools": np.array([True, False, False, True, True]),
    "strings": np.array(["ham", "egg", "spam", "egg", "egg"]),
    "two strings": np.array(["no", "yes", "yes", "no", "no"]),
    "objects": np.array(["b", "a", "a", "c", "b"], dtype=object),
    "whole floats": np.array([1.0, 2.0, 4.0, 1.0, 2.0]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_come_back(name: str) -> None:
    """The label of the largest score, or of a positive one, is the label that was encoded, in its own dtype."""
    y = LABELS[name]
    targets = class_targets(y)
    encoded = targets.encode(y)
    if len(targets.classes) > 2:
        assert targets.multiclass and encoded.dtype == np.int64 and encoded.shape == y.shape
        scores = np.eye(targets.n_outputs)[encoded]
    else:
        assert not targets.multiclass and targets.n_outputs == 1 and encoded.shape == (len(y), 1)
        assert set(encoded.ravel()) == {0.0, 1.0}
        scores = encoded - 0.5
    decided = targets.named(targets.choose(torch.from_numpy(scores), 0.0).numpy())
    np.testing.assert_array_equal(decided, y)
    assert decided.dtype == y.dtype
    assert list(targets.classes) == sorted(set(y))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_many_rows_take_little_memory(n_classes: int) -> None:
    """Beside the codes, as many bytes a row as one number has, there is little in memory; each row has its own code."""
    n_rows = 2**21 + 5
    y = np.random.RandomState(0).randint(n_classes, size=n_rows).astype(np.int8)
    targets = ClassTargets(np.arange(n_classes, dtype=np.int8))
    tracemalloc.start()
    try:
        encoded = targets.encode(y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(encoded.ravel(), y)
    assert encoded.nbytes <= 8 * n_rows and peak < encoded.nbytes + 20 * 2**20


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csc_array, lambda y: y.tolist()])
def test_multilabel_targets(form: Any) -> None:
    """An indicator is read column by column, dense, sparse or listed, and each column decided by itself."""
    y = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    targets = class_targets(form(y))
    assert targets.multilabel and not targets.multiclass and targets.n_outputs == 3
    np.testing.assert_array_equal(targets.encode(form(y)), y.astype(float))
    for scores, threshold in ((y - 0.5, 0.0), (y * 0.8 + 0.1, 0.5)):
        np.testing.assert_array_equal(targets.named(targets.choose(torch.from_numpy(scores), threshold)), y)


def test_two_labels_are_not_two_classes() -> None:
    """An indicator of two columns has two outputs."""
    targets = class_targets(np.array([[1, 0], [0, 1], [1, 1]]))
    assert targets.n_outputs == 2 and not targets.multiclass


def test_given_classes() -> None:
    """Classes that a first batch does not hold are known when they are given, in any order."""
    targets = class_targets(["b", "b"], classes=["c", "a", "b"])
    np.testing.assert_array_equal(targets.classes, ["a", "b", "c"])
    np.testing.assert_array_equal(targets.encode(["b", "b"]), [1, 1])


@pytest.mark.parametrize(
    ("classes", "y", "unseen"),
    [
        ([1, 2, 3], [1, 4, 2], "[4]"),
        ([1, 3], [2, 3], "[2]"),
        (["a", "b"], ["b", "zz", "0"], "['0', 'zz']"),
        ([1, 2], [9, 9], "[9]"),
    ],
)
def test_unseen_labels_are_named(classes: list[Any], y: list[Any], unseen: str) -> None:
    """A label that is not among the classes is an error that names it, above, below or between those that are."""
    with pytest.raises(ValueError) as caught:
        ClassTargets(np.array(classes)).encode(np.array(y))
    assert unseen in str(caught.value) and "classes_" in str(caught.value)


@pytest.mark.parametrize(("classes", "y"), [([1, 2, 3], ["a", "b"]), (["a", "b"], [1, 2])], ids=str)
def test_labels_of_another_kind(classes: list[Any], y: list[Any]) -> None:
    """Strings for numbers, or numbers for strings, are labels that are not among the classes."""
    with pytest.raises(ValueError, match="classes_"):
        ClassTargets(np.array(classes)).encode(np.array(y))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.2, 3.3], "continuous"),
        ([[0.5, 1.2], [3.3, 1.0]], "continuous"),
        ([[1, 2], [3, 1], [1, 1]], "multiclass-multioutput"),
    ],
)
def test_what_is_no_classification(y: list[Any], message: str) -> None:
    """Numbers that are no labels, and several multiclass targets at once are refused."""
    with pytest.raises(ValueError, match=message):
        class_targets(np.array(y))


def test_other_columns_than_before() -> None:
    """An indicator must have the columns that are known."""
    targets = class_targets(np.array([[1, 0, 1], [0, 1, 0]]))
    with pytest.raises(ValueError, match="3 columns"):
        targets.encode(np.array([[1, 0], [0, 1]]))
    with pytest.raises(ValueError, match="3 columns"):
        targets.encode(np.array([1, 0]))


@pytest.mark.parametrize(
    "y", [np.arange(4), np.arange(4.0)[:, None], np.arange(8, dtype=np.float32).reshape(4, 2)], ids=str
)
def test_regression_targets(y: np.ndarray) -> None:
    """Values become float columns; another number of columns is refused."""
    n_outputs = 1 if y.ndim == 1 else y.shape[1]
    encoded = RegressionTargets(n_outputs, y.ndim == 1).encode(y)
    assert encoded.dtype == np.float64
    np.testing.assert_array_equal(encoded, y.reshape(4, n_outputs))
    with pytest.raises(ValueError, match="output"):
        RegressionTargets(3, False).encode(y)


@pytest.mark.parametrize("classes", [{0, 1}, [1, 0, 1], (0, 1), np.array([0, 1]), frozenset({1, 0})], ids=str)
def test_classes_are_named_by_any_collection(classes: Any) -> None:
    """A set names classes as a list does."""
    np.testing.assert_array_equal(class_targets([0, 1], classes).classes, [0, 1])


@pytest.mark.parametrize(
    "classes", ["ab", 3, [0, "a"], [0, 1, np.nan], [[0, 1]], [], None.__class__, [0, None]], ids=str
)
def test_what_names_no_classes(classes: Any) -> None:
    """A word, a number, a table, or labels that cannot be told apart are refused."""
    with pytest.raises(ValueError, match="classes"):
        class_targets([0, 1], classes)
