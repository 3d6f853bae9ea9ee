"""Attributions of a network with one hidden layer are exact, whatever its activation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigLinearClassifier, BigMLPRegressor
from skbig.explain import expected_gradients, gradients, integrated_gradients
from skbig.explain import one_layer as module_tested
from skbig.explain.differentiable import differentiable
from skbig.explain.path_integrals import gradients_at, mean_integrals
from skbig.networks.activations import ACTIVATIONS
from tests.fitting import ANY_TASK, MULTICLASS, VALUES, X, fitted, small, trained

ROWS, BASE = X[:7], X[40]


def model_of(task: str, **parameters: Any) -> Any:
    return trained(task, **{"hidden_layer_sizes": (12,), "max_iter": 20} | parameters)


def explained_output(model: Any, rows: np.ndarray) -> np.ndarray:
    output = model.decision_function(rows) if hasattr(model, "classes_") else model.predict(rows)
    return output.reshape(len(rows), -1)


def integral_between_corners(model: Any, row: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return integrated gradients (F, K) by Gauss-Legendre between the points at which a unit's sum is zero."""
    begin, end = (rows @ model.coefs_[0] + model.intercepts_[0] for rows in (base, row))
    corners = begin / (begin - end)
    ends = np.unique([0.0, *corners[(corners > 0) & (corners < 1)], 1.0])
    nodes, weights = np.polynomial.legendre.leggauss(20)
    lengths = np.diff(ends)[:, None] / 2
    points = (ends[:-1, None] + lengths * (1 + nodes)).ravel()
    slopes = gradients(model, base + points[:, None] * (row - base)).values.reshape(len(points), len(row), -1)
    return np.einsum("t,tfk,f->fk", (lengths * weights).ravel(), slopes, row - base)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_integrals_are_exact_for_every_activation(activation: str) -> None:
    """Attributions are the integral to 1e-10, and add up to 1e-12, with corners on the way and without."""
    model = model_of("multiclass", activation=activation)
    found = integrated_gradients(model, ROWS, baseline=BASE)
    wanted = np.stack([integral_between_corners(model, row, BASE) for row in ROWS])
    np.testing.assert_allclose(found.values, wanted, atol=1e-10)
    divided = explained_output(model, ROWS) - explained_output(model, BASE[None])
    np.testing.assert_allclose(found.values.sum(1), divided, atol=1e-12)


@ANY_TASK
@pytest.mark.parametrize(
    "parameters", [{}, {"normalization": "batch", "activation": "silu"}], ids=["relu", "batch norm"]
)
def test_expected_gradients_are_the_mean_of_exact_integrals(task: str, parameters: dict[str, Any]) -> None:
    """Over a background they are the mean of integrated gradients, and add up to 1e-12."""
    model, background = model_of(task, **parameters), X[30:]
    found = expected_gradients(model, ROWS, background)
    of_each = [integrated_gradients(model, ROWS, baseline=base).values for base in background]
    np.testing.assert_allclose(found.values, np.mean(of_each, axis=0), atol=1e-12)
    wanted = explained_output(model, ROWS) - explained_output(model, background).mean(0)
    np.testing.assert_allclose(found.values.sum(1).reshape(wanted.shape), wanted, atol=1e-12)


EXACT = {
    "a mean of members": lambda: model_of("regression", n_members=3, activation="tanh"),
    "a target that was scaled": lambda: fitted(small("regression", standardize_target=True), X, 40 + 7 * VALUES),
    "a temperature": lambda: _tempered(model_of("multiclass")),
    "no hidden layer": lambda: fitted(BigLinearClassifier(fit_intercept=False, max_iter=3, n_members=1), X, MULTICLASS),
    "hinge, of members": lambda: model_of("multiclass", loss="hinge", n_members=2),
    "steps before it": lambda: fitted(make_pipeline(StandardScaler(), PCA(3), small("regression")), X, VALUES),
    "float32": lambda: fitted(clone(small("regression", activation="elu")), X.astype(np.float32), VALUES),
}


def _tempered(model: Any) -> Any:
    model.temperature_ = 1.7
    return model


@pytest.mark.parametrize("name", EXACT)
def test_the_closed_form_is_that_of_the_module(name: str) -> None:
    """Gradients and integrals are those that torch finds with many points."""
    model = EXACT[name]()
    function, inputs = differentiable(model, ROWS, "auto", None)
    closed = function.one_layer
    assert closed is not None
    exact = 1e-5 if name == "float32" else 1e-9
    np.testing.assert_allclose(closed.gradients(inputs), gradients_at(function.function, inputs)[0], atol=exact)
    starts = inputs.flip(0).unsqueeze(1)
    found, base = closed.mean_integrals(starts, inputs)
    wanted, wanted_base, _ = mean_integrals(function.function, starts, inputs.unsqueeze(1), 50, 1e-6)
    np.testing.assert_allclose(base, wanted_base, rtol=max(exact, 1e-9), atol=exact)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()) + exact)


def test_other_models_have_no_closed_form() -> None:
    """Behind a bent link, a second hidden layer, layer norm or pooled members integrals are computed from points."""
    for model, method in [
        (model_of("binary"), "predict_proba"),
        (model_of("regression", hidden_layer_sizes=(4, 4)), "auto"),
        (model_of("regression", normalization="layer"), "auto"),
        (model_of("multiclass", n_members=2), "auto"),
        (fitted(small("regression", loss="poisson"), X, np.exp(VALUES)), "auto"),
        (fitted(BigMLPRegressor((4,), monotonic_cst=[1, 0, 0, 0], max_iter=2, random_state=0), X, VALUES), "auto"),
    ]:
        assert differentiable(model, ROWS, method, None)[0].one_layer is None


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_short_ways_are_exact(activation: str) -> None:
    """Where a row is next to its baseline, or is the baseline, nothing is lost to rounding."""
    model = model_of("regression", activation=activation)
    assert (integrated_gradients(model, ROWS[:1], baseline=ROWS[0]).values == 0).all()
    for size in (1e-4, 1e-6, 1e-9, 1e-13):
        way = size * np.array([1.0, -2.0, 0.5, 3.0])
        found = integrated_gradients(model, ROWS + way, baseline=ROWS).values
        slopes = gradients(model, ROWS + way / 2).values
        np.testing.assert_allclose(found, slopes * ((ROWS + way) - ROWS), rtol=1e-5, atol=1e-7 * size)


def test_large_backgrounds_are_explained_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows are explained at once changes nothing."""
    model = model_of("multiclass")
    whole = expected_gradients(model, X[:9], X[20:])
    own = integrated_gradients(model, X[:9], baseline=X[10:19])
    monkeypatch.setattr(module_tested, "NUMBERS", 1000)
    np.testing.assert_allclose(expected_gradients(model, X[:9], X[20:]).values, whole.values, atol=1e-14)
    np.testing.assert_allclose(integrated_gradients(model, X[:9], baseline=X[10:19]).values, own.values, atol=1e-14)
