"""The rows of a stack: every member reads what it would read alone, whatever the others read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.data import stacked_rows as stacked_module
from skbig.data.batch import Batch
from skbig.data.rows import Rows, place_rows
from skbig.data.stacked_rows import StackedRows, same_rows
from tests.small import CPU, data

LENGTHS, COUNTS = (45, 41, 50), (2, 1, 3)  # batches of 20: three each, the last of 5 rows, 1 and 10
SEEDS = [7, 0, 3, 7, 2**32 - 1, 5]
SETS = np.repeat(range(3), COUNTS)
TASKS = pytest.mark.parametrize("task", ["multiclass", "multi-output"])


def one_set(
    task: str, n_rows: int, weighted: bool = False, dtype: torch.dtype = torch.float64, form: Any = np.asarray
) -> Rows:
    X, y = data(task, 60)
    weight = np.random.RandomState(n_rows).uniform(0.5, 3, size=n_rows) if weighted else None
    return place_rows(form(X[-n_rows:]), y[-n_rows:], weight, CPU, dtype)


def three_sets(
    task: str, weighted: tuple[bool, ...], lengths: tuple[int, ...] = LENGTHS, form: Any = np.asarray
) -> StackedRows:
    pairs = zip(lengths, weighted, strict=True)
    return StackedRows(tuple(one_set(task, n_rows, own, form=form) for n_rows, own in pairs), COUNTS)


def batches_of(
    rows: Any, seeds: list[int], batch_size: int = 20, at_once: int = 1000, shuffle: bool = True
) -> list[Batch]:
    groups = list(rows.epoch(seeds, 2, shuffle, batch_size, at_once))
    assert all(1 <= len(group) <= at_once for group in groups)
    return [batch for group in groups for batch in group]


def assert_read_as_alone(rows: StackedRows, **how: Any) -> None:
    together = batches_of(rows, SEEDS, **how)
    for m, seed in enumerate(SEEDS):
        alone = batches_of(rows.sets[SETS[m]], [seed], **how)
        for ours, expected in zip(together, alone, strict=True):
            size = ours.n_rows if ours.sizes is None else ours.sizes[m]
            assert size == expected.n_rows
            torch.testing.assert_close(dense(ours.X)[m, :size], dense(expected.X), rtol=1e-15, atol=0)
            for name in ("y", "share"):
                torch.testing.assert_close(getattr(ours, name)[m, :size], getattr(expected, name), rtol=1e-15, atol=0)
            assert not ours.share[m, size:].any()
            assert torch.isfinite(dense(ours.X)[m]).all()


def dense(X: Tensor | SparseRows) -> Tensor:
    return X if isinstance(X, Tensor) else X.dense()


@TASKS
@pytest.mark.parametrize("at_once", [1, 2, 1000])
@pytest.mark.parametrize("weighted", [(False,) * 3, (True,) * 3, (False, True, False)], ids=str)
def test_each_member_reads_its_own_rows(task: str, at_once: int, weighted: tuple[bool, ...]) -> None:
    """Batches hold a member's rows in its own order, with its own shares; what fills up a short one has share zero."""
    assert_read_as_alone(three_sets(task, weighted), at_once=at_once)


@TASKS
@pytest.mark.parametrize(("at_least", "is_sparse"), [(0, True), (1000, False)])
def test_sets_of_sparse_rows(task: str, at_least: int, is_sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long sparse rows of all members are one batch of sparse rows; short ones are dense."""
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", at_least)
    rows = three_sets(task, (False, True, False), form=sparse.csr_array)
    assert rows.is_sparse and isinstance(batches_of(rows, SEEDS)[0].X, SparseRows if is_sparse else Tensor)
    assert_read_as_alone(rows, at_once=2)


def test_sets_of_sparse_rows_are_placed_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are taken in the memory of the host, and what is computed with is on the device."""
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    device = torch.device("meta")  # which nothing comes back from
    sets = three_sets("multiclass", (False, True, False), form=sparse.csr_array).sets
    batch, *_ = batches_of(StackedRows(tuple(rows.to(device) for rows in sets), COUNTS), SEEDS)
    assert isinstance(batch.X, SparseRows) and batch.X.rows.values.device == device
    assert batch.y.device == batch.share.device == device


@pytest.mark.parametrize("lengths", [LENGTHS, (60, 60, 60), (41, 60, 41)], ids=str)
def test_without_shuffling(lengths: tuple[int, ...]) -> None:
    """Members that do not shuffle read their set from its beginning."""
    assert_read_as_alone(three_sets("multiclass", (True, False, True), lengths), shuffle=False)


@pytest.mark.parametrize("batch_size", [1, 9, 50])
def test_batches_of_any_size(batch_size: int) -> None:
    """Sets of the same number of batches may be stacked: of one row, of nine, and as one batch that holds them all."""
    lengths = {1: (45, 45, 45), 9: (46, 54, 50), 50: LENGTHS}[batch_size]
    rows = three_sets("multi-output", (False, True, True), lengths)
    assert_read_as_alone(rows, batch_size=batch_size)
    assert len(batches_of(rows, SEEDS, batch_size)) == -(-max(lengths) // batch_size)


def test_sizes_are_told_where_they_differ() -> None:
    """A batch that is full for every member is told apart from one that is not."""
    assert [batch.sizes for batch in batches_of(three_sets("multiclass", (False,) * 3), SEEDS)] == [
        None,
        None,
        (5, 5, 1, 10, 10, 10),
    ]
    equal = three_sets("multiclass", (False,) * 3, (45, 45, 45))
    assert [(batch.sizes, batch.n_rows) for batch in batches_of(equal, SEEDS)] == [(None, 20), (None, 20), (None, 5)]


def test_what_a_stack_says_of_its_rows() -> None:
    """The number of rows and the mean weight are those of each member's own set."""
    rows = three_sets("multiclass", (False, True, False))
    assert rows.n_rows == 50 and not rows.is_sparse
    np.testing.assert_array_equal(rows.lengths, np.repeat(LENGTHS, COUNTS))
    means = torch.as_tensor(rows.mean_weight)
    assert means.shape == (6, 1, 1)
    np.testing.assert_array_equal(means.flatten(), np.repeat([one.mean_weight for one in rows.sets], COUNTS))
    assert three_sets("multiclass", (False,) * 3).mean_weight == 1.0


def test_little_is_gathered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets that are too large to be gathered at once for all members are gathered in pieces, with the same batches."""
    rows = three_sets("multiclass", (True,) * 3, (45, 41, 43))
    whole = batches_of(rows, SEEDS, 5)
    monkeypatch.setattr(stacked_module, "GATHERED_BYTES", 2 * rows.sets[0].X[:5].nbytes * len(SEEDS))
    (group,) = rows.epoch(SEEDS, 2, True, 5, 1000)
    assert group.rows.steps_gathered(len(SEEDS), 5) == 2
    for one, other in zip(group, whole, strict=True):
        assert one.sizes == other.sizes
        for m, size in enumerate(one.sizes or [one.n_rows] * len(SEEDS)):
            torch.testing.assert_close(one.X[m, :size], other.X[m, :size], rtol=0, atol=0)
        torch.testing.assert_close(one.share, other.share, rtol=0, atol=0)


@TASKS
@pytest.mark.parametrize("weighted", [True, False])
def test_equal_sets_are_recognised(task: str, weighted: bool) -> None:
    """Two sets are the same when all of their numbers are, shared in memory or not."""
    rows = one_set(task, 45, weighted)
    copy = Rows(
        rows.X.clone(),
        rows.y.clone(),
        None if rows.weight is None else rows.weight.clone(),
        rows.mean_weight,
        rows.dtype,
    )
    assert same_rows(rows, rows) and same_rows(rows, copy)
    assert not same_rows(rows, one_set(task, 45, not weighted))
    assert not same_rows(rows, one_set(task, 44, weighted))
    assert not same_rows(rows, one_set(task, 45, weighted, torch.float32))
    assert not same_rows(rows, Rows(copy.X, copy.y, copy.weight, 2 * rows.mean_weight, rows.dtype))
    for changed in (copy.X, copy.y) if copy.weight is None else (copy.X, copy.y, copy.weight):
        changed[-1] += 1
        assert not same_rows(rows, copy)
        changed[-1] -= 1
