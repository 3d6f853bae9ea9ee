"""The one line that a search shows with `verbose=1`."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from numbers import Integral
from typing import Any, TextIO

from skbig.engine.train import EpochReport
from skbig.estimators.progress import Line, clock, line_on, validation_words
from skbig.search.fit_task import FitTask
from skbig.search.nesting import parameter_of_candidate
from skbig.search.observer import SearchObserver


class SearchLine(SearchObserver):
    """Shows how far a search is: candidates still in training, epoch, best score, time left.

    The line is of the same kind as that of a fit. It measures epochs of members: those trained, of those planned.

    - The epoch is the furthest of the networks in training.
    - The best score is that of `best_score_`: the best mean over the folds, among the candidates that are finished on
      all of them; of several scores the first, by its name. Until there is one, it is the validation score of the
      trainings, of which only the mean over a stack is known: the best of these, as a loss where it is one.
    - The time left takes it that the rest is like what is done. A training that stops early is done with all epochs.

    A search that begins again, as halving does at each rung, ends the line and begins another, with its own scores and
    time; its candidates are still counted out of all. Such a search ends with one more line, about all of it.

    Parameters
    ----------
    scoring : str, callable or other, default=None
        What the scores are, as the search's parameter; its name is shown where it is one.
    stream : text stream or None, default=None
        Where to write; standard error by default.
    """

    def __init__(self, *, scoring: Any = None, stream: TextIO | None = None) -> None:
        self._score_name = scoring if isinstance(scoring, str) else "score"
        self._stream = sys.stderr if stream is None else stream
        self._line: Line | None = None
        self._tally = _Tally([])
        self._best = ""
        self._n_candidates = self._n_rungs = 0
        self._began = self._began_first = 0.0

    def begin(self, tasks: Sequence[FitTask]) -> None:
        self.close()
        self._tally = _Tally(tasks, self._score_name)
        self._n_candidates = max(self._n_candidates, self._tally.n_in_training)
        self._began = time.monotonic()
        self._began_first = self._began_first if self._n_rungs else self._began

    def prepared(self, task: FitTask) -> None:
        self._tally.see_start(task)

    def epoch(self, tasks: Sequence[FitTask], report: EpochReport) -> None:
        self._tally.see_epoch(tasks, report.validation_score)
        self._refresh()

    def result(self, task: FitTask, result: dict[str, Any]) -> None:
        known = result["fit_time"] > self._seconds()  # such a fit is of an earlier run, and all of those come at once
        self._tally.see_result(task, result["test_scores"], known)
        if not known:
            self._refresh()

    def close(self) -> None:
        """Show what is finished, and end the line."""
        tally = self._tally
        if tally.done:
            tally.see_ends()
            self._best = tally.best
            state = f"{tally.n_finished} of {self._n_candidates} candidates finished"
            line = self._open()
            line.write(tally.done, _listed(self._rung(), state, self._best, f"took {clock(self._seconds())}"))
            line.close(tally.n_finished == tally.n_candidates)
            self._n_rungs += 1
        self._line, self._tally = None, _Tally([])

    def end(self) -> None:
        """Show, once all rungs are through, what the whole search came to."""
        if self._n_rungs > 1:
            line = line_on(self._stream, 1, unit=None)
            state = f"{self._n_candidates} candidates finished in {self._n_rungs} rungs"
            line.write(1, _listed(state, self._best, f"took {clock(time.monotonic() - self._began_first)}"))
            line.close(True)

    def _rung(self) -> str:
        return f"rung {self._n_rungs + 1}" if self._n_rungs else ""

    def _open(self) -> Line:
        if self._line is None:
            self._line = line_on(self._stream, self._tally.planned, unit=None)
        return self._line

    def _refresh(self) -> None:
        """Show the search if the last refresh is long enough ago."""
        tally, line = self._tally, self._open()
        if line.is_due():
            tally.see_ends()
            state = f"{tally.n_in_training} of {self._n_candidates} candidates training"
            epoch = f"epoch {tally.epoch}" if tally.epoch else ""
            line.write(tally.done, _listed(self._rung(), state, epoch, tally.best, self._left()))

    def _left(self) -> str:
        tally = self._tally
        new = tally.done - tally.known
        return f"{clock(self._seconds() * (tally.planned - tally.done) / new)} left" if new else ""

    def _seconds(self) -> float:
        return time.monotonic() - self._began


def _listed(*words: str) -> str:
    return ", ".join(filter(None, words))


class _Tally:
    """Counts epochs, candidates and scores.

    Attributes
    ----------
    planned, done, known : int
        Epochs of members; those that are known are done, but by an earlier run of the same search.
    n_candidates, n_in_training, n_finished : int
        All candidates, those that are not trained yet on all folds, and those that are scored on all of them.
    """

    def __init__(self, tasks: Sequence[FitTask], score_name: str = "score") -> None:
        self._fits = {task: _Fit(task) for task in tasks}
        self._in_training: dict[FitTask, _Fit] = {}  # of all that are not ended, those that have been heard of
        self._n_folds = Counter(task.candidate for task in tasks)
        self._folds_to_train = Counter(self._n_folds)
        self._scores: dict[int, list[float]] = {candidate: [] for candidate in self._n_folds}
        self._best, self._best_name, self._score_name = -math.inf, "", score_name
        self._validation_score, self._watched = -math.inf, None
        self.planned = sum(fit.planned for fit in self._fits.values())
        self.done = self.known = 0
        self.n_candidates = self.n_in_training = len(self._n_folds)
        self.n_finished = 0

    @property
    def epoch(self) -> int:
        """The furthest epoch in training; 0 when none is known."""
        return max((fit.epoch for fit in self._in_training.values()), default=0)

    @property
    def best(self) -> str:
        """The best score in words; nothing while there is none."""
        if self._best > -math.inf:
            return f"best {self._best_name} {self._best:.4g}"
        known = self._validation_score > -math.inf
        return validation_words(self._watched, self._validation_score) if known else ""

    def see_start(self, task: FitTask) -> None:
        if task.session is not None:
            self._fits[task].start = task.session.members.epochs - task.session.first_epoch

    def see_epoch(self, tasks: Sequence[FitTask], validation_score: float | None) -> None:
        for task in tasks:
            fit = self._in_training.get(task) or self._enter(task)
            self.done += fit.see_epoch()
        if validation_score is not None and validation_score > self._validation_score:
            self._validation_score, self._watched = validation_score, getattr(tasks[0].last, "scoring", None)

    def see_result(self, task: FitTask, scores: Any, known: bool) -> None:
        self._end(task, known)
        name, score = next(iter(scores.items())) if isinstance(scores, dict) else (self._score_name, scores)
        folds = self._scores[task.candidate]
        folds.append(score)
        if len(folds) < self._n_folds[task.candidate]:
            return
        self.n_finished += 1
        mean = sum(folds) / len(folds)
        if mean > self._best:  # which no score of a failed fit is, NaN by default
            self._best, self._best_name = mean, name

    def see_ends(self) -> None:
        """Take out the trainings that have ended since the last look: nobody tells, and their results come later."""
        for task in [task for task, fit in self._in_training.items() if fit.is_trained(task)]:
            self._end(task)

    def _enter(self, task: FitTask) -> _Fit:
        """Let a fit be one in training, as far as an earlier run has brought it."""
        fit = self._in_training[task] = self._fits[task]
        self._add(fit.see_start(), known=True)
        return fit

    def _end(self, task: FitTask, known: bool = False) -> None:
        fit = self._enter(task)
        del self._in_training[task]
        if fit.ended:
            return
        self._add(fit.see_end(), known)
        self._folds_to_train[task.candidate] -= 1
        self.n_in_training -= self._folds_to_train[task.candidate] == 0

    def _add(self, n_epochs: int, known: bool) -> None:
        self.done += n_epochs
        self.known += n_epochs if known else 0


class _Fit:
    """How far one fit is, in epochs of its members. From rung to rung of a halving search it goes on where it is."""

    def __init__(self, task: FitTask) -> None:
        session = task.session
        so_far = 0 if session is None else session.members.epochs - session.first_epoch
        self._n_members = _count(task, "n_members")
        self.planned = max(1, _count(task, "max_iter") - so_far) * self._n_members
        self.epoch = self.start = so_far
        self.rest = self.planned
        self.ended = False

    def see_start(self) -> int:
        """Go to the epoch where the training starts, and return what has been done up to there."""
        return self._go_on(self.start - self.epoch)

    def see_epoch(self) -> int:
        """Take in an epoch, and return what it adds to all that is done."""
        return self._go_on(1)

    def is_trained(self, task: FitTask) -> bool:
        session = task.session  # read once: another thread may let go of it
        return self.rest == 0 or (session is not None and session.history.stop_reason == "converged")

    def see_end(self) -> int:
        """Return what was planned, and will not be trained any more."""
        rest, self.rest, self.ended = self.rest, 0, True
        return rest

    def _go_on(self, n_epochs: int) -> int:
        n_new = min(max(n_epochs, 0), self.rest // self._n_members)  # when memory runs out some epochs are redone
        self.epoch += n_new
        self.rest -= n_new * self._n_members
        return n_new * self._n_members


def _count(task: FitTask, name: str) -> int:
    """Return a parameter of the network that is a count; 1 where there is none, or a wrong one, so that fitting fails.

    The estimator need not have the candidate's parameters yet, or those of an earlier rung.
    """
    value = parameter_of_candidate(task.estimator, task.parameters, name, 1)
    return int(value) if isinstance(value, Integral) and int(value) > 0 else 1
