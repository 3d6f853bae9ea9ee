"""Steps of one form as graphs, and the tables that they read.

Legend: M members, S steps, k steps of a graph, C steps that are loaded at most, W numbers of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from skbig.data.batch import Batch
from skbig.data.steps import ResidentSteps
from skbig.engine.executors.capture import Capture
from skbig.engine.executors.feeds import CopyFeed, Feed, ResidentFeed
from skbig.engine.executors.recorded import recorded
from skbig.engine.executors.written import WrittenExecutor, tensors_of
from skbig.engine.members import Members
from skbig.engine.step import StepInputs
from skbig.engine.step_inputs import StepTable

MAX_STRIDE = 16
"""The most steps of a graph: a launch costs about as much as a small step."""

SMALL_WORK = 2e11
"""Floating point operations: a graph of several steps has no more, and a step of more fills the device without help."""


class GraphLoop:
    """Takes steps of one form, `stride` at a launch or one.

    A counter on the device says which step comes next. What differs between steps lies in tables, which are loaded for
    many steps and stay at their addresses: rates and factors, keys, and the feed's rows. Losses are written to another.

    Attributes
    ----------
    stride, capacity : int
        The k of most graphs, and C.
    losses : Tensor (C, M)
    """

    def __init__(self, members: Members, batches: Sequence[Batch], numbers: StepTable) -> None:
        first, flat, n_members = batches[0], members.flat, members.n_members
        work = 6 * first.n_rows * flat.numel()
        self.stride = _stride(len(batches), max(1, min(MAX_STRIDE, int(SMALL_WORK / work))))
        self._is_small = work <= SMALL_WORK
        self.capacity = capacity = len(batches)
        self._feed: Feed
        if isinstance(batches, ResidentSteps):
            self._feed = ResidentFeed(batches, capacity)
        else:
            self._feed = CopyFeed(first, self.stride)
        self._table = numbers
        self._now = torch.zeros(1, dtype=torch.int64, device=flat.device)
        self._numbers = flat.new_zeros(capacity, sum(numbers.widths))
        self._keys = None if numbers.keys is None else numbers.keys.new_zeros(capacity, 2, n_members).to(flat.device)
        self.losses = flat.new_zeros(capacity, n_members)
        self._program: Callable[..., Tensor] | None = None
        self._graphs: dict[int, Callable[[], None]] = {}

    def load(self, batches: Sequence[Batch], numbers: StepTable) -> None:
        """Be ready to take these steps."""
        self._feed.load(batches)
        self._numbers[: len(numbers)].copy_(numbers.packed())
        if self._keys is not None and numbers.keys is not None:
            self._keys[: len(numbers)].copy_(numbers.keys)
        self.seek(0)

    def seek(self, place: int) -> None:
        """Let the next launch begin at a loaded step."""
        self._now.fill_(place)

    def has(self, k: int) -> bool:
        """Whether there is a graph of k steps."""
        return k in self._graphs

    def launch(self, k: int, first: int) -> Tensor:
        """Take k steps, of which the loaded one number `first` is the first, and return their losses (k, M)."""
        self._feed.prepare(first, k)
        self._graphs[k]()
        return self.losses[first : first + k]

    def capture(self, k: int, first: int, written: WrittenExecutor, capture: Capture) -> None:
        """Make the graph of k steps; the members are changed on the way.

        Raises
        ------
        NotReplayable
            When a step looks at the value of a tensor.
        RuntimeError
            When torch cannot capture an operation.
        """
        self._feed.prepare(first, k)
        self.seek(first)
        with capture.aside():
            if self._program is None:
                branches = capture.branches if self._is_small else None
                self._program = recorded(written, *self._read(1)[0], branches)[1]
            self._take(k)  # loads what the operations need
            self.seek(first)
        self._graphs[k] = capture(lambda: self._take(k))

    def _take(self, k: int) -> None:
        """Take the next k steps, by operations alone that need not know which steps they are."""
        assert self._program is not None
        with torch.inference_mode():
            losses = [self._program(*tensors_of(batch, numbers)) for batch, numbers in self._read(k)]
            self.losses.index_copy_(0, self._places(k), torch.stack(losses))
            self._now.add_(k)

    def _read(self, k: int) -> list[tuple[Batch, StepInputs]]:
        now = self._places(k)
        rows = self._numbers.index_select(0, now)
        keys = [None] * k if self._keys is None else self._keys.index_select(0, now).unbind(0)
        inputs = [self._table.of_row(*step) for step in zip(rows.unbind(0), keys, strict=True)]
        return list(zip(self._feed.batches(now), inputs, strict=True))

    def _places(self, k: int) -> Tensor:
        """Where the next k steps stand in the tables."""
        return self._now if k == 1 else self._now + torch.arange(k, device=self._now.device)


def _stride(n_steps: int, most: int) -> int:
    """Return how many steps to take at a launch, so that few launches are needed for all."""
    return min(range(1, min(most, n_steps) + 1), key=lambda k: (n_steps // k + n_steps % k, k))
