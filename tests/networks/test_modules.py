"""Modules of a user's are trained in every way that ours are."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skbig import BigModuleClassifier
from tests.networks.modules import MODULES, labels
from tests.searching import assert_same_search

pytestmark = [
    pytest.mark.filterwarnings("ignore:Maximum iterations"),
    # torch 2.6, of an operation of its transformers that it computes for one member after another.
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]
every_module = pytest.mark.parametrize("case", MODULES)


def rows_of(case: str) -> tuple[np.ndarray, np.ndarray]:
    X = MODULES[case][2]
    return X, labels(X)


def classifier(case: str, **parameters: Any) -> BigModuleClassifier:
    module, settings, _ = MODULES[case]
    defaults = {"max_iter": 5, "batch_size": 16, "learning_rate": 0.02, "random_state": 0, "optimizer": "sgd"}
    own = {f"module__{name}": value for name, value in settings.items()}
    return BigModuleClassifier(module, **defaults | own | parameters, precision="float64")


def assert_same(one: Any, other: Any, tolerance: float = 0.0, member: int | None = None) -> None:
    """Weights and buffers of two models, or of one and a member of another, are equal."""
    ours, theirs = one.weights_ | one.buffers_, other.weights_ | other.buffers_
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        expected = theirs[name] if member is None else theirs[name][member]
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance, err_msg=name)


@every_module
def test_it_learns(case: str, unchanged_globals: None) -> None:
    """It fits its training rows better than the most frequent class; the global state stays as it is."""
    X, y = rows_of(case)
    model = classifier(case, max_iter=80, optimizer="adam", n_iter_no_change=80).fit(X, y)
    assert model.score(X, y) > 0.6
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)


@every_module
def test_a_member_is_trained_as_alone(case: str) -> None:
    """The first member of an ensemble is the model of the same seed, to rounding."""
    X, y = rows_of(case)
    alone = classifier(case).fit(X, y)
    among = classifier(case, n_members=3).fit(X, y)
    assert_same(alone, among, 1e-12, member=0)
    with pytest.raises(AssertionError):
        assert_same(alone, among, 1e-12, member=1)


@every_module
def test_it_goes_on(case: str) -> None:
    """Epochs by partial_fit, and by warm_start, are those of one fit, to the bit."""
    X, y = rows_of(case)
    whole = classifier(case, shuffle=False).fit(X, y)
    parts = classifier(case, shuffle=False)
    for _ in range(5):
        parts.partial_fit(X, y, classes=np.unique(y))
    assert_same(parts, whole)
    warm = classifier(case, shuffle=False, max_iter=2, warm_start=True).fit(X, y)
    assert_same(warm.set_params(max_iter=3).fit(X, y), whole)


@every_module
def test_it_is_saved_and_goes_on(case: str, tmp_path: Path) -> None:
    """A pickle predicts and goes on as the model; a fit with checkpoints is the fit, and is read again."""
    X, y = rows_of(case)
    model = classifier(case).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert_same(loaded.partial_fit(X, y), clone(model).fit(X, y).partial_fit(X, y))
    saved = classifier(case, checkpoint_dir=tmp_path, checkpoint_every=2)
    assert_same(saved.fit(X, y), classifier(case).fit(X, y))
    assert_same(clone(saved).fit(X, y), classifier(case).fit(X, y))


@every_module
def test_a_search_trains_it_as_one_stack(case: str) -> None:
    """Candidates that differ in numbers are stacked, and score as alone."""
    X, y = rows_of(case)
    grid = {"learning_rate": [0.01, 0.05], "alpha": [0.0, 0.1]}
    n_stacked = assert_same_search(classifier(case), grid, X, y, cv=2)
    assert n_stacked == 8 if case != "deciding" else n_stacked == 1


@every_module
def test_half_of_a_batch_counts_as_its_rows(case: str) -> None:
    """A row of weight two is the row twice, where no noise is drawn for each row."""
    if case in ("with dropout and layer norm", "convolutions", "attention"):
        pytest.skip("a row that comes twice is given other noise")
    X, y = rows_of(case)
    weight = np.where(np.arange(len(X)) % 3, 1, 2)
    heavy = classifier(case, batch_size="full").fit(X, y, sample_weight=weight)
    twice = classifier(case, batch_size="full").fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    tolerance = 1e-2 if case == "with batch norm" else 1e-9  # the running variance counts rows, and not weights
    assert_same(heavy, twice, tolerance)


@every_module
def test_what_is_kept_is_numpy(case: str) -> None:
    """Weights and buffers are arrays by the names of the module; the module comes back with them."""
    X, y = rows_of(case)
    model = classifier(case).fit(X, y)
    assert all(isinstance(value, np.ndarray) for value in (model.weights_ | model.buffers_).values())
    module = model.module_
    assert {*dict(module.named_parameters())} == {*model.weights_} and not module.training
    with torch.no_grad():
        raw = module(torch.from_numpy(X))
    np.testing.assert_allclose(raw.numpy(), model.decision_function(X), rtol=1e-12)
