"""A fitted estimator as a module of torch predicts the same, and the tools of torch take it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from skbig import (
    BigLinearClassifier,
    BigLinearRegressor,
    BigMLPClassifier,
    BigModuleClassifier,
    BigNetworkClassifier,
    BigNetworkRegressor,
    BigTabularClassifier,
    BigTabularRegressor,
)
from skbig.components import Loss
from skbig.networks import MLP
from skbig.networks.activations import ACTIVATIONS
from tests.fitting import ANY_TASK, MANY_VALUES, MULTICLASS, VALUES, WORDS, X, fitted, trained
from tests.networks.own import Embedded, ResNet

ROWS = torch.from_numpy(X)


def expected(estimator: Any) -> np.ndarray:
    """Return what a module predicts, by the estimator."""
    if hasattr(estimator, "classes_"):
        return estimator.predict_proba(X)
    return estimator.predict(X).reshape(len(X), -1)


def assert_same(module: torch.nn.Module, estimator: Any) -> None:
    with torch.no_grad():
        np.testing.assert_allclose(module(ROWS).numpy(), expected(estimator), rtol=1e-10, atol=1e-12)


@pytest.mark.crossed
@ANY_TASK
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("n_members", [1, 3])
def test_predictions_are_the_estimators(task: str, normalization: str | None, n_members: int) -> None:
    """A module gives the estimator's predictions, those of an ensemble averaged, whatever its normalization."""
    estimator = trained(task, normalization=normalization, n_members=n_members, dropout=0.1)
    assert_same(estimator.to_torch(), estimator)


@ANY_TASK
def test_raw_is_before_the_link(task: str) -> None:
    """`raw` gives raw predictions: a classifier's decision function, a regressor's mean over the members."""
    estimator = trained(task, n_members=2)
    with torch.no_grad():
        raw = estimator.to_torch().raw(ROWS).numpy()
    wanted = estimator.decision_function(X) if hasattr(estimator, "classes_") else estimator.predict(X)
    np.testing.assert_allclose(raw, wanted.reshape(len(X), -1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_torchs_own(activation: str) -> None:
    """Every activation is a module of torch, by which tools know it."""
    estimator = trained("multiclass", activation=activation)
    module = estimator.to_torch()
    assert_same(module, estimator)
    assert all(type(part).__module__.startswith("torch.nn") for part in module.raw.modules())


@pytest.mark.parametrize("loss", ["focal", "modified_huber", "hinge"])
@ANY_TASK
def test_links_of_classifiers(loss: str, task: str) -> None:
    """Probabilities are the loss's own; without them raw predictions are given."""
    if hasattr(trained(task), "classes_"):
        estimator = trained(task, loss=loss)
        with torch.no_grad():
            found = estimator.to_torch()(ROWS).numpy()
        wanted = estimator.decision_function(X).reshape(len(X), -1) if loss == "hinge" else estimator.predict_proba(X)
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "squared_log_error", "huber"])
def test_links_of_regressors(loss: str) -> None:
    """Predictions are in the unit of y."""
    estimator = fitted(type(trained("regression"))((4,), loss=loss, max_iter=3, random_state=0), X, np.exp(VALUES))
    assert_same(estimator.to_torch(), estimator)


@dataclass(frozen=True)
class Softplus(Loss):
    """A user's loss with a link of its own."""

    def per_row(self, raw: Any, y: Any) -> Any:
        return (torch.nn.functional.softplus(raw) - y).square().sum(-1)

    def predict(self, raw: Any) -> Any:
        return torch.nn.functional.softplus(raw)


def test_a_loss_of_ones_own() -> None:
    """A loss with a formula of its own for predictions keeps it."""
    estimator = trained("regression", loss=Softplus())
    assert_same(estimator.to_torch(), estimator)


@pytest.mark.parametrize(
    "estimator",
    [
        BigLinearClassifier(max_iter=3, random_state=0),
        BigLinearRegressor(max_iter=3, random_state=0, fit_intercept=False),
        BigNetworkClassifier(MLP((3, 3), "silu", normalization="batch"), max_iter=3, random_state=0),
        BigNetworkClassifier(Embedded(normalization="layer"), max_iter=3, random_state=0, n_members=2),
        BigNetworkRegressor(ResNet(), max_iter=3, random_state=0),
    ],
    ids=["linear classifier", "linear regressor", "MLP", "embedded", "residual"],
)
def test_any_network(estimator: Any) -> None:
    """Linear models and networks of one's own are modules as well."""
    y = WORDS if estimator._for_classes else MANY_VALUES
    assert_same(fitted(estimator, X, y).to_torch(), estimator)


def test_nothing_is_shared() -> None:
    """Training the module leaves the estimator as it was, and its moments are torch's."""
    estimator = trained("multiclass", normalization="batch")
    before = estimator.predict_proba(X)
    module = estimator.to_torch().train()
    torch.nn.functional.nll_loss(module(ROWS).log(), torch.from_numpy(MULTICLASS)).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert not torch.equal(module.raw[0][1].running_mean, torch.from_numpy(estimator.running_means_[0]))
    np.testing.assert_array_equal(estimator.predict_proba(X), before)


@pytest.mark.filterwarnings("default")
def test_torch_export_takes_it() -> None:
    """An exported program takes any number of rows, and predicts the same."""
    estimator = trained("multiclass", n_members=2, normalization="batch", activation="mish")
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(estimator.to_torch(), (ROWS,), dynamic_shapes=({0: rows},))
    np.testing.assert_allclose(program.module()(ROWS[:7]).detach().numpy(), estimator.predict_proba(X[:7]), rtol=1e-10)


@pytest.mark.filterwarnings("default")
def test_torch_compile_takes_it() -> None:
    """A compiled module has one graph without a break, also of a network of one's own."""
    for network in (MLP((4,), normalization="layer"), ResNet()):
        estimator = fitted(BigNetworkClassifier(network, max_iter=3, random_state=0), X, WORDS)
        assert_same(torch.compile(estimator.to_torch(), fullgraph=True, backend="aot_eager"), estimator)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", [BigTabularClassifier, BigTabularRegressor])
def test_tables(kind: Any) -> None:
    """The module of an estimator for tables reads encoded rows, is calibrated and in the unit of y, and is exported."""
    y = WORDS if kind is BigTabularClassifier else MANY_VALUES * 1000 + 5
    table = pd.DataFrame({f"x{i}": column for i, column in enumerate(X.T)}).assign(word=WORDS)
    estimator = fitted(kind("fast", max_iter=3, n_members=2, early_stopping=True, random_state=0), table, y)
    module, rows = estimator.to_torch(), torch.from_numpy(estimator._check_rows(table, estimator._dtype))
    wanted = estimator.predict_proba(table) if kind is BigTabularClassifier else estimator.predict(table)
    exported = torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim("rows")},)).module()
    for given in (module, exported):
        np.testing.assert_allclose(given(rows).detach().numpy(), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_members", [1, 2])
def test_modules_of_ones_own(n_members: int) -> None:
    """A user's own module comes back within one that predicts, and shares nothing with the estimator."""
    own = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    estimator = fitted(BigModuleClassifier(own, max_iter=3, n_members=n_members, random_state=0), X, WORDS)
    assert_same(estimator.to_torch(), estimator)
    with torch.no_grad():
        for parameter in estimator.to_torch().parameters():
            parameter.add_(1.0)
    assert_same(estimator.to_torch(), estimator)


def test_float_and_back() -> None:
    """`module.float()` computes in float32."""
    module = trained("binary").to_torch().float()
    assert module(ROWS.float()).dtype == torch.float32


def test_an_estimator_must_be_fitted() -> None:
    """What is not fitted has no module."""
    with pytest.raises(ValueError, match="is not fitted"):
        BigMLPClassifier().to_torch()


def test_state_dict_is_read_again() -> None:
    """The numbers of a module can be saved and loaded by torch."""
    estimator = trained("binary", normalization="batch", n_members=2)
    other = trained("binary", normalization="batch", n_members=2, random_state=5).to_torch()
    other.load_state_dict(estimator.to_torch().state_dict())
    assert_same(other, estimator)
