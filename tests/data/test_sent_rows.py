"""Rows that are sent to be predicted come out whole and in their order, and it is known whether they were finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skbig.data.streaming.sent_rows import SentRows

CPU = torch.device("cpu")
X = np.arange(60, dtype=np.float32).reshape(20, 3)


@pytest.mark.parametrize("n_rows", [1, 7, 20, 100])
def test_blocks_are_the_rows(n_rows: int) -> None:
    """Each row comes out once, at its place, as often as one asks."""
    X.flags.writeable = False
    rows = SentRows(X, CPU)
    for _ in range(2):
        out = np.full_like(X, np.nan)
        for first, block in rows.blocks(n_rows):
            out[first : first + len(block)] = block.numpy()
        np.testing.assert_array_equal(out, X)
        assert rows.are_finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_noticed(value: float) -> None:
    """In any block, and only while it is there."""
    broken = X.copy()
    broken[17, 1] = value
    rows = SentRows(broken, CPU)
    list(rows.blocks(5))
    assert not rows.are_finite
    broken[17, 1] = 0
    list(rows.blocks(5))
    assert rows.are_finite
