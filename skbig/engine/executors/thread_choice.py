"""On how many threads a recorded step is computed: as many as it is fastest on, by the clock.

Threads wait for each other in every product. Beside programs that keep the cores busy several take longer than one, and
on some machines a second one is of no use at all. Which it is shows only in the steps themselves, and may change while
they are taken. So a few of them are timed on other numbers of threads than the best so far, from time to time; but only
where the numbers have the same bits on all of them.

That follows from the shapes of what is computed, not from the numbers, so it is looked at once, in a step that moves
the weights: of many sums in another order some come to other bits. A single sum may come to the same by chance, so
where threads would share one nothing is chosen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from skbig._utils.threads import thread_count
from skbig.engine.members import Members

STEPS_BEFORE = 4
"""So many times the steps that a look at the bits takes come before it."""

TIMED = 2
"""So many steps are timed, after one that wakes the threads."""

SPENT_BETWEEN, AT_MOST, AT_LEAST = 300, 1.0, 100
"""Times the seconds of a step on some threads that pass until they are tried again; or a second, if that is less, but
not less than so many times."""

NEWEST = 8
"""The mean is that of so many steps that were timed last, but for the slowest: what happens once says nothing."""

MOVED = 0.5
"""So large a part of the weights has to move in a step that is looked at."""

LATER = 8
"""So many times longer is waited for the next look, when nothing was to be seen."""

MOST = 128
"""So many choices are kept."""


class ThreadChoice:
    """What is known of the steps of trainings of one form.

    Parameters
    ----------
    most : int
    timed_form : hashable
        The form of a batch that is timed; steps with others are computed on as many threads.

    Attributes
    ----------
    counts : list of int
        The numbers of threads that may be chosen, the most first.
    agrees : dict
        Of each form of a batch that has been looked at, whether its steps have the same bits on any of them.
    seconds : dict
        The mean time of a step on so many threads, as it is now; infinite, until some are timed.
    best : int
        The count that is fastest.
    """

    def __init__(self, most: int, timed_form: Any) -> None:
        self.counts = [most, *(2**i for i in reversed(range(most.bit_length())) if 2**i < most)]
        self.agrees: dict[Any, bool] = {}
        self.seconds = dict.fromkeys(self.counts, math.inf)
        self.best = most
        self._timed_form = timed_form
        self._newest = {count: deque[float](maxlen=NEWEST) for count in self.counts}
        self._tried_at = dict.fromkeys(self.counts, -math.inf)
        self._n_steps, self._spent = 0, 0.0
        self._wait = STEPS_BEFORE * sum(most // count for count in self.counts)
        self._tries, self._n_left = most, 0

    @property
    def most(self) -> int:
        return self.counts[0]

    def looks_at(self, form: Any) -> bool:
        """Count a step with a batch of a form; return whether it is time to look at its bits."""
        self._n_steps += 1
        if form in self.agrees or self._n_steps <= self._wait:
            return False
        self._n_steps = 0
        return True

    def looked(self, form: Any, agrees: bool | None) -> None:
        """Note down what a look has shown: nothing, and the next one comes later, if there was nothing to see."""
        if agrees is None:
            self._wait *= LATER
        else:
            self.agrees[form] = agrees

    def next(self, form: Any) -> int:
        """Return on how many threads the next step is computed."""
        if not self.agrees.get(form):
            return self.most
        if self._timed_form != form:
            return self.best
        if self._n_left <= 0 and (due := [count for count in self.counts if self._is_due(count)]):
            self._tries, self._n_left = due[0], 1 + TIMED
        return self._tries if self._n_left > 0 else self.best

    def _is_due(self, count: int) -> bool:
        if self.seconds[count] == math.inf:
            return True
        step = self.seconds[count]
        wait = min(SPENT_BETWEEN * step, max(AT_MOST, AT_LEAST * step))
        return count != self.best and self._spent - self._tried_at[count] >= wait

    def took(self, form: Any, count: int, seconds: float) -> None:
        """Take in the time of a step."""
        if form != self._timed_form:
            return
        self._spent += seconds
        wakes = self._n_left == 1 + TIMED
        if self._n_left > 0:
            self._n_left = max(0, self._n_left - 1)  # trainings on other threads may count, too
            self._tried_at[count] = self._spent
        if not wakes:
            newest = self._newest[count]
            newest.append(seconds)
            self.seconds[count] = (sum(newest) - max(newest)) / (len(newest) - 1) if len(newest) > 1 else seconds
            self.best = min(self.counts, key=self.seconds.__getitem__)


class OnThreads:
    """A replay on as many threads as it is fastest on; it may be repeated from a copy of the members."""

    def __init__(self, replay: Callable[..., Tensor], members: Members, choice: ThreadChoice, form: Any) -> None:
        self._replay, self._members, self._choice, self._form = replay, members, choice, form

    def __call__(self, *inputs: Tensor) -> Tensor:
        choice = self._choice
        if choice.looks_at(self._form):
            return self._compared(inputs)
        count, began = choice.next(self._form), perf_counter()
        loss = self._on(count, inputs)
        choice.took(self._form, count, perf_counter() - began)
        return loss

    def _on(self, count: int, inputs: tuple[Tensor, ...]) -> Tensor:
        with thread_count(count):
            return self._replay(*inputs)

    def _compared(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Take a step on each number of threads, from the same place, and note down whether they end in the same."""
        before, ends = list(self._members.copy()), []
        for count in reversed(self._choice.counts):
            self._members.restore(before)
            loss = self._on(count, inputs)
            ends.append([loss.clone(), *self._members.copy()])
        _, weights, *_ = ends[-1]
        agrees = all(_same_bits(end, ends[-1]) for end in ends) if _have_moved(before[0], weights) else None
        self._choice.looked(self._form, agrees)
        return loss


def _have_moved(before: Tensor, after: Tensor) -> bool:
    return int((before != after).sum()) >= MOVED * before.numel()


def _same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(_bits(a), _bits(b)) for a, b in zip(one, other, strict=True))


def _bits(values: Tensor) -> Tensor:
    return values.contiguous().view(-1).view(torch.uint8)


_kept: dict[Any, ThreadChoice] = {}


def kept_choice(training: Any, form: Any, most: int) -> ThreadChoice:
    """Return what is known of trainings of a form whose first batch has one, on so many threads or fewer."""
    place = (training, form, most)
    if len(_kept) >= MOST and place not in _kept:
        _kept.clear()
    return _kept.setdefault(place, ThreadChoice(most, form))


def forget() -> None:
    """Know nothing any more."""
    _kept.clear()
