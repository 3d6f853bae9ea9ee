"""Regressors that predict more than a mean: several quantiles, or a deviation."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import d2_pinball_score
from sklearn.model_selection import GridSearchCV
from torch import nn

from skbig import (
    BigGridSearchCV,
    BigLinearRegressor,
    BigMLPRegressor,
    BigModuleRegressor,
    BigTabularRegressor,
    load_weights,
    save_weights,
)
from skbig.components import GaussianNLL, Quantile
from skbig.exceptions import ExportError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.RandomState(0)
X = RANDOM.uniform(-1, 1, size=(1200, 2))
SPREAD = 0.2 + 1.8 * (X[:, 0] > 0)
Y = 100 + 10 * (2 * X[:, 1] + SPREAD * RANDOM.normal(size=len(X)))
LEVELS = [0.1, 0.5, 0.9]
COMMON: dict[str, Any] = {
    "hidden_layer_sizes": (24,),
    "learning_rate": 0.02,
    "schedule": "cosine",
    "max_iter": 25,
    "standardize_target": True,
    "random_state": 0,
}


class Net(nn.Module):
    """Two layers for as many outputs as asked for."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 24), nn.ReLU(), nn.Linear(24, n_outputs))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        raw: torch.Tensor = self.layers(rows)
        return raw


def regressors(**more: Any) -> dict[str, Any]:
    plain = {name: value for name, value in COMMON.items() if name != "hidden_layer_sizes"}
    table = {"preset": "fast", "random_state": 0, "max_iter": 12}
    return {
        "perceptron": BigMLPRegressor(**COMMON | more),
        "module": BigModuleRegressor(Net, **plain | more),
        "table": BigTabularRegressor(**table | more),
    }


@pytest.mark.parametrize("kind", ["perceptron", "module", "table"])
def test_each_quantile_is_above_its_share_of_the_targets(kind: str) -> None:
    """Three quantiles in one model: each is above about its share of the rows, where noise is small and where not."""
    model = regressors(loss=Quantile(LEVELS))[kind].fit(X, Y)
    quantiles = model.predict(X)
    assert quantiles.shape == (len(X), 3)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    for wide in (True, False):
        rows = (SPREAD > 1) == wide
        np.testing.assert_allclose((Y[rows, None] <= quantiles[rows]).mean(axis=0), LEVELS, atol=0.09)
    expected = np.mean([d2_pinball_score(Y, own, alpha=q) for own, q in zip(quantiles.T, LEVELS, strict=True)])
    assert model.score(X, Y) == pytest.approx(expected) and expected > 0.2


def test_quantiles_do_not_cross_whatever_the_weights() -> None:
    """Also a model that has hardly learnt, asked for rows far away, gives quantiles that rise."""
    model = BigMLPRegressor((8,), loss=Quantile(np.linspace(0.05, 0.95, 7)), max_iter=1, random_state=3).fit(X, Y)
    far = np.random.RandomState(1).normal(scale=1e4, size=(500, 2))
    assert (np.diff(model.predict(far), axis=1) >= 0).all()


@pytest.mark.parametrize("kind", ["perceptron", "module", "table"])
def test_the_deviation_is_that_of_the_noise(kind: str) -> None:
    """gaussian_nll tells where noise is large, in the unit of y; an ensemble's deviation adds their disagreement."""
    model = regressors(loss="gaussian_nll")[kind].fit(X, Y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (len(X),)
    np.testing.assert_array_equal(mean, model.predict(X))
    for wide, expected in ((True, 20.0), (False, 2.0)):
        inside = ((SPREAD > 1) == wide) & (np.abs(X[:, 0]) > 0.2)
        assert 0.6 * expected < np.median(std[inside]) < 2.2 * expected


def test_the_deviation_of_an_ensemble_is_that_of_its_mixture() -> None:
    """The variance of a mixture is that of the means, and the mean of the variances."""
    from skbig._utils.random import member_seeds

    common = COMMON | {"loss": GaussianNLL(), "max_iter": 4}
    mean, std = BigMLPRegressor(**common, n_members=3).fit(X, Y).predict(X, return_std=True)
    alone = [BigMLPRegressor(**common | {"random_state": seed}).fit(X, Y) for seed in member_seeds(0, 3)]
    means, stds = np.array([model.predict(X, return_std=True) for model in alone]).swapaxes(0, 1)
    np.testing.assert_allclose(mean, means.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(means.var(axis=0) + (stds**2).mean(axis=0)), rtol=1e-6)


def test_two_targets_have_two_means_and_deviations() -> None:
    """gaussian_nll takes several targets, each with a deviation of its own."""
    model = BigMLPRegressor(**COMMON | {"loss": "gaussian_nll", "max_iter": 15}).fit(X, np.column_stack([Y, -Y / 10]))
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (len(X), 2)
    assert model.target_scale_.shape == (2,) and model.n_outputs_ == 4
    np.testing.assert_allclose(std[:, 0] / std[:, 1], 10, rtol=0.6)


@pytest.mark.parametrize("n_rows", [64, 65, 66])
@pytest.mark.parametrize("n_members", [1, 2])
def test_a_last_batch_of_one_row(n_rows: int, n_members: int) -> None:
    """Its steps are recorded as those of others are."""
    rows = np.random.default_rng(0).normal(size=(n_rows, 3))
    how: dict[str, Any] = {"batch_size": 32, "max_iter": 9, "n_members": n_members, "random_state": 0}
    model = BigMLPRegressor((4,), loss="gaussian_nll", **how)
    with pytest.warns(ConvergenceWarning):
        model.fit(rows, rows[:, 0])
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize("loss", [Quantile(LEVELS), "gaussian_nll"], ids=str)
def test_is_a_regressor_like_any_other(loss: Any, tmp_path: Any) -> None:
    """It is cloned, pickled, searched, stopped early, trained in parts and read from a file of weights."""
    model = BigMLPRegressor(**COMMON | {"loss": loss, "max_iter": 3, "early_stopping": True, "scoring": None})
    fitted = clone(model).fit(X, Y, np.ones(len(X)), X_val=X[::3], y_val=Y[::3])
    assert max(fitted.validation_scores_) == pytest.approx(fitted.score(X[::3], Y[::3]))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))
    save_weights(fitted, tmp_path / "weights.safetensors")
    read = load_weights(clone(model), tmp_path / "weights.safetensors")
    np.testing.assert_allclose(read.predict(X), fitted.predict(X), rtol=1e-6)
    model.set_params(early_stopping=False)
    grid = {"alpha": [0.0, 0.1]}
    ours, theirs = (kind(model, grid, cv=2).fit(X, Y) for kind in (BigGridSearchCV, GridSearchCV))
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-6)
    parts = BigMLPRegressor((4,), loss=loss, random_state=0).partial_fit(X, Y).partial_fit(X, Y)
    assert np.isfinite(parts.predict(X)).all()
    begun = BigMLPRegressor((4,), loss=loss, random_state=0).initialize(2)
    assert begun.predict(X).shape == fitted.predict(X).shape
    assert begun.partial_fit(X, Y).predict(X).shape == fitted.predict(X).shape
    with pytest.raises(ExportError):
        fitted.to_sklearn()
    torch_module = fitted.to_torch()
    np.testing.assert_allclose(
        torch_module(torch.from_numpy(X)).detach().numpy().reshape(fitted.predict(X).shape),
        fitted.predict(X),
        rtol=1e-5,
    )


@pytest.mark.parametrize("loss", [Quantile([0.1, 0.9]), "gaussian_nll"], ids=str)
def test_intervals_of_a_table_hold(loss: Any) -> None:
    """predict_interval is as wide as the loss says, and has its coverage by the held-out rows."""
    model = BigTabularRegressor("fast", loss=loss, random_state=0, max_iter=12).fit(X[:800], Y[:800])
    low, high = model.predict_interval(X[800:], coverage=0.8)
    assert low.shape == (400,)
    assert 0.7 < ((low <= Y[800:]) & (Y[800:] <= high)).mean() < 0.9
    width, wide = high - low, SPREAD[800:] > 1
    assert np.median(width[wide]) > 3 * np.median(width[~wide])


def test_quantiles_of_a_linear_model_and_by_lbfgs() -> None:
    """A line per quantile is found by any optimizer, also over the whole set."""
    y = (Y - 100) / 20
    model = BigLinearRegressor(loss=Quantile([0.25, 0.75]), optimizer="lbfgs").fit(X, y)
    assert model.predict(X).shape == (len(X), 2)
    np.testing.assert_allclose((y[:, None] <= model.predict(X)).mean(axis=0), [0.25, 0.75], atol=0.05)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": Quantile([0.9, 0.1])}, "'quantile' parameter of Quantile must be .* two or more of these that rise"),
        ({"loss": Quantile([0.5])}, "two or more of these that rise"),
        ({"loss": Quantile([0.5, 1.0])}, "two or more of these that rise"),
        ({"loss": Quantile(["a", "b"])}, "two or more of these that rise"),
        ({"loss": GaussianNLL(eps=0.0)}, "'eps' parameter of GaussianNLL"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(parameters: dict[str, Any], message: str) -> None:
    """Quantiles that do not rise are refused at fit."""
    with pytest.raises(ValueError, match=message):
        BigMLPRegressor(**parameters).fit(X, Y)


def test_several_quantiles_are_of_one_target() -> None:
    """Two targets, and a deviation of a loss that knows none, are refused with the way out."""
    both = np.column_stack([Y, Y])
    with pytest.raises(ValueError, match="Several quantiles are of one target, and y has 2 columns"):
        BigMLPRegressor(loss=Quantile(LEVELS)).fit(X, both)
    with pytest.raises(ValueError, match="Several quantiles are of one target. Got n_outputs=2"):
        BigMLPRegressor(loss=Quantile(LEVELS)).initialize(2, n_outputs=2)
    with pytest.raises(ValueError, match="or with loss='gaussian_nll'; got n_members=1"):
        BigMLPRegressor(max_iter=1).fit(X, Y).predict(X, return_std=True)
