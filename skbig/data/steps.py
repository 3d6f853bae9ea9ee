"""Steps of rows in memory: which rows each of them reads, gathered when they are asked for.

Legend: M members, D orders that differ, L rows read by a member, R rows of a batch, S steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
import torch

from skbig.data.batch import Batch


class Order(NamedTuple):
    """In which order members read a set.

    Attributes
    ----------
    rows : ndarray (D, L)
        Numbers of rows: the orders that differ.
    owner : ndarray (M,)
        Which of them each member reads.
    """

    rows: np.ndarray
    owner: np.ndarray

    @property
    def length(self) -> int:
        return int(self.rows.shape[1])

    def part(self, start: int, stop: int) -> Order:
        """Return what is read in between."""
        return Order(self.rows[:, start:stop], self.owner)

    def of_members(self) -> np.ndarray:
        """Return the order of each member, (M, L)."""
        return self.rows if len(self.rows) == len(self.owner) else self.rows[self.owner]


def cut(n_rows: int, batch_size: int) -> list[int]:
    """Return how many rows each batch of a set has."""
    whole, rest = divmod(n_rows, batch_size)
    return [batch_size] * whole + [rest] * (rest > 0)


class Resident(Protocol):
    """Rows that lie on a device: one set for all members, or several."""

    @property
    def sets(self) -> tuple[Any, ...]:
        """The sets of rows, in the order of the members that read them."""
        ...

    def steps_gathered(self, n_members: int, batch_size: int) -> int:
        """How many batches are gathered at once."""
        ...

    def gather_orders(self, orders: Sequence[Order], batch_size: int) -> list[Batch]:
        """Return the rows of the order of each set in batches."""
        ...


class ResidentSteps(Sequence[Batch]):
    """The batches of some steps, of rows that lie on the device.

    Going through them gathers some at a time; who gathers by himself reads `rows` and `orders`.

    Attributes
    ----------
    rows : Resident
    orders : list of Order
        One for each set of the rows.
    batch_size : int
    """

    def __init__(self, rows: Resident, orders: Sequence[Order], batch_size: int) -> None:
        self.rows, self.orders, self.batch_size = rows, list(orders), batch_size

    @property
    def length(self) -> int:
        """Rows read by the member that reads most."""
        return max(order.length for order in self.orders)

    @property
    def lengths(self) -> np.ndarray:
        """Rows read by each member, (M,)."""
        return np.concatenate([np.full(len(order.owner), order.length) for order in self.orders])

    @property
    def n_full(self) -> int:
        """Steps in which every member reads a whole batch; at most one comes after them."""
        return min(order.length for order in self.orders) // self.batch_size

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each step and member, (S, M), or (S, 1) where members read as many."""
        if len({order.length for order in self.orders}) == 1:
            return np.array(cut(self.length, self.batch_size))[:, None]
        left = self.lengths - np.arange(len(self))[:, None] * self.batch_size
        return np.minimum(np.maximum(left, 0), self.batch_size)

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        n_members = sum([len(order.owner) for order in self.orders])
        at_once = self.rows.steps_gathered(n_members, self.batch_size)
        for start in range(0, len(self), at_once):
            yield from self._gathered(start, start + at_once)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...

    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, int):
            place = range(len(self))[index]
            return self._gathered(place, place + 1)[0]
        start, stop, _ = index.indices(len(self))
        return ResidentSteps(self.rows, self._parts(start, stop), self.batch_size)

    def _gathered(self, start: int, stop: int) -> list[Batch]:
        with torch.inference_mode(False):  # a step as written differentiates what it makes of them
            return self.rows.gather_orders(self._parts(start, stop), self.batch_size)

    def _parts(self, start: int, stop: int) -> list[Order]:
        return [order.part(start * self.batch_size, stop * self.batch_size) for order in self.orders]
