"""Rows of about the same length in a batch, so that little of it is empty.

Legend: D orders that differ, L rows read by a member, R rows of a batch, B batches of a window.
"""

from __future__ import annotations

import numpy as np

from skbig._utils.random import Purpose, generator
from skbig.data.steps import Order

BATCHES_OF_A_WINDOW = 50
"""Among so many batches rows are put in the order of their lengths: what is read together still changes."""


def by_length(order: Order, lengths: np.ndarray, batch_size: int, epoch: int) -> Order:
    """Return an order in which the rows of a batch have about the same length, and batches of all lengths come mixed.

    Which place a batch of long rows gets is the same for all members, so that a stack reads long rows together. Of the
    rows that make no whole batch, the last ones stay the last.
    """
    rows = order.rows.copy()
    n_batches = rows.shape[1] // batch_size
    for number, first in enumerate(range(0, n_batches, BATCHES_OF_A_WINDOW)):
        count = min(BATCHES_OF_A_WINDOW, n_batches - first)
        mixed = generator(0, Purpose.ORDER, epoch, number).permutation(count)
        window = slice(first * batch_size, (first + count) * batch_size)
        for own in rows:
            sorted_rows = own[window][np.argsort(lengths[own[window]], kind="stable")]
            own[window] = sorted_rows.reshape(count, batch_size)[mixed].ravel()
    return Order(rows, order.owner)
