"""Collects what scikit-learn hands to joblib, so that a search's fits can be run together in place of one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from joblib.parallel import ParallelBackendBase, parallel_config


@dataclass
class Call:
    """A function and its arguments, to be called once."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: dict[str, Any]

    def __call__(self) -> Any:
        return self.function(*self.args, **self.keywords)


Run = Callable[[Sequence[Call]], list[Any]]


class Pending:
    """A batch of calls whose results are asked for later."""

    def __init__(self, calls: list[Call], callback: Callable[[Any], None] | None, run_all: Callable[[], None]) -> None:
        self.calls, self.callback = calls, callback
        self.results: list[Any] | None = None
        self._run_all = run_all

    def get(self, timeout: float | None = None) -> list[Any]:
        """Return the results; the first to be asked runs all that are pending."""
        del timeout
        if self.results is None:
            self._run_all()
        assert self.results is not None
        return self.results


class CollectingBackend(ParallelBackendBase):
    """A joblib backend that waits until every call is known and then runs them by one function.

    It serves the first `Parallel` that begins, which is the search's own, and is not active any more from then on: a
    scorer, or a step that is fitted with the best candidate, gets the backend that was active before.

    Parameters
    ----------
    run : callable
        ``run(calls) -> results``, called where the first result is asked for.

    Attributes
    ----------
    retire : callable
        Makes the joblib backend active again that was active before this one.
    """

    supports_sharedmem = True
    uses_threads = True

    def __init__(self, run: Run) -> None:
        super().__init__(nesting_level=0)
        self._run = run
        self._pending: list[Pending] = []
        self.retire: Callable[[], None] = lambda: None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        del n_jobs
        return 2  # for one, joblib would not ask a backend

    def configure(self, n_jobs: int = 1, parallel: Any = None, **settings: Any) -> int:
        """Have all calls handed over before the first result is asked for."""
        del settings
        self.retire()
        parallel.pre_dispatch = "all"
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Any, callback: Any = None) -> Pending:
        """Note down a batch of calls."""
        pending = Pending([Call(*item) for item in func.items], callback, self._run_all)
        self._pending.append(pending)
        return pending

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result(self, out: Pending, timeout: float | None = None) -> list[Any]:
        return out.get(timeout)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        del ensure_ready
        self._pending.clear()

    def _run_all(self) -> None:
        batches, self._pending = self._pending, []
        calls = [call for batch in batches for call in batch.calls]
        results = iter(self._run(calls))
        for batch in batches:
            batch.results = [next(results) for _ in batch.calls]
            if batch.callback is not None:
                batch.callback(batch.results)  # joblib counts what is completed


@contextmanager
def collecting(run: Run) -> Iterator[None]:
    """Hand the calls of the first `Parallel` that begins in this block to a function, all at once."""
    backend = CollectingBackend(run)
    context = parallel_config(backend=backend)
    backend.retire = context.unregister
    with context:
        yield
