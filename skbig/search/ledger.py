"""What a process's share of a search has come to, and where trainings stand that go on in the next rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skbig.engine.state_dict import load_state_dict, state_dict
from skbig.engine.train import EpochReport
from skbig.search.fit_task import FitTask
from skbig.search.observer import SearchObserver
from skbig.search.search_checkpoint import State, holds_out_the_same


@dataclass
class Part:
    """What one process has come to.

    Attributes
    ----------
    results : dict of int to dict
        scikit-learn's results, by the numbers of the tasks.
    states : dict of str to State
        Where trainings stand, by the keys of the tasks.
    """

    results: dict[int, Any] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)

    def add(self, other: Part) -> None:
        self.results |= other.results
        self.states |= other.states


class Ledger(SearchObserver):
    """Notes down the part of this process, and lets trainings begin where others have left them.

    Parameters
    ----------
    numbers : mapping of FitTask to int
    states : mapping of str to State
        Where trainings stand, by the keys of the tasks.
    goes_on : bool
        Whether the next evaluation goes on with these trainings.
    beat : callable
        Called when something goes forward.
    """

    def __init__(
        self, numbers: Mapping[FitTask, int], states: Mapping[str, State], goes_on: bool, beat: Callable[[], None]
    ) -> None:
        self._numbers, self._states, self._goes_on, self._beat = numbers, states, goes_on, beat
        self._part = Part()

    def take(self) -> Part:
        """Return what has come since the last time."""
        part, self._part = self._part, Part()
        return part

    def prepared(self, task: FitTask) -> None:
        self._beat()
        state = self._states.get(task.key)
        if state is not None and task.session is not None and holds_out_the_same(task.session, state[1]):
            load_state_dict(task.session, *state)

    def epoch(self, tasks: Sequence[FitTask], report: EpochReport) -> None:
        self._beat()

    def result(self, task: FitTask, result: dict[str, Any]) -> None:
        self._beat()
        self._part.results[self._numbers[task]] = result

    def finished(self, tasks: Sequence[FitTask], results: Sequence[dict[str, Any]]) -> None:
        if self._goes_on:
            states = {
                task.key: state_dict(task.session) for task in tasks if task.session is not None and task.is_sound
            }
            self._part.states |= states


def in_memory(state: State) -> State:
    """Return a state whose arrays are in no file, which may go."""
    arrays, facts = state
    return {name: np.array(values) for name, values in arrays.items()}, facts


def known_results(tasks: Sequence[FitTask], observers: Sequence[SearchObserver]) -> dict[int, Any]:
    """Return the results that observers know, by the numbers of the tasks."""
    known = {i: [observer.known_result(task) for observer in observers] for i, task in enumerate(tasks)}
    found = {i: [result for result in results if result is not None] for i, results in known.items()}
    return {i: results[0] for i, results in found.items() if results}
