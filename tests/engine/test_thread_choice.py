"""The clock chooses on how many threads a step is computed, and nobody sees it in the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skbig import BigMLPClassifier
from skbig.engine.executors import thread_choice
from skbig.engine.executors.recorded import RecordedExecutor
from skbig.engine.executors.thread_choice import STEPS_BEFORE, OnThreads, ThreadChoice

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FORM = "batch"


@pytest.fixture(params=[4])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let torch have so many threads, however many cores there are, and know nothing of earlier trainings."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    thread_choice.forget()
    yield request.param
    torch.set_num_threads(before)
    thread_choice.forget()


def steps(choice: ThreadChoice, seconds: dict[int, float], n_steps: int) -> list[int]:
    """Take steps that last so many milliseconds on so many threads, and return on how many each was taken."""
    taken = []
    for _ in range(n_steps):
        taken.append(choice.next(FORM))
        choice.took(FORM, taken[-1], 1e-3 * seconds[taken[-1]])
    return taken


def test_the_fastest_is_taken_and_the_others_are_tried_again() -> None:
    """First each count is timed; then little is spent on slower ones; and what gets faster is found."""
    choice = ThreadChoice(6, FORM)
    choice.agrees[FORM] = True
    assert choice.counts == [6, 4, 2, 1]
    assert set(steps(choice, {6: 3.0, 4: 2.0, 2: 1.0, 1: 4.0}, 20)) == {6, 4, 2, 1}
    seconds = {6: 30.0, 4: 2.0, 2: 1.0, 1: 4.0}
    steps(choice, seconds, 5000)
    taken = steps(choice, seconds, 10_000)
    assert choice.best == 2
    assert 0 < sum(seconds[count] for count in taken if count != 2) < 0.05 * sum(seconds[count] for count in taken)
    steps(choice, {6: 0.5, 4: 2.0, 2: 1.0, 1: 4.0}, 20_000)
    assert choice.best == 6


def test_what_happens_once_says_nothing() -> None:
    """One slow step, of a machine that had something else to do for a moment, changes nothing."""
    choice = ThreadChoice(2, FORM)
    choice.agrees[FORM] = True
    steps(choice, {2: 1.0, 1: 1.6}, 100)
    choice.took(FORM, 2, 0.05)
    assert steps(choice, {2: 1.0, 1: 1.6}, 3) == [2, 2, 2]


def test_what_is_best_is_left_when_it_gets_slow() -> None:
    """Where other programs begin to use the cores, the count changes within some steps."""
    choice = ThreadChoice(2, FORM)
    choice.agrees[FORM] = True
    steps(choice, {2: 1.0, 1: 1.6}, 100)
    assert choice.best == 2
    assert steps(choice, {2: 20.0, 1: 1.6}, 10)[-1] == 1


def test_other_forms_follow() -> None:
    """A short last batch is computed on as many threads as the others, if its bits allow, and is not timed."""
    choice = ThreadChoice(2, FORM)
    choice.agrees |= {FORM: True, "short": True, "other": False}
    steps(choice, {2: 3.0, 1: 1.0}, 20)
    assert [choice.next(form) for form in (FORM, "short", "other", "new")] == [1, 1, 2, 2]
    choice.took("short", 1, 1e9)
    assert choice.best == 1


class Member:
    """One tensor, which a replay counts up: in another way on another number of threads, if it `depends`."""

    def __init__(self, *, depends: bool) -> None:
        self.value, self.depends, self.on = torch.zeros(3), depends, []

    def copy(self) -> list[Tensor]:
        return [self.value.clone()]

    def restore(self, copy: list[Tensor]) -> None:
        self.value.copy_(copy[0])

    def replay(self, amount: Tensor) -> Tensor:
        self.on.append(torch.get_num_threads())
        self.value += amount + self.depends * 1e-6 * torch.get_num_threads()
        return self.value.sum()


@pytest.mark.parametrize("depends", [False, True])
def test_bits_are_looked_at_before(depends: bool, n_threads: int) -> None:
    """One step is taken on each count from the same place, and counts once; where the bits differ nothing is chosen."""
    member, choice = Member(depends=depends), ThreadChoice(4, FORM)
    replay, n_steps = OnThreads(member.replay, member, choice, FORM), 4 * STEPS_BEFORE * 7  # type: ignore[arg-type]
    for _ in range(n_steps):
        replay(torch.ones(3))
    assert choice.agrees == {FORM: not depends}
    assert member.on[: STEPS_BEFORE * 7 + 3] == [4] * STEPS_BEFORE * 7 + [1, 2, 4]
    assert set(member.on[STEPS_BEFORE * 7 + 3 :]) == ({4} if depends else {1, 2, 4})
    assert torch.get_num_threads() == 4
    alone = Member(depends=depends)
    for _ in range(n_steps):
        alone.replay(torch.ones(3))
    assert torch.equal(member.value, alone.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "settings", [{}, {"dropout": 0.2, "normalization": "batch"}, {"early_stopping": True}], ids=str
)
def test_a_fit_has_the_bits_of_all_threads(
    settings: dict[str, Any], dtype: Any, n_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock says, the weights are those of a fit that never asks it."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(1300, 40)).astype(dtype)
    y = generator.integers(0, 3, 1300)

    def fit() -> BigMLPClassifier:
        network = {"hidden_layer_sizes": (200, 200), "batch_size": 200, "max_iter": 6, "tol": 0.0, "device": "cpu"}
        return BigMLPClassifier(**network, n_iter_no_change=1000, random_state=0, **settings).fit(X, y)

    with monkeypatch.context() as patch:
        patch.setattr(RecordedExecutor, "_on_threads", lambda self, program, form: program)
        expected = fit()
    taken: set[int] = set()
    next_count = ThreadChoice.next

    def at_random(self: ThreadChoice, form: Any) -> int:
        self.best = int(generator.choice(self.counts))
        taken.add(count := next_count(self, form))
        return count

    monkeypatch.setattr(ThreadChoice, "next", at_random)
    found = fit()
    for ours, theirs in zip(found.coefs_ + found.intercepts_, expected.coefs_ + expected.intercepts_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found.loss_curve_ == expected.loss_curve_
    agreed = [choice.agrees for choice in thread_choice._kept.values()]
    assert agreed, "a step is large enough for several threads"
    assert len(taken) > 1 or not any(any(each.values()) for each in agreed)
