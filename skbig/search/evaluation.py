"""One evaluation of a search after another: its candidates, what trains them, and what is kept of the results."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs
from sklearn.exceptions import ConvergenceWarning

from skbig.estimators.sklearn_compat import format_results
from skbig.search.fit_task import RAN_OUT, FitTask
from skbig.search.held_out_predictions import PREDICTED, HeldOut, Predicting, unpacked
from skbig.search.joblib_backend import Call
from skbig.search.observer import SearchObserver
from skbig.search.privacy_spent import PrivacySpent
from skbig.search.progress import SearchLine
from skbig.search.search_checkpoint import SearchCheckpoints, identity_of
from skbig.search.search_runners import LocalSearchRunner, SearchRunner, runner_of
from skbig.search.stack_scheduler import SearchInterrupted


class Finished(NamedTuple):
    """A candidate that has a result on every fold of an evaluation: in a halving search, of a rung."""

    parameters: dict[str, Any]
    rung: int
    results: list[Any]


class Evaluation:
    """Evaluates the candidates of one fit of a search; called with all calls of an evaluation.

    Parameters
    ----------
    search : estimator
        The search, whose parameters are read; it is written to only when Ctrl-C, or a worker's death, ends it.
    """

    goes_on = False
    """Whether trainings that have ended go on in the next evaluation."""

    def __init__(self, search: Any) -> None:
        self.search = search
        self._n_evaluations = 0
        self._finished: list[Finished] = []
        self._identity: dict[str, str] = {}
        self._line = SearchLine(scoring=search.scoring)
        self._n_fits = self._n_ran_out = 0
        self._privacy = PrivacySpent()
        self._runner: SearchRunner | None = None
        self._held_out: list[list[tuple[np.ndarray, Any]]] = []

    def __call__(self, calls: Sequence[Call]) -> list[Any]:
        """Return scikit-learn's result of each fit-and-score."""
        observers = [*self._saved(calls)]
        if self.search.ensemble_size is not None:
            calls = [replace(call, function=Predicting(call.function)) for call in calls]
        self._n_evaluations += 1
        results = self._run(calls, observers)
        self._note_finished(calls, results)
        return results

    @property
    def held_out(self) -> list[tuple[np.ndarray, HeldOut] | None]:
        """Of each candidate of the last evaluation the rows of all folds and what it predicts for them, if it does."""
        return [_of_all_folds(folds) for folds in self._held_out]

    def conclude(self) -> None:
        """Say once what holds for the whole search, after its last evaluation."""
        if self._shown():
            self._line.end()
        self._privacy.conclude(self.search)
        if self._n_ran_out:
            warnings.warn(
                f"Maximum iterations (max_iter) reached in {self._n_ran_out} of {self._n_fits} fits of this search, "
                "whose optimization hasn't converged yet. Increase max_iter, or raise tol.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _run(self, calls: Sequence[Call], observers: list[SearchObserver]) -> list[Any]:
        tasks = self._tasks(calls)
        if self._runner is None:
            self._runner = self._runner_of(tasks)
        try:
            return self._runner.run(tasks, observers, self._shown(), goes_on=self._is_continued(tasks))
        except SearchInterrupted as interruption:
            self._note_finished([task.call for task in tasks], interruption.results)
            raise (interruption.error or KeyboardInterrupt()) from None

    def _is_continued(self, tasks: Sequence[FitTask]) -> bool:
        """Whether another evaluation will go on with these trainings."""
        del tasks
        return False

    def _tasks(self, calls: Sequence[Call]) -> list[FitTask]:
        return [FitTask(call) for call in calls]

    def _runner_of(self, tasks: Sequence[FitTask]) -> SearchRunner:
        runner = runner_of(self.search.estimator, tasks)
        if runner is None:
            return self._local_runner()
        if effective_n_jobs(self.search.n_jobs) > 1:
            warnings.warn(
                f"n_jobs={self.search.n_jobs!r} is ignored: the workers of the estimator's backend share this search. "
                "Use n_jobs=None, or backend=None.",
                UserWarning,
                stacklevel=2,
            )
        return runner

    def _local_runner(self) -> LocalSearchRunner:
        """Return what trains where no backend spreads the search."""
        return LocalSearchRunner(effective_n_jobs(self.search.n_jobs), self.search.pre_dispatch)

    def close(self) -> None:
        """Leave no process behind."""
        if self._runner is not None:
            self._runner.close()

    def _shown(self) -> list[SearchObserver]:
        """Return the progress line; with more verbosity scikit-learn's own lines would run through it."""
        return [self._line] if self.search.verbose == 1 else []

    def _saved(self, calls: Sequence[Call]) -> list[SearchObserver]:
        if self.search.checkpoint_dir is None:
            return []
        if not self._identity:  # the candidates of later rungs are a choice of these
            self._identity = identity_of(calls) | self._settings()
            if self.search.ensemble_size is not None:
                self._identity["predictions"] = "kept for an ensemble"
        path, rung = self.search.checkpoint_dir, self._n_evaluations
        return [SearchCheckpoints(path, self._identity, rung, goes_on=self.goes_on)]

    def _settings(self) -> dict[str, str]:
        """Return what else tells this evaluation from another."""
        return {}

    def _note_finished(self, calls: Sequence[Call], results: Sequence[Any]) -> None:
        """Note the candidates that are evaluated on every fold; their calls stand side by side."""
        done = [result for result in results if result is not None]
        self._n_fits += len(done)
        self._n_ran_out += sum(result.pop(RAN_OUT, False) for result in done)  # scikit-learn does not know it
        for result in done:
            self._privacy.note(result, goes_on=self.goes_on)
        n_splits = calls[0].keywords["split_progress"][1]
        folds = [
            (np.asarray(call.keywords["test"]), None if result is None else result.pop(PREDICTED, None))
            for call, result in zip(calls, results, strict=True)
        ]
        self._held_out = [folds[start : start + n_splits] for start in range(0, len(folds), n_splits)]
        for start in range(0, len(calls), n_splits):
            own = list(results[start : start + n_splits])
            if all(result is not None for result in own):
                parameters = dict(calls[start].keywords["parameters"])
                self._finished.append(Finished(parameters, self._n_evaluations - 1, own))

    def keep_finished(self) -> None:
        """Leave the search with the candidates that were finished before Ctrl-C, or a worker's death."""
        if not self._finished:
            return
        search, rungs = self.search, np.array([candidate.rung for candidate in self._finished])
        search.n_splits_ = len(self._finished[0].results)
        search.cv_results_ = format_results(
            search,
            [candidate.parameters for candidate in self._finished],
            search.n_splits_,
            [result for candidate in self._finished for result in candidate.results],
            {"iter": rungs, "n_resources": np.take(search.n_resources_, rungs)} if hasattr(search, "factor") else {},
        )
        vars(search).pop("best_estimator_", None)  # of an earlier fit
        ranks = search.cv_results_.get("rank_test_score")
        if ranks is not None:
            search.best_index_ = int(np.argmin(np.where(rungs == rungs[-1], ranks, np.inf)))
            search.best_params_ = search.cv_results_["params"][search.best_index_]
            search.best_score_ = search.cv_results_["mean_test_score"][search.best_index_]


def _of_all_folds(folds: Sequence[tuple[np.ndarray, Any]]) -> tuple[np.ndarray, HeldOut] | None:
    """Return the rows of all folds one after another, and the predictions for them; None where some are missing."""
    known = [unpacked(plain) for _, plain in folds]
    found = [held for held in known if held is not None]
    if len(found) < len(folds) or len({(held.method, held.values.shape[1:]) for held in found}) > 1:
        return None
    values = np.concatenate([held.values for held in found])
    return np.concatenate([rows for rows, _ in folds]), replace(found[0], values=values)
