"""From scikit-learn's callbacks, which hear of tasks, to ones that hear of epochs as numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What is told of an epoch, and the fitted attribute that has it last.
_VALUES = {
    "loss": "loss_curve_",
    "validation_loss": "validation_loss_curve_",
    "validation_score": "validation_scores_",
    "learning_rate": "learning_rates_",
}


@dataclass(frozen=True)
class TrainingRun:
    """One training, among those that a callback may hear of.

    Parameters
    ----------
    id : str
        Of the outermost fit: all trainings of a search have the same.
    path : tuple of int
        Where this training stands in the outermost fit: () for a fit on its own, (3, 1) for the second split of the
        fourth candidate.
    estimator : estimator
        That is being fitted. Its parameters can be read; it has no fitted attributes yet.

    Examples
    --------
    >>> from skbig import BigMLPClassifier
    >>> from skbig.callbacks import TrainingRun
    >>> TrainingRun("5e8b", (3, 1), BigMLPClassifier()).name
    '5e8b/3-1'
    """

    id: str
    path: tuple[int, ...]
    estimator: Any
    _start: float = field(default_factory=time.perf_counter, init=False, repr=False)

    @property
    def name(self) -> str:
        """The id, and the path if there is one."""
        return self.id if not self.path else f"{self.id}/{'-'.join(map(str, self.path))}"

    @property
    def seconds(self) -> float:
        """How long the training runs already."""
        return time.perf_counter() - self._start


class EpochCallback:
    """Base of callbacks that hear of every epoch, as numbers.

    Subclass it, define what you need of `on_begin`, `on_epoch` and `on_end`, and give an instance to
    ``estimator.set_callbacks(...)``. One instance may hear of several trainings, also side by side: of the candidates
    of a search, each copy of the estimator has it. With ``n_jobs`` each process has a copy of the instance, made by
    pickle.

    Examples
    --------
    A callback that prints, and ends a training that is good enough:

    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.callbacks import EpochCallback
    >>> class GoodEnough(EpochCallback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def on_epoch(self, run, epoch, values):
    ...         return values["loss"] < self.loss
    ...     def on_end(self, run, fitted):
    ...         print(fitted.n_iter_ < 100, fitted.stop_reason_)
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((16,), learning_rate=0.01, max_iter=100, random_state=0)
    >>> model = model.set_callbacks(GoodEnough(loss=0.3)).fit(X, y)
    True callback
    """

    def on_begin(self, run: TrainingRun) -> None:
        """A training begins."""

    def on_epoch(self, run: TrainingRun, epoch: int, values: Mapping[str, float]) -> bool | None:
        """An epoch has ended; return True to end the training here.

        `epoch` counts from 1, over all calls that go on with one model. `values` are those of "loss",
        "validation_loss", "validation_score" and "learning_rate" that there are, the mean over the members of an
        ensemble. Estimators of others may have none of these.
        """

    def on_end(self, run: TrainingRun, fitted: Any) -> None:
        """A training has ended; `fitted` is what it leaves, also when it has failed: its `stop_reason_` is "" then."""

    def on_close(self, run: TrainingRun) -> None:
        """Nothing more is heard of this training; what was opened for it can be closed."""

    # scikit-learn's protocol.

    def setup(self, estimator: Any, context: Any) -> None:
        """Called by the estimator when a fit begins."""
        self.__dict__.setdefault("_runs", {})[id(estimator)] = _run_of(estimator, context)
        self.on_begin(self._runs[id(estimator)])

    def teardown(self, estimator: Any, context: Any) -> None:
        """Called by the estimator when a fit is over, whatever happened in it."""
        run = self._runs.pop(id(estimator), None)
        if run is not None:
            self.on_close(run)

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Called by the estimator when a task begins."""

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> bool:
        """Called by the estimator when a task has ended."""
        run = self._runs.get(id(estimator))
        if run is None or fitted_estimator is None:
            return False
        if context.task_name != "epoch":
            self.on_end(run, fitted_estimator)
            return False
        values = _values_of(fitted_estimator)
        epoch = len(getattr(fitted_estimator, "loss_curve_", ())) or context.task_id + 1
        return bool(self.on_epoch(run, epoch, values))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_runs"}

    _runs: dict[int, TrainingRun]


def _run_of(estimator: Any, context: Any) -> TrainingRun:
    path, task = list[int](), context
    while task.parent is not None:
        path.append(task.task_id)
        task = task.parent
    return TrainingRun(str(context.root_uuid)[:8], tuple(reversed(path)), estimator)


def _values_of(fitted: Any) -> dict[str, float]:
    curves = {name: getattr(fitted, attribute, None) for name, attribute in _VALUES.items()}
    return {name: float(curve[-1]) for name, curve in curves.items() if curve}
