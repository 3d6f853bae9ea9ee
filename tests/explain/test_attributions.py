"""Attributions are derivatives, add up, and find what matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression

from skbig import BigGridSearchCV, BigLinearRegressor, BigMLPClassifier, BigMLPRegressor, BigModuleRegressor
from skbig.components import Poisson
from skbig.explain import Explanation, expected_gradients, gradients, integrated_gradients
from tests.fitting import ANY_TASK, BINARY, MULTICLASS, VALUES, WORDS, X, fitted, small, state_of, trained

KINDS = [{"activation": "relu"}, {"n_members": 2, "normalization": "layer", "activation": "gelu"}]
ANY_KIND = pytest.mark.parametrize("parameters", KINDS, ids=["relu", "members"])
ROWS = X[:7]


class Hides(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.linear(X) + X.detach()[:, :1].square()


class Flat(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.linear(X.flatten(1)).tanh()


def explained_output(estimator: Any, X: Any) -> np.ndarray:
    """Return what is explained of an estimator by default."""
    return estimator.decision_function(X) if hasattr(estimator, "classes_") else estimator.predict(X)


@ANY_TASK
@ANY_KIND
def test_gradients_are_those_of_finite_differences(task: str, parameters: dict[str, Any]) -> None:
    """A gradient is how fast the prediction changes with a column."""
    model, step = trained(task, hidden_layer_sizes=(6,), **parameters), 1e-6
    found = gradients(model, ROWS)
    assert found.base_values is None
    for column in range(X.shape[1]):
        moved = np.zeros(X.shape[1])
        moved[column] = step
        change = explained_output(model, ROWS + moved) - explained_output(model, ROWS - moved)
        np.testing.assert_allclose(found.values[:, column], change / (2 * step), rtol=1e-6, atol=1e-7)


@ANY_TASK
@ANY_KIND
@pytest.mark.parametrize("method", ["integrated", "expected"])
def test_attributions_add_up(task: str, parameters: dict[str, Any], method: str) -> None:
    """Attributions and base values are the prediction, to a thousandth of what is divided."""
    model = trained(task, hidden_layer_sizes=(6,), **parameters)
    if method == "integrated":
        found, base = integrated_gradients(model, ROWS, baseline=X[50]), explained_output(model, X[50:51])
    else:
        found = expected_gradients(model, ROWS, X[40:])
        base = explained_output(model, X[40:]).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(found.base_values, np.broadcast_to(base, found.base_values.shape), rtol=1e-9, atol=1e-12)
    divided = explained_output(model, ROWS) - base
    allowed = 1.01e-3 * np.abs(divided).clip(min=0.3)  # some move by about 3
    assert (np.abs(found.values.sum(1) - divided) <= allowed).all()


def test_the_gradient_of_a_linear_model_is_its_weights() -> None:
    """Of a linear model every attribution is weight times difference, exactly."""
    model = BigLinearRegressor(optimizer="lbfgs").fit(X, VALUES)
    np.testing.assert_allclose(gradients(model, ROWS).values, np.tile(model.coef_, (7, 1)))
    found = integrated_gradients(model, ROWS, baseline=X[9])
    np.testing.assert_allclose(found.values, model.coef_ * (ROWS - X[9]))
    found = expected_gradients(model, ROWS, X)
    np.testing.assert_allclose(found.values, model.coef_ * (ROWS - X.mean(0)))


def test_points_are_added_until_attributions_add_up() -> None:
    """Few points of a network with many corners do not suffice; where `tol` asks for more, they are added."""
    model = BigMLPRegressor((64, 64), optimizer="lbfgs", max_iter=60, random_state=0).fit(X, VALUES)
    rows = 3 * X[:20]

    def error(**options: Any) -> float:
        found = integrated_gradients(model, rows, n_points=4, **options)
        divided = model.predict(rows) - found.base_values
        return float((np.abs(found.values.sum(1) - divided) / np.abs(divided)).max())

    assert error(tol=np.inf) > 1e-2
    assert error() < 1.01e-3 < error(tol=1e-2) < 1.01e-2
    assert error(tol=1e-5) < 1.01e-5


def test_what_never_adds_up_is_told() -> None:
    """A network that hides part of its gradient is not explained silently."""

    model = fitted(BigModuleRegressor(Hides, max_iter=2, random_state=0), X, VALUES)
    with pytest.warns(ConvergenceWarning, match="do not add up"):
        integrated_gradients(model, ROWS)


def test_a_target_is_one_of_the_outputs() -> None:
    """`target` picks a class by its label, or an output by its number; of two classes each is the other's negative."""
    model = fitted(small("multiclass", activation="tanh"), X, WORDS)
    every = integrated_gradients(model, ROWS)
    assert every.output_names == ["low", "mid", "top"]
    one = integrated_gradients(model, ROWS, target="mid")
    assert one.output_names == ["mid"]
    np.testing.assert_allclose(one.values, every.values[..., 1])
    assert one.base_values.shape == (7,)
    two = trained("binary")
    second, first = integrated_gradients(two, ROWS), integrated_gradients(two, ROWS, target=0)
    assert second.output_names == ["1"] and first.output_names == ["0"]
    np.testing.assert_allclose(first.values, -second.values)
    both = integrated_gradients(two, ROWS, response_method="predict_proba")
    assert both.output_names == ["0", "1"]
    np.testing.assert_allclose(both.values.sum(-1), 0, atol=1e-12)
    np.testing.assert_allclose(both.values.sum(1) + both.base_values, two.predict_proba(ROWS), atol=1e-3)
    many = trained("multi-output")
    np.testing.assert_allclose(gradients(many, ROWS, target=1).values, gradients(many, ROWS).values[..., 1])


def test_regressors_are_explained_in_the_unit_of_y() -> None:
    """A link and a scaled target are part of what is explained."""
    model = fitted(small("regression", loss=Poisson(), activation="tanh"), X, np.exp(VALUES))
    found = integrated_gradients(model, ROWS)
    np.testing.assert_allclose(found.values.sum(1) + found.base_values, model.predict(ROWS), rtol=1e-3)
    model = fitted(small("regression", standardize_target=True, activation="tanh"), X, 1000 + 50 * VALUES)
    found = integrated_gradients(model, ROWS)
    np.testing.assert_allclose(found.values.sum(1) + found.base_values, model.predict(ROWS), rtol=1e-4)


def test_rows_of_many_kinds_have_the_same_attributions() -> None:
    """Lists, frames, sparse rows, tensors and a search are explained as arrays and estimators are."""
    model = trained("multiclass", activation="tanh")
    wanted = integrated_gradients(model, ROWS)
    tensor = torch.from_numpy(ROWS)
    for rows in (ROWS.tolist(), sparse.csr_matrix(ROWS), tensor, np.asfortranarray(ROWS)):
        found = integrated_gradients(model, rows)
        np.testing.assert_allclose(found.values, wanted.values)
        np.testing.assert_allclose(found.data, ROWS)
    assert wanted.feature_names == ["x0", "x1", "x2", "x3"]
    frame = pd.DataFrame(X, columns=list("abcd"))
    named = fitted(clone(model), frame, MULTICLASS)
    found = integrated_gradients(named, frame[:7], baseline=frame.mean())
    assert found.feature_names == ["a", "b", "c", "d"]
    np.testing.assert_allclose(found.values, integrated_gradients(model, ROWS, baseline=X.mean(0)).values)
    search = BigGridSearchCV(small("binary"), {"alpha": [0.1, 0.2]}, cv=2)
    found = integrated_gradients(fitted(search, X, BINARY), ROWS)
    np.testing.assert_allclose(found.values, integrated_gradients(search.best_estimator_, ROWS).values)


def test_rows_may_be_images() -> None:
    """Rows of a module that have several axes keep them."""

    images = X.reshape(-1, 2, 2)
    model = fitted(BigModuleRegressor(Flat, max_iter=2, random_state=0), images, VALUES)
    found = integrated_gradients(model, images[:5], baseline=images[7])
    assert found.values.shape == found.data.shape == (5, 2, 2)
    np.testing.assert_allclose(found.values.sum((1, 2)) + found.base_values, model.predict(images[:5]), atol=1e-3)


def test_what_is_sure_has_no_attributions() -> None:
    """The probability of the only class is 1 whatever the columns."""
    model = fitted(small("binary"), X, np.zeros(len(X)))
    found = integrated_gradients(model, ROWS, response_method="predict_proba")
    assert (found.values == 0).all() and (found.base_values == 1).all()


def test_a_large_background_is_drawn_from() -> None:
    """The rows that are drawn depend on `random_state` alone."""
    model = trained("regression", activation="tanh")
    first, again = (expected_gradients(model, ROWS, X, n_background=9, random_state=3) for _ in range(2))
    other = expected_gradients(model, ROWS, X, n_background=9, random_state=4)
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.allclose(first.values, other.values)


def test_explaining_changes_nothing() -> None:
    """Neither the estimator nor the rows nor torch's state are changed, also within torch's own modes."""
    model, rows = trained("binary", activation="tanh"), ROWS.copy()
    before, seed = state_of(model), torch.random.get_rng_state()
    with torch.inference_mode():
        inside = integrated_gradients(model, rows).values
    with torch.no_grad():
        np.testing.assert_array_equal(integrated_gradients(model, rows).values, inside)
    assert state_of(model) == before
    np.testing.assert_array_equal(rows, ROWS)
    assert torch.equal(torch.random.get_rng_state(), seed)


def test_errors_say_what_to_pass() -> None:
    """Bad parameters are named, with what they must be."""
    model = trained("multiclass")
    for wrong, message in [
        ({"response_method": "predict"}, "'response_method' parameter must be one of"),
        ({"target": 7}, "'target' parameter must be a class, one of"),
        ({"baseline": X[:3]}, "'baseline' parameter must be a row of 4 features"),
        ({"baseline": X[0, :3]}, "'baseline' parameter"),
        ({"n_points": 0}, "'n_points' parameter of integrated_gradients"),
        ({"tol": 0}, "'tol' parameter of integrated_gradients"),
    ]:
        with pytest.raises(ValueError, match=message):
            integrated_gradients(model, ROWS, **wrong)
    for rows, message in [(X[:, :3], "features"), (X[0], "Expected 2D array"), (np.full((2, 4), np.nan), "NaN")]:
        with pytest.raises(ValueError, match=message):
            integrated_gradients(model, rows)
    for options in ({}, {"background": X[:0]}):
        with pytest.raises(ValueError, match="0 sample"):
            (expected_gradients if options else integrated_gradients)(model, ROWS if options else X[:0], **options)
    with pytest.raises(TypeError, match="estimator of this package"):
        gradients(LogisticRegression().fit(X, BINARY), ROWS)
    with pytest.raises(NotFittedError):
        gradients(BigMLPClassifier(), ROWS)
    hinge = fitted(small("binary", loss="hinge"), X, BINARY)
    with pytest.raises(ValueError, match="decision_function"):
        gradients(hinge, ROWS, response_method="predict_proba")


def test_planted_features_are_found() -> None:
    """Of five columns in thirty that matter, at least .95 are among the five with the largest attributions."""
    found = 0
    for seed in range(2):
        random = np.random.default_rng(seed)
        rows = random.normal(size=(500, 30))
        planted = random.choice(30, 5, replace=False)
        a, b, c, d, e = rows[:, planted].T
        y = np.tanh(2 * a) + b + np.abs(c) + d * (a > 0) + 0.8 * np.sin(2 * e)
        model = BigMLPRegressor(
            (32,), early_stopping=True, learning_rate=0.01, alpha=0.1, standardize_target=True, random_state=seed
        )
        attributions = expected_gradients(model.fit(rows, y), rows[:50], rows, n_background=10, random_state=0)
        found += len({*planted} & {*np.argsort(attributions.importances)[-5:]})
    assert found >= 0.95 * 10


def test_importances_leave_out_what_is_not_there() -> None:
    """NaN counts for nothing."""
    values = np.array([[1.0, np.nan, np.nan], [-3.0, 2.0, np.nan]])
    np.testing.assert_array_equal(Explanation(values, None, values, ["a", "b", "c"]).importances, [2, 2, np.nan])
