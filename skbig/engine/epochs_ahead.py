"""Short epochs of a network whose weights nobody looks at in between: some are computed at once.

What stands around the steps of an epoch, its order, its rows, its checks, takes longer than the steps of a small set.

Legend: S steps of an epoch, E epochs computed at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig.data.batch import Batch
from skbig.data.rows import GATHERED_BYTES, Rows
from skbig.engine.epoch import EpochResult
from skbig.engine.members import Members
from skbig.engine.minibatch import PLANNED_STEPS, MiniBatchEpochs
from skbig.engine.recipe import Recipe
from skbig.engine.step_inputs import StepTable

BLOCK_PRODUCTS = 2**28
"""The most products of a block, parameters times rows: it takes some ten milliseconds, which an interrupt loses."""

LEAST_ROWS = 32
"""A step of fewer rows takes as long: it reads and changes all parameters."""


def may_go_ahead(members: Members, rows: Any, recipe: Recipe) -> bool:
    """Whether epochs are so short that it pays, and nothing that an epoch ends with decides about the next."""
    plain = isinstance(rows, Rows) and members.n_members == 1 and members.flat.device.type == "cpu"
    if not plain or recipe.max_epochs == 1 or recipe.keep_best or recipe.max_time is not None or recipe.schedule.reacts:
        return False
    return _most_epochs(members, rows, recipe) >= 2


def _most_epochs(members: Members, rows: Rows, recipe: Recipe) -> int:
    """Return how many epochs a block has at most."""
    n_steps = -(-rows.n_rows // recipe.batch_size)
    n_batch_rows = max(LEAST_ROWS, min(rows.n_rows, recipe.batch_size))
    products = members.flat.numel() * n_steps * n_batch_rows
    return min(PLANNED_STEPS // n_steps, BLOCK_PRODUCTS // products)


@dataclass(frozen=True)
class _Block:
    """Epochs that are computed: where they began, and all that repeats them."""

    before: Iterable[Tensor]
    batches: Sequence[Batch]
    numbers: StepTable


class EpochsAhead(MiniBatchEpochs):
    """Epochs as those of `MiniBatchEpochs`, to the bit; the weights are ahead until `settle`.

    Where an epoch of a block fails they are computed one after another, so that all that was good is kept.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        assert isinstance(self._rows, Rows)
        self._all: Rows = self._rows
        self._n_steps = -(-self._all.n_rows // self._recipe.batch_size)
        self._results: deque[EpochResult] = deque()
        self._block: _Block | None = None
        self._n_given = 0
        self._goes_ahead = True

    def _epoch(self) -> EpochResult:
        """Give the result of one epoch."""
        if not self._results and self._goes_ahead:
            self._block, self._n_given = None, 0
            self._goes_ahead = self._compute(self._n_epochs())
        if not self._results:
            return super()._epoch()
        result, rows = self._results[0], self._members.rows + self._all.n_rows
        self._n_given += 1  # no call is between these, so that Ctrl-C is not, either
        self._members.steps += self._n_steps
        self._members.epochs += 1
        self._members.rows = rows
        self._results.popleft()
        return result

    def settle(self) -> None:
        """Bring the weights back to the epoch whose result was given last."""
        if self._block is None or not self._results:
            return
        block, n_steps = self._block, self._n_given * self._n_steps
        self._members.restore(block.before)
        self._results.clear()
        if n_steps:
            self.executor.run(block.batches[:n_steps], block.numbers[:n_steps])

    def _n_epochs(self) -> int:
        gathered = GATHERED_BYTES // max(1, self._all.row_bytes * self._all.n_rows)
        most = _most_epochs(self._members, self._all, self._recipe)
        return min(most, gathered, self._last_epoch - self._members.epochs)

    def _compute(self, n_epochs: int) -> bool:
        """Compute some epochs; return whether it went well, and nothing has changed if not."""
        if n_epochs < 2:
            return False
        members, recipe = self._members, self._recipe
        batches = self._all.epochs(members.seeds[0], members.epochs, n_epochs, recipe.shuffle, recipe.batch_size)
        numbers = self._planned(self._n_steps, n_epochs)
        before = members.copy()
        try:
            losses = self.executor.run(batches, numbers).double().numpy()
            if np.isfinite(losses).all() and members.all_finite():
                self._results.extend(self._results_of(losses, numbers, n_epochs))
                self._block = _Block(before, batches, numbers)
                return True
        except torch.OutOfMemoryError:
            pass
        except BaseException:
            self._results.clear()
            members.restore(before)
            raise
        members.restore(before)
        return False

    def _results_of(self, losses: np.ndarray, numbers: StepTable, n_epochs: int) -> list[EpochResult]:
        sizes = np.full((self._n_steps, 1), self._recipe.batch_size)
        sizes[-1] = self._all.n_rows - (self._n_steps - 1) * self._recipe.batch_size
        rates = numbers.rates.view(n_epochs, self._n_steps, 1)[:, -1].clone().numpy()
        each = zip(losses.reshape(n_epochs, self._n_steps, 1), rates, strict=True)
        return [
            EpochResult((sizes * loss).sum(0) / self._all.n_rows, rate, np.zeros(1, dtype=bool)) for loss, rate in each
        ]
