"""Predictions rise, or fall, with the features that `monotonic_cst` names, for every pair of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigGridSearchCV, BigMLPClassifier, BigMLPRegressor, load_weights, save_weights
from skbig.components import Poisson
from skbig.exceptions import ExportError, ModelFileError
from skbig.networks import MLP
from skbig.networks.monotonic import MONOTONIC_ACTIVATIONS
from skbig.testing import check_component
from tests.fitting import BINARY, MANY_VALUES, MULTICLASS, MULTILABEL, VALUES, X, fitted

SIGNS = [1, 0, -1, 0]
RANDOM = np.random.default_rng(0)
SETTINGS: list[dict[str, Any]] = [
    *({"activation": activation} for activation in MONOTONIC_ACTIVATIONS),
    {"hidden_layer_sizes": (12, 9, 7), "normalization": "batch", "dropout": 0.2},
    {"hidden_layer_sizes": ()},
    {"n_members": 3},
    {"optimizer": "lbfgs"},
    {"penalty": "l1", "alpha": 1.0},
    {"augmentation": "mixup", "optimizer": "muon"},
]


def pairs(n: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows, and rows above them: larger in the first feature, smaller in the third."""
    low = scale * RANDOM.normal(size=(n, 4))
    way = scale * RANDOM.exponential(size=(n, 4)) * SIGNS
    return low, low + way * RANDOM.integers(0, 2, size=(n, 4))


def assert_rises(answer: Any) -> None:
    """Check random pairs near the data, and far outside."""
    for scale in (1e-3, 1.0, 1e3):
        low, high = map(answer, pairs(500, scale))
        rounding = 1e-12 * (1 + np.abs(low) + np.abs(high))
        assert (high >= low - rounding).all()


def against(task: str) -> np.ndarray:
    """Return a target that falls where predictions shall rise."""
    return BINARY if task == "classifier" else -X[:, 0] + X[:, 2] + np.sin(3 * X[:, 1])


@pytest.mark.crossed
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("task", ["classifier", "regressor"])
def test_it_holds_for_every_pair_of_rows(task: str, settings: dict[str, Any]) -> None:
    """Whatever has been learnt, also from a target that would have it otherwise, and after more training."""
    make = BigMLPClassifier if task == "classifier" else BigMLPRegressor
    options: dict[str, Any] = {"hidden_layer_sizes": (12,), "learning_rate": 0.05, "max_iter": 15, "random_state": 0}
    model = fitted(make(monotonic_cst=SIGNS, **options | settings), X, against(task))
    answer = (lambda rows: model.predict_proba(rows)[:, 1]) if task == "classifier" else model.predict
    assert_rises(answer)
    if "optimizer" not in settings:
        model.partial_fit(X, against(task))
        assert_rises(answer)
    low, _ = pairs(100, 1.0)
    moved = low.copy()
    moved[:, 1] += 1.0
    assert settings.get("penalty") or not np.allclose(answer(moved), answer(low))  # a feature without a sign counts


def test_of_several_outputs_each_rises() -> None:
    """A regressor of several outputs, with a link or a scaled target, rises in each."""
    model = fitted(BigMLPRegressor((9,), monotonic_cst=SIGNS, max_iter=5, random_state=0), X, MANY_VALUES)
    assert_rises(model.predict)
    options: Any = {"loss": Poisson(), "monotonic_cst": SIGNS, "max_iter": 5, "random_state": 0}
    assert_rises(lambda rows: np.log(fitted(BigMLPRegressor((9,), **options), X, np.exp(VALUES)).predict(rows / 1e3)))
    model = BigMLPRegressor((9,), monotonic_cst=SIGNS, max_iter=5, standardize_target=True, random_state=0)
    assert_rises(fitted(model, X, 7 + 3 * VALUES).predict)


def test_what_rises_is_learnt() -> None:
    """A function that is neither convex nor concave where it rises is learnt, as closely as without a constraint."""
    rows = np.random.default_rng(0).uniform(-2, 2, size=(700, 4))
    y = np.tanh(4 * rows[:, 0]) + np.exp(rows[:, 0]) / 4 + np.sin(2 * rows[:, 1]) - rows[:, 2] ** 3 / 4
    options: dict[str, Any] = {"learning_rate": 0.01, "max_iter": 160, "schedule": "cosine", "standardize_target": True}
    for sizes in ((64,), (24, 24)):
        free, held = (
            BigMLPRegressor(sizes, monotonic_cst=signs, **options, random_state=0).fit(rows[:500], y[:500])
            for signs in (None, SIGNS)
        )
        assert held.score(rows[500:], y[500:]) > max(0.95, free.score(rows[500:], y[500:]) - 0.03)
    assert held.executor_ == "recorded"


def test_constraints_may_have_names() -> None:
    """A dict by names is the array by places; through a scaler it holds as well."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    options: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}
    named = fitted(BigMLPRegressor(monotonic_cst={"c": -1, "a": 1}, **options), frame, VALUES)
    placed = fitted(BigMLPRegressor(monotonic_cst=np.array(SIGNS), **options), X, VALUES)
    np.testing.assert_array_equal(named.predict(frame), placed.predict(X))
    scaled = fitted(make_pipeline(StandardScaler(), clone(placed)), X, VALUES)
    assert_rises(scaled.predict)


def test_without_a_sign_nothing_changes() -> None:
    """None, no names and zeros are the plain network, and sparse rows are trained on as dense ones."""
    options: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}
    frame = pd.DataFrame(X, columns=list("abcd"))
    plain = fitted(BigMLPRegressor(**options), frame, VALUES)
    for nothing in ([0, 0, 0, 0], {}, {"a": 0}):
        same = fitted(BigMLPRegressor(monotonic_cst=nothing, **options), frame, VALUES)
        np.testing.assert_array_equal(same.predict(frame), plain.predict(frame))
    held = fitted(BigMLPRegressor(monotonic_cst=SIGNS, **options), sparse.csr_array(X), VALUES)
    dense = fitted(BigMLPRegressor(monotonic_cst=SIGNS, **options), X, VALUES)
    np.testing.assert_allclose(held.predict(X), dense.predict(X), rtol=1e-7)


@pytest.mark.parametrize(
    ("given", "y", "message"),
    [
        ([1, 0, -1], VALUES, "monotonic_cst has shape (3,) but the input data X has 4 features"),
        ([1, 0, 2, 0], VALUES, "monotonic_cst[2] must be either -1, 0 or 1. Got 2"),
        ([1.5, 0, 0, 0], VALUES, "Got 1.5"),
        ([[1, 0, 0, 0]], VALUES, "shape (1, 4)"),
        ("abcd", VALUES, "shape ()"),
        ({"z": 1}, VALUES, "monotonic_cst contains 1 unexpected feature names: ['z']"),
        ({"a": 0.5}, VALUES, "monotonic_cst['a'] must be either"),
        (SIGNS, MULTICLASS, "not supported for multiclass"),
        (SIGNS, MULTILABEL, "not supported for multiclass or multilabel"),
    ],
    ids=range(9),
)
def test_what_it_cannot_be_is_refused(given: Any, y: np.ndarray, message: str) -> None:
    """The errors are those of HistGradientBoosting, and the estimator stays unfitted."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = (BigMLPRegressor if y is VALUES else BigMLPClassifier)((4,), monotonic_cst=given, max_iter=2)
    with pytest.raises(ValueError) as error:
        fitted(model, frame, y)
    assert message in str(error.value)
    assert not hasattr(model, "coefs_")
    if y is VALUES and not isinstance(given, str) and given != [[1, 0, 0, 0]]:
        with pytest.raises(ValueError):
            HistGradientBoostingRegressor(monotonic_cst=given).fit(frame, y)
    if y is MULTICLASS:
        with pytest.raises(ValueError, match="multiclass"):
            HistGradientBoostingClassifier(monotonic_cst=given).fit(frame, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "needs an activation that falls nowhere"),
        ({"normalization": "layer"}, "normalization='layer'"),
    ],
)
def test_what_a_network_cannot_hold_is_refused(options: dict[str, Any], message: str) -> None:
    """Not every activation rises, and a layer norm lets one unit lower another."""
    with pytest.raises(ValueError, match=message):
        BigMLPRegressor((4,), monotonic_cst=SIGNS, **options).fit(X, VALUES)
    with pytest.raises(ValueError, match="without names|feature names"):
        BigMLPRegressor((4,), monotonic_cst={"a": 1}).fit(X, VALUES)


@pytest.mark.parametrize(
    "network",
    [
        MLP((7,), monotonic_cst=(1, 0, 0, -1)),
        MLP((6, 5), "tanh", normalization="batch", monotonic_cst=(1, 1, -1, -1)),
        MLP((), monotonic_cst=(0, 0, 1, 1)),
        MLP((5,), "elu", dropout=0.2, monotonic_cst=(-1, -1, 0, 0)),
    ],
    ids=str,
)
def test_the_network_keeps_the_laws(network: MLP) -> None:
    """Gradients, members, rows and parts are those of any network."""
    check_component(network)


def test_it_leaves_as_any_network_does() -> None:
    """A module of torch rises as well; scikit-learn has no such network."""
    model = fitted(BigMLPClassifier((6, 5), monotonic_cst=SIGNS, n_members=2, max_iter=3, random_state=0), X, BINARY)
    with torch.no_grad():
        np.testing.assert_allclose(model.to_torch()(torch.from_numpy(X)).numpy(), model.predict_proba(X))
    np.testing.assert_allclose(model.predictor()(X[:1]), model.predict(X[:1]))
    one = fitted(BigMLPClassifier((6,), monotonic_cst=SIGNS, max_iter=3, random_state=0), X, BINARY)
    with pytest.raises(ExportError, match="MonotonicDense"):
        one.to_sklearn()


def test_constraints_are_searched() -> None:
    """Candidates with and without a constraint are scored as scikit-learn scores them."""
    model = BigMLPRegressor((6,), max_iter=3, random_state=0)
    grid = {"monotonic_cst": [None, SIGNS, [0, 1, 0, 0]], "alpha": [0.1, 1.0]}
    ours, theirs = (fitted(make(model, grid, cv=2), X, VALUES) for make in (BigGridSearchCV, GridSearchCV))
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


@pytest.mark.parametrize("signs", [SIGNS, {"c": -1, "a": 1}], ids=str)
def test_what_is_begun_or_loaded_is_held_as_well(signs: Any, tmp_path: Path) -> None:
    """Without a fit, by `initialize` or from a file of weights, the same network is made."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = fitted(BigMLPRegressor((6,), monotonic_cst=signs, max_iter=3, random_state=0), frame, VALUES)
    path = save_weights(model, tmp_path / "model.safetensors")
    loaded = load_weights(clone(model), path)
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    assert loaded.feature_names_in_.tolist() == list("abcd")
    assert loaded._network == model._network
    with pytest.raises(ModelFileError, match="network"):
        load_weights(clone(model).set_params(monotonic_cst=[0, 0, 1, 0]), path)
    if signs is SIGNS:
        assert_rises(clone(model).initialize(4).predict)
        model.monotonic_cst = None
        assert_rises(lambda rows: model.predict(pd.DataFrame(rows, columns=list("abcd"))))
