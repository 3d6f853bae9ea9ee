"""Rows of which each member leaves out a part of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skbig.data.folded_rows import MAX_PART, deal_out, folded, n_shared, shared_places, with_shared
from skbig.data.rows import place_rows
from skbig.data.stacked_rows import same_rows

N = 26
ROWS = place_rows(np.arange(2.0 * N).reshape(N, 2), np.arange(float(N)), None, torch.device("cpu"), torch.float64)
LEFT_OUT = {seed: rows for seed, rows in zip((5, 9, 2), deal_out(N, 3, np.random.default_rng(0), None), strict=True)}


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_member_reads_all_but_its_own_part(shuffle: bool) -> None:
    """In every epoch, once each, whoever stands beside it."""
    rows = folded(ROWS, LEFT_OUT)
    assert rows.n_rows == N - 8
    for seeds in ([5, 9, 2], [2, 2, 9]):
        read = [batch.y for steps in rows.epoch(seeds, 1, shuffle, 4, 3) for batch in steps]
        for seed, own in zip(seeds, torch.cat(read, 1).numpy(), strict=True):
            assert sorted([*own, *LEFT_OUT[seed]]) == list(range(N))


def test_sets_are_the_same_where_the_same_is_left_out() -> None:
    """Members of two trainings may share them then, and only then."""
    other = {**LEFT_OUT, 2: LEFT_OUT[9]}
    assert same_rows(folded(ROWS, LEFT_OUT), folded(ROWS, dict(LEFT_OUT)))
    assert not same_rows(folded(ROWS, LEFT_OUT), folded(ROWS, other))
    assert not same_rows(ROWS, folded(ROWS, LEFT_OUT))


def test_classes_are_dealt_out_evenly() -> None:
    """Parts share no row, have as many rows, and of a class one more or fewer; its only row is in none."""
    labels = np.repeat([0, 1, 2, 3], [40, 17, 8, 1])
    parts = deal_out(len(labels), 5, np.random.default_rng(0), labels)
    assert parts.shape == (5, 13)
    assert len(np.unique(parts)) == parts.size
    counts = np.stack([np.bincount(labels[part], minlength=4) for part in parts])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert not counts[:, 3].any()


@pytest.mark.parametrize("labels", [None, np.arange(20_000) % 3], ids=["numbers", "classes"])
def test_a_part_is_no_larger_than_it_need_be(labels: np.ndarray | None) -> None:
    """Of many rows most are read by all members."""
    parts = deal_out(20_000, 8, np.random.default_rng(0), labels)
    assert parts.shape == (8, MAX_PART)
    assert len(np.unique(parts)) == parts.size
    assert parts.max() > 19_000  # of all rows


@pytest.mark.parametrize("n_rows", [2_000, 2_040, 4_400, 30_000])
def test_of_many_rows_all_leave_out_some(n_rows: int) -> None:
    """Beside its own part each leaves out the same rows of all parts: a fortieth, with about as many of each class."""
    labels = np.repeat([0, 1, 2], [n_rows // 2, n_rows // 4, n_rows - n_rows // 2 - n_rows // 4])
    parts = deal_out(n_rows, 8, np.random.default_rng(0), labels)
    n_each = n_shared(n_rows, *parts.shape)
    left_out = with_shared(parts, n_each)
    by_all = np.flatnonzero(np.bincount(left_out.ravel(), minlength=n_rows) == 8)
    assert sorted(by_all) == sorted(np.take_along_axis(parts, shared_places(*parts.shape, n_each), 1).ravel())
    assert len(by_all) == {2_000: 0, 2_040: 48, 4_400: 104, 30_000: 400}[n_rows]
    for own, left in zip(parts, left_out, strict=True):
        assert set(left) == {*own, *by_all} and len(set(left)) == len(left)
    rows = folded(ROWS, dict(enumerate(left_out)))
    assert rows.n_shared(parts.shape[1]) == n_each
    if len(by_all):
        share = np.bincount(labels[by_all], minlength=3) / len(by_all)
        np.testing.assert_allclose(share, np.bincount(labels) / n_rows, atol=0.1)


@pytest.mark.parametrize("n_members", [5, 8, 24])
@pytest.mark.parametrize("n_rare", [2, 8, 24, 60])
@pytest.mark.parametrize("rare", [0, 2])
def test_a_rare_class_is_read(n_members: int, n_rare: int, rare: int) -> None:
    """Of a class of few rows all members leave out no larger share than of others: one row, or two."""
    labels = np.random.default_rng(0).permutation(np.repeat([rare, 1, 3], [n_rare, 1_500, 1_500]))
    folds = deal_out(len(labels), n_members, np.random.default_rng(0), labels)
    left_out = with_shared(folds, n_shared(len(labels), *folds.shape))
    by_all = np.bincount(left_out.ravel(), minlength=len(labels)) == n_members
    assert by_all.sum() >= 48
    assert by_all[labels == rare].sum() <= 1 + n_rare // 40


@pytest.mark.parametrize("n_pairs", [10, 50, 200])
def test_classes_of_one_row_leave_few_to_deal_out(n_pairs: int) -> None:
    """Folds of few rows are not left out as a whole, no row twice, and all others are read."""
    labels = np.r_[np.repeat(np.arange(n_pairs), 2), np.arange(n_pairs, 3_000 - n_pairs)]
    folds = deal_out(len(labels), 8, np.random.default_rng(0), labels)
    left_out = with_shared(folds, n_shared(len(labels), *folds.shape))
    for own in left_out:
        assert len(np.unique(own)) == len(own)
    by_all = np.bincount(left_out.ravel(), minlength=len(labels)) == 8
    assert np.bincount(labels[by_all], minlength=n_pairs)[:n_pairs].max() <= 1
