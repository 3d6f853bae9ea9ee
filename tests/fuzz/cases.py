"""One case of the fuzzer: a seed, and all that follows from it."""

from __future__ import annotations

import copy
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from skbig import (
    BigLinearClassifier,
    BigLinearRegressor,
    BigMLPClassifier,
    BigMLPRegressor,
    BigNetworkClassifier,
    BigNetworkRegressor,
    BigTabularClassifier,
    BigTabularRegressor,
)
from tests.fuzz.inputs import mapped, rows_for
from tests.fuzz.laws import Broken, check_failed, check_fitted, check_same, outcome_of, predictions_of, state_of
from tests.fuzz.parameters import parameters_for
from tests.killing import Died, dying_at

KINDS = (
    *(BigMLPClassifier, BigMLPRegressor) * 3,
    *(BigLinearClassifier, BigLinearRegressor, BigNetworkClassifier, BigNetworkRegressor),
    *(BigTabularClassifier, BigTabularRegressor),
)
CALLS = ("fit", "fit", "fit again", "partial_fit", "warm start", "changed", "killed")


@dataclass
class Case:
    """What follows from a seed; `run` makes it happen, and raises `Broken` where a law does not hold.

    Attributes
    ----------
    seed : int
    kind : type
    parameters, given : dict
        Of the estimator, and what its fit is given.
    calls : list of str
    """

    seed: int
    kind: Any = field(init=False)
    parameters: dict[str, Any] = field(init=False)
    given: dict[str, Any] = field(init=False)
    calls: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self.kind = KINDS[self._rng.integers(len(KINDS))]
        self.parameters = parameters_for(self.kind, self._rng)
        self.given = rows_for(self.kind._for_classes, self._rng)
        self.calls = [CALLS[i] for i in self._rng.integers(len(CALLS), size=self._rng.integers(1, 4))]

    def run(self) -> str:
        """Return how it ended, in a word."""
        with tempfile.TemporaryDirectory() as folder:
            X = self.given["X"]
            if isinstance(X, np.ndarray) and X.dtype.kind == "f" and self.seed % 7 == 0:
                self.given["X"] = mapped(Path(folder), X)
            return run_calls(self.kind(**self.parameters), self.given, self.calls, self._rng, Path(folder))


def run_calls(model: Any, given: dict[str, Any], calls: list[str], rng: np.random.Generator, folder: Path) -> str:
    """Make the calls one after the other; every law is looked at after each."""
    ended = "unfitted"
    for call in calls:
        before, content = (state_of(model), vars(model).get("_curves")), state_of(given)
        error = outcome_of(lambda call=call: _CALLS[call](model, given, rng, folder))
        if error is None:
            check_fitted(model, given["X"])
            ended = "fitted"
        else:
            check_failed(error, before, model, content, given)
            ended = type(error).__name__
    return ended


def _fit(model: Any, given: dict[str, Any], rng: np.random.Generator, folder: Path) -> None:
    other = copy.deepcopy(model)
    model.fit(**given)
    other.fit(**given)
    check_same(model, other)


def _partial_fit(model: Any, given: dict[str, Any], rng: np.random.Generator, folder: Path) -> None:
    first = {} if not model._for_classes or hasattr(model, "classes_") else {"classes": _labels(given["y"])}
    model.partial_fit(**given, **first)


def _labels(y: Any) -> Any:
    return (
        None if y is None or hasattr(y, "toarray") or np.ndim(y) != 1 else list(dict.fromkeys(np.asarray(y).tolist()))
    )


def _warm(model: Any, given: dict[str, Any], rng: np.random.Generator, folder: Path) -> None:
    before = model.warm_start
    model.warm_start = True
    try:
        model.fit(**given)
    finally:
        model.warm_start = before


def _changed(model: Any, given: dict[str, Any], rng: np.random.Generator, folder: Path) -> None:
    """Other parameters do not change what a fitted model predicts."""
    if not hasattr(model, "n_iter_"):
        model.fit(**given)
    other = clone(model) if rng.random() < 0.3 else copy.deepcopy(model)
    expected = state_of(predictions_of(model, given["X"]))
    if hasattr(other, "n_iter_"):
        other.set_params(**{"loss": "nope", "n_iter_no_change": 3})
        if state_of(predictions_of(other, given["X"])) != expected:
            raise Broken("a parameter changes what a fitted model predicts")


def _killed(model: Any, given: dict[str, Any], rng: np.random.Generator, folder: Path) -> None:
    """A fit that was killed goes on to where it would have come."""
    if model.warm_start or isinstance(model.random_state, np.random.RandomState):
        model.fit(**given)
        return
    whole, path = clone(model), folder / f"checkpoints-{rng.integers(2**32)}"
    whole.fit(**given)
    saving = clone(model).set_params(checkpoint_dir=path, checkpoint_every=1)
    try:
        with dying_at(int(rng.integers(0, 40))), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copy.deepcopy(saving).fit(**given)
    except Died:
        pass
    saving.fit(**given)
    check_same(whole, saving)
    model.fit(**given)


_CALLS = {
    "fit": _fit,
    "fit again": _fit,
    "partial_fit": _partial_fit,
    "warm start": _warm,
    "changed": _changed,
    "killed": _killed,
}
