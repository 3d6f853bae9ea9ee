"""Networks with fewer weights, fewer units or narrow matrices, and what each way costs."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import (
    BigLinearRegressor,
    BigMLPClassifier,
    BigMLPRegressor,
    BigNetworkClassifier,
    BigTabularClassifier,
)
from skbig.components import DPSGD
from skbig.compress import low_rank, prune, report
from skbig.compress.units import fewer_units
from skbig.networks import MLP
from tests.small import data

pytestmark = pytest.mark.filterwarnings("ignore:.*hasn't converged:sklearn.exceptions.ConvergenceWarning")

X, CLASSES = data("multiclass", 60)
VALUES = data("multi-output", 60)[1]
QUICK: dict[str, Any] = {"n_steps": 2, "n_epochs": 2}


@cache
def digits() -> tuple[np.ndarray, ...]:
    X, y = load_digits(return_X_y=True)
    return tuple(train_test_split(X / 16, y, random_state=0, stratify=y))


@cache
def wide() -> BigMLPClassifier:
    X_train, _, y_train, _ = digits()
    model = BigMLPClassifier((128, 128), learning_rate=0.01, schedule="cosine", max_iter=20, random_state=0)
    return model.fit(X_train, y_train)


def score(model: Any) -> float:
    return float(model.score(digits()[1], digits()[3]))


def share_of_zeros(model: Any) -> float:
    weights = np.concatenate([np.ravel(coef) for coef in model.coefs_])
    return float(np.mean(weights == 0))


# Weights.


def test_nine_of_ten_weights_are_not_needed() -> None:
    """On digits, a network with 90% of its weights zero loses half a point at most."""
    sparse = prune(wide(), digits()[0], digits()[2], 0.9, n_steps=5, n_epochs=8)
    assert share_of_zeros(sparse) == pytest.approx(0.9, abs=1e-4)
    assert score(sparse) >= score(wide()) - 0.005
    assert share_of_zeros(wide()) == 0.0


@pytest.mark.parametrize(
    "model",
    [
        BigMLPClassifier((12, 9), n_members=2, max_iter=3, random_state=0),
        BigMLPClassifier((12,), optimizer="lbfgs", max_iter=5, random_state=0),
        BigMLPRegressor((12,), optimizer="muon", normalization="batch", max_iter=3, random_state=0),
        BigLinearRegressor(optimizer="sgd", max_iter=3, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_zeros_stay_zero(model: Any) -> None:
    """Zeros stay in partial_fit and in a warm fit, under every kind of optimizer, and in a copy; a fit begins anew."""
    y = CLASSES if model._for_classes else VALUES
    sparse = prune(model.fit(X, y), X, y, 0.6, **QUICK)
    names = sparse._network.penalized
    zeros = {name: sparse._network_arrays()[name] == 0 for name in names}
    assert np.mean(np.concatenate([zero.ravel() for zero in zeros.values()])) == pytest.approx(0.6, abs=0.05)
    again = pickle.loads(pickle.dumps(sparse)).set_params(warm_start=True)
    before = again.get_weights()
    again = again.fit(X, y) if again.optimizer == "lbfgs" else again.partial_fit(X, y).fit(X, y)
    assert all((again._network_arrays()[name][zero] == 0).all() for name, zero in zeros.items())
    assert not all(map(np.array_equal, before, again.get_weights()))
    anew = clone(sparse).fit(X, y)
    assert not any((anew._network_arrays()[name] == 0).all() for name in names)


# Units.


def test_half_of_the_units_are_not_needed() -> None:
    """On digits, a network of half the width loses a point at most, and is an ordinary one."""
    X_train, _, y_train, _ = digits()
    narrow = prune(wide(), X_train, y_train, 0.5, structured=True, n_steps=3, n_epochs=6)
    assert narrow.hidden_layer_sizes == (64, 64)
    assert [coef.shape for coef in narrow.coefs_] == [(64, 64), (64, 64), (64, 10)]
    assert score(narrow) >= score(wide()) - 0.01
    assert clone(narrow).set_params(max_iter=1).fit(X_train, y_train).coefs_[1].shape == (64, 64)


def test_units_that_say_nothing_go_first() -> None:
    """Units that give a constant go, and their part goes to the biases: nothing is lost."""
    model = BigMLPRegressor((8, 6), n_members=2, max_iter=5, random_state=0).fit(X, VALUES)
    for coef, intercept, dead in (
        (model.coefs_[0], model.intercepts_[0], 4),
        (model.coefs_[1], model.intercepts_[1], 3),
    ):
        coef[..., :dead], intercept[..., :dead] = 0.0, 0.7
    narrow = copy.deepcopy(model)
    fewer_units(narrow, X, [4, 3])
    assert narrow.hidden_layer_sizes == (4, 3)
    np.testing.assert_allclose(narrow.predict(X), model.predict(X), rtol=1e-10)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), BigMLPClassifier((8,), normalization="batch", max_iter=3, random_state=0)),
        make_pipeline(StandardScaler(), BigMLPClassifier((8,), normalization="layer", max_iter=3, random_state=0)),
        BigNetworkClassifier(MLP((8,)), max_iter=3, random_state=0),
        BigTabularClassifier("fast", hidden_layer_sizes=(8,), max_iter=3, random_state=0),
    ],
    ids=["pipeline, batch norm", "pipeline, layer norm", "network", "tabular"],
)
def test_every_estimator_with_hidden_layers(model: Any) -> None:
    """Pipelines, networks as components and networks of tables become narrow too, and can be trained on."""
    before = pickle.dumps(model.fit(X, CLASSES))
    narrow = prune(model, X, CLASSES, 0.5, structured=True, **QUICK)
    assert pickle.dumps(model) == before
    last = narrow[-1] if hasattr(narrow, "steps") else narrow
    assert last._network.network.hidden_layer_sizes == (4,)
    assert narrow.predict(X).shape == (60,)
    rows = narrow[:-1].transform(X) if hasattr(narrow, "steps") else X
    last.partial_fit(rows, CLASSES)


def test_rows_as_lists() -> None:
    """Rows may be lists, as in `fit`."""
    model = BigMLPClassifier((8,), max_iter=3, random_state=0).fit(X, CLASSES)
    narrow = [prune(model, rows, CLASSES, 0.5, structured=True, **QUICK) for rows in (X, X.tolist())]
    np.testing.assert_array_equal(narrow[0].predict(X), narrow[1].predict(X))


def test_units_are_not_chosen_by_private_rows() -> None:
    """After a training with privacy only zeros are made, by the weights alone."""
    private = DPSGD(noise_multiplier=2.0, delta=1e-3)
    model = BigMLPClassifier((8,), privacy=private, max_iter=2, batch_size=20, random_state=0).fit(X, CLASSES)
    with pytest.raises(ValueError, match="refused after a training with privacy"):
        prune(model, X, CLASSES, 0.5, structured=True)
    assert share_of_zeros(prune(model, X, CLASSES, 0.5, **QUICK)) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (BigMLPClassifier(), {}, NotFittedError, "not fitted"),
        (RandomForestClassifier(), {}, TypeError, "prune takes an estimator of this package"),
        (BigLinearRegressor(max_iter=2), {"structured": True}, ValueError, "hidden layers"),
        (BigMLPRegressor((5,), monotonic_cst=[1] * 4, max_iter=2), {"structured": True}, ValueError, "plain dense"),
        (BigLinearRegressor(max_iter=2), {"share": 1.0}, ValueError, "'share' parameter of prune"),
        (BigLinearRegressor(max_iter=2), {"n_steps": 0}, ValueError, "'n_steps' parameter of prune"),
    ],
)
def test_what_cannot_be_pruned(model: Any, options: Any, error: type[Exception], message: str) -> None:
    """Errors say what is wrong, before anything is trained."""
    if isinstance(model, BigLinearRegressor | BigMLPRegressor):
        model.fit(X, VALUES)
    with pytest.raises(error, match=message):
        prune(model, X, VALUES, **options)


# Matrices.


@pytest.mark.parametrize(
    "model",
    [
        BigMLPClassifier((30, 20), max_iter=3, random_state=0),
        BigMLPRegressor((30, 20), n_members=2, normalization="batch", activation="tanh", max_iter=3, random_state=0),
        make_pipeline(StandardScaler(), BigNetworkClassifier(MLP((30, 20)), max_iter=3, random_state=0)),
    ],
    ids=["mlp", "members", "pipeline"],
)
def test_matrices_of_low_rank_are_kept(model: Any) -> None:
    """A network whose matrices have a low rank already predicts the same, and goes on training."""
    last = model[-1] if hasattr(model, "steps") else model
    y = CLASSES if last._for_classes else VALUES
    model.fit(X, y)
    arrays = last._network_arrays()
    left, values, right = np.linalg.svd(arrays["weight1"], full_matrices=False)
    values[..., 4:] = 0.0
    arrays["weight1"] = (left * values[..., None, :]) @ right
    vars(last).update(last._public_weights(last._network, arrays))
    narrow = low_rank(model, 4)
    np.testing.assert_allclose(narrow.predict(X), model.predict(X), rtol=1e-8)
    smaller = narrow[-1] if hasattr(narrow, "steps") else narrow
    assert smaller.network.rank == 4 and smaller.get_params()["max_iter"] == 3
    shapes = smaller._network.shapes
    assert (30, 4) in shapes.values() and (4, 20) in shapes.values() and (30, 20) not in shapes.values()
    smaller.partial_fit(X, y)
    pickle.loads(pickle.dumps(narrow)).predict(X)


def test_what_has_no_low_rank() -> None:
    """A network that is no MLP is refused, and so is a rank that is none."""
    model = BigLinearRegressor(max_iter=2).fit(X, VALUES)
    rising = BigMLPRegressor((5,), monotonic_cst=[1] * 4, max_iter=2).fit(X, VALUES)
    for other in (model, rising):
        with pytest.raises(TypeError, match="low_rank takes a network that is an MLP"):
            low_rank(other, 2)
    with pytest.raises(ValueError, match="'rank' parameter of low_rank"):
        low_rank(model, 0)


# The table.


def test_the_table() -> None:
    """A report has a line for each model, with its size, times and score; also of models of other libraries."""
    X_train, X_test, y_train, y_test = digits()
    models = {"wide": wide(), "sparse": prune(wide(), X_train, y_train, 0.95, n_steps=1, n_epochs=1)}
    models["trees"] = RandomForestClassifier(5, random_state=0).fit(X_train, y_train)
    table = report(models, X_test, y_test, n_rows=500)
    assert [row.name for row in table.rows] == ["wide", "sparse", "trees"]
    assert table.rows[0].score == score(wide())
    assert table.rows[1].megabytes < 0.3 * table.rows[0].megabytes
    assert all(row.one_row > 0 and row.many_rows > 0 for row in table.rows)
    assert str(table).splitlines()[0].endswith(" score") and len(str(table).splitlines()) == 4
    assert list(table.frame().columns) == ["megabytes", "one_row", "many_rows", "score"]
    with pytest.raises(ValueError, match="one model or more"):
        report({}, X_test, y_test)
