"""Trains the tasks of a search side by side on this machine: stacks on threads, each on a share of the cores."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from sklearn import config_context, get_config

from skbig._utils.device import plain_torch
from skbig._utils.threads import thread_count
from skbig.engine.population import Population
from skbig.engine.stacking import cohort, stackable
from skbig.engine.train import EpochReport, Training
from skbig.estimators.choices import planned
from skbig.estimators.session import Session
from skbig.search.fit_task import FitTask
from skbig.search.joblib_backend import Call
from skbig.search.observer import SearchObserver
from skbig.search.pipeline_cache import PipelineCache
from skbig.search.stack_planning import MIN_SETS, likely_cohorts, sets_in_memory, stack_size, stacks_of
from skbig.search.work_queue import LocalQueue, WorkQueue

LIGHT_STEP = 500_000
"""Rows of a batch times parameters of a stack: below, a step is mostly Python, which threads only take turns at."""

LOOK_UP_SECONDS = 0.1
"""How long the main thread waits for stacks before it listens for Ctrl-C."""


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C came, or an error; `results` has one entry per task, None where it is not finished."""

    def __init__(self, results: list[Any], error: Exception | None = None) -> None:
        super().__init__()
        self.results, self.error = results, error


class StackScheduler:
    """Trains tasks in stacks, and scores each as soon as it is trained.

    Parameters
    ----------
    n_side_by_side : int or None
        How many stacks are trained at once; by default as many as torch has threads, up to eight, or one per GPU.
    observers : sequence of SearchObserver
    cache : PipelineCache or None
        Folds and steps that an earlier evaluation has left, if it was of the same rows.
    queue : WorkQueue or None
        The stacks, and which of them are trained here; all by default.
    """

    def __init__(
        self,
        n_side_by_side: int | None = None,
        observers: Sequence[SearchObserver] = (),
        *,
        cache: PipelineCache | None = None,
        queue: WorkQueue | None = None,
    ) -> None:
        self._n_threads = torch.get_num_threads()
        self._given_side_by_side, self._n_side_by_side = n_side_by_side, 1
        self._observers = observers
        self._queue: WorkQueue = LocalQueue() if queue is None else queue
        self._cache = PipelineCache() if cache is None else cache
        self._config = get_config()
        self._notifying = threading.Lock()
        self._interrupted = threading.Event()
        self._one_light = threading.Lock()
        self._waiting: dict[Future[None], list[FitTask]] = {}
        self._results: dict[int, Any] = {}
        self._n_sets = MIN_SETS

    def run(self, tasks: Sequence[FitTask]) -> list[Any]:
        """Train and score, and return scikit-learn's result of each task, or None where others train it.

        Raises
        ------
        SearchInterrupted
            On Ctrl-C, with the results so far; the trainings end with their epoch.
        """
        try:
            self._run(tasks)
        except KeyboardInterrupt:
            raise SearchInterrupted(self._results_of(tasks)) from None
        finally:
            for observer in self._observers:
                observer.close()
        return self._results_of(tasks)

    def _results_of(self, tasks: Sequence[FitTask]) -> list[Any]:
        return [self._results.get(id(task)) for task in tasks]

    def _run(self, tasks: Sequence[FitTask]) -> None:
        for observer in self._observers:
            observer.begin(tasks)
        todo = [task for task in tasks if not self._is_known(task)]
        for task in todo:
            task.configure()
        self._n_side_by_side = self._given_side_by_side or self._queue.side_by_side(todo, self._n_threads)
        with self._pool() as pool:
            for number, group in enumerate(self._queue.ordered(likely_cohorts(todo))):
                for stack in self._stacks(number, group):
                    self._waiting[pool.submit(self._train, stack)] = stack
            while self._waiting:
                self._finish()

    def _is_known(self, task: FitTask) -> bool:
        for observer in self._observers:
            known = observer.known_result(task)
            if known is not None:
                self._note_result(task, known)
                return True
        return False

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

    def _stacks(self, number: int, group: Sequence[FitTask]) -> Iterator[list[FitTask]]:
        """Yield the stacks of a group that are trained here, prepared, each when there is room for it."""
        size, n_sets = self._size(number, group)
        stacks = stacks_of(group, size, self._n_side_by_side, n_sets)
        devices = itertools.cycle(self._queue.devices(group))
        for stack, device in zip(stacks, devices, strict=False):
            if not self._queue.takes(stack, partial(self._make_room, stack, n_sets)):
                for task in stack:  # one may have been prepared, to show the size
                    task.forget()
                continue
            self._make_room(stack, n_sets)
            self._cache.keep({task.split for task in stack})
            for task in stack:
                task.prepare(self._cache, device, self._note_prepared)
            yield stack

    def _size(self, number: int, group: Sequence[FitTask]) -> tuple[int, int]:
        """Return how many of a group are trained together, and how many sets of rows may be in memory.

        It is what the first that can be prepared shows.
        """
        self._make_room(group[:1], self._n_sets)
        task = next((task for task in group if self._is_prepared(task, group)), None)
        if task is None:
            return 1, MIN_SETS
        session = _session(task)
        n_sets = self._n_sets = sets_in_memory(session)
        n_at_once = min(len(group), n_sets * len({task.candidate for task in group}))
        n_members = max(planned(other.last, "n_members") for other in group if other.last is not None)
        n_side_by_side = self._queue.n_processes * self._n_side_by_side
        size = partial(stack_size, session, n_members, n_at_once, n_side_by_side)
        return self._queue.agreed(number, size), n_sets

    def _is_prepared(self, task: FitTask, group: Sequence[FitTask]) -> bool:
        self._cache.keep({task.split})
        task.prepare(self._cache, self._queue.devices(group)[0], self._note_prepared)
        return task.session is not None

    def _make_room(self, stack: Sequence[FitTask], n_sets: int) -> None:
        """Wait until another stack may be prepared: one more than is trained, to begin while another is scored.

        But not where another process could train it meanwhile, nor where its rows would be too many.
        """
        most = self._n_side_by_side + (self._queue.n_processes == 1)
        while self._waiting:
            sets = {task.rows_key for other in [*self._waiting.values(), stack] for task in other}
            if len(self._waiting) < most and len(sets) <= n_sets:
                return
            self._finish()

    def _finish(self) -> None:
        """Wait until a stack is trained, and score it."""
        done: set[Future[None]] = set()
        while not done:  # Ctrl-C may reach another thread, which does not wake this one: look up from time to time
            self._queue.look()
            done, _ = wait(self._waiting, LOOK_UP_SECONDS, return_when=FIRST_COMPLETED)
        for future in [future for future in self._waiting if future in done]:  # as they began
            stack = self._waiting.pop(future)
            future.result()
            self._score(stack)

    def _score(self, stack: list[FitTask]) -> None:
        # Other stacks have the cores meanwhile; and a score has the same bits whoever is still trained.
        with thread_count(1 if self._n_side_by_side > 1 else None):
            for task in stack:
                self._note_result(task, task.score())
        for observer in self._observers:
            observer.finished(stack, self._results_of(stack))
        for task in stack:
            task.forget()

    def _note_prepared(self, task: FitTask) -> None:
        for observer in self._observers:
            observer.prepared(task)

    def _note_result(self, task: FitTask, result: Any) -> None:
        self._results[id(task)] = result
        with self._notifying:
            for observer in self._observers:
                observer.result(task, result)

    # In a thread of the pool.

    def _train(self, stack: list[FitTask]) -> None:
        torch.set_num_threads(max(1, self._n_threads // self._n_side_by_side))
        with plain_torch(), config_context(**self._config):  # scikit-learn has its settings per thread
            for tasks in _cohorts([task for task in stack if task.is_ready]):
                if not self._interrupted.is_set():
                    self._train_cohort(stack, tasks)
            for task in stack:
                task.keep()

    def _train_cohort(self, stack: list[FitTask], tasks: list[FitTask]) -> None:
        began = time.perf_counter()
        with self._one_light if _is_light(tasks) else nullcontext():
            alone = self._train_together(stack, tasks) if stackable(_session(tasks[0])) else tasks
            for task in alone:
                task.train_alone(partial(self._note_epoch, [task]))
        for task in tasks:
            task.seconds += (time.perf_counter() - began) / len(tasks)

    def _note_epoch(self, tasks: Sequence[FitTask], report: EpochReport) -> bool:
        """Tell of an epoch, and return whether it shall be the last."""
        with self._notifying:
            for observer in self._observers:
                observer.epoch(tasks, report)
        return self._interrupted.is_set()

    def _train_together(self, stack: list[FitTask], tasks: list[FitTask]) -> list[FitTask]:
        """Train a cohort; return those that failed, ready to be trained alone."""
        owners = {id(task.session): task for task in tasks}

        def on_epoch(trainings: Sequence[Training], report: EpochReport) -> Literal["go on", "rest", "end"]:
            if self._note_epoch([owners[id(training)] for training in trainings], report):
                return "end"
            return "rest" if any(observer.wants_rest(stack) for observer in self._observers) else "go on"

        def on_rest(trainings: Sequence[Training]) -> None:
            del trainings  # what is saved of a stack is all of it
            for observer in self._observers:
                observer.rests(stack)

        population = Population([_session(task) for task in tasks], on_epoch, on_rest)
        with _session(tasks[0]).backend.products():
            population.train()
        failed = [owners[id(training)] for training in population.failed]
        for task in failed:
            device = str(_session(task).backend.device)
            task.session = None
            task.prepare(self._cache, device)
        return [task for task in failed if task.session is not None]


def _session(task: FitTask) -> Session:
    assert task.session is not None
    return task.session


def _cohorts(tasks: Sequence[FitTask]) -> list[list[FitTask]]:
    """Group prepared tasks into those that may be stacked."""
    kinds: list[Any] = []
    groups: list[list[FitTask]] = []
    for task in tasks:
        kind = cohort(_session(task)) if stackable(_session(task)) else None
        known = next((i for i, other in enumerate(kinds) if kind is not None and other == kind), None)
        if known is None:
            kinds.append(kind)
            groups.append([task])
        else:
            groups[known].append(task)
    return groups


def _is_light(tasks: Sequence[FitTask]) -> bool:
    sessions = map(_session, tasks)
    return sum(session.recipe.batch_size * session.members.flat.numel() for session in sessions) < LIGHT_STEP


def evaluate(calls: Sequence[Call], observers: Sequence[SearchObserver] = ()) -> list[Any]:
    """Train and score some of a search's calls in this process: what a worker of joblib runs."""
    return StackScheduler(observers=observers).run([FitTask(call) for call in calls])
