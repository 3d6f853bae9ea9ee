"""Captum and SHAP explain the module that an estimator becomes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fitting import ANY_TASK, X, trained

pytestmark = pytest.mark.filterwarnings("default")

captum = pytest.importorskip("captum.attr")
shap = pytest.importorskip("shap")

ROWS = torch.from_numpy(X).float()


def module_of(task: str, **parameters: object) -> torch.nn.Module:
    return trained(task, hidden_layer_sizes=(8,), max_iter=30, **parameters).to_torch().float()


@ANY_TASK
@pytest.mark.parametrize("parameters", [{"activation": "relu"}, {"activation": "gelu", "n_members": 2}])
def test_captum_integrates_gradients(task: str, parameters: dict[str, object]) -> None:
    """Integrated gradients add up to the difference of the predictions, within captum's own error."""
    module = module_of(task, **parameters)
    base = torch.zeros_like(ROWS[:5])
    found = captum.IntegratedGradients(module).attribute(ROWS[:5], base, target=0, n_steps=500)
    difference = (module(ROWS[:5]) - module(base))[:, 0]
    torch.testing.assert_close(found.sum(1), difference, atol=5e-3, rtol=1e-2)


@ANY_TASK
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "elu"])
def test_shap_explains_deeply(task: str, activation: str) -> None:
    """DeepExplainer's values and its expectation add up to the prediction, checked by SHAP too."""
    module = module_of(task, activation=activation).raw
    explainer = shap.DeepExplainer(module, ROWS[:20])
    values = explainer.shap_values(ROWS[20:25], check_additivity=True)
    with torch.no_grad():
        raw = module(ROWS[20:25]).numpy()
    total = np.reshape(values, (5, X.shape[1], -1)).sum(1) + np.ravel(explainer.expected_value)
    np.testing.assert_allclose(total, raw, atol=1e-4)
