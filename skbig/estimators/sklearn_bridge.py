"""Everything that depends on scikit-learn's version or touches what is not public in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer
from sklearn.utils.validation import check_array, validate_data

from skbig.engine.train import EpochReport

try:  # scikit-learn >= 1.9
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's callbacks where it has none."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method as it is."""
        return method


__all__ = [
    "CallbackSupportMixin",
    "callback_observer",
    "check_rows",
    "check_training_rows",
    "check_weight",
    "inside_search",
    "scorer_of",
    "with_callbacks",
]

_ACCEPTED: dict[str, Any] = {"accept_sparse": ["csr", "csc"], "order": "C"}


def check_training_rows(estimator: BaseEstimator, X: Any, y: Any, dtypes: list[Any], *, reset: bool, numeric: bool) -> Any:
    """Return checked X (dense, or CSR) and y, and note the number and names of the features."""
    X, y = validate_data(estimator, X, y, multi_output=True, y_numeric=numeric, dtype=dtypes, reset=reset, **_ACCEPTED)
    return _as_csr(X), y


def check_rows(estimator: BaseEstimator, X: Any, dtypes: list[Any]) -> Any:
    """Return checked X (dense, or CSR) with the features known from training."""
    return _as_csr(validate_data(estimator, X, dtype=dtypes, reset=False, **_ACCEPTED))


def _as_csr(X: Any) -> Any:
    return sparse.csr_array(X) if sparse.issparse(X) else X


def check_weight(sample_weight: Any, n_rows: int, name: str = "sample_weight") -> np.ndarray | None:
    """Return checked weights as float64, or None.

    Raises
    ------
    ValueError
        When there is not one finite, non-negative weight per row, or all are zero.
    """
    if sample_weight is None:
        return None
    if np.isscalar(sample_weight):
        sample_weight = np.full(n_rows, sample_weight)
    weight = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name=name)
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D array for `{name}`.")
    if len(weight) != n_rows:
        raise ValueError(f"{name}.shape == {weight.shape}, expected {(n_rows,)}!")
    if (weight < 0).any():
        row = int(np.flatnonzero(weight < 0)[0])
        raise ValueError(f"Negative values in data passed to `{name}`: row {row} has the weight {weight[row]}.")
    if not weight.any():
        raise ValueError(f"All values of `{name}` are zero. Sample weights must contain at least one non-zero number.")
    return weight


def scorer_of(scoring: Any) -> Callable[..., float] | None:
    """Return a scorer by name or as given; None means the estimator's own score."""
    return scoring if scoring is None or callable(scoring) else get_scorer(scoring)


def inside_search() -> bool:
    """Whether a caller is scikit-learn's or joblib's own loop over fits, which one Ctrl-C should end as well."""
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(("sklearn.model_selection", "joblib.")):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


@contextmanager
def callback_observer(
    estimator: Any, X: Any, y: Any, sample_weight: Any, n_epochs: int, attributes: Callable[[], dict[str, Any]]
) -> Iterator[Callable[[EpochReport], bool | None] | None]:
    """Give an observer that passes each epoch on to scikit-learn's callbacks as one task, or None without callbacks."""
    if not hasattr(estimator, "_init_callback_context"):
        yield None
        return
    metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
    facts = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
    context = estimator._init_callback_context(max_subtasks=n_epochs)
    if not getattr(estimator, "_skl_callbacks", None):
        yield None
        return
    context.call_on_fit_task_begin(**facts)
    tasks = _EpochTasks(context, facts, attributes)
    try:
        yield tasks
    finally:
        tasks.close()
        context.call_on_fit_task_end(**facts, reconstruction_attributes=attributes)


class _EpochTasks:
    """Opens a task per epoch: the next begins when the last has ended, and `close` ends the one that never ran."""

    def __init__(self, context: Any, facts: dict[str, Any], attributes: Callable[[], dict[str, Any]]) -> None:
        self._context, self._facts, self._attributes = context, facts, attributes
        self._task = self._begin()

    def _begin(self) -> Any:
        return self._context.subcontext(task_name="epoch").call_on_fit_task_begin(**self._facts)

    def __call__(self, report: EpochReport) -> bool:
        stop = self._task.call_on_fit_task_end(**self._facts, reconstruction_attributes=self._attributes)
        self._task = self._begin() if report.epoch < report.max_epochs else None
        return bool(stop)

    def close(self) -> None:
        if self._task is not None:
            self._task.call_on_fit_task_end(**self._facts)
            self._task = None
