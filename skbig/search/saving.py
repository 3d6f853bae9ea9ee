"""What a search keeps in `checkpoint_dir`: the results of finished tasks, and where the others stand.

Each stack has a directory of checkpoints of its own, since stacks are trained side by side, and perhaps on several
machines. A search that begins anew reads them all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skbig.engine.checkpoint import CheckpointDirectory, fingerprint
from skbig.engine.snapshot import restore, snapshot
from skbig.estimators.saving import without_addresses
from skbig.search.calls import Call
from skbig.search.tasks import Task, hash_of
from skbig.search.watcher import Watcher

SECONDS_BETWEEN_SAVES = 30.0

State = tuple[dict[str, np.ndarray], dict[str, Any]]


class SearchCheckpoints(Watcher):
    """Saves a search, and knows what an earlier run of the same search has saved.

    Parameters
    ----------
    path : path
        The directory; another process may use it at the same time for other tasks of the same search.
    identity : mapping of str to str
        What tells this search from another: its data, its estimator, its candidates and folds.
    rung : int
        How many times this search has evaluated candidates before: results are those of one evaluation.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, str], rung: int = 0) -> None:
        self._path, self._identity, self.rung = Path(path), dict(identity), rung
        self._states: dict[str, State] = {}
        self._results: dict[str, Any] = {}
        self._saved_at: dict[str, float] = {}
        self._run = self._read()

    def _read(self) -> int:
        """Take in all that is there; return the number of this run."""
        last = 0
        for folder in sorted(self._path.glob("[0-9]*-*")):
            newest = CheckpointDirectory(folder, self._identity).newest()
            last = max(last, int(folder.name.split("-")[0]))
            if newest is not None:
                self._take_in(newest.arrays, newest.facts)
        return last + 1

    def _take_in(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        self._results |= facts["results"]
        for key, own in facts["trainings"].items():
            known = self._states.get(key)
            if known is None or known[1]["counts"] <= own["counts"]:
                prefix = f"{key}/"
                mine = {name.removeprefix(prefix): v for name, v in arrays.items() if name.startswith(prefix)}
                self._states[key] = mine, own

    def known_result(self, task: Task) -> dict[str, Any] | None:
        return self._results.get(self._name_of_result(task))

    def prepared(self, task: Task) -> None:
        """Put a training where an earlier run has left it."""
        state = self._states.get(task.key)
        if state is not None and task.session is not None:
            restore(task.session, *state)

    def wants_rest(self, tasks: Sequence[Task]) -> bool:
        now = time.monotonic()
        return now - self._saved_at.setdefault(tasks[0].key, now) >= SECONDS_BETWEEN_SAVES

    def rests(self, tasks: Sequence[Task]) -> None:
        self._save(tasks, {})
        self._saved_at[tasks[0].key] = time.monotonic()

    def finished(self, tasks: Sequence[Task], results: Sequence[dict[str, Any]]) -> None:
        self._save(tasks, {self._name_of_result(task): result for task, result in zip(tasks, results, strict=True)})

    def _save(self, tasks: Sequence[Task], results: Mapping[str, Any]) -> None:
        """Write where the trainings of a stack stand; a failure to write is an error, never silence."""
        arrays: dict[str, np.ndarray] = {}
        trainings: dict[str, Any] = {}
        for task in tasks:
            if task.session is not None:
                own, trainings[task.key] = snapshot(task.session)
                arrays |= {f"{task.key}/{name}": values for name, values in own.items()}
        directory = CheckpointDirectory(self._path / f"{self._run:04d}-{self.rung}-{tasks[0].key}", self._identity)
        directory.save(arrays, {"trainings": trainings, "results": dict(results)})

    def _name_of_result(self, task: Task) -> str:
        return f"{self.rung}-{task.key}"


def identity_of(calls: Sequence[Call]) -> dict[str, str]:
    """Return what tells a search from another, from its first evaluation."""
    estimator, X, y = calls[0].args[:3]
    keywords = calls[0].keywords
    return {
        "data": fingerprint(_plain(X), _plain(y), *map(_plain, (keywords.get("fit_params") or {}).values())),
        "estimator": without_addresses(estimator.__repr__(N_CHAR_MAX=10**9)),
        "candidates": fingerprint(*(hash_of(call.keywords.get("parameters") or {}) for call in calls)),
        "folds": fingerprint(*(call.keywords[part] for call in calls for part in ("train", "test"))),
        "scoring": without_addresses(f"{keywords['scorer']!r}, {keywords['return_train_score']}"),
    }


def _plain(values: Any) -> Any:
    """What a fingerprint can read."""
    return values.to_numpy() if hasattr(values, "to_numpy") else values
