"""Explanations are captum's, and SHAP takes estimators and explanations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigLinearRegressor
from skbig.explain import expected_gradients, gradients, integrated_gradients
from tests.fitting import ANY_TASK, VALUES, X, fitted, small, target, trained

pytestmark = pytest.mark.filterwarnings("default")

captum = pytest.importorskip("captum.attr")
shap = pytest.importorskip("shap")

KINDS: list[dict[str, Any]] = [
    {"hidden_layer_sizes": (8, 8)},
    {"activation": "gelu", "n_members": 3, "normalization": "batch"},
]
ANY_KIND = pytest.mark.parametrize("parameters", KINDS, ids=["relu", "members"])
ROWS, BASE = X[:6], X[40:41]


def explained(task: str, parameters: dict[str, Any]) -> tuple[Any, torch.nn.Module, int]:
    """Return a model, the module whose outputs are explained by default, and how many it has."""
    model = trained(task, **{"hidden_layer_sizes": (8,), "max_iter": 10} | parameters)
    module = model.to_torch()
    module = module.raw if hasattr(model, "classes_") else module
    return model, module, module(torch.from_numpy(ROWS)).shape[1]


def values_of(explanation: Any) -> np.ndarray:
    return explanation.values.reshape(*ROWS.shape, -1)


@ANY_TASK
@ANY_KIND
def test_integrated_gradients_are_those_of_captum(task: str, parameters: dict[str, Any]) -> None:
    """With as many points of the same rule attributions are the same to 1e-5, for every output."""
    model, module, n_outputs = explained(task, parameters)
    ours = values_of(integrated_gradients(model, ROWS, baseline=BASE, n_points=50, tol=np.inf))
    for k in range(n_outputs):
        theirs = captum.IntegratedGradients(module).attribute(
            torch.from_numpy(ROWS), torch.from_numpy(BASE), target=k, n_steps=50, method="gausslegendre"
        )
        np.testing.assert_allclose(ours[..., k], theirs.numpy(), atol=1e-5)


@ANY_TASK
@ANY_KIND
def test_gradients_are_those_of_captum(task: str, parameters: dict[str, Any]) -> None:
    """A gradient is captum's saliency with its sign."""
    model, module, n_outputs = explained(task, parameters)
    for k in range(n_outputs):
        theirs = captum.Saliency(module).attribute(torch.from_numpy(ROWS).requires_grad_(), target=k, abs=False)
        np.testing.assert_allclose(values_of(gradients(model, ROWS))[..., k], theirs.numpy(), atol=1e-5)


def test_points_that_are_added_lead_where_captum_gets_with_many() -> None:
    """What is added up to a tight tolerance is what very many points of captum's come to."""
    model, module, _ = explained("regression", {"hidden_layer_sizes": (16, 16)})
    ours = integrated_gradients(model, ROWS, baseline=BASE, tol=1e-6).values
    theirs = captum.IntegratedGradients(module).attribute(
        torch.from_numpy(ROWS),
        torch.from_numpy(BASE),
        n_steps=20_000,
        method="riemann_middle",
        internal_batch_size=40_000,
    )
    np.testing.assert_allclose(ours, theirs.numpy(), atol=5e-5)  # captum's own error at a corner


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_the_closed_form_of_one_layer_is_where_captum_gets_with_many(activation: str) -> None:
    """A network with one hidden layer needs no points; with very many captum finds the same to 1e-5."""
    model, module, _ = explained("regression", {"activation": activation})
    ours = integrated_gradients(model, ROWS[:2], baseline=BASE).values
    theirs = captum.IntegratedGradients(module).attribute(
        torch.from_numpy(ROWS[:2]), torch.from_numpy(BASE), n_steps=60_000, method="riemann_middle"
    )
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_expected_gradients_are_the_mean_over_captums_baselines() -> None:
    """Averaging captum's integrated gradients over the background gives the same."""
    model, module, _ = explained("regression", {"activation": "tanh"})
    ours = expected_gradients(model, ROWS, X[30:], n_points=50, tol=np.inf).values
    of_rows = [
        captum.IntegratedGradients(module).attribute(
            torch.from_numpy(ROWS), torch.from_numpy(base[None]), n_steps=50, method="gausslegendre"
        )
        for base in X[30:]
    ]
    np.testing.assert_allclose(ours, torch.stack(of_rows).mean(0).numpy(), atol=1e-5)


def test_the_chain_rule_is_that_of_captum_on_scaled_rows() -> None:
    """Through a scaler attributions are captum's to the scaled rows."""
    pipeline = fitted(make_pipeline(StandardScaler(), small("regression", activation="silu")), 100 * X + 7, VALUES)
    ours = integrated_gradients(pipeline, 100 * ROWS + 7, n_points=50).values
    scaled = torch.from_numpy(pipeline[0].transform(100 * ROWS + 7))
    theirs = captum.IntegratedGradients(pipeline[1].to_torch()).attribute(scaled, n_steps=50, method="gausslegendre")
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@ANY_TASK
def test_an_explanation_may_be_shaps_own(task: str) -> None:
    """`as_shap=True` gives what SHAP's plots take, with the same numbers."""
    model = trained(task, activation="tanh")
    ours, theirs = (integrated_gradients(model, ROWS, as_shap=wanted) for wanted in (False, True))
    assert isinstance(theirs, shap.Explanation)
    for name in ("values", "base_values", "data"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))
    assert theirs.feature_names == ours.feature_names
    assert theirs[0].values.shape == ours.values[0].shape


@ANY_TASK
def test_shaps_explainer_takes_an_estimator(task: str) -> None:
    """`shap.Explainer(model, X)` explains probabilities, or what a regressor predicts."""
    model = trained(task)
    found = shap.Explainer(model, X, seed=0)(ROWS)
    total = found.values.sum(1) + found.base_values
    predicted = model.predict_proba(ROWS) if hasattr(model, "predict_proba") else model.predict(ROWS)
    np.testing.assert_allclose(total, predicted, atol=1e-6)
    assert len(target(task)) == len(X)


def test_of_a_linear_model_all_agree() -> None:
    """Expected gradients of a linear model are its Shapley values."""
    model = BigLinearRegressor(optimizer="lbfgs").fit(X, VALUES)
    ours = expected_gradients(model, ROWS, X).values
    np.testing.assert_allclose(ours, shap.Explainer(model, X)(ROWS).values, atol=1e-8)
