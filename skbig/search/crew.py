"""Who shares a search with this process: workers that it starts, or the other ranks of its launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from skbig.backends.backend import Backend, resolve_backend
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.launching import place_of
from skbig.search.fit_task import FitTask
from skbig.search.joined import Joined
from skbig.search.nesting import last_step
from skbig.search.observer import SearchObserver
from skbig.search.started import Started


class Crew(Protocol):
    """The processes that share a search."""

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
            Whether the next call goes on with these trainings.

        Raises
        ------
        SearchInterrupted
            On Ctrl-C, with the results so far.
        WorkerError
            When a worker dies.
        """
        ...

    def close(self) -> None:
        """Let go of processes that wait for another call."""
        ...


def crew_of(estimator: Any, tasks: Sequence[FitTask]) -> Crew | None:
    """Return who trains the tasks of a search, by the `backend` of its estimator; None is this process alone.

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
    return Started(backend, device_type) if context is None else Joined(context, backend.timeout)


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
