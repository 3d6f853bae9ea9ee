"""A rank with a thread: from the moment that its gradient has a place it is recorded, and nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import distributed

from skbig._utils.threads import thread_count
from skbig.components import AbsoluteError, ClipNorm, FunctionSchedule
from skbig.distributed import deferred_allreduce
from skbig.distributed.rank_processes import RankProcesses
from skbig.distributed.ranks import Ranks
from skbig.engine.processes import ONE_PROCESS
from skbig.engine.train import train
from skbig.exceptions import DivergenceError
from skbig.launch.worker_context import WorkerContext
from tests.small import CPU, assert_close, kept, new_members, recipe, rows


@pytest.fixture
def rank(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ranks]:
    """The only rank of a group, which sends as one does that has a single thread."""
    monkeypatch.setattr(Ranks, "send_at_the_end", True)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield Ranks(WorkerContext(0, 0, 1, CPU))
    finally:
        distributed.destroy_process_group()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batches whose loss is computed as it is written."""
    batches: list[Any] = []
    loss = deferred_allreduce.weighted_loss

    def noted(parameters: Any, members: Any, augmented: Any, *more: Any) -> torch.Tensor:
        batches.append(augmented.batch)
        return loss(parameters, members, augmented, *more)

    monkeypatch.setattr(deferred_allreduce, "weighted_loss", noted)
    return batches


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("changes", [{}, {"dropout": 0.3, "clipping": ClipNorm(0.1)}], ids=str)
def test_a_gradient_is_recorded_once(changes: dict[str, Any], n_members: int, rank: Ranks, written: list[Any]) -> None:
    """A few steps are computed as written, later ones repeat a recording, and all is that of one process."""
    n_epochs, what = 10, recipe("regression", **changes, max_epochs=10, schedule_epochs=10)
    ours, alone = (new_members(what, range(n_members)) for _ in range(2))
    with thread_count(1):
        train(ours, rows("regression", n_rows=40), what, processes=RankProcesses(rank))
        assert 0 < len(written) < n_epochs  # of twice as many steps
        train(alone, rows("regression", n_rows=40), what)
    assert_close(kept(ours), kept(alone), 1e-12)


def test_moments_of_all_ranks_are_not_recorded(rank: Ranks, written: list[Any]) -> None:
    """A batch norm asks the other ranks in the midst of a step, so each of its steps is computed as written."""
    what = recipe("regression", normalization="batch")
    with thread_count(1):
        train(new_members(what), rows("regression", n_rows=40), what, processes=RankProcesses(rank))
    assert len(written) == 2 * what.max_epochs


def test_a_divergence_tells_the_gradient_of_the_step(rank: Ranks) -> None:
    """The gradient in the error is the one that led there, though Adam has used its memory since."""
    messages = []
    growing = {"schedule": FunctionSchedule(lambda fraction: 10.0 ** (9 * fraction)), "rate": 1e300}
    linear = {"hidden_layer_sizes": (), "loss": AbsoluteError(), "penalty": None}  # gradients stay finite
    what = recipe("regression", **growing, **linear, max_epochs=10, schedule_epochs=10)
    for processes in (RankProcesses(rank), ONE_PROCESS):
        with thread_count(1), pytest.raises(DivergenceError) as caught:
            train(new_members(what), rows("regression"), what, processes=processes)
        messages.append(str(caught.value))
    said = [re.search(r"in epoch (\d+), step .* a gradient norm of ([\d.e+]+)\.", message) for message in messages]
    assert said[0] and said[1] and said[0].groups() == said[1].groups()
    assert int(said[0][1]) > 3


def test_a_message_that_fails_is_an_error(rank: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another rank is gone in the midst of a step, nobody goes on with a gradient that is not summed."""

    class Failed:
        def is_completed(self) -> bool:
            return True

        def wait(self) -> None:
            raise RuntimeError("Connection closed by peer")

        def get_future(self) -> torch.futures.Future[Any]:
            future: torch.futures.Future[Any] = torch.futures.Future()
            future.set_exception(RuntimeError("Connection closed by peer"))
            return future

    what = recipe("regression")
    members = new_members(what)
    before = members.flat.clone()
    monkeypatch.setattr(deferred_allreduce.distributed, "all_reduce", lambda tensor, async_op=False: Failed())
    with thread_count(1), pytest.raises(RuntimeError, match="Connection closed by peer"):
        train(members, rows("regression"), what, processes=RankProcesses(rank))
    assert torch.equal(members.flat, before)
