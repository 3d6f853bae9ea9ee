"""A short run of the fuzzer, with seeds and cases that have once broken a law; `make fuzz` is the long one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.components import SGD, Adam
from tests.fitting import BINARY, MULTILABEL, VALUES, X
from tests.fuzz.cases import Case, run_calls
from tests.fuzz.inputs import wild
from tests.fuzz.laws import Broken, check_fitted, outcome_of

SEEDS = range(12)
BROKE = (63, 343)
"""Seeds whose cases have broken a law."""

RARE = np.array(["a", "b"], dtype=object)[np.r_[1, np.zeros(59, dtype=int)]]
FAR = np.where(np.arange(60) == 3, 1e19, 1.0)
POSITIVE = np.exp(VALUES)

ONCE: dict[str, tuple[Any, dict[str, Any], Any, Any]] = {
    "'lbfgs' at a rate of zero": (BigMLPRegressor, {"optimizer": "lbfgs", "schedule": "linear"}, X, VALUES),
    "a bool of NumPy": (BigMLPClassifier, {"optimizer": Adam(amsgrad=np.True_)}, X, BINARY),
    "an array of betas": (BigMLPClassifier, {"optimizer": Adam(betas=np.array([0.9, 0.99]))}, X, BINARY),
    "a width without dims": (BigMLPClassifier, {"hidden_layer_sizes": np.array(5)}, X, BINARY),
    "widths by name": (BigMLPClassifier, {"hidden_layer_sizes": {5: 1}}, X, BINARY),
    "a strength beyond floats": (BigMLPClassifier, {"alpha": 10**400}, X, BINARY),
    "a loss that returns nothing": (BigMLPRegressor, {"loss": lambda raw, y: None}, X, VALUES),
    "an empty path": (BigMLPRegressor, {"checkpoint_dir": ""}, X, VALUES),
    "one class": (BigMLPClassifier, {}, X, np.ones(60)),
    "a rare class of objects": (BigMLPClassifier, {"early_stopping": True}, X, RARE),
    "an exponential link": (BigMLPRegressor, {"loss": "gamma", "learning_rate": 1e3, "optimizer": SGD()}, X, POSITIVE),
    "a sparse place out of range": (BigMLPRegressor, {}, wild(X, 99), VALUES),
    "times": (BigMLPRegressor, {}, X, np.arange(60).astype("M8[D]")),
    "sure rows": (BigMLPClassifier, {"learning_rate": 1.0}, X * 1e6, BINARY),
    "divergence under early stopping": (
        BigMLPRegressor,
        {"early_stopping": True, "scoring": None, "learning_rate": 1e3, "optimizer": "sgd"},
        X * 1e3,
        FAR,
    ),
    "marks in a sparse matrix": (BigMLPClassifier, {"early_stopping": True}, X, sparse.csr_array(MULTILABEL)),
}


@pytest.mark.parametrize("seed", [*SEEDS, *BROKE])
def test_every_law_holds(seed: int) -> None:
    """A call is a success whose model is finite, copyable and repeatable, or an error that names what is wrong."""
    Case(seed).run()


@pytest.mark.parametrize("name", ONCE)
def test_what_has_once_failed(name: str, tmp_path: Path) -> None:
    """So are the calls that an attack found to be neither."""
    kind, parameters, rows, y = ONCE[name]
    model = kind(**{"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0} | parameters)
    given = {"X": rows, "y": y, "sample_weight": None}
    run_calls(model, given, ["fit", "partial_fit", "fit again"], np.random.default_rng(0), tmp_path)


def test_a_case_is_its_seed() -> None:
    """The same seed draws the same case."""
    assert repr(Case(5)) == repr(Case(5)) != repr(Case(6))


def test_the_laws_can_break() -> None:
    """Errors of nobody, and predictions that are no numbers, are found."""
    with pytest.raises(Broken, match="names nothing"):
        outcome_of(lambda: [][1])
    with pytest.raises(Broken, match="raised on purpose"):
        outcome_of(lambda: np.linalg.inv(np.ones(2)))
    model = BigMLPRegressor((2,), max_iter=400, tol=1.0, n_iter_no_change=1).fit(X, VALUES)
    model.coefs_[0][:] = np.nan
    with pytest.raises(Broken, match="predict is not finite"):
        check_fitted(model, X)
