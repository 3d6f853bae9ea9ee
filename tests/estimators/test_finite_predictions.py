"""A fit that succeeds predicts numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning

from skbig import BigGridSearchCV, BigLinearRegressor
from skbig.exceptions import DivergenceError
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
