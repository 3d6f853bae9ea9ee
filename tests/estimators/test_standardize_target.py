"""A target in any unit: the network learns it standardized, and predicts in its unit."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from skbig import BigGridSearchCV, BigMLPRegressor, BigNetworkRegressor
from skbig.components import Huber
from skbig.networks import MLP
from tests.fitting import MANY_VALUES, VALUES, X, fitted, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FAR, MANY_FAR = VALUES * 300 + 5000, MANY_VALUES * np.array([300.0, 0.02]) + np.array([5000.0, -7.0])
WEIGHT = np.random.RandomState(0).uniform(0.5, 2, 60)


def network(**parameters: Any) -> Any:
    settings: dict[str, Any] = {"max_iter": 5, "random_state": 0, "standardize_target": True} | parameters
    return BigMLPRegressor((4,), **settings)


@pytest.mark.parametrize("y", [FAR, MANY_FAR], ids=["one output", "two outputs"])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile"])
def test_it_is_a_transformed_target(y: np.ndarray, loss: str) -> None:
    """Predictions are those of TransformedTargetRegressor with a StandardScaler, of one network and of several."""
    model = fitted(network(loss=loss, n_members=2), X, y)
    plain = network(loss=loss, n_members=2, standardize_target=False)
    theirs = fitted(TransformedTargetRegressor(plain, transformer=StandardScaler()), X, y)
    np.testing.assert_allclose(model.predict(X), theirs.predict(X), rtol=1e-9)
    scaler = theirs.transformer_
    np.testing.assert_allclose(model.target_mean_, scaler.mean_)
    np.testing.assert_allclose(model.target_scale_, scaler.scale_)
    mean, std = model.predict(X, return_std=True)
    members = theirs.regressor_.predict(X, return_std=True)[1] * (scaler.scale_[0] if y.ndim == 1 else scaler.scale_)
    np.testing.assert_allclose(std, members, rtol=1e-7)
    assert mean.shape == y.shape


def test_a_target_in_thousands_is_learnt() -> None:
    """With the defaults a target far from zero is learnt, and without it is not; the warning then names the way."""
    settings = {"hidden_layer_sizes": (20,), "random_state": 0, "learning_rate": 0.01}
    assert fitted(BigMLPRegressor(**settings, standardize_target=True), X, FAR).score(X, FAR) > 0.9
    with pytest.warns(ConvergenceWarning, match=r"mean of about 5e\+03 .*standardize_target=True") as said:
        assert BigMLPRegressor(**settings).fit(X, FAR).score(X, FAR) < 0
    assert said[0].filename == __file__
    with pytest.warns(ConvergenceWarning) as near:
        BigMLPRegressor((4,), max_iter=2).fit(X, VALUES)
    assert "standardize_target" not in str(near[0].message)


def relative(raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (raw / y - 1).abs()


@pytest.mark.parametrize("loss", [Huber(delta=100.0), "log_cosh", "epsilon_insensitive", relative])
def test_a_loss_with_a_unit_keeps_it(loss: Any) -> None:
    """A hyperparameter, or a function, sees targets and predictions in the unit of y."""
    model = fitted(network(loss=loss, max_iter=100, learning_rate=0.02), X, FAR)
    assert model.score(X, FAR) > 0.5
    if isinstance(loss, Huber):
        held = fitted(network(loss=loss, max_iter=1), X, FAR, X_val=X, y_val=FAR)
        mine, y = (torch.tensor(values[:, None]) for values in (held.predict(X), FAR))
        assert held.validation_loss_curve_[-1] == pytest.approx(float(loss.per_row(mine, y).mean()))


def test_weights_count() -> None:
    """Mean and deviation are those of the weighted rows; a constant target has no deviation to divide by."""
    weighted, repeated = WEIGHT.round() + 1, (WEIGHT.round() + 1).astype(int)
    model = fitted(network(), X, FAR, weighted)
    rows = np.repeat(FAR, repeated)
    assert model.target_mean_ == pytest.approx([rows.mean()]) and model.target_scale_ == pytest.approx([rows.std()])
    assert fitted(network(), X, np.full(60, 7.0)).target_scale_.tolist() == [1.0]


def test_the_first_call_decides() -> None:
    """partial_fit and warm_start go on with mean and deviation of the first call; a new fit takes its own."""
    model = network().partial_fit(X, FAR)
    mean = model.target_mean_
    assert model.partial_fit(X, FAR + 1e4).target_mean_ is mean
    assert model.set_params(standardize_target=False).partial_fit(X, FAR).target_mean_ is mean
    warm = fitted(network(warm_start=True), X, FAR)
    assert fitted(warm, X, FAR + 1e4).target_mean_[0] == pytest.approx(FAR.mean())
    again = fitted(warm.set_params(warm_start=False), X, FAR + 1e4)
    assert again.target_mean_[0] == pytest.approx(FAR.mean() + 1e4)
    plain = fitted(again.set_params(standardize_target=False), X, VALUES)
    assert plain.target_mean_.tolist() == [0.0] and plain.target_scale_.tolist() == [1.0]
    same = fitted(BigMLPRegressor((4,), max_iter=5, random_state=0), X, VALUES)
    assert weights_of(plain).tobytes() == weights_of(same).tobytes()


@pytest.mark.parametrize("loss", ["poisson", "gamma", "squared_log_error"])
def test_a_loss_with_a_link_needs_none(loss: str) -> None:
    """Where predictions are exponential in the raw prediction, it is refused, and the error says why."""
    with pytest.raises(ValueError, match=f"standardize_target=True needs a loss .* Of loss='{loss}' it is exp"):
        fitted(network(loss=loss), X, FAR)


def test_scores_are_in_the_unit_of_y() -> None:
    """Early stopping scores predictions in the unit of y, by metrics and by functions."""
    seen = []

    def noting(model: Any, X: Any, y: Any) -> float:
        seen.append((model.predict(X).mean(), y.mean()))
        return float(model.score(X, y))

    settings = {"early_stopping": True, "max_iter": 40, "learning_rate": 0.05}
    by_function = fitted(network(scoring=noting, **settings), X, FAR)
    by_metric = fitted(network(scoring=["r2", "neg_mean_absolute_error"], **settings), X, FAR)
    np.testing.assert_allclose(by_function.validation_scores_, by_metric.validation_scores_)
    assert all(4000 < value < 6000 for pair in seen for value in pair)
    assert -400 < by_metric.validation_curves_["validation"]["neg_mean_absolute_error"][0] < -100


def test_a_search_stacks_it() -> None:
    """Each candidate takes mean and deviation of its own rows, trained together or one by one."""
    grid = {"standardize_target": [True, False], "alpha": [1e-4, 1.0]}
    theirs, ours = (
        fitted(kind(network(learning_rate=0.05), grid, cv=3), X, FAR) for kind in (GridSearchCV, BigGridSearchCV)
    )
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-6, atol=1e-6
    )
    assert ours.best_params_["standardize_target"] is True


def test_copies_and_checkpoints_have_it(tmp_path: Path) -> None:
    """A pickle predicts the same, a fit that has ended comes back, and another network learns alike."""
    model = fitted(network(checkpoint_dir=tmp_path), X, FAR)
    expected = model.predict(X)
    repeated = fitted(network(checkpoint_dir=tmp_path), X, FAR)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), repeated):
        assert other.predict(X).tobytes() == expected.tobytes()
    any_network = BigNetworkRegressor(MLP((4,)), max_iter=5, random_state=0, standardize_target=True)
    np.testing.assert_array_equal(fitted(any_network, X, FAR).predict(X), expected)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_it_is_true_or_false(value: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="'standardize_target' parameter of BigMLPRegressor must be a bool"):
        fitted(network(standardize_target=value), X, FAR)


@pytest.mark.parametrize("y", [FAR, MANY_FAR], ids=["one output", "two outputs"])
def test_other_libraries_get_it_in_its_unit(y: np.ndarray) -> None:
    """As a module of torch and as scikit-learn's own it predicts the same."""
    model = fitted(network(), X, y)
    np.testing.assert_allclose(
        model.to_torch()(torch.from_numpy(X)).detach().numpy().reshape(y.shape), model.predict(X)
    )
    np.testing.assert_allclose(model.to_sklearn().predict(X), model.predict(X))
