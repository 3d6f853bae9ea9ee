"""The summary of a fitted estimator is what its network is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from torch import nn

from skbig import (
    BigLinearClassifier,
    BigMLPClassifier,
    BigMLPRegressor,
    BigModuleClassifier,
    BigNetworkRegressor,
    BigTabularRegressor,
)
from skbig.networks import TabularMLP
from tests.fitting import MANY_VALUES, VALUES, WORDS, X, fitted, small
from tests.networks.modules import Convolutions

IMAGES = np.random.RandomState(0).normal(size=(len(X), 3, 8, 8))
MODULE = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("estimator", "rows", "y"),
    [
        (BigMLPClassifier((6, 5), normalization="batch", max_iter=2, n_members=3), X, WORDS),
        (BigLinearClassifier(max_iter=2, fit_intercept=False), X, WORDS),
        (BigNetworkRegressor(TabularMLP((5,), n_passed=1, n_bins=4), max_iter=2), X, MANY_VALUES),
        (BigTabularRegressor("fast", hidden_layer_sizes=(8,), max_iter=2), X, VALUES),
        (BigModuleClassifier(MODULE, freeze=["0.*"], max_iter=2), X, WORDS),
        (BigModuleClassifier(Convolutions, max_iter=2, n_members=2), IMAGES, WORDS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_counts_what_is_there(estimator: Any, rows: Any, y: Any) -> None:
    """Parameters, bytes and shapes add up to those of the fitted arrays, whatever the network."""
    summary = fitted(estimator, rows, y).summary()
    arrays = estimator._network_arrays()
    assert summary.n_members == len(next(iter(arrays.values())))
    assert summary.weights_nbytes == sum(array.nbytes for array in arrays.values())
    shapes = sorted(shape for layer in summary.layers for shape in layer.tensors.values())
    assert shapes == sorted(array.shape[1:] for array in arrays.values())
    trained = sum(int(np.prod(shape)) for shape in estimator._network.shapes.values())
    assert summary.n_trained == trained
    assert summary.n_parameters == trained + (40 if getattr(estimator, "freeze", None) else 0)
    assert summary.layers[-1].output == (estimator.n_outputs_,)
    text = str(summary)
    assert text == repr(summary) and text.startswith(type(estimator).__name__)
    assert f"parameters: {summary.n_parameters:,}" in text
    assert ("40 frozen" in text) == bool(getattr(estimator, "freeze", None))
    assert all(len(line) < 160 for line in text.splitlines())


def test_memory_to_train_on() -> None:
    """Adam keeps two moments of each number besides the weights."""
    plain = fitted(BigMLPRegressor((64,), max_iter=2, random_state=0, precision="float32"), X, VALUES).summary()
    assert plain.kept_nbytes >= 2 * plain.weights_nbytes
    assert plain.row_nbytes == 4 * (4 + 64 + 1)


def test_a_pass_changes_nothing() -> None:
    """Looking at a module's shapes moves no running moment and draws no number."""
    estimator = fitted(BigModuleClassifier(Convolutions, max_iter=2, random_state=0), IMAGES, WORDS)
    before = {name: array.copy() for name, array in estimator._network_arrays().items()}
    estimator.summary()
    for name, array in estimator._network_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_before_a_fit() -> None:
    """Shapes are not known before a fit."""
    with pytest.raises(NotFittedError):
        small("binary").summary()
