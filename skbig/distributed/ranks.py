"""Several processes that train one set of members together, each on its part of every batch.

All run the same loop and take the same decisions. What could differ between them, a clock, a score or a wish to stop,
is taken from rank 0, whose number is everybody's.

Legend: M members, N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from skbig.data.rank_rows import RankSlice
from skbig.distributed.backend import Backend
from skbig.distributed.ddp import DDP
from skbig.launch.portable import portable_error
from skbig.launch.worker_context import WorkerContext

T = TypeVar("T")


class RanksInterrupted(KeyboardInterrupt):
    """Ctrl-C that all ranks have heard of: they end after the same step."""


class Word(Enum):
    """What rank 0 may say instead of a result."""

    HELP = auto()


HELP = Word.HELP


def _never() -> bool:
    return False


def _nothing() -> None:
    """No help is needed."""


class Ranks:
    """One process among those that train together.

    Parameters
    ----------
    context : WorkerContext
    backend : Backend
        What they share; and after how many steps ranks agree: 1 sums their gradients, more averages what they have
        made of the weights.
    is_asked : callable
        ``is_asked() -> bool``, called in rank 0: whether training is to be interrupted.

    Attributes
    ----------
    shares_rows, shares_parameters : bool
        As the backend's.
    failure : Exception or None
        What `first` has raised in all ranks, so that none misses another.
    help : callable
        What all ranks do when rank 0, in what it does `first`, asks for it.
    """

    def __init__(
        self, context: WorkerContext, backend: Backend | None = None, is_asked: Callable[[], bool] = _never
    ) -> None:
        backend = DDP() if backend is None else backend
        self.shares_rows, self.shares_parameters = backend.shares_rows, backend.shares_parameters
        self.sync_every, self.is_asked = backend.steps_alone, is_asked
        self.help: Callable[[], None] = _nothing
        self._on_one_machine = context.heartbeat is not None
        self.device, self.beat = context.device, context.beat
        self.rank, self.n_ranks = context.rank, context.world_size
        self.failure: Exception | None = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def send_at_the_end(self) -> bool:
        """Whether each rank has a single thread, and the others beside it.

        There the messages need the very processor that the backward pass needs, so nothing is won by sending while it
        runs. What rank 0 has is for all.
        """
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        return bool(self.agreed(alone and self._on_one_machine))

    @property
    def steps_apart(self) -> bool:
        """Whether each rank takes steps of its own between two agreements."""
        return self.sync_every > 1

    @property
    def share(self) -> RankSlice:
        """Which part of a batch is this rank's."""
        return RankSlice(self.rank, self.n_ranks, local=self.steps_apart) if self.shares_rows else RankSlice(0, 1)

    # Agreement.

    def first(self, function: Callable[[], T]) -> T:
        """Call a function in rank 0 alone, and return its result, or raise its exception, in all ranks.

        The others wait for it, and do their part where it says `ask_for_help`.
        """
        outcome: Any = _outcome(function) if self.is_first else None
        while (said := self._said_by_first(outcome)) is HELP:
            self.help()
        result, error = outcome if self.is_first else said
        if error is not None:
            self.failure = error
            raise error
        return cast(T, result)

    def ask_for_help(self) -> None:
        """Have all ranks do what `help` is; to be called in rank 0, within `first`."""
        self._said_by_first(HELP)
        self.help()

    def _said_by_first(self, said: Any) -> Any:
        box = [said]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def agreed(self, number: float) -> float:
        """Return the number that rank 0 has."""
        tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        distributed.broadcast(tensor, src=0)
        return float(tensor)

    def everybodys(self, value: T) -> list[T]:
        """Return the values of all ranks."""
        values: list[Any] = [None] * self.n_ranks
        distributed.all_gather_object(values, value)
        return values

    def difference(self, facts: Mapping[str, str]) -> str:
        """Return in words which facts another rank has than rank 0, the same in all ranks; nothing if all are alike."""
        first, *others = self.everybodys(dict(facts))
        for rank, other in enumerate(others, start=1):
            names = [name for name in first | other if first.get(name) != other.get(name)]
            if names:
                return f"Rank {rank} got another {', '.join(names)} than rank 0"
        return ""

    # Sums.

    def add_up(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place."""
        distributed.all_reduce(tensor)
        return tensor

    def total(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks; its gradient flows back into all of them."""
        return _Total.apply(tensor)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Give all ranks the mean of their tensors, in place; integers count alike everywhere and stay."""
        floats = [tensor for tensor in tensors if tensor.is_floating_point()]
        for sending in [distributed.all_reduce(tensor, async_op=True) for tensor in floats]:
            sending.wait()
        for tensor in floats:
            tensor.div_(self.n_ranks)

    def own_bounds(self, n_rows: int) -> tuple[int, int]:
        """Return the bounds of this rank's rows, where all but the last ranks have the same number of them."""
        length = -(-n_rows // self.n_ranks)
        return min(self.rank * length, n_rows), min((self.rank + 1) * length, n_rows)

    def gathered(self, own: Tensor, n_rows: int) -> Tensor | None:
        """Put together in rank 0 what ranks have for the rows of their `own_bounds`: (M, n, ...) -> (M, N, ...)."""
        length = -(-n_rows // self.n_ranks)
        padded = own.new_zeros(own.shape[0], length, *own.shape[2:])
        padded[:, : own.shape[1]] = own
        parts = [torch.empty_like(padded) for _ in range(self.n_ranks)] if self.is_first else None
        distributed.gather(padded, parts, dst=0)
        return None if parts is None else torch.cat(parts, 1)[:, :n_rows]


class _Total(torch.autograd.Function):
    """The sum over ranks, in float32 at least: fewer bits would lose what it is for."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _sum(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every rank's loss depends on the sum, and the loss of the batch is the sum of theirs.
        return _sum(gradient)


def _sum(tensor: Tensor) -> Tensor:
    wide = tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32), copy=True).contiguous()
    distributed.all_reduce(wide)
    return wide.to(tensor.dtype)


def _outcome(function: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Return what a function returns, or raises, in a form that can be sent."""
    try:
        return function(), None
    except Exception as error:
        return None, portable_error(error)
