"""Epochs that are computed ahead are those that are computed one after another, to the bit, and end where those end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from skbig.components import SGD, Cosine, GaussianNoise, Mixup, Plateau
from skbig.data.rows import Rows
from skbig.engine.epochs_ahead import EpochsAhead, may_go_ahead
from skbig.engine.history import History
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import train
from skbig.exceptions import DivergenceError, InterruptedWarning
from tests.small import N_ROWS, assert_close, kept, new_members, recipe, rows, weights

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "in the order of the file": {"shuffle": False},
    "one batch": {"batch_size": N_ROWS},
    "batches of whole size": {"batch_size": 15},
    "a schedule": {"schedule": Cosine(), "optimizer": SGD()},
    "noise": {"dropout": 0.3, "augmentation": GaussianNoise()},
    "partners": {"augmentation": Mixup()},
    "running moments": {"normalization": "batch"},
    "more epochs than a block": {"max_epochs": 50, "schedule_epochs": 50},
    "an end within a block": {"max_epochs": 50, "schedule_epochs": 50, "tol": 1e-2, "patience": 1},
}


def watched(report: Any) -> None:
    """Looks at each epoch, so that none is computed ahead."""


def trained(what: Recipe, rows: Rows, *observers: Any) -> tuple[Members, History, StoppingTracker]:
    members = new_members(what)
    tracker = StoppingTracker(members, what)
    return members, train(members, rows, what, tracker=tracker, observers=observers), tracker


def counts(members: Members) -> list[int]:
    return [members.steps, members.epochs, int(np.ravel(members.rows)[0])]


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of epochs that are computed at once."""
    asked: list[int] = []
    compute: Callable[..., bool] = EpochsAhead._compute

    def noted(self: EpochsAhead, n_epochs: int) -> bool:
        asked.append(n_epochs)
        return compute(self, n_epochs)

    monkeypatch.setattr(EpochsAhead, "_compute", noted)
    return asked


@pytest.mark.crossed
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_they_are_the_same(blocks: list[int], name: str, weighted: bool) -> None:
    """Weights, state, curves, counts and what the tracker has seen are equal."""
    what = recipe(**({"max_epochs": 5, "schedule_epochs": 5} | CASES[name]))
    data = rows("regression", weight=weights() if weighted else None)
    expected, curves, tracker = trained(what, data, watched)
    assert not blocks
    members, history, seen = trained(what, data)
    assert blocks and sum(blocks) >= len(history.loss)
    assert_close(kept(members), kept(expected), 0.0)
    assert counts(members) == counts(expected)
    assert history.stop_reason == curves.stop_reason
    for one, other in ((history.loss, curves.loss), (history.rate, curves.rate)):
        np.testing.assert_array_equal(one, other, strict=True)
    np.testing.assert_array_equal(seen.best_loss, tracker.best_loss)
    np.testing.assert_array_equal(seen.stalled, tracker.stalled)


def test_an_end_within_a_block_is_one(blocks: list[int]) -> None:
    """The case above has epochs that were computed for nothing."""
    _, history, _ = trained(recipe(**CASES["an end within a block"]), rows("regression"))
    assert history.stop_reason == "converged" and len(history.loss) < sum(blocks)


def test_a_failure_within_a_block(blocks: list[int]) -> None:
    """The epochs before it are kept, and the error is that of epochs one after another."""
    what = recipe(optimizer=SGD(momentum=0.0), rate=30.0, max_epochs=40, schedule_epochs=40, activation="identity")
    members, expected = new_members(what), new_members(what)
    curves, history = History(), History()
    with pytest.raises(DivergenceError) as told:
        train(expected, rows("regression"), what, observers=[watched], history=curves)
    with pytest.raises(DivergenceError) as error:
        train(members, rows("regression"), what, history=history)
    assert blocks == [21] and 0 < len(history.loss) == len(curves.loss)
    assert str(error.value) == str(told.value)
    assert_close(kept(members), kept(expected), 0.0)
    assert counts(members) == counts(expected)


def test_no_memory_for_a_block(blocks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs are then computed one after another."""
    what = recipe(max_epochs=5)
    expected, _, _ = trained(what, rows("regression"), watched)
    monkeypatch.setattr("skbig.engine.executors.recorded.RecordedExecutor.run", once(torch.OutOfMemoryError("no")))
    members, _, _ = trained(what, rows("regression"))
    assert blocks == [5]
    assert_close(kept(members), kept(expected), 0.0)


def once(error: BaseException) -> Any:
    """Return a method `run` that raises at its first call, after a step."""
    from skbig.engine.executors.recorded import RecordedExecutor

    run, failed = RecordedExecutor.run, []

    def failing(self: Any, batches: Any, numbers: Any, *deadline: float) -> Any:
        if failed:
            return run(self, batches, numbers, *deadline)
        failed.append(run(self, batches[:1], numbers[:1]))
        raise error

    return failing


def test_an_interrupt_within_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is the model before the block, whole."""
    what = recipe(max_epochs=5)
    monkeypatch.setattr("skbig.engine.executors.recorded.RecordedExecutor.run", once(KeyboardInterrupt()))
    members = new_members(what)
    with pytest.warns(InterruptedWarning, match="so far is kept"):
        history = train(members, rows("regression"), what)
    assert_close(kept(members), kept(new_members(what)), 0.0)
    assert history.stop_reason == "interrupted" and counts(members) == [0, 0, 0] and not history.loss


def test_an_interrupt_between_epochs_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are those of the last epoch that was noted down."""
    what, see = recipe(max_epochs=5), StoppingTracker.see
    seen: list[int] = []

    def pressed(self: StoppingTracker, *args: Any) -> None:
        see(self, *args)
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(StoppingTracker, "see", pressed)
    members = new_members(what)
    with pytest.warns(InterruptedWarning):
        train(members, rows("regression"), what)
    monkeypatch.undo()
    expected, _, _ = trained(recipe(max_epochs=2), rows("regression"))
    assert_close(kept(members), kept(expected), 0.0)
    assert counts(members) == counts(expected)


@pytest.mark.parametrize(
    ("changes", "seeds"),
    [
        ({"keep_best": True}, [0]),
        ({"max_time": 9.0}, [0]),
        ({"schedule": Plateau()}, [0]),
        ({"batch_size": 1}, [0]),
        ({"hidden_layer_sizes": (1_000_000,)}, [0]),
        ({}, [0, 1]),
    ],
)
def test_who_does_not_go_ahead(changes: dict[str, Any], seeds: list[int]) -> None:
    """Where an epoch decides about the next, weights are remembered, or steps take longer than what is around them."""
    what = recipe(**changes)
    assert not may_go_ahead(new_members(what, seeds), rows("regression"), what)
