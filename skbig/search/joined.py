"""A search within a launch by others: each rank trains its share of the stacks, and has what all have found."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skbig.backends.context import WorkerContext
from skbig.engine.ranks import Ranks
from skbig.search.fit_task import FitTask
from skbig.search.labour import sendable
from skbig.search.ledger import Ledger, Part, known_results
from skbig.search.observer import SearchObserver
from skbig.search.search_checkpoint import State, identity_of
from skbig.search.share import OwnShare
from skbig.search.stack_scheduler import SearchInterrupted, StackScheduler


@dataclass(frozen=True)
class Outcome:
    """How the share of a rank has ended.

    Attributes
    ----------
    part : Part
        Without states, which stay where they are until somebody wants them.
    error : Exception or None
    is_interrupted : bool
    """

    part: Part
    error: Exception | None = None
    is_interrupted: bool = False


class Joined:
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
        """Train and score with the others; no line is shown, for no rank knows where the others are."""
        del lines
        if not self._is_checked:
            check_alike(tasks, self._ranks)
            self._is_checked = True
        name = self._ranks.first(lambda: uuid.uuid4().hex)
        part = Part(self._everybodys(known_results(tasks, observers)))
        numbers = {task: i for i, task in enumerate(tasks) if i not in part.results}
        share = OwnShare(self._context, name, numbers)
        outcome = self._trained(share, numbers, observers, goes_on)
        share.wait_for_others(self._timeout)
        return self._together(part, self._ranks.everybodys(outcome), len(tasks))

    def close(self) -> None:
        """The ranks are others' to end."""

    def _trained(
        self, share: OwnShare, numbers: dict[FitTask, int], observers: Sequence[SearchObserver], goes_on: bool
    ) -> Outcome:
        wanted = {task.key for task in numbers}
        states = self._everybodys({key: state for key, state in self._states.items() if key in wanted})
        ledger = Ledger(numbers, states, goes_on, share.beat)
        error, is_interrupted = None, False
        try:
            StackScheduler(observers=[ledger, *observers], share=share).run(list(numbers))
        except KeyboardInterrupt:
            is_interrupted = True
        except Exception as raised:
            error = sendable(raised)
        if is_interrupted or error is not None:
            share.end()
        own = ledger.take()
        self._states = own.states
        return Outcome(Part(own.results), error, is_interrupted)

    def _everybodys(self, own: dict[Any, Any]) -> dict[Any, Any]:
        """Return what any of the ranks has."""
        return {key: value for part in self._ranks.everybodys(own) for key, value in part.items()}

    def _together(self, part: Part, outcomes: Sequence[Outcome], n_tasks: int) -> list[Any]:
        """Return everybody's results, or raise, in all ranks, what one of them has met."""
        for outcome in outcomes:
            part.add(outcome.part)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        results = [part.results.get(i) for i in range(n_tasks)]
        if any(outcome.is_interrupted for outcome in outcomes):
            raise SearchInterrupted(results)
        return results


def check_alike(tasks: Sequence[FitTask], ranks: Ranks) -> None:
    """Raise ValueError, in all ranks, unless all search the same."""
    searched = {f"parameter {name}" for name in tasks[0].parameters}  # their values are the candidates'
    given = ranks.everybodys(identity_of([task.call for task in tasks]))
    for rank, other in enumerate(given):
        names = [name for name in given[0] | other if name not in searched]
        different = [name for name in names if given[0].get(name) != other.get(name)]
        if different:
            raise ValueError(
                "All ranks must fit a search with the same rows, candidates and folds, of which each then trains its "
                f"share. Rank {rank} got another {', '.join(different)} than rank 0. What is drawn needs an int as "
                "random_state: candidates, and folds that are shuffled."
            )
