"""What one process has found of a search that several share, and where trainings stand that go on in the next rung."""

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
class PartialResults:
    """What one process has found.

    Attributes
    ----------
    results : dict of int to dict
        scikit-learn's results, by the numbers of the tasks.
    states : dict of str to State
        State dicts of trainings that go on, by the keys of the tasks.
    """

    results: dict[int, Any] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)

    def add(self, other: PartialResults) -> None:
        self.results |= other.results
        self.states |= other.states


def nobody_waits() -> None:
    """Where one process trains alone, progress is nobody's business."""


class ResultRecorder(SearchObserver):
    """Records what this process finds, and lets trainings begin where other processes have left them.

    Parameters
    ----------
    numbers : mapping of FitTask to int
    states : mapping of str to State
        State dicts of trainings that go on, by the keys of the tasks.
    goes_on : bool
        Whether the next evaluation goes on with these trainings.
    beat : callable
        Called when there is progress.
    """

    def __init__(
        self,
        numbers: Mapping[FitTask, int],
        states: Mapping[str, State],
        goes_on: bool,
        beat: Callable[[], None] = nobody_waits,
    ) -> None:
        self._numbers, self._states, self._goes_on, self._beat = numbers, states, goes_on, beat
        self._found = PartialResults()

    def take(self) -> PartialResults:
        """Return what has been found since the last call."""
        found, self._found = self._found, PartialResults()
        return found

    def prepared(self, task: FitTask) -> None:
        self._beat()
        state = self._states.get(task.key)
        if state is not None and task.session is not None and holds_out_the_same(task.session, state[1]):
            load_state_dict(task.session, *state)

    def epoch(self, tasks: Sequence[FitTask], report: EpochReport) -> None:
        self._beat()

    def result(self, task: FitTask, result: dict[str, Any]) -> None:
        self._beat()
        self._found.results[self._numbers[task]] = result

    def finished(self, tasks: Sequence[FitTask], results: Sequence[dict[str, Any]]) -> None:
        if self._goes_on:
            self._found.states |= {
                task.key: state_dict(task.session) for task in tasks if task.session is not None and task.is_sound
            }


def in_memory(state: State) -> State:
    """Return a state dict whose arrays are in no file, as the file may go."""
    arrays, facts = state
    return {name: np.array(values) for name, values in arrays.items()}, facts


def known_results(tasks: Sequence[FitTask], observers: Sequence[SearchObserver]) -> dict[int, Any]:
    """Return the results that observers know, by the numbers of the tasks."""
    known = {i: [observer.known_result(task) for observer in observers] for i, task in enumerate(tasks)}
    found = {i: [result for result in results if result is not None] for i, results in known.items()}
    return {i: results[0] for i, results in found.items() if results}
