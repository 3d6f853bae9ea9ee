"""What trains the fits of a search: this process, workers that it starts, or all ranks of its launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from skbig.distributed.backend import Backend, resolve_backend
from skbig.distributed.placement import place_of
from skbig.estimators.base import NetworkEstimator
from skbig.search.fit_task import FitTask
from skbig.search.joblib_runner import run_with_joblib
from skbig.search.joined_search import JoinedSearchRunner
from skbig.search.launched_search import LaunchedSearchRunner
from skbig.search.nesting import last_step
from skbig.search.observer import SearchObserver
from skbig.search.partial_results import ResultRecorder
from skbig.search.pipeline_cache import PipelineCache
from skbig.search.search_checkpoint import State
from skbig.search.stack_scheduler import SearchInterrupted, StackScheduler


class SearchRunner(Protocol):
    """Trains and scores the tasks of one evaluation after another."""

    def run(
        self,
        tasks: Sequence[FitTask],
        observers: Sequence[SearchObserver],
        lines: Sequence[SearchObserver],
        *,
        goes_on: bool,
    ) -> list[Any]:
        """Train and score, and return scikit-learn's result of each task.

        Parameters
        ----------
        tasks : sequence of FitTask
        observers : sequence of SearchObserver
            They hear of what is trained in the process that trains it.
        lines : sequence of SearchObserver
            They hear of the results, in the process of the caller.
        goes_on : bool
            Whether the next evaluation goes on with these trainings.

        Raises
        ------
        SearchInterrupted
            On Ctrl-C, or when a worker dies, with the results so far.
        """
        ...

    def close(self) -> None:
        """Let go of processes that wait for another evaluation."""
        ...


class LocalSearchRunner:
    """Trains in this process, on threads side by side, or by the workers of joblib.

    Parameters
    ----------
    n_jobs : int
        How many workers of joblib share the tasks; 1 is this process.
    pre_dispatch : int or str
        As in joblib.
    n_side_by_side : int or None
        How many stacks this process trains at once; None is as many as it has threads or GPUs.
    cache : PipelineCache or None
        Folds and steps for all evaluations, if they are of the same rows.
    """

    def __init__(
        self,
        n_jobs: int = 1,
        pre_dispatch: Any = None,
        *,
        n_side_by_side: int | None = None,
        cache: PipelineCache | None = None,
    ) -> None:
        self._n_jobs, self._pre_dispatch = n_jobs, pre_dispatch
        self._n_side_by_side, self._cache = n_side_by_side, cache
        self._states: dict[str, State] = {}

    def run(
        self,
        tasks: Sequence[FitTask],
        observers: Sequence[SearchObserver],
        lines: Sequence[SearchObserver],
        *,
        goes_on: bool,
    ) -> list[Any]:
        if self._n_jobs > 1:
            return self._run_by_joblib(tasks, observers)
        recorder = ResultRecorder({task: i for i, task in enumerate(tasks)}, self._states, goes_on)
        scheduler = StackScheduler(self._n_side_by_side, [recorder, *observers, *lines], cache=self._cache)
        results = scheduler.run(tasks)
        self._states = recorder.take().states
        return results

    def _run_by_joblib(self, tasks: Sequence[FitTask], observers: Sequence[SearchObserver]) -> list[Any]:
        try:
            return run_with_joblib(tasks, self._n_jobs, self._pre_dispatch, observers)
        except SearchInterrupted:  # one worker's, with the results of its tasks alone
            raise KeyboardInterrupt from None

    def close(self) -> None:
        """No process waits."""


def runner_of(estimator: Any, tasks: Sequence[FitTask]) -> SearchRunner | None:
    """Return what the `backend` of a search's estimator trains its tasks by; None: it has none that spreads searches.

    Callbacks hear of fits in this process only. Candidates with a device or a backend of their own keep it.

    Raises
    ------
    ValueError
        When the workers could not have devices of their own.
    RuntimeError
        When the environment tells of other ranks that do not come.
    """
    backend: Any = _backend_of(estimator)
    if backend is None or not backend.spreads_searches:
        return None
    device = last_step(estimator).device
    for task in tasks:
        task.configure()
    if any(task.is_heard() or not _follows(last_step(task.estimator), device) for task in tasks):
        return None
    context, device_type = place_of(device, backend)
    if context is not None:
        return JoinedSearchRunner(context, backend.timeout)
    return LaunchedSearchRunner(backend.launch_options(device_type))


def _follows(last: Any, device: str) -> bool:
    """Whether a candidate can be trained where the search says, by one process."""
    if not isinstance(last, NetworkEstimator):
        return True
    backend = _backend_of(last)
    return last.device == device and (backend is None or backend.spreads_searches)


def _backend_of(estimator: Any) -> Backend | None:
    """Return the backend of an estimator of ours; one that is no backend is left to `fit` and its error."""
    last = last_step(estimator)
    if not isinstance(last, NetworkEstimator):
        return None
    try:
        return resolve_backend(getattr(last, "backend", None))
    except ValueError:
        return None
