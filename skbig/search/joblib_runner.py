"""Runs the tasks of a search on the workers of joblib: processes of this machine, or of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sklearn.utils.parallel import Parallel, delayed

from skbig.search.fit_task import FitTask
from skbig.search.observer import SearchObserver
from skbig.search.stack_planning import MAX_ON_CPU, likely_cohorts
from skbig.search.stack_scheduler import evaluate


def run_with_joblib(
    tasks: Sequence[FitTask], n_workers: int, pre_dispatch: Any, observers: Sequence[SearchObserver] = ()
) -> list[Any]:
    """Return the result of each task, computed by joblib's active backend in shares of whole stacks."""
    for task in tasks:
        task.configure()
    shares = [share for group in likely_cohorts(tasks) for share in _shares(group, n_workers)]
    number = {id(task): i for i, task in enumerate(tasks)}
    numbers = [[number[id(task)] for task in share] for share in shares]
    outcomes = Parallel(n_jobs=n_workers, pre_dispatch=pre_dispatch)(
        delayed(evaluate)([tasks[i].call for i in share], observers) for share in numbers
    )
    flat = zip(chain.from_iterable(numbers), chain.from_iterable(outcomes), strict=True)
    return [result for _, result in sorted(flat, key=lambda pair: pair[0])]


def _shares(group: Sequence[FitTask], n_workers: int) -> list[list[FitTask]]:
    """Cut a group into shares, fold by fold: as few as give every worker the same, none larger than a stack."""
    ordered = sorted(group, key=lambda task: task.split)
    rounds = -(-len(ordered) // (MAX_ON_CPU * n_workers))
    size = -(-len(ordered) // (rounds * n_workers))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
