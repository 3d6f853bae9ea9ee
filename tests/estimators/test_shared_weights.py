"""Weights go from estimator to estimator, and trainings that share them: what federations are made of."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from torch import nn

from skbig import (
    BigGridSearchCV,
    BigLinearClassifier,
    BigLinearRegressor,
    BigMLPClassifier,
    BigMLPRegressor,
    BigModuleClassifier,
    BigModuleRegressor,
    BigNetworkClassifier,
    BigNetworkRegressor,
    BigTabularClassifier,
    BigTabularRegressor,
)
from skbig.components import SGD
from skbig.networks import MLP
from tests.small import data

pytestmark = pytest.mark.filterwarnings("ignore:.*hasn't converged:sklearn.exceptions.ConvergenceWarning")

X, CLASSES = data("multiclass", 60)
VALUES = data("multi-output", 60)[1]


class Tokens(nn.Module):
    """Takes whole numbers alone."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.embedding, self.norm, self.head = nn.Embedding(9, 4), nn.BatchNorm1d(4), nn.Linear(4, n_outputs)

    def forward(self, codes: Any) -> Any:
        return self.head(self.norm(self.embedding(codes).mean(1)))


SMALL: dict[str, Any] = {"random_state": 3, "batch_size": 20}
SIZES: dict[str, Any] = {"module__in_features": 4}
MAKE: dict[str, Callable[..., Any]] = {
    "mlp": lambda **more: BigMLPClassifier((5, 4), **SMALL, **more),
    "mlp, batch norm": lambda **more: BigMLPClassifier((5,), normalization="batch", **SMALL, **more),
    "mlp, members": lambda **more: BigMLPRegressor((5,), n_members=3, **SMALL, **more),
    "linear": lambda **more: BigLinearClassifier(**SMALL, **more),
    "linear, no intercept": lambda **more: BigLinearRegressor(fit_intercept=False, **SMALL, **more),
    "network": lambda **more: BigNetworkClassifier(MLP((5,)), **SMALL, **more),
    "network, values": lambda **more: BigNetworkRegressor(MLP((5,)), **SMALL, **more),
    "module": lambda **more: BigModuleClassifier(
        nn.Linear, module__in_features=4, module__out_features=3, **SMALL, **more
    ),
    "module, values": lambda **more: BigModuleRegressor(
        nn.Linear, module__in_features=4, module__out_features=2, **SMALL, **more
    ),
}
EVERY = pytest.mark.parametrize("make", MAKE.values(), ids=list(MAKE))


def target(estimator: Any) -> np.ndarray:
    return CLASSES if estimator._for_classes else VALUES


def initialized(estimator: Any) -> Any:
    return estimator.initialize(4, [0, 1, 2] if estimator._for_classes else 2)


def first_call(estimator: Any) -> dict[str, Any]:
    """Return what only the first call of partial_fit needs."""
    return {"classes": [0, 1, 2]} if estimator._for_classes else {}


def assert_same_weights(one: Any, other: Any, tolerance: float = 0.0) -> None:
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@EVERY
def test_what_is_initialized_goes_on_as_if_it_had_begun_with_rows(make: Any) -> None:
    """Calls of partial_fit after `initialize` come to the bits that they come to without it."""
    with_rows, without = make(), initialized(make())
    assert without.n_iter_ == 0 and without.n_features_in_ == 4
    with_rows.partial_fit(X, target(with_rows), **first_call(with_rows))
    without.partial_fit(X, target(with_rows))
    assert_same_weights(with_rows, without)
    np.testing.assert_array_equal(with_rows.predict(X), without.predict(X))


def test_a_module_that_takes_codes_begins_without_rows() -> None:
    """A module that takes whole numbers alone is met with such; its counts come back as counts."""
    model = BigModuleClassifier(Tokens, **SMALL).initialize(6, ["a", "b", "c"])
    codes = np.random.RandomState(0).randint(0, 9, size=(40, 6))
    model.partial_fit(codes, np.array(["a", "b"])[codes[:, 0] % 2])
    other = copy.deepcopy(model).set_weights([weight * 1.0 for weight in model.get_weights()])
    np.testing.assert_array_equal(other.predict_proba(codes), model.predict_proba(codes))
    assert [array.dtype for array in other.get_weights()] == [array.dtype for array in model.get_weights()]


@EVERY
def test_weights_make_the_model(make: Any) -> None:
    """An estimator that is given the weights of another predicts as it does, also after a pickle."""
    trained = make(max_iter=3).fit(X, target(make()))
    other = pickle.loads(pickle.dumps(initialized(make())))
    assert other.set_weights(trained.get_weights()) is other
    np.testing.assert_array_equal(other.predict(X), trained.predict(X))
    given = trained.get_weights()
    given[0][:] = 0.0
    assert np.abs(trained.get_weights()[0]).sum() > 0


@EVERY
def test_training_begins_anew_with_weights_that_are_set(make: Any) -> None:
    """After `set_weights` a step is the first one of an optimizer that has taken none."""
    begun = make(shuffle=False)
    y = target(begun)
    begun.partial_fit(X, y, **first_call(begun))
    start = initialized(make(shuffle=False)).get_weights()
    again = copy.deepcopy(begun).set_weights(start).partial_fit(X, y)
    assert_same_weights(again, begun)
    assert (again.n_iter_, again.t_) == (2, 120)


def test_bad_weights_change_nothing() -> None:
    """Weights that do not fit are refused, and so are rows that are not there; the estimator stays as it was."""
    model = BigMLPClassifier((5,), **SMALL)
    with pytest.raises(NotFittedError):
        model.get_weights()
    with pytest.raises(NotFittedError):
        model.set_weights([])
    initialized(model)
    before = model.get_weights()
    bad = [before[:-1], [*before[:-1], before[-1].T], [*before[:-1], before[-1] * np.nan], [*before[:-1], ["a"] * 3]]
    for weights in bad:
        with pytest.raises(ValueError, match="arrays of weights|must be numbers|not finite"):
            model.set_weights(weights)
    assert_same_weights(model, BigMLPClassifier((5,), **SMALL).initialize(4, [0, 1, 2]))
    single = BigMLPClassifier((5,), precision="float32", **SMALL).initialize(4, [0, 1, 2])
    with pytest.raises(ValueError, match="not finite as float32"):
        single.set_weights([weight + 1e300 for weight in before])


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (BigMLPClassifier(), (0, [0, 1]), "'n_features' parameter of BigMLPClassifier.initialize must be an int"),
        (BigMLPClassifier(), ((4, 4), [0, 1]), "'n_features'"),
        (BigMLPClassifier(), (4, []), "classes must be a list of labels"),
        (BigMLPClassifier(alpha=-1.0), (4, [0, 1]), "'alpha'"),
        (BigMLPRegressor(), (4, 0), "'n_outputs' parameter of BigMLPRegressor.initialize must be an int"),
        (BigMLPRegressor(standardize_target=True), (4,), "standardize_target=True takes the mean"),
        (BigTabularClassifier(), (4, [0, 1]), "BigTabularClassifier learns from rows how it encodes a table"),
        (BigTabularRegressor(), (4,), "BigTabularRegressor learns from rows"),
    ],
)
def test_what_cannot_begin_without_rows_says_so(model: Any, arguments: Any, message: str) -> None:
    """An estimator that cannot begin says why, and is no fitted one."""
    with pytest.raises(ValueError, match=message):
        model.initialize(*arguments)
    assert not model.__sklearn_is_fitted__() and not hasattr(model, "n_features_in_")


def test_labels_and_tables() -> None:
    """Multilabel classifiers begin without rows too, and estimators of tables exchange weights once they are fitted."""
    labels = BigMLPClassifier((5,), **SMALL).initialize(4, range(3), multilabel=True)
    assert labels.predict(X).shape == (60, 3)
    with pytest.raises(ValueError, match=r"range\(n_labels\)"):
        labels.initialize(4, ["a", "b"], multilabel=True)
    table = BigTabularClassifier("fast", max_iter=2, random_state=0).fit(X, CLASSES)
    other = copy.deepcopy(table).partial_fit(X, CLASSES)
    assert not np.array_equal(other.predict_proba(X), table.predict_proba(X))
    other.set_weights(table.get_weights()).temperature_ = table.temperature_
    np.testing.assert_array_equal(other.predict_proba(X), table.predict_proba(X))


# Federations.


def averaged(weights: list[list[np.ndarray]], n_rows: list[int]) -> list[np.ndarray]:
    """Return the mean of the clients' weights, by their rows."""
    return [np.average(arrays, axis=0, weights=n_rows) for arrays in zip(*weights, strict=True)]


@pytest.mark.parametrize("make", [MAKE[name] for name in ("mlp", "linear", "network, values", "module")])
def test_one_step_of_the_clients_is_one_step_of_all(make: Any) -> None:
    """The mean of the clients' weights after one full-batch step of plain descent is one step on all rows together."""
    settings = {"optimizer": SGD(momentum=0.0), "learning_rate": 0.1, "alpha": 0.0}
    central = initialized(make()).set_params(**settings, batch_size="full")
    parts = [slice(0, 9), slice(9, 25), slice(25, 60)]
    clients = [copy.deepcopy(central).partial_fit(X[part], target(central)[part]) for part in parts]
    mean = averaged([client.get_weights() for client in clients], [part.stop - part.start for part in parts])
    central.partial_fit(X, target(central))
    for ours, theirs in zip(central.get_weights(), mean, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-12)


def test_clients_with_few_classes_come_to_what_all_rows_teach() -> None:
    """Federated averaging of clients that hold some digits each is within two points of training on all rows."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    model = BigMLPClassifier((32,), optimizer=SGD(momentum=0.0), learning_rate=0.5, batch_size=32, random_state=0)
    central = clone(model).set_params(max_iter=20, n_iter_no_change=np.inf).fit(X_train, y_train)
    server, held = model.initialize(64, range(10)), skewed(y_train)
    clients = [copy.deepcopy(server) for _ in held]
    for _ in range(20):
        for client, rows in zip(clients, held, strict=True):
            client.set_weights(server.get_weights()).partial_fit(X_train[rows], y_train[rows])
        server.set_weights(averaged([client.get_weights() for client in clients], list(map(len, held))))
    assert server.score(X_test, y_test) >= central.score(X_test, y_test) - 0.02 > 0.93


def skewed(y: np.ndarray) -> list[np.ndarray]:
    """Give each digit's rows to three clients, by shares that Dirichlet's distribution draws; return who has which."""
    random, owner = np.random.RandomState(0), np.empty(len(y), int)
    for digit in range(10):
        rows = np.flatnonzero(y == digit)
        owner[rows] = random.choice(3, len(rows), p=random.dirichlet([0.5] * 3))
    held = [np.flatnonzero(owner == client) for client in range(3)]
    assert min(np.bincount(y[rows], minlength=10).min() for rows in held) == 0
    return held


# FedProx.


def distance(estimator: Any, weights: list[np.ndarray]) -> float:
    pairs = zip(estimator.get_weights(), weights, strict=True)
    return float(np.sqrt(sum(((own - other) ** 2).sum() for own, other in pairs)))


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.0), "adam", "lbfgs", "muon"], ids=str)
def test_the_proximal_term_holds_near_the_start(optimizer: Any) -> None:
    """The stronger it is, the nearer the weights stay to those with which the fit began."""
    model = BigMLPClassifier((5,), optimizer=optimizer, max_iter=15, warm_start=True, random_state=0, batch_size="full")
    start = initialized(model).get_weights()
    reached = []
    for fedprox in (0.0, 1.0, 100.0):
        fitted = copy.deepcopy(model).set_params(fedprox=fedprox, learning_rate=0.005).fit(X, CLASSES)
        reached.append(distance(fitted, start))
    assert reached[0] > reached[1] > reached[2]


def test_the_proximal_term_is_its_formula() -> None:
    """Plain descent goes against ``gradient + fedprox * (w - w0)``; the loss has ``fedprox / 2 * |w - w0|^2``."""
    y = VALUES[:, 0]
    parameters = {"optimizer": SGD(momentum=0.0), "learning_rate": 0.1, "alpha": 0.0, "batch_size": "full"}
    model = BigLinearRegressor(**parameters, fedprox=0.7, max_iter=3, tol=0.0, random_state=0, warm_start=True)
    model.initialize(4).set_weights([np.full((4, 1), 0.5), np.full((1, 1), -1.0)])
    model.fit(X, y)
    design, w0 = np.hstack([X, np.ones((60, 1))]), np.array([0.5] * 4 + [-1.0])
    w, losses = w0.copy(), []
    for _ in range(3):
        residual = design @ w - y
        losses.append((residual**2).mean() / 2 + 0.35 * ((w - w0) ** 2).sum())
        w = w - 0.1 * (design.T @ residual / 60 + 0.7 * (w - w0))
    np.testing.assert_allclose(np.append(model.coef_, model.intercept_), w, rtol=1e-10)
    np.testing.assert_allclose(model.loss_curve_, losses, rtol=1e-10)


def test_all_calls_of_partial_fit_are_held_near_one_start() -> None:
    """The start is that of the first call, or the last weights that were set; a warm `fit` has a start of its own."""
    model = BigMLPClassifier((5,), fedprox=50.0, optimizer="sgd", learning_rate=0.01, random_state=0).initialize(
        4, [0, 1, 2]
    )
    first = model.get_weights()
    for _ in range(30):
        model.partial_fit(X, CLASSES)
    assert distance(model, first) < 0.1
    far = [array + 1.0 for array in first]
    model.set_weights(far)
    for _ in range(30):
        model.partial_fit(X, CLASSES)
    assert distance(model, far) < 0.1


def test_a_search_stacks_the_strength() -> None:
    """Candidates that differ in `fedprox` come to the scores that each has alone."""
    grid = {"fedprox": [0.0, 0.5, 5.0]}
    model = BigMLPClassifier((5,), max_iter=5, n_iter_no_change=np.inf, random_state=0)
    search = BigGridSearchCV(model, grid, cv=2, scoring="neg_log_loss", refit=False).fit(X, CLASSES)
    for mine, score in zip(grid["fedprox"], search.cv_results_["mean_test_score"], strict=True):
        alone = BigGridSearchCV(model, {"fedprox": [mine]}, cv=2, scoring="neg_log_loss", refit=False).fit(X, CLASSES)
        np.testing.assert_allclose(alone.cv_results_["mean_test_score"], score, rtol=1e-8)
