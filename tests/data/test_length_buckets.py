"""Batches of rows that are about as long."""

from __future__ import annotations

import numpy as np
import torch

from skbig.data.rows import place_rows

LENGTHS = np.random.RandomState(0).randint(1, 100, 205)


def batches(seeds: list[int], epoch: int, *, lengths: np.ndarray | None = LENGTHS, shuffle: bool = True) -> np.ndarray:
    """Return which rows a member reads in each batch: their numbers stand in X."""
    X = np.arange(205, dtype=np.int32)[:, None]
    rows = place_rows(X, np.zeros(205), None, torch.device("cpu"), torch.float32, keep_whole=True, row_lengths=lengths)
    steps = [batch for some in rows.epoch(seeds, epoch, shuffle, 10, 100) for batch in some]
    return [batch.X.numpy().reshape(len(seeds), -1) for batch in steps]


def test_every_row_is_read_once_in_a_batch_of_its_length() -> None:
    """An epoch reads all rows; within a batch lengths differ by little, but for the rows that make no whole one."""
    epoch = batches([3], 0)
    assert sorted(np.concatenate(epoch, axis=1)[0]) == list(range(205))
    spread = [np.ptp(LENGTHS[batch[0]]) for batch in epoch[:-1]]
    plain = [np.ptp(LENGTHS[batch[0]]) for batch in batches([3], 0, lengths=None)[:-1]]
    assert np.mean(spread) < 0.2 * np.mean(plain)
    assert epoch[-1].shape == (1, 5)


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    """Other epochs and other seeds read others together; long batches come at any place; members stay themselves."""
    first, second, other = batches([3], 0), batches([3], 1), batches([4], 0)
    assert not np.array_equal(first[0], second[0]) and not np.array_equal(first[0], other[0])
    longest = [LENGTHS[batch[0]].max() for batch in first[:-1]]
    assert longest != sorted(longest)
    both = batches([3, 4], 0)
    for together, one, two in zip(both, first, other, strict=True):
        np.testing.assert_array_equal(together, np.concatenate([one, two]))


def test_rows_in_their_order_stay_there() -> None:
    """Without shuffling nothing is put together."""
    assert np.concatenate(batches([3], 0, shuffle=False), axis=1)[0].tolist() == list(range(205))
