"""A graph that cannot be had, or is wrong, is told of once, and steps are taken as written: the result is the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skbig.components import SGD, Adam
from skbig.engine.executors import graph_loop
from skbig.engine.executors.agreement import agree
from skbig.engine.executors.cuda_graph import GraphedExecutor
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.members import Members
from skbig.engine.minibatch import MiniBatchEpochs
from skbig.exceptions import DeviceError, DivergenceError, ExecutorWarning
from tests.capturing import CpuCapture, CpuGraph
from tests.laws.test_recorded_equals_written import Trimmed
from tests.small import assert_close, kept, mini_batches, new_members, recipe, rows

N_EPOCHS = 3


def graphed(capture: CpuCapture, **changes: Any) -> tuple[Members, MiniBatchEpochs]:
    what = recipe("regression", **changes)
    members = new_members(what)
    epochs = mini_batches(members, rows("regression"), what)
    epochs.executor = GraphedExecutor(members, what, 1.0, capture)
    return members, epochs


def written(**changes: Any) -> dict[str, Any]:
    """Return what all epochs have come to as written."""
    what = recipe("regression", **changes)
    members = new_members(what)
    epochs = mini_batches(members, rows("regression"), what)
    epochs.executor = WrittenExecutor(members, what, 1.0)
    losses = [epochs.run().loss for _ in range(N_EPOCHS)]
    return kept(members) | {"loss": np.array(losses)}


def assert_falls_back(capture: CpuCapture, match: str, **changes: Any) -> None:
    members, epochs = graphed(capture, **changes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        losses = [epochs.run().loss for _ in range(N_EPOCHS)]
    (only,) = caught
    assert only.category is ExecutorWarning and match in str(only.message)
    assert epochs.executor.name == "written"
    assert_close(kept(members) | {"loss": np.array(losses)}, written(**changes), 0.0)


def failing(error: BaseException, at: int) -> CpuCapture:
    """Return what captures until the capture number `at`, which fails."""
    capture = CpuCapture()

    def fail() -> None:
        if len(capture.graphs) == at:
            raise error

    capture.before_each = fail
    return capture


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    ("error", "match"),
    [
        (RuntimeError("CUDA error: operation not permitted\nmore"), "cannot capture it: CUDA error: operation not"),
        (torch.OutOfMemoryError("CUDA out of memory"), "too little memory"),
        (AssertionError(), "cannot capture it: AssertionError"),
    ],
)
def test_a_capture_that_fails(at: int, error: Exception, match: str) -> None:
    """A graph that cannot be captured, the first or a later one, leaves no trace but a warning that says why."""
    assert_falls_back(failing(error, at), match)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    ("error", "match"),
    [(RuntimeError("CUDA error: no"), "CUDA error: no"), (torch.OutOfMemoryError("no"), "too little memory")],
)
def test_a_first_launch_that_fails(at: int, error: Exception, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a graph that was captured and cannot be launched."""
    capture, launch = CpuCapture(), CpuGraph.__call__

    def fail(self: CpuGraph) -> None:
        if self.n_replays == 0 and len(capture.graphs) == at + 1:
            raise error
        launch(self)

    monkeypatch.setattr(CpuGraph, "__call__", fail)
    assert_falls_back(capture, match)


def test_a_step_that_looks_at_values() -> None:
    """A component that looks at the value of a tensor is never captured."""
    assert_falls_back(CpuCapture(), "looks at the value", loss=Trimmed(), optimizer=Adam())


def failing_launch(monkeypatch: pytest.MonkeyPatch, number: int, error: Exception) -> None:
    """Let a launch fail: that of a number."""
    launch, n_launches = CpuGraph.__call__, 0

    def fail(self: CpuGraph) -> None:
        nonlocal n_launches
        n_launches += 1
        if n_launches == number:
            raise error
        launch(self)

    monkeypatch.setattr(CpuGraph, "__call__", fail)


LAUNCH_FAILURE = RuntimeError("CUDA error: too many resources requested for launch\nmore")


@pytest.mark.parametrize("number", [7, 8, 9])  # six launches are those that are compared
def test_a_later_launch_that_fails(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the device still computes, the steps of the run are taken as written, from where it began."""
    failing_launch(monkeypatch, number, LAUNCH_FAILURE)
    assert_falls_back(CpuCapture(), "since its launch has failed: CUDA error: too many resources requested for launch.")


@pytest.mark.parametrize("where", ["launch", "read"])
def test_a_device_that_computes_no_more(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the members can be restored, the error says what has failed, and what can be done."""
    members, epochs = graphed(CpuCapture())
    epochs.run()

    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    monkeypatch.setattr(*(CpuGraph, "__call__") if where == "launch" else (Tensor, "cpu"), fail)
    monkeypatch.setattr(members, "restore", fail)
    match = (
        "^cpu has failed in epoch 2, at or after step 4: CUDA error: an illegal memory access was encountered. In this"
    )
    with pytest.raises(DeviceError, match=match):
        epochs.run()


SPOILS: dict[str, Callable[[Members], Any]] = {
    "a weight": lambda members: members.flat[..., 3].add_(1e-3),
    "nothing moves": lambda members: members.flat.zero_(),
    "not a number": lambda members: members.flat[..., 0].fill_(torch.nan),
    "the state": lambda members: members.state[0]["mean"].mul_(1.001),
}


@pytest.mark.parametrize("name", SPOILS)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_graph_with_another_result(name: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph whose first launch comes to something else than the steps as written is not used."""
    capture = CpuCapture()
    members, epochs = graphed(capture)
    launch = CpuGraph.__call__

    def spoilt(self: CpuGraph) -> None:
        launch(self)
        if len(capture.graphs) == at + 1:
            SPOILS[name](members)

    monkeypatch.setattr(CpuGraph, "__call__", spoilt)
    with pytest.warns(ExecutorWarning, match="its result is not that of the step as written"):
        losses = [epochs.run().loss for _ in range(N_EPOCHS)]
    assert_close(kept(members) | {"loss": np.array(losses)}, written(), 1e-12)


def test_stale_tables_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that reads the rows or the rates of other steps than it should is not used."""
    members, epochs = graphed(CpuCapture())
    read = graph_loop.GraphLoop._places

    def one_too_far(self: Any, k: int) -> Tensor:
        return (read(self, k) + 1) % self.capacity

    monkeypatch.setattr(graph_loop.GraphLoop, "_places", one_too_far)
    with pytest.warns(ExecutorWarning, match="its result"):
        losses = [epochs.run().loss for _ in range(N_EPOCHS)]
    assert_close(kept(members) | {"loss": np.array(losses)}, written(), 0.0)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("at", [0, 3])
def test_an_interruption_between_launches(interrupt: type[BaseException], at: int, monkeypatch: Any) -> None:
    """Whatever ends a run midway, capture or launch, the members are where the run began, and can go on from there."""
    capture = CpuCapture()
    members, epochs = graphed(capture)
    expected = written()
    if at:
        epochs.run()
    before, launch, n_launches = kept(members), CpuGraph.__call__, 0

    def interrupted(self: CpuGraph) -> None:
        nonlocal n_launches
        n_launches += 1
        if n_launches == 2:  # after the whole batches
            raise interrupt
        launch(self)

    with monkeypatch.context() as patch:
        patch.setattr(CpuGraph, "__call__", interrupted)
        with pytest.raises(interrupt):
            epochs.run()
    assert_close(kept(members), before, 0.0)
    while members.epochs < N_EPOCHS:
        epochs.run()
    result = kept(members)
    assert_close(result, {name: expected[name] for name in result}, 1e-12)
    assert epochs.executor.name == "graphed"


def test_divergence_is_found_to_the_step() -> None:
    """Steps whose result is not finite are taken again as written, and the members keep the last good step."""
    changes = {"optimizer": SGD(), "rate": 1e6, "clipping": None}
    results = []
    for capture in (CpuCapture(), None):
        what = recipe("regression", **changes)
        members = new_members(what)
        epochs = mini_batches(members, rows("regression"), what)
        if capture is not None:
            epochs.executor = GraphedExecutor(members, what, 1.0, capture)
        with pytest.raises(DivergenceError, match=r"step \d+") as raised:
            for _ in range(50):
                epochs.run()
        results.append((kept(members), str(raised.value), members.steps))
    (ours, message, steps), (theirs, other, other_steps) = results
    assert (message, steps) == (other, other_steps)
    assert_close(ours, theirs, 1e-9)


def test_the_same_addresses() -> None:
    """From one epoch to the next nothing is captured anew: graphs read what is loaded where they have read before."""
    capture = CpuCapture()
    members, epochs = graphed(capture)
    addresses = []
    for _ in range(N_EPOCHS):
        epochs.run()
        addresses.append([tensor.data_ptr() for tensor in members.changing()])
    assert addresses == addresses[:1] * N_EPOCHS
    assert [graph.n_replays for graph in capture.graphs] == [3, 1 + N_EPOCHS, 1 + N_EPOCHS]


def test_what_is_captured_was_taken_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an operation loads at its first call is loaded aside, where a card captures, and before it does."""
    told: list[Any] = []

    class Telling(CpuCapture):
        @contextmanager
        def aside(self) -> Iterator[None]:
            told.append("aside")
            yield
            told.append("back")

        def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
            told.append("capture")
            return super().__call__(function)

    take = graph_loop.GraphLoop._take
    monkeypatch.setattr(graph_loop.GraphLoop, "_take", lambda loop, k: (told.append(k), take(loop, k)))
    graphed(Telling())[1].run()
    assert told == [each for k in (1, 2, 1) for each in ("aside", k, "back", "capture", k)]


def test_agreement() -> None:
    """A flip of rounding counts little; a thousandth of all moves, a missing one, or a number that is none, does."""
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(1, 1, 10_000, generator=generator)
    moves = torch.randn(1, 1, 10_000, generator=generator).sign() * 1e-3
    after, losses = before + moves, torch.rand(4, 1, generator=generator)

    def is_alike(other: Tensor, other_losses: Tensor = losses) -> bool:
        return agree([before], [other], [after], (other_losses, losses), 1e-4 * 4)

    flipped = after.clone()
    flipped[..., 7] -= 2 * moves[..., 7]
    assert is_alike(after.clone()) and is_alike(flipped)
    assert not is_alike(before + 1.001 * moves)
    assert not is_alike(before) and not is_alike(after + 1e-5)
    assert not is_alike(after, losses * 1.01)
    broken = after.clone()
    broken[..., 7] = torch.nan
    assert not is_alike(broken)
    assert agree([before], [broken], [broken.clone()], (losses, losses), 1e-4)


@pytest.mark.parametrize("wrong", [-1, 0, 1])
@pytest.mark.parametrize("start", [0, 10**6])
def test_counts_agree_exactly(start: int, wrong: int) -> None:
    """Of whole numbers, as modules count their batches by, one too many is another result."""
    before, losses = torch.full((2,), start), torch.rand(16, 1)
    assert agree([before], [before + 16 + wrong], [before + 16], (losses, losses), 16 * 1e-4) is (wrong == 0)
