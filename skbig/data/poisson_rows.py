"""Batches of random size: each row comes by itself, with the same probability, as private training needs them.

Legend: M members, N rows of a set, R rows of a batch, S steps.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.random import Purpose, generator
from skbig.data.batch import Batch
from skbig.data.drawn_rows import DrawnRows
from skbig.data.rows import Rows
from skbig.data.stacked_rows import StackedRows
from skbig.data.steps import Order

N_FORMS = 4
"""Batches of random size are filled up to one of about so many sizes."""

Owner = tuple[int, int]
"""A member's seed, and how many rows it reads from."""

Draw = Callable[[], np.ndarray]
"""Returns which rows the next step reads."""


@dataclass(frozen=True)
class PoissonRows:
    """The rows of a private training.

    In every step each of a member's N rows is read with the probability ``batch_size / N``. A batch is filled up with
    rows of share zero, so that there are few forms of batches; a row's share is one over `batch_size`, whatever the
    number of rows that came.

    Attributes
    ----------
    rows : Rows, StackedRows or DrawnRows
    batch_size : int
        Rows of a step on average.
    secure : bool
        Whether the operating system draws them.
    """

    rows: Rows | StackedRows | DrawnRows
    batch_size: int
    secure: bool = False

    @property
    def n_rows(self) -> int:
        return self.rows.n_rows

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.n_rows // self.batch_size)

    @property
    def lengths(self) -> np.ndarray:
        """Rows that each member reads in an epoch on average, or all of them: (1,)."""
        return np.full_like(self.rows.lengths, self.n_steps * self.batch_size)

    @property
    def mean_weight(self) -> Any:
        return self.rows.mean_weight

    @property
    def is_sparse(self) -> bool:
        return self.rows.is_sparse

    def epoch(
        self, seeds: list[int], epoch: int, shuffle: bool, batch_size: int, max_steps: int
    ) -> Iterator[list[Batch]]:
        """Yield at most `max_steps` batches at a time, as each member's seed and the epoch give them."""
        del shuffle, batch_size
        owners = list(zip(seeds, np.broadcast_to(self.rows.lengths, len(seeds)).tolist(), strict=True))
        draws = {owner: self._draw(*owner, epoch) for owner in owners}
        at_once = min(max_steps, self.rows.steps_gathered(len(seeds), self.batch_size))
        for start in range(0, self.n_steps, at_once):
            steps = range(start, min(start + at_once, self.n_steps))
            yield self._batches([self._step(owners, draws) for _ in steps])

    def _draw(self, seed: int, n_rows: int, epoch: int) -> Draw:
        probability = min(1.0, self.batch_size / n_rows)
        if probability == 1.0:
            return lambda: np.arange(n_rows)
        if self.secure:
            return lambda: secure_sample(n_rows, probability)
        random = generator(seed, Purpose.PRIVACY_ROWS, epoch)
        return lambda: poisson_sample(random, n_rows, probability)

    def _step(self, owners: Sequence[Owner], draws: Mapping[Owner, Draw]) -> list[np.ndarray]:
        """Return the rows that each member reads in a step: the same where seed and number of rows are."""
        if self.secure:
            return [draws[owner]() for owner in owners]
        drawn = {owner: draw() for owner, draw in draws.items()}
        return [drawn[owner] for owner in owners]

    def _batches(self, steps: Sequence[Sequence[np.ndarray]]) -> list[Batch]:
        """Gather steps, in each of which every member has rows of its own: together, or sparse ones one by one."""
        if self.is_sparse:
            return [batch for step in steps for batch in self._gathered([step])]
        return self._gathered(steps)

    def _gathered(self, steps: Sequence[Sequence[np.ndarray]]) -> list[Batch]:
        counts = np.array([[len(rows) for rows in step] for step in steps])
        sizes = [self._form(n) for n in counts.max(axis=1).tolist()]
        if counts.shape[1] == 1:
            return self._of_one_member([rows for (rows,) in steps], sizes)
        length = max(sizes)  # parts of what has a members axis would have to be copied
        index = np.zeros((counts.shape[1], len(steps), length), dtype=np.int64)
        for s, step in enumerate(steps):
            for m, rows in enumerate(step):
                index[m, s, : len(rows)] = rows
        batches = self.rows.gather_orders(self._orders(index), length)
        inside = np.arange(length) < counts[..., None]
        return self._with_shares(batches, self._shares(inside))

    def _of_one_member(self, steps: Sequence[np.ndarray], sizes: list[int]) -> list[Batch]:
        """Gather the steps of one member, each in a batch of its own size."""
        assert not isinstance(self.rows, StackedRows)
        index, inside = np.zeros((1, sum(sizes)), dtype=np.int64), np.zeros(sum(sizes), dtype=bool)
        for start, rows in zip(itertools.accumulate(sizes, initial=0), steps, strict=False):
            index[0, start : start + len(rows)] = rows
            inside[start : start + len(rows)] = True
        return self._with_shares(self.rows.gather_parts(index, sizes), self._shares(inside).split(sizes))

    def _with_shares(self, batches: Sequence[Batch], shares: Iterable[Tensor]) -> list[Batch]:
        pairs = zip(batches, shares, strict=True)
        return [Batch(batch.X, batch.y, share, n_whole=self.batch_size) for batch, share in pairs]

    def _form(self, n_rows: int) -> int:
        """Round up to a number of rows that batches have."""
        step = max(8, 8 * round(math.sqrt(self.batch_size) / 4))
        return max(step, -(-n_rows // step) * step)

    def _orders(self, index: np.ndarray) -> list[Order]:
        """Return the rows (M, S, R) as orders of the sets."""
        lines = index.reshape(len(index), -1)
        counts = self.rows.counts if isinstance(self.rows, StackedRows) else (len(index),)
        bounds = np.cumsum([0, *counts])
        return [Order(lines[start:stop], np.arange(stop - start)) for start, stop in itertools.pairwise(bounds)]

    def _shares(self, inside: np.ndarray) -> Tensor:
        """Return the share of each row: none of those that fill a batch up."""
        first = self.rows.sets[0]
        return torch.from_numpy(inside).to(first.y.device).to(first.dtype).div_(self.batch_size)


def poisson_sample(random: np.random.Generator, n_rows: int, probability: float) -> np.ndarray:
    """Return the rows that come, each by itself with the same probability: how many, and then which."""
    return random.choice(n_rows, random.binomial(n_rows, probability), replace=False, shuffle=False)


def secure_sample(n_rows: int, probability: float) -> np.ndarray:
    """Return the same from the operating system's generator; the probability is rounded down to 64 bits."""
    drawn = np.frombuffer(os.urandom(8 * n_rows), dtype=np.uint64)
    return np.flatnonzero(drawn < np.uint64(int(probability * 2**64)))
