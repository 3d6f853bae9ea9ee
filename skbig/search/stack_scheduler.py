"""Trains the tasks of a search side by side on this machine: stacks on threads, each on a share of the cores."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from sklearn import config_context, get_config

from skbig.backends.single import plain_torch
from skbig.engine.executors.threads import thread_count
from skbig.engine.population import Population
from skbig.engine.stacking import cohort, stackable
from skbig.engine.train import EpochReport, Training
from skbig.estimators.session import Session
from skbig.search.fit_task import Task
from skbig.search.joblib_backend import Call
from skbig.search.observer import SearchObserver
from skbig.search.pipeline_cache import PipelineCache
from skbig.search.share import Share, Whole
from skbig.search.stack_planning import likely_cohorts, stack_size

LIGHT_STEP = 500_000
"""Rows of a batch times parameters of a stack: below, a step is mostly Python, which threads only take turns at."""

LOOK_UP_SECONDS = 0.1
"""How long the main thread waits for stacks before it listens for Ctrl-C."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came, or an error; `results` has one entry per task, None where it is not finished."""

    def __init__(self, results: list[Any], error: Exception | None = None) -> None:
        super().__init__()
        self.results, self.error = results, error


class Workers:
    """Trains tasks and scores each as soon as it is trained.

    Parameters
    ----------
    n_side_by_side : int or None
        How many stacks are trained at once; by default as many as torch has threads, up to eight, or one per GPU.
    watchers : sequence of SearchObserver
    keeps : bool
        Whether the tasks keep their trainings, to go on later.
    share : Share or None
        Which stacks are trained here; all by default.
    """

    def __init__(
        self,
        n_side_by_side: int | None = None,
        watchers: Sequence[SearchObserver] = (),
        *,
        keeps: bool = False,
        share: Share | None = None,
    ) -> None:
        self._n_threads = torch.get_num_threads()
        self._given_side_by_side, self._n_side_by_side = n_side_by_side, 1
        self._watchers, self._keeps = watchers, keeps
        self._share: Share = Whole() if share is None else share
        self._config = get_config()
        self._telling = threading.Lock()
        self._steps = PipelineCache()
        self._interrupted = threading.Event()
        self._one_light = threading.Lock()

    def run(self, tasks: Sequence[Task]) -> list[Any]:
        """Train and score, and return scikit-learn's result of each task, or None where others train it.

        Raises
        ------
        Interrupted
            On Ctrl-C, with the results so far; the trainings end with their epoch.
        """
        results: dict[int, Any] = {}
        try:
            self._run(tasks, results)
        except KeyboardInterrupt:
            raise Interrupted([results.get(id(task)) for task in tasks]) from None
        finally:
            for watcher in self._watchers:
                watcher.close()
        return [results.get(id(task)) for task in tasks]

    def _run(self, tasks: Sequence[Task], results: dict[int, Any]) -> None:
        for watcher in self._watchers:
            watcher.begin(tasks)
        todo = [task for task in tasks if not self._is_known(task, results)]
        for task in todo:
            task.configure()
        self._n_side_by_side = self._given_side_by_side or self._share.side_by_side(todo, self._n_threads)
        with self._pool() as pool:
            waiting: dict[Future[None], list[Task]] = {}
            make_room = partial(self._make_room, waiting, results)
            for chunk in self._chunks(todo, make_room):
                make_room()
                waiting[pool.submit(self._train, chunk)] = chunk
            while waiting:
                self._finish(waiting, results)

    def _is_known(self, task: Task, results: dict[int, Any]) -> bool:
        for watcher in self._watchers:
            known = watcher.known_result(task)
            if known is not None:
                self._tell_result(task, results, known)
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

    def _make_room(self, waiting: dict[Future[None], list[Task]], results: dict[int, Any]) -> None:
        """Wait until another chunk may be taken: one more than is trained, to begin while another is scored.

        But not where another process could train it meanwhile.
        """
        most = self._n_side_by_side + (self._share.n_processes == 1)
        while len(waiting) >= most:
            self._finish(waiting, results)

    def _chunks(self, tasks: Sequence[Task], make_room: Callable[[], None]) -> Iterator[list[Task]]:
        """Yield prepared tasks to be trained together: as many candidates as make a stack, on one fold after another.

        So a stack shares its rows, and the first candidates are finished on all folds while the last ones wait.
        """
        for number, group in enumerate(self._share.ordered(likely_cohorts(tasks))):
            size = self._share.agreed(number, partial(self._stack_size, group))
            rank = {number: i for i, number in enumerate(dict.fromkeys(task.candidate for task in group))}
            ordered = sorted(
                group, key=lambda task: (rank[task.candidate] // size, self._steps.number(task.train_rows))
            )
            devices = itertools.cycle(self._share.devices(ordered))
            for start, device in zip(range(0, len(ordered), size), devices, strict=False):
                chunk = ordered[start : start + size]
                if not self._share.takes(chunk, make_room):
                    for task in chunk:  # one may have been prepared, to show the size
                        task.forget()
                    continue
                for task in chunk:
                    task.prepare(self._steps, device, self._tell_begun)
                yield chunk

    def _stack_size(self, group: Sequence[Task]) -> int:
        """Return how many of a group are trained together, as the first that can be prepared shows."""
        n_side_by_side = self._share.n_processes * self._n_side_by_side
        for task in group:
            task.prepare(self._steps, self._share.devices(group)[0], self._tell_begun)
            if task.session is not None:
                largest = max(other.last.n_members for other in group if other.last is not None)
                return stack_size(task.session, largest, len(group), n_side_by_side)
        return 1

    def _finish(self, waiting: dict[Future[None], list[Task]], results: dict[int, Any]) -> None:
        """Wait until a chunk is trained, and score it."""
        done: set[Future[None]] = set()
        while not done:  # Ctrl-C may reach another thread, which does not wake this one: look up from time to time
            self._share.look()
            done, _ = wait(waiting, LOOK_UP_SECONDS, return_when=FIRST_COMPLETED)
        for future in [future for future in waiting if future in done]:  # as they began
            chunk = waiting.pop(future)
            future.result()
            # Other stacks have the cores meanwhile; and a score has the same bits whoever is still trained.
            with thread_count(1 if self._n_side_by_side > 1 else None):
                for task in chunk:
                    self._tell_result(task, results, task.score())
            for watcher in self._watchers:
                watcher.finished(chunk, [results[id(task)] for task in chunk])
            for task in chunk:
                if not self._keeps:
                    task.forget()

    def _tell_begun(self, task: Task) -> None:
        for watcher in self._watchers:
            watcher.prepared(task)

    def _tell_result(self, task: Task, results: dict[int, Any], result: Any) -> None:
        results[id(task)] = result
        with self._telling:
            for watcher in self._watchers:
                watcher.result(task, result)

    # In a worker's thread.

    def _train(self, chunk: list[Task]) -> None:
        torch.set_num_threads(max(1, self._n_threads // self._n_side_by_side))
        with plain_torch(), config_context(**self._config):  # scikit-learn has its settings per thread
            for tasks in _cohorts([task for task in chunk if task.is_ready]):
                if not self._interrupted.is_set():
                    self._train_together(chunk, tasks)
            for task in chunk:
                task.keep()

    def _train_together(self, chunk: list[Task], tasks: list[Task]) -> None:
        began = time.perf_counter()
        with self._one_light if _is_light(tasks) else nullcontext():
            again = self._stack(chunk, tasks) if stackable(_session(tasks[0])) else tasks
            for task in again:
                task.train_alone(partial(self._tell_epoch, [task]))
        for task in tasks:
            task.seconds += (time.perf_counter() - began) / len(tasks)

    def _tell_epoch(self, tasks: Sequence[Task], report: EpochReport) -> bool:
        """Tell of an epoch, and return whether it shall be the last."""
        with self._telling:
            for watcher in self._watchers:
                watcher.epoch(tasks, report)
        return self._interrupted.is_set()

    def _stack(self, chunk: list[Task], tasks: list[Task]) -> list[Task]:
        """Train a stack; return those that failed, ready to be trained alone."""
        owners = {id(task.session): task for task in tasks}

        def on_epoch(trainings: Sequence[Training], report: EpochReport) -> Literal["go on", "rest", "end"]:
            if self._tell_epoch([owners[id(training)] for training in trainings], report):
                return "end"
            return "rest" if any(watcher.wants_rest(chunk) for watcher in self._watchers) else "go on"

        def on_rest(trainings: Sequence[Training]) -> None:
            del trainings  # what a chunk saves is all of it
            for watcher in self._watchers:
                watcher.rests(chunk)

        population = Population([_session(task) for task in tasks], on_epoch, on_rest)
        with _session(tasks[0]).backend.products():
            population.train()
        failed = [owners[id(training)] for training in population.failed]
        for task in failed:
            device = str(_session(task).backend.device)
            task.session = None
            task.prepare(self._steps, device)
        return [task for task in failed if task.session is not None]


def _session(task: Task) -> Session:
    assert task.session is not None
    return task.session


def _cohorts(tasks: Sequence[Task]) -> list[list[Task]]:
    """Group prepared tasks into those that may be stacked."""
    kinds: list[Any] = []
    groups: list[list[Task]] = []
    for task in tasks:
        kind = cohort(_session(task)) if stackable(_session(task)) else None
        known = next((i for i, other in enumerate(kinds) if kind is not None and other == kind), None)
        if known is None:
            kinds.append(kind)
            groups.append([task])
        else:
            groups[known].append(task)
    return groups


def _is_light(tasks: Sequence[Task]) -> bool:
    sessions = map(_session, tasks)
    return sum(session.recipe.batch_size * session.members.flat.numel() for session in sessions) < LIGHT_STEP


def evaluate(calls: Sequence[Call], watchers: Sequence[SearchObserver] = ()) -> list[Any]:
    """Train and score some of a search's calls in this process: what a worker of joblib does."""
    return Workers(watchers=watchers).run([Task(call) for call in calls])
