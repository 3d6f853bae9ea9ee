"""What a search keeps in `checkpoint_dir`: the results of finished tasks, and where the others stand.

Each stack has a directory of checkpoints of its own, since stacks are trained side by side, and perhaps on several
machines. A search that begins anew reads them all.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator

from skbig.engine.checkpoint import CheckpointDirectory
from skbig.engine.fingerprint import fingerprint
from skbig.engine.state_dict import load_state_dict, state_dict
from skbig.estimators.given import Given
from skbig.estimators.identity import naming, text_of, texts_of
from skbig.estimators.parameters import FREE
from skbig.estimators.session import Session
from skbig.estimators.sklearn_compat import scorers_in
from skbig.search.fit_task import FitTask
from skbig.search.joblib_backend import Call
from skbig.search.observer import SearchObserver

SECONDS_BETWEEN_SAVES = 30.0

_FOLDER = re.compile(r"(\d{4,})-\d+-\w+-\d+", re.ASCII)

State = tuple[dict[str, np.ndarray], dict[str, Any]]


class SearchCheckpoints(SearchObserver):
    """Saves a search, and knows what an earlier run of the same search has saved.

    Parameters
    ----------
    path : path
        The directory; another process may use it at the same time for other tasks of the same search.
    identity : mapping of str to str
        What tells this search from another: its data, its estimator, its candidates and folds.
    rung : int
        How many times this search has evaluated candidates before: results are those of one evaluation.
    goes_on : bool
        Whether trainings that have ended go on in the next evaluation, so that they have to be kept.
    """

    def __init__(
        self, path: str | os.PathLike[str], identity: Mapping[str, str], rung: int = 0, *, goes_on: bool = False
    ) -> None:
        self._path = Path(os.path.abspath(path))  # workers may have another working directory
        self._identity, self.rung, self._goes_on = dict(identity), rung, goes_on
        self._states: dict[str, State] = {}
        self._results: dict[str, Any] = {}
        self._saved_at: dict[str, float] = {}
        self._last_given: tuple[Given | None, str] = (None, "")
        self._run = self._read()

    def _read(self) -> int:
        """Take in all that is there; return the number of this run."""
        last = 0
        for folder in sorted(self._path.glob("*-*")):
            match = _FOLDER.fullmatch(folder.name)
            if match is None:
                continue
            newest = CheckpointDirectory(folder, self._identity).newest()
            last = max(last, int(match[1]))
            if newest is not None:
                self._take_in(newest.arrays, newest.facts)
        return last + 1

    def _take_in(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        self._results |= facts["results"]
        for name, own in facts["trainings"].items():
            known = self._states.get(name)
            if known is None or known[1]["counts"] <= own["counts"]:
                prefix = f"{name}/"
                mine = {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}
                self._states[name] = mine, own

    def known_result(self, task: FitTask) -> dict[str, Any] | None:
        return self._results.get(self._name_of_result(task))

    def prepared(self, task: FitTask) -> None:
        """Put a training where an earlier run has left it."""
        if task.session is None:
            return
        task.name = f"{task.key}-{self._rows_of(task.session)[:16]}"
        state = self._states.pop(task.name, None)
        if state is not None and holds_out_the_same(task.session, state[1]):
            load_state_dict(task.session, *state)

    def wants_rest(self, tasks: Sequence[FitTask]) -> bool:
        now = time.monotonic()
        return now - self._saved_at.setdefault(tasks[0].key, now) >= SECONDS_BETWEEN_SAVES

    def rests(self, tasks: Sequence[FitTask]) -> None:
        self._save(tasks, tasks, {})
        self._saved_at[tasks[0].key] = time.monotonic()

    def finished(self, tasks: Sequence[FitTask], results: Sequence[dict[str, Any]]) -> None:
        named = {self._name_of_result(task): result for task, result in zip(tasks, results, strict=True)}
        self._save(tasks, tasks if self._goes_on else [], named)

    def close(self) -> None:
        self._last_given = (None, "")  # lets go of the rows

    def _save(self, stack: Sequence[FitTask], trained: Sequence[FitTask], results: Mapping[str, Any]) -> None:
        """Write where trainings of a stack stand; a failure to write is an error, never silence."""
        arrays: dict[str, np.ndarray] = {}
        trainings: dict[str, Any] = {}
        for task in trained:
            if task.session is not None:
                own, trainings[task.name] = state_dict(task.session)
                arrays |= {f"{task.name}/{name}": values for name, values in own.items()}
        directory = CheckpointDirectory(self._path / f"{self._run:04d}-{self.rung}-{stack[0].key}", self._identity)
        directory.save(arrays, {"trainings": trainings, "results": dict(results)})

    def _name_of_result(self, task: FitTask) -> str:
        return f"{self.rung}-{task.key}"

    def _rows_of(self, session: Session) -> str:
        """Fingerprint of the rows that a training gets: the steps before it may have made others of the same data."""
        given = self._last_given[0]
        if given is None or given.X is not session.given.X:
            self._last_given = session.given, _of_rows(session.given.X)
        return self._last_given[1]


def holds_out_the_same(session: Session, facts: Mapping[str, Any]) -> bool:
    """Whether rows that were held out are held out now: which ones they are is drawn from the seed."""
    return session.validation is None or list(session.members.seeds) == facts["seeds"]


# What tells a search from another.


def identity_of(calls: Sequence[Call]) -> dict[str, str]:
    """Return what tells a search from another, from its first evaluation."""
    estimator, X, y = calls[0].args[:3]
    keywords = calls[0].keywords
    identity = {"X": _of_rows(X), "y": _of_rows(y)}
    for kind in ("fit", "score"):
        given = keywords.get(f"{kind}_params") or {}
        identity |= {f"{name} of {kind}": _of_rows(values) for name, values in given.items() if values is not None}
    settings = {"estimator": estimator, "scoring": scorers_in(keywords["scorer"])}
    settings |= {f"parameter {name}": value for name, value in _parameters_that_matter(estimator).items()}
    settings |= {name: keywords[name] for name in ("error_score", "return_train_score")}
    for name, value in settings.items():
        with naming(name.removeprefix("parameter ")):
            identity[name] = _text(value)
    identity["candidates"] = fingerprint(*(_candidate(call.keywords.get("parameters") or {}) for call in calls))
    identity["folds"] = fingerprint(*(call.keywords[part] for call in calls for part in ("train", "test")))
    return identity


def _parameters_that_matter(estimator: BaseEstimator) -> dict[str, Any]:
    parameters: dict[str, Any] = estimator.get_params(deep=True)
    return {name: value for name, value in parameters.items() if not set(name.split("__")[-2:]) & set(FREE)}


def _candidate(parameters: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in texts_of(parameters).items())


def _text(value: Any) -> str:
    """Return a setting as text; the parameters of an estimator within it are settings of their own."""
    if isinstance(value, BaseEstimator):
        return text_of(type(value)).removeprefix(f"{type(value).__module__}.")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name!r}: {_text(item)}' for name, item in value.items())}}}"
    return text_of(value)


def _of_rows(values: Any) -> str:
    """Fingerprint of rows in any form that a Pipeline may take."""
    try:
        return fingerprint(values.to_numpy() if hasattr(values, "to_numpy") else values)
    except TypeError:  # a list, or cells that are no numbers
        return str(joblib.hash(values))
