"""Averaged weights: what is scored, saved and predicted with, while training goes on from those of the last step."""

from __future__ import annotations

import pickle
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from skbig import BigGridSearchCV, BigMLPClassifier, BigMLPRegressor, BigModuleRegressor, BigTabularRegressor
from skbig.components import EMA, Average
from skbig.engine.stopping import StoppingTracker
from skbig.testing import check_component
from tests.small import data

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = data("regression")
Y = Y.ravel()
LABELS = np.where(Y > 1, "high", "low")
NAMES = ("coefs_", "intercepts_", "scales_", "offsets_", "running_means_", "running_variances_")
COMMON: dict[str, Any] = {
    "hidden_layer_sizes": (6,),
    "learning_rate": 0.02,
    "max_iter": 6,
    "random_state": 0,
    "tol": 0.0,
    "n_iter_no_change": 99,
}


def weights_of(model: Any) -> list[np.ndarray]:
    return [value for name in NAMES for value in getattr(model, name)]


def assert_equal(one: Any, other: Any, tolerance: float = 0.0) -> None:
    for own, their in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_allclose(own, their, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("warmup", [True, False])
def test_is_the_average_of_the_steps(warmup: bool) -> None:
    """The fitted weights are the running mean, computed here from a fit for each number of steps."""
    common = {**COMMON, "batch_size": "full", "normalization": "batch"}
    start = BigMLPRegressor(**common, param_groups={"*": 0.0}).set_params(max_iter=1).fit(X, Y)
    first = {"running_means_": 0.0, "running_variances_": 1.0}  # of the weights, those that have not moved
    named = [(name, value) for name in NAMES for value in getattr(start, name)]
    mean = [np.full_like(value, first[name]) if name in first else value for name, value in named]
    for step in range(1, 5):
        now = weights_of(BigMLPRegressor(**common).set_params(max_iter=step).fit(X, Y))
        decay = min(0.9, (1 + step) / (10 + step)) if warmup else 0.9
        mean = [decay * old + (1 - decay) * new for old, new in zip(mean, now, strict=True)]
    model = BigMLPRegressor(**common, average=EMA(0.9, warmup)).set_params(max_iter=4).fit(X, Y)
    for own, expected in zip(weights_of(model), mean, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-9, atol=1e-12)


def test_training_itself_is_the_same() -> None:
    """The curve of the loss is that of a fit without an average: only what is kept differs."""
    plain, averaged = (BigMLPRegressor(**COMMON, average=average).fit(X, Y) for average in (None, "ema"))
    np.testing.assert_array_equal(plain.loss_curve_, averaged.loss_curve_)
    assert not np.array_equal(plain.coefs_[0], averaged.coefs_[0])


def test_early_stopping_scores_the_averaged_weights() -> None:
    """The score of an epoch is that of the model which a fit of so many epochs gives; the best one is kept."""
    held = {"X_val": X[::3], "y_val": Y[::3]}
    common = {**COMMON, "average": EMA(0.9), "scoring": None}
    model = BigMLPRegressor(**common, early_stopping=True).fit(X, Y, **held)
    every = [BigMLPRegressor(**common).set_params(max_iter=n).fit(X, Y) for n in range(1, 7)]
    np.testing.assert_allclose(model.validation_scores_, [one.score(X[::3], Y[::3]) for one in every], rtol=1e-9)
    assert_equal(model, every[int(np.argmax(model.validation_scores_))], 1e-12)


@pytest.mark.parametrize(
    "parameters", [{}, {"normalization": "batch", "n_members": 3}, {"optimizer": "muon", "dropout": 0.2}], ids=str
)
def test_a_warm_start_goes_on_as_if_it_had_not_ended(parameters: dict[str, Any]) -> None:
    """Three epochs and three more, pickled in between, are six: raw and averaged weights both go on."""
    model = BigMLPClassifier(**COMMON | parameters, average="ema", warm_start=True).set_params(max_iter=3)
    model = pickle.loads(pickle.dumps(model.fit(X, LABELS)))
    whole = BigMLPClassifier(**COMMON | parameters, average="ema").fit(X, LABELS)
    assert_equal(model.fit(X, LABELS), whole)


@pytest.mark.parametrize("early", [{}, {"early_stopping": True, "scoring": "loss"}], ids=["", "early stopping"])
def test_calls_of_partial_fit_are_one_training(early: dict[str, Any]) -> None:
    """Each call shows the averaged weights so far, and goes on from those of the last step."""
    held = {"X_val": X[::3], "y_val": Y[::3]} if early else {}
    model = BigMLPRegressor(**COMMON, **early, average=EMA(0.9))
    whole = BigMLPRegressor(**COMMON, **early, average=EMA(0.9))
    for _ in range(6):
        model.partial_fit(X, Y, **held)
    assert_equal(model, whole.fit(X, Y, **held), 1e-12)


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint holds both, so that a fit which was killed in its third epoch comes to the same bits."""

    common = {**COMMON, "average": "ema", "early_stopping": True, "normalization": "batch"}
    whole = BigMLPRegressor(**common, scoring=None).fit(X, Y)
    parameters = {**common, "checkpoint_dir": tmp_path, "checkpoint_every": 1, "scoring": None}
    see, calls = StoppingTracker.see, count(1)

    def dying(self: StoppingTracker, *args: Any) -> None:
        if next(calls) == 4:
            raise RuntimeError("killed")
        see(self, *args)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(StoppingTracker, "see", dying)
        BigMLPRegressor(**parameters).fit(X, Y)
    assert_equal(BigMLPRegressor(**parameters).fit(X, Y), whole)


def test_candidates_are_one_stack() -> None:
    """Candidates that differ in the memory of their averages are trained together, and score as each does alone."""
    grid = {"average__decay": [0.5, 0.9, 0.99], "learning_rate": [0.02, 0.05]}
    model = BigMLPRegressor(**COMMON, average="ema", normalization="batch")
    search = BigGridSearchCV(model, grid, cv=2, refit=False).fit(X, Y)
    for params, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        alone = BigGridSearchCV(model, {name: [value] for name, value in params.items()}, cv=2, refit=False).fit(X, Y)
        np.testing.assert_allclose(alone.cv_results_["mean_test_score"][0], score, rtol=1e-8)


def test_of_a_module_with_buffers_and_of_a_table() -> None:
    """Buffers are averaged too, those of whole numbers are the last ones; a table's rows are no different."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1))
    model = BigModuleRegressor(module, average=EMA(0.9), batch_size=20, max_iter=3, random_state=0).fit(X, Y)
    plain = BigModuleRegressor(module, batch_size=20, max_iter=3, random_state=0).fit(X, Y)
    assert model.buffers_["1.num_batches_tracked"] == plain.buffers_["1.num_batches_tracked"] == 9
    assert not np.array_equal(model.buffers_["1.running_mean"], plain.buffers_["1.running_mean"])
    table = BigTabularRegressor(preset="fast", max_iter=4, average="ema", random_state=0).fit(X, Y)
    assert np.isfinite(table.predict(X)).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"average": "swa"},
            "'average' parameter of BigMLPClassifier must be one of \\['ema'\\], None, or an instance",
        ),
        ({"average": EMA(1.0)}, "'decay' parameter of EMA must be a float in the range \\[0, 1\\)"),
        ({"average": True}, "'average' parameter"),
        ({"average": "ema", "optimizer": "lbfgs"}, "no noise to average out"),
    ],
)
def test_what_cannot_be_is_named(parameters: dict[str, Any], message: str) -> None:
    """A bad average is refused at fit."""
    with pytest.raises(ValueError, match=message):
        BigMLPClassifier(**parameters).fit(X, LABELS)


@pytest.mark.parametrize("average", [EMA(), EMA(0.5, warmup=False)])
def test_keeps_the_laws_of_components(average: Average) -> None:
    """An average is a component as all others."""
    check_component(average)


@pytest.mark.parametrize("way", ["set_weights", "an attribute"])
def test_weights_that_are_set_are_where_training_goes_on(way: str) -> None:
    """After a user has given a fitted model other weights, neither the old average nor the old weights come back."""
    other = BigMLPRegressor(**COMMON).set_params(random_state=7, max_iter=1).fit(X, Y)
    model = BigMLPRegressor(**COMMON, average="ema", param_groups={"*": 0.0}).set_params(max_iter=2).fit(X, Y)
    if way == "set_weights":
        model.set_weights(other.get_weights())
    else:
        model.coefs_, model.intercepts_ = other.coefs_, other.intercepts_
    assert_equal(model.partial_fit(X, Y), other, 1e-12)
