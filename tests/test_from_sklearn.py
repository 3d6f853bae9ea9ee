"""A conversion keeps what an estimator of scikit-learn's means: its settings and, if it is fitted, its predictions."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

import skbig
from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.components import (
    LBFGS,
    SGD,
    Adam,
    ElasticNet,
    EpsilonInsensitive,
    Huber,
    InverseTime,
    InvScaling,
    LogLoss,
    Plateau,
)
from skbig.from_sklearn import OneVersusRestLogLoss, from_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HAS_LOSSES = "loss" in inspect.signature(MLPRegressor).parameters  # since scikit-learn 1.7

SGD_RATE = {"solver": "sgd", "learning_rate_init": 0.5}
INVSCALING = {**SGD_RATE, "learning_rate": "invscaling"}
ADAPTIVE = {**SGD_RATE, "learning_rate": "adaptive"}
STOPPING = {"early_stopping": True}

# By parameter: settings of scikit-learn's, and what of ours they come to.
MLP_SETTINGS: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "hidden_layer_sizes": [
        ({"hidden_layer_sizes": 7}, {"hidden_layer_sizes": (7,)}),
        ({"hidden_layer_sizes": [7, 5]}, {"hidden_layer_sizes": (7, 5)}),
        ({"hidden_layer_sizes": np.array([7, 5])}, {"hidden_layer_sizes": (7, 5)}),
        ({"hidden_layer_sizes": ()}, {"hidden_layer_sizes": ()}),
    ],
    "activation": [({"activation": name}, {"activation": name}) for name in ("identity", "logistic", "tanh", "relu")],
    "solver": [
        ({"solver": "lbfgs"}, {"optimizer": LBFGS(max_fun=15000), "learning_rate": "auto"}),
        ({"solver": "lbfgs", "batch_size": 20}, {"batch_size": "auto"}),
        ({"solver": "lbfgs", "early_stopping": True}, {"early_stopping": False}),
        ({"solver": "sgd"}, {"optimizer": SGD(momentum=0.9, nesterov=True, rate_in_velocity=True)}),
        ({"solver": "adam"}, {"optimizer": Adam(betas=(0.9, 0.999), eps=1e-8, eps_hat=True)}),
    ],
    "alpha": [({"alpha": 0.25}, {"alpha": 0.25, "penalty": "l2"}), ({"alpha": 0}, {"alpha": 0})],
    "batch_size": [({"batch_size": 20}, {"batch_size": 20}), ({"batch_size": "auto"}, {"batch_size": "auto"})],
    "learning_rate": [
        ({"learning_rate": "adaptive"}, {"schedule": "constant"}),  # adam ignores it
        (SGD_RATE, {"schedule": "constant"}),
        (INVSCALING, {"schedule": InvScaling(power_t=0.5, unit="rows")}),
        (ADAPTIVE, {"schedule": Plateau(factor=0.2, patience=10, min_rate=pytest.approx(0.5 / 5**9))}),
    ],
    "learning_rate_init": [({"learning_rate_init": 0.5}, {"learning_rate": 0.5}), (SGD_RATE, {"learning_rate": 0.5})],
    "power_t": [({**INVSCALING, "power_t": 0.3}, {"schedule": InvScaling(power_t=0.3)})],
    "max_iter": [({"max_iter": 3}, {"max_iter": 3})],
    "shuffle": [({"shuffle": False}, {"shuffle": False})],
    "random_state": [({"random_state": 7}, {"random_state": 7})],
    "tol": [({"tol": 0.5}, {"tol": 0.5}), ({"tol": 0}, {"tol": 0})],
    "verbose": [({"verbose": 2}, {"verbose": 2}), ({"verbose": True}, {"verbose": True})],
    "warm_start": [({"warm_start": True}, {"warm_start": True})],
    "momentum": [({"solver": "sgd", "momentum": 1.0}, {"optimizer": SGD(1.0, nesterov=True, rate_in_velocity=True)})],
    "nesterovs_momentum": [
        ({"solver": "sgd", "nesterovs_momentum": False}, {"optimizer": SGD(0.9, nesterov=False, rate_in_velocity=True)})
    ],
    "early_stopping": [
        (STOPPING, {"early_stopping": True, "scoring": None}),
        ({}, {"early_stopping": False, "scoring": "loss"}),
    ],
    "validation_fraction": [
        ({**STOPPING, "validation_fraction": 0.3}, {"validation_fraction": 0.3}),
        ({"validation_fraction": 0.0}, {"early_stopping": False}),
    ],
    "beta_1": [({"beta_1": 0.5}, {"optimizer": Adam(betas=(0.5, 0.999), eps_hat=True)})],
    "beta_2": [({"beta_2": 0.5}, {"optimizer": Adam(betas=(0.9, 0.5), eps_hat=True)})],
    "epsilon": [({"epsilon": 0.1}, {"optimizer": Adam(eps=0.1, eps_hat=True)})],
    "n_iter_no_change": [
        ({"n_iter_no_change": 3}, {"n_iter_no_change": 3}),
        ({"n_iter_no_change": np.inf}, {"n_iter_no_change": np.inf}),
        ({**ADAPTIVE, "n_iter_no_change": 3}, {"schedule": Plateau(patience=3, min_rate=pytest.approx(0.5 / 5**9))}),
    ],
    "max_fun": [({"solver": "lbfgs", "max_fun": 9}, {"optimizer": LBFGS(max_fun=9)})],
}
LOSSES = [({"loss": name}, {"loss": name}) for name in ("squared_error", "poisson")]
BOTH_MLP, BOTH_SGD = (MLPClassifier, MLPRegressor), (SGDClassifier, SGDRegressor)
MLP_CASES = [(kind, *case) for kind in BOTH_MLP for cases in MLP_SETTINGS.values() for case in cases]
MLP_CASES += [(MLPRegressor, *case) for case in LOSSES] if HAS_LOSSES else []

SGD_SETTINGS: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "penalty": [({"penalty": name}, {"penalty": name}) for name in ("l2", "l1", None)],
    "alpha": [
        ({"alpha": 0.25}, {"alpha": 0.25}),
        (
            {"alpha": 0.0081, "learning_rate": "optimal"},
            {
                "learning_rate": pytest.approx(1 / 0.3),
                "schedule": InverseTime(beta=pytest.approx(0.027), unit="step"),
            },
        ),
    ],
    "l1_ratio": [({"penalty": "elasticnet", "l1_ratio": 0.5}, {"penalty": ElasticNet(l1_ratio=0.5)})],
    "fit_intercept": [({"fit_intercept": True}, {"hidden_layer_sizes": (), "activation": "identity"})],
    "max_iter": [({"max_iter": 3}, {"max_iter": 3})],
    "tol": [
        ({"tol": 0.5}, {"tol": 0.5, "n_iter_no_change": 4}),
        ({"tol": None, "max_iter": 70}, {"tol": 0.0, "n_iter_no_change": 70}),
    ],
    "shuffle": [({"shuffle": False}, {"shuffle": False})],
    "verbose": [({"verbose": 2}, {"verbose": 2})],
    "random_state": [({"random_state": 7}, {"random_state": 7})],
    "learning_rate": [
        ({"learning_rate": "constant", "eta0": 0.5}, {"learning_rate": 0.5, "schedule": "constant"}),
        (
            {"learning_rate": "adaptive", "eta0": 0.5},
            {"learning_rate": 0.5, "schedule": Plateau(patience=4, min_rate=pytest.approx(0.5 / 5**9))},
        ),
    ],
    "eta0": [({"learning_rate": "invscaling", "eta0": 0.5}, {"learning_rate": 0.5})],
    "power_t": [
        ({"learning_rate": "invscaling", "eta0": 1, "power_t": 0.3}, {"schedule": InvScaling(0.3, unit="step")})
    ],
    "early_stopping": [(STOPPING, {"early_stopping": True, "scoring": None})],
    "validation_fraction": [({**STOPPING, "validation_fraction": 0.3}, {"validation_fraction": 0.3})],
    "n_iter_no_change": [
        ({"n_iter_no_change": 3}, {"n_iter_no_change": 2}),
        ({"n_iter_no_change": 1}, {"n_iter_no_change": 0}),
    ],
    "warm_start": [({"warm_start": True}, {"warm_start": True})],
    "average": [({"average": False}, {"batch_size": 1, "optimizer": SGD(momentum=0.0)})],
}
CLASS_SETTINGS = {
    "loss": [({"loss": name}, {"loss": name}) for name in ("hinge", "squared_hinge", "log_loss", "modified_huber")],
    "class_weight": [({"class_weight": weight}, {"class_weight": weight}) for weight in ("balanced", {0: 2.0}, None)],
    "epsilon": [({"epsilon": 0.3}, {"loss": "hinge"})],  # of no meaning to the losses of classes
    "n_jobs": [({"n_jobs": 2}, {"loss": "hinge"})],  # it changes no result
}
VALUE_SETTINGS = {
    "loss": [({"loss": "squared_error"}, {"loss": "squared_error"})],
    "epsilon": [
        ({"loss": "huber", "epsilon": 0.3}, {"loss": Huber(delta=0.3)}),
        ({"loss": "epsilon_insensitive", "epsilon": 0.3}, {"loss": EpsilonInsensitive(epsilon=0.3)}),
    ],
}
SGD_CASES = [(kind, *case) for kind in BOTH_SGD for cases in SGD_SETTINGS.values() for case in cases]
SGD_CASES += [(SGDClassifier, *case) for cases in CLASS_SETTINGS.values() for case in cases]
SGD_CASES += [(SGDRegressor, *case) for cases in VALUE_SETTINGS.values() for case in cases]


@pytest.mark.parametrize(("kind", "settings", "expected"), [*MLP_CASES, *SGD_CASES])
def test_a_setting_becomes_its_equal(kind: Any, settings: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each hyperparameter becomes what means the same here."""
    ours = from_sklearn(kind(**settings)).get_params(deep=False)
    assert {name: ours[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (MLPClassifier, MLP_SETTINGS),
        (MLPRegressor, {**MLP_SETTINGS, **({"loss": LOSSES} if HAS_LOSSES else {})}),
        (SGDClassifier, {**SGD_SETTINGS, **CLASS_SETTINGS}),
        (SGDRegressor, {**SGD_SETTINGS, **VALUE_SETTINGS}),
    ],
)
def test_no_parameter_is_forgotten(kind: Any, settings: dict[str, Any]) -> None:
    """Every parameter that scikit-learn's estimator has is in the tables above."""
    assert {*kind().get_params()} == {name for name, cases in settings.items() if cases}


@pytest.mark.parametrize(("kind", "settings", "expected"), [*MLP_CASES, *SGD_CASES])
def test_a_converted_estimator_is_valid(kind: Any, settings: dict[str, Any], expected: dict[str, Any]) -> None:
    """What comes out of a conversion can be cloned and passes the checks of fit."""
    del expected
    ours = clone(from_sklearn(kind(**settings)))
    ours.set_params(device="cpu", max_iter=1, verbose=0)
    ours.fit([[0.0], [1.0], [2.0], [3.0]] * 8, [0, 1, 0, 1] * 8)


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        *[(kind, {"average": 10}, "average") for kind in BOTH_SGD],
        *[(kind, {"fit_intercept": False}, "fit_intercept") for kind in BOTH_SGD],
        *[(kind, {"loss": "squared_epsilon_insensitive"}, "loss") for kind in BOTH_SGD],
        *[(kind, {"learning_rate": "pa1"}, "learning_rate") for kind in BOTH_SGD],
        *[(SGDClassifier, {"loss": loss}, "loss") for loss in ("perceptron", "squared_error", "huber")],
        (SGDRegressor, {"loss": "huber", "epsilon": 0.0}, "epsilon"),
        (SGDRegressor, {"learning_rate": "invscaling", "power_t": -1.0}, "power_t"),
        (SGDClassifier, {"learning_rate": "optimal", "alpha": 0.0}, "alpha"),
        (MLPClassifier, {"solver": "newton"}, "solver"),
        (MLPRegressor, {"solver": "sgd", "learning_rate": "optimal"}, "learning_rate"),
    ],
)
def test_what_has_no_equal_is_refused_by_name(kind: Any, settings: dict[str, Any], name: str) -> None:
    """A setting that cannot be converted is an error that names parameter and value."""
    told = rf"The '{name}' parameter of {kind.__name__} must be .*, to be converted\. Got {settings[name]!r} instead\."
    with pytest.raises(ValueError, match=told):
        from_sklearn(kind(**settings))


@pytest.mark.parametrize("thing", [None, "MLPClassifier", MLPClassifier, BigMLPClassifier()], ids=repr)
def test_nothing_but_the_four_is_converted(thing: Any) -> None:
    """Anything but an instance of the four estimators is an error that says what is taken."""
    with pytest.raises(TypeError, match="from_sklearn takes an MLPClassifier, MLPRegressor, SGDClassifier"):
        from_sklearn(thing)


def test_the_function_is_public() -> None:
    """The package offers the conversion."""
    assert skbig.from_sklearn is from_sklearn


def data(task: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(3)
    X = random.normal(size=(60, 4))
    signal = X @ random.normal(size=(4, 3))
    y = {
        "binary": (signal[:, 0] > 0).astype(int),
        "strings": np.array(["low", "middle", "top"])[signal.argmax(axis=1)],
        "multilabel": (signal > 0).astype(int),
        "regression": signal[:, 0],
        "multi-output": signal,
        "counts": np.floor(np.exp(signal[:, 0].clip(max=2))),
    }
    return X, y[task]


SMALL_STEPS = {"learning_rate": "constant", "eta0": 0.01, "max_iter": 20}
FITTED = [
    *[(MLPClassifier(max_iter=5, random_state=0), task) for task in ("binary", "strings", "multilabel")],
    (MLPClassifier((5, 4), "tanh", solver="lbfgs", max_iter=5, random_state=0), "strings"),
    (MLPClassifier(early_stopping=True, max_iter=5, random_state=0), "binary"),
    *[
        (MLPRegressor(hidden_layer_sizes=(), max_iter=5, random_state=0), task)
        for task in ("regression", "multi-output")
    ],
    *([(MLPRegressor(loss="poisson", max_iter=5, random_state=0), "counts")] if HAS_LOSSES else []),
    *[
        (SGDClassifier(loss=loss, random_state=0, **SMALL_STEPS), task)
        for loss in ("hinge", "squared_hinge", "log_loss", "modified_huber")
        for task in ("binary", "strings")
    ],
    *[(SGDRegressor(loss=loss, random_state=0), "regression") for loss in ("squared_error", "huber")],
]
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


@pytest.mark.crossed
@pytest.mark.parametrize("kind_of_rows", ["float64", "float32", "sparse"])
@pytest.mark.parametrize(("estimator", "task"), FITTED, ids=repr)
def test_a_fitted_estimator_predicts_the_same(estimator: Any, task: str, kind_of_rows: str) -> None:
    """All predictions of a fitted estimator stay, to 1e-6, and so does its score."""
    X, y = data(task)
    X = {"float64": X, "float32": X.astype(np.float32), "sparse": sparse.csr_matrix(X)}[kind_of_rows]
    theirs = clone(estimator).fit(X, y)
    ours = from_sklearn(theirs).set_params(device="cpu")
    shared = [name for name in METHODS if hasattr(theirs, name)]
    assert "predict" in shared and all(hasattr(ours, name) for name in shared)
    for name in shared:
        with np.errstate(divide="ignore"):  # a modified Huber loss gives hard zeros, and their logarithms
            expected, found = getattr(theirs, name)(X), getattr(ours, name)(X)
        if name == "predict_log_proba":
            expected, found = np.exp(expected), np.exp(found)
        assert found.shape == expected.shape
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(found, expected)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-6)


def state(estimator: Any) -> bytes:
    return pickle.dumps(copy.deepcopy(estimator))


@pytest.mark.parametrize(("estimator", "task"), [FITTED[1], FITTED[5], FITTED[-3], FITTED[-1]], ids=repr)
def test_the_original_is_not_touched(estimator: Any, task: str) -> None:
    """Neither the conversion nor training its result changes the estimator that was converted."""
    X, y = data(task)
    theirs = clone(estimator).set_params(random_state=np.random.RandomState(0)).fit(X, y)
    before = state(theirs)
    ours = from_sklearn(theirs).set_params(device="cpu")
    ours.partial_fit(X, y)
    ours.fit(X, y)
    assert state(theirs) == before
    assert not any(np.shares_memory(mine, its) for mine in ours.coefs_ for its in getattr(theirs, "coefs_", []))


@pytest.mark.parametrize(("estimator", "task"), FITTED, ids=repr)
def test_fitted_attributes_are_there(estimator: Any, task: str) -> None:
    """A converted estimator has the fitted attributes that one of ours has after fit, and scikit-learn's values."""
    X, y = data(task)
    theirs = clone(estimator).fit(X, y)
    ours = from_sklearn(theirs)
    fitted = clone(ours).set_params(device="cpu", max_iter=1).fit(X, y)
    assert {name for name in vars(fitted) if name.endswith("_")} <= {name for name in vars(ours) if name.endswith("_")}
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.n_features_in_ == 4
    assert ours.loss_curve_ == list(getattr(theirs, "loss_curve_", []))
    assert ours.validation_scores_ is ours.validation_loss_curve_ is ours.validation_curves_ is None
    assert ours.learning_rates_ == []  # of which scikit-learn notes none
    for name in {"classes_", "out_activation_", "n_outputs_", "n_layers_", "t_"} & vars(theirs).keys():
        if name != "t_" or hasattr(theirs, "coefs_"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_feature_names_stay() -> None:
    """An estimator that was fitted on a frame knows its columns, and asks for them."""
    pandas = pytest.importorskip("pandas")
    X, y = data("binary")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    ours = from_sklearn(SGDClassifier(random_state=0).fit(frame, y)).set_params(device="cpu")
    assert list(ours.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame[list("dcba")])


@pytest.mark.parametrize(("estimator", "task"), FITTED, ids=repr)
def test_training_goes_on_from_the_weights(estimator: Any, task: str) -> None:
    """A vanishing step of partial_fit or of a warm start leaves the adopted weights where they were."""
    X, y = data(task)
    ours = from_sklearn(clone(estimator).fit(X, y))
    rate = {"learning_rate": 1e-12, "schedule": "constant", "early_stopping": False, "optimizer": "sgd", "max_iter": 1}
    before = [coef.copy() for coef in ours.coefs_]
    ours.set_params(device="cpu", warm_start=True, **rate).partial_fit(X, y).fit(X, y)
    for coef, adopted in zip(ours.coefs_, before, strict=True):
        np.testing.assert_allclose(coef, adopted, atol=1e-8)


@pytest.mark.parametrize(("estimator", "task"), FITTED, ids=repr)
def test_a_converted_estimator_is_pickled_without_torch(estimator: Any, task: str) -> None:
    """The conversion holds NumPy and plain Python, and loads with the same predictions."""
    X, y = data(task)
    ours = from_sklearn(clone(estimator).fit(X, y)).set_params(device="cpu")
    stored = pickle.dumps(ours)
    assert b"torch" not in stored
    np.testing.assert_array_equal(pickle.loads(stored).predict(X), ours.predict(X))


@pytest.mark.parametrize(
    ("loss", "rate"), [("hinge", "constant"), ("log_loss", "optimal"), ("squared_error", "invscaling")]
)
@pytest.mark.parametrize("penalty", ["l2", None])
def test_sgd_takes_the_same_steps(loss: str, rate: str, penalty: str | None) -> None:
    """From the same weights, an epoch over the same rows in the same order ends at the same weights."""
    X, y = data("regression" if loss == "squared_error" else "binary")
    kind = SGDRegressor if loss == "squared_error" else SGDClassifier
    parameters = {"loss": loss, "learning_rate": rate, "penalty": penalty, "eta0": 0.05, "alpha": 0.01}
    theirs = kind(**parameters, shuffle=False, max_iter=1, tol=None).fit(X, y)
    ours = from_sklearn(theirs).set_params(device="cpu", warm_start=True)
    # Both begin a second fit with the first one's weights, and count rows from one again.
    start = [theirs.coef_.copy(), theirs.intercept_.copy()]
    ours._progress["counts"] = [0, 0, 0]
    theirs.fit(X, y, coef_init=start[0], intercept_init=start[1])
    ours.fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0].ravel(), theirs.coef_.ravel(), rtol=1e-9)
    np.testing.assert_allclose(ours.intercepts_[0], theirs.intercept_, rtol=1e-9)


def test_one_versus_rest_is_a_log_loss_for_each_class() -> None:
    """Of three classes it is the sum of three log losses; of two it is the log loss."""
    random = np.random.RandomState(0)
    raw = torch.from_numpy(random.normal(size=(8, 3)))
    classes = torch.from_numpy(random.randint(3, size=8))
    labels = torch.nn.functional.one_hot(classes, 3).double()
    torch.testing.assert_close(OneVersusRestLogLoss().per_row(raw, classes), LogLoss().per_row(raw, labels))
    torch.testing.assert_close(OneVersusRestLogLoss().per_row(raw, labels), LogLoss().per_row(raw, labels))


def test_a_converted_multiclass_log_loss_trains_on_as_it_was() -> None:
    """Fitted again, each class is still set against the rest, on one member or several."""
    X, y = data("strings")
    ours = from_sklearn(SGDClassifier(loss="log_loss", random_state=0).fit(X, y))
    assert ours.loss == OneVersusRestLogLoss()
    ours.set_params(device="cpu", n_members=2, batch_size=20, max_iter=50).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X).sum(axis=1), 1.0)
    assert ours.score(X, y) > 0.6


def test_converted_regressors_are_regressors() -> None:
    """Each estimator comes to one of its own kind."""
    kinds = [type(from_sklearn(kind())) for kind in (MLPClassifier, SGDClassifier, MLPRegressor, SGDRegressor)]
    assert kinds == [BigMLPClassifier] * 2 + [BigMLPRegressor] * 2
