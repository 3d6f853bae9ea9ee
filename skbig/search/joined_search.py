"""A search within a launch by others: each rank trains its share of the stacks, and has what all have found."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skbig.distributed.ranks import Ranks
from skbig.launch.portable import portable_error
from skbig.launch.worker_context import WorkerContext
from skbig.search.fit_task import FitTask
from skbig.search.observer import SearchObserver
from skbig.search.partial_results import PartialResults, ResultRecorder, known_results
from skbig.search.search_checkpoint import State, identity_of
from skbig.search.stack_scheduler import SearchInterrupted, StackScheduler
from skbig.search.work_queue import SharedQueue


@dataclass(frozen=True)
class RankOutcome:
    """How a rank has ended.

    Attributes
    ----------
    found : PartialResults
        Without state dicts, which stay in the rank until another one wants them.
    error : Exception or None
    is_interrupted : bool
    """

    found: PartialResults
    error: Exception | None = None
    is_interrupted: bool = False


class JoinedSearchRunner:
    """The ranks of a launch by others, each of which fits the same search.

    Parameters
    ----------
    context : WorkerContext
    timeout : float
        Seconds without progress after which the others are given up.
    """

    def __init__(self, context: WorkerContext, timeout: float) -> None:
        self._context, self._ranks, self._timeout = context, Ranks(context), timeout
        self._states: dict[str, State] = {}
        self._is_checked = False

    def run(
        self,
        tasks: Sequence[FitTask],
        observers: Sequence[SearchObserver],
        lines: Sequence[SearchObserver],
        *,
        goes_on: bool,
    ) -> list[Any]:
        """Train and score with the others; no line is shown, as no rank knows how far the others are."""
        del lines
        if not self._is_checked:
            check_alike(tasks, self._ranks)
            self._is_checked = True
        name = self._ranks.first(lambda: uuid.uuid4().hex)
        found = PartialResults(self._everybodys(known_results(tasks, observers)))
        numbers = {task: i for i, task in enumerate(tasks) if i not in found.results}
        queue = SharedQueue(self._context, name, numbers)
        outcome = self._trained(queue, numbers, observers, goes_on)
        queue.wait_for_others(self._timeout)
        return self._together(found, self._ranks.everybodys(outcome), len(tasks))

    def close(self) -> None:
        """The ranks are others' to end."""

    def _trained(
        self, queue: SharedQueue, numbers: dict[FitTask, int], observers: Sequence[SearchObserver], goes_on: bool
    ) -> RankOutcome:
        wanted = {task.key for task in numbers}
        states = self._everybodys({key: state for key, state in self._states.items() if key in wanted})
        recorder = ResultRecorder(numbers, states, goes_on, queue.beat)
        error, is_interrupted = None, False
        try:
            StackScheduler(observers=[recorder, *observers], queue=queue).run(list(numbers))
        except KeyboardInterrupt:
            is_interrupted = True
        except Exception as raised:
            error = portable_error(raised)
        if is_interrupted or error is not None:
            queue.end()
        own = recorder.take()
        self._states = own.states
        return RankOutcome(PartialResults(own.results), error, is_interrupted)

    def _everybodys(self, own: dict[Any, Any]) -> dict[Any, Any]:
        """Return what any of the ranks has."""
        return {key: value for each in self._ranks.everybodys(own) for key, value in each.items()}

    def _together(self, found: PartialResults, outcomes: Sequence[RankOutcome], n_tasks: int) -> list[Any]:
        """Return everybody's results, or raise, in all ranks, what one of them has met."""
        for outcome in outcomes:
            found.add(outcome.found)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        results = [found.results.get(i) for i in range(n_tasks)]
        if any(outcome.is_interrupted for outcome in outcomes):
            raise SearchInterrupted(results)
        return results


def check_alike(tasks: Sequence[FitTask], ranks: Ranks) -> None:
    """Raise ValueError, in all ranks, unless all search the same."""
    searched = {f"parameter {name}" for name in tasks[0].parameters}  # their values are the candidates'
    facts = {name: fact for name, fact in identity_of([task.call for task in tasks]).items() if name not in searched}
    if difference := ranks.difference(facts):
        raise ValueError(
            "All ranks must fit a search with the same rows, candidates and folds, of which each then trains its "
            f"share. {difference}. What is drawn needs an int as random_state: candidates, and folds that are "
            "shuffled."
        )
