"""A fit that succeeds predicts numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import FitFailedWarning

from skbig import BigGridSearchCV, BigLinearRegressor
from skbig.estimators import finite_predictions
from skbig.exceptions import DivergenceError
from skbig.networks import MLP
from tests.fitting import X, fitted, small, weights_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite"),
]

POSITIVE = np.exp(X[:, 0]) + 0.1


@pytest.mark.parametrize("loss", ["poisson", "gamma", "squared_log_error"])
@pytest.mark.parametrize("rate", [1.0, 30.0, 300.0, 1e4])
@pytest.mark.parametrize("held", [False, True])
def test_links_at_high_rates(loss: str, rate: float, held: bool) -> None:
    """Where the predictions of an exponential link are infinite, the fit fails with a DivergenceError."""
    for optimizer in ("sgd", "adam"):
        model = small("regression", loss=loss, learning_rate=rate, optimizer=optimizer, early_stopping=held)
        try:
            fitted(model, X, POSITIVE)
        except DivergenceError as error:
            assert "not finite" in str(error) and ("epoch" in str(error))
            continue
        assert np.isfinite(model.predict(X)).all()


def test_the_last_step_may_be_too_far() -> None:
    """Neither loss nor weights tell of it: the predictions of the training rows do, and the weights are kept."""
    model = small("regression", loss="gamma", learning_rate=1e3, optimizer="sgd", max_iter=1)
    with pytest.raises(DivergenceError, match=r"of the training rows .* after epoch 1, step 1, at the .* 1000"):
        fitted(model, X, POSITIVE)
    assert np.isfinite(weights_of(model)).all()


def test_a_search_fails_alike() -> None:
    """A candidate whose predictions are not finite has failed; the others go on."""
    grid: dict[str, Any] = {"learning_rate": [0.01, 1e3]}
    search = BigGridSearchCV(BigLinearRegressor(loss="gamma", optimizer="sgd", max_iter=1), grid, cv=2)
    with pytest.warns(FitFailedWarning, match=r"(?s)2 fits failed.*predictions of the training rows are not finite"):
        search.fit(X, POSITIVE)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, False]


@pytest.mark.parametrize(("loss", "activation", "times"), [("squared_error", "relu", 0), ("poisson", "relu", 1)])
def test_predictions_are_computed_only_in_doubt(
    loss: str, activation: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small weights and features cannot make a sum infinite; what an exponential makes of it has to be seen."""
    calls: list[Any] = []
    whole = finite_predictions.raw_predictions
    monkeypatch.setattr(finite_predictions, "raw_predictions", lambda *args: calls.append(args) or whole(*args))
    fitted(small("regression", loss=loss, activation=activation), X, POSITIVE)
    assert len(calls) == times


@pytest.mark.parametrize("hidden", [(), (4,), (4, 4, 4)])
@pytest.mark.parametrize(
    ("features", "weights"), [(1e30, 1e10), (1e10, 1e30), (1.0, np.nan), (1.0, np.inf), (np.inf, 1.0)]
)
def test_huge_numbers_are_in_doubt(hidden: tuple[int, ...], features: float, weights: float) -> None:
    """Where a product of the largest weight and the largest feature overflows, predictions are looked at."""
    network = MLP(hidden).of_shape(3, 1)
    members: Any = SimpleNamespace(network=network, flat=torch.tensor([[[weights, 1.0, -1.0]]]))
    assert not finite_predictions.stay_finite(members, torch.tensor([[1.0, features, 0.0]]))
    members.flat = torch.tensor([[[-2.0, 1.0]]])
    assert finite_predictions.stay_finite(members, torch.tensor([[1.0, -3.0, 0.0]]))
