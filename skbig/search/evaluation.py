"""How a search's fits are run: here in this process, or by the workers of joblib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from skbig.estimators.sklearn_bridge import format_results
from skbig.search.calls import Call
from skbig.search.progress import SearchLine
from skbig.search.saving import SearchCheckpoints, identity_of
from skbig.search.spread import spread
from skbig.search.tasks import Task
from skbig.search.watcher import Watcher
from skbig.search.workers import Interrupted, Workers


class Evaluation:
    """Evaluates the candidates of one fit of a search; called with all calls of an evaluation.

    Parameters
    ----------
    search : estimator
        The search, whose parameters are read; it is written to only when Ctrl-C ends it.
    """

    def __init__(self, search: Any) -> None:
        self.search = search
        self._n_evaluations = 0
        self._identity: dict[str, str] = {}
        self._line = SearchLine()

    def __call__(self, calls: Sequence[Call]) -> list[Any]:
        """Return scikit-learn's result of each fit-and-score."""
        watchers = [*self._saved(calls)]
        self._n_evaluations += 1
        return self._run(calls, watchers)

    def _run(self, calls: Sequence[Call], watchers: list[Watcher]) -> list[Any]:
        n_workers = effective_n_jobs(self.search.n_jobs)
        if n_workers > 1:
            return spread(calls, n_workers, self.search.pre_dispatch, watchers)
        return self._run_here([Task(call) for call in calls], Workers(watchers=[*watchers, *self._shown()]))

    def _run_here(self, tasks: Sequence[Task], workers: Workers) -> list[Any]:
        try:
            return workers.run(tasks)
        except Interrupted as interruption:
            self._keep_finished(tasks, interruption.results)
            raise KeyboardInterrupt from None

    def _shown(self) -> list[Watcher]:
        """Return the progress line; with more verbosity scikit-learn's own lines would run through it."""
        return [self._line] if self.search.verbose == 1 else []

    def _saved(self, calls: Sequence[Call]) -> list[Watcher]:
        if self.search.checkpoint_dir is None:
            return []
        if not self._identity:  # the candidates of later rungs are a choice of these
            self._identity = identity_of(calls)
        return [SearchCheckpoints(self.search.checkpoint_dir, self._identity, self._n_evaluations)]

    def _keep_finished(self, tasks: Sequence[Task], results: Sequence[Any]) -> None:
        """Keep the candidates of an interrupted search that are evaluated on every fold."""
        candidates: dict[int, list[int]] = {}
        for i, task in enumerate(tasks):
            candidates.setdefault(task.candidate, []).append(i)
        finished = [own for own in candidates.values() if all(results[i] is not None for i in own)]
        if not finished:
            return
        search, outcomes = self.search, [results[i] for own in finished for i in own]
        search.n_splits_ = len(finished[0])
        parameters = [dict(tasks[own[0]].parameters) for own in finished]
        search.cv_results_ = format_results(search, parameters, search.n_splits_, outcomes)
        ranks = search.cv_results_.get("rank_test_score")
        if ranks is not None:
            search.best_index_ = int(np.argmin(ranks))
            search.best_params_ = search.cv_results_["params"][search.best_index_]
            search.best_score_ = search.cv_results_["mean_test_score"][search.best_index_]
