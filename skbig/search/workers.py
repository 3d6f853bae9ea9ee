"""Trains the tasks of a search side by side on this machine: stacks on threads, each on a share of the cores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from skbig.backends.single import plain_torch
from skbig.engine.population import Population
from skbig.engine.stacking import cohort, stackable
from skbig.engine.train import EpochReport, Training
from skbig.search.cohorts import likely_cohorts, stack_size
from skbig.search.shared import SharedSteps
from skbig.search.tasks import Task

MOST_SIDE_BY_SIDE = 8
"""Threads of Python: more would wait for each other's turn."""

LIGHT_STEP = 500_000
"""Rows of a batch times parameters of a stack: below, a step is mostly Python, which threads only take turns at."""


class Workers:
    """Trains tasks and scores each as soon as it is trained.

    Parameters
    ----------
    n_side_by_side : int or None
        How many stacks are trained at once; by default as many as torch has threads, up to eight, or one per GPU.
    on_epoch : callable or None
        ``on_epoch(tasks, report)`` after each epoch of a stack, in its worker's thread.
    """

    def __init__(
        self,
        n_side_by_side: int | None = None,
        on_epoch: Callable[[Sequence[Task], EpochReport], None] | None = None,
        on_result: Callable[[Task, Any], None] | None = None,
    ) -> None:
        self._n_threads = torch.get_num_threads()
        self._n_side_by_side = min(MOST_SIDE_BY_SIDE, self._n_threads) if n_side_by_side is None else n_side_by_side
        self._on_epoch, self._on_result = on_epoch, on_result
        self._steps = SharedSteps()
        self._interrupted = threading.Event()
        self._one_light = threading.Lock()

    def run(self, tasks: Sequence[Task]) -> list[Any]:
        """Train and score, and return scikit-learn's result of each task."""
        results: dict[int, Any] = {}
        for task in tasks:
            task.configure()
        with self._pool() as pool:
            waiting: dict[Future[None], list[Task]] = {}
            for chunk in self._chunks(tasks):
                while len(waiting) >= self._n_side_by_side:
                    self._finish(waiting, results)
                waiting[pool.submit(self._train, chunk)] = chunk
            while waiting:
                self._finish(waiting, results)
        return [results[id(task)] for task in tasks]

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """A pool whose trainings end with their epoch when the caller is interrupted."""
        with ThreadPoolExecutor(self._n_side_by_side, thread_name_prefix="skbig-search") as pool:
            try:
                yield pool
            except BaseException:
                self._interrupted.set()
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                torch.set_num_threads(self._n_threads)  # threads that begin take over what the last one has set

    def _chunks(self, tasks: Sequence[Task]) -> Iterator[list[Task]]:
        """Yield prepared tasks to be trained together, fold by fold."""
        for group in likely_cohorts(tasks):
            ordered = sorted(group, key=lambda task: self._steps.number(task.train_rows))
            ordered[0].prepare(self._steps)
            size = 1
            if ordered[0].session is not None:
                size = stack_size(ordered[0].session, len(ordered), self._n_side_by_side)
            for start in range(0, len(ordered), size):
                chunk = ordered[start : start + size]
                for task in chunk:
                    if task is not ordered[0]:
                        task.prepare(self._steps)
                yield chunk

    def _finish(self, waiting: dict[Future[None], list[Task]], results: dict[int, Any]) -> None:
        """Wait until a chunk is trained, and score it."""
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            chunk = waiting.pop(future)
            future.result()
            for task in chunk:
                results[id(task)] = task.score()
                task.forget()
                if self._on_result is not None:
                    self._on_result(task, results[id(task)])

    # In a worker's thread.

    def _train(self, chunk: list[Task]) -> None:
        torch.set_num_threads(max(1, self._n_threads // self._n_side_by_side))
        with plain_torch():
            for tasks in _cohorts([task for task in chunk if task.session is not None]):
                self._train_together(tasks)

    def _train_together(self, tasks: list[Task]) -> None:
        began = time.perf_counter()
        with self._one_light if _is_light(tasks) else nullcontext():
            again = tasks if len(tasks) == 1 else self._stack(tasks)
            for task in again:
                task.train_alone()
        for task in tasks:
            task.seconds += (time.perf_counter() - began) / len(tasks)

    def _stack(self, tasks: list[Task]) -> list[Task]:
        """Train a stack; return those that failed, ready to be trained alone."""
        owners = {id(task.session): task for task in tasks}

        def on_epoch(trainings: Sequence[Training], report: EpochReport) -> bool:
            if self._on_epoch is not None:
                self._on_epoch([owners[id(training)] for training in trainings], report)
            return self._interrupted.is_set()

        sessions = [task.session for task in tasks if task.session is not None]
        population = Population(sessions, on_epoch)
        with sessions[0].backend.products():
            population.train()
        failed = [owners[id(training)] for training in population.failed]
        for task in failed:
            task.prepare(self._steps)
        for task in tasks:
            if task not in failed:
                task.keep()
        return [task for task in failed if task.session is not None]


def _cohorts(tasks: Sequence[Task]) -> list[list[Task]]:
    """Group prepared tasks into those that may be stacked."""
    kinds: list[Any] = []
    groups: list[list[Task]] = []
    for task in tasks:
        assert task.session is not None
        kind = cohort(task.session) if stackable(task.session) else None
        known = next((i for i, other in enumerate(kinds) if kind is not None and other == kind), None)
        if known is None:
            kinds.append(kind)
            groups.append([task])
        else:
            groups[known].append(task)
    return groups


def _is_light(tasks: Sequence[Task]) -> bool:
    sessions = [task.session for task in tasks if task.session is not None]
    work = sum(session.recipe.batch_size * session.members.flat.numel() for session in sessions)
    return work < LIGHT_STEP
