"""Scores that are computed where the predictions are, as they are on a card, are scikit-learn's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, get_scorer, make_scorer, r2_score

from skbig import BigMLPRegressor, BigTabularRegressor
from skbig.components import Poisson, Quantile, SquaredError
from skbig.data.targets import RegressionTargets, class_targets
from skbig.estimators import validation
from skbig.estimators.device_scores import accuracy, device_scores, r2
from skbig.estimators.scoring import Metric, metrics_of
from tests.fitting import ANY_TASK, TASKS, X, fitted, small, target

RANDOM = np.random.RandomState(0)
CARD = torch.device("cuda")


@pytest.fixture
def scored_as_on_a_card(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let scores be computed as on a card; return the names of those that were asked for."""
    names: list[str] = []

    def on_device(metrics: Any, targets: Any, device: Any) -> dict[str, Any]:
        found = device_scores(metrics, targets, CARD)
        names.extend(found)
        return found

    monkeypatch.setattr(validation, "device_scores", on_device)
    return names


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c"], "multilabel"])
def test_accuracy(labels: Any, weighted: bool) -> None:
    """It is accuracy_score of the classes that are predicted; of several labels, all must be right."""
    y = (
        RANDOM.randint(0, 2, (50, 3))
        if labels == "multilabel"
        else np.array(labels)[RANDOM.randint(0, len(labels), 50)]
    )
    targets, weight = class_targets(y), RANDOM.uniform(size=50) if weighted else None
    raw = RANDOM.normal(size=(50, targets.n_outputs))
    got = accuracy(torch.from_numpy(raw), *encoded(targets, y, weight), SquaredError())
    predicted = targets.named(targets.choose(torch.from_numpy(raw), 0.0).numpy())
    assert float(got) == pytest.approx(accuracy_score(y, predicted, sample_weight=weight), abs=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("loss", [SquaredError(), Poisson()])
def test_r2(loss: Any, n_outputs: int, weighted: bool) -> None:
    """It is r2_score of the predictions, the mean of the outputs; one that does not vary counts as there."""
    y = RANDOM.uniform(size=(50, n_outputs))
    if n_outputs > 1 and not weighted:  # a weighted mean of equal numbers is not one of them, to the bit
        y[:, -1] = 2.0
    raw, weight = torch.from_numpy(RANDOM.normal(size=y.shape)), RANDOM.uniform(size=50) if weighted else None
    for shift in (0.0, np.nan):
        raw[:, -1] = torch.log(torch.tensor(2.0)) if isinstance(loss, Poisson) else 2.0
        if shift == 0.0:
            raw[0, -1] += 1.0  # not predicted exactly
        predicted = loss.predict(raw).numpy()
        got = r2(raw, *encoded(RegressionTargets(n_outputs, n_outputs == 1), y, weight), loss)
        assert float(got) == pytest.approx(r2_score(y, predicted, sample_weight=weight), rel=1e-12)


def encoded(targets: Any, y: Any, weight: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    return torch.from_numpy(targets.encode(y)), None if weight is None else torch.from_numpy(weight)


@ANY_TASK
def test_a_fit_is_scored_the_same(scored_as_on_a_card: list[str], task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves, and what early stopping makes of them, do not depend on where scores are computed."""
    settings = {"early_stopping": True, "scoring": None, "max_iter": 8, "n_iter_no_change": 2}
    model = fitted(small(task, **settings), X, target(task))
    assert scored_as_on_a_card == ["score"]
    monkeypatch.undo()
    expected = fitted(small(task, **settings), X, target(task))
    np.testing.assert_allclose(model.validation_scores_, expected.validation_scores_, rtol=1e-6, atol=1e-7)
    assert model.n_iter_ == expected.n_iter_


def test_a_metric_is_asked_for_where_it_is_computed(scored_as_on_a_card: list[str]) -> None:
    """Of several, each keeps its name and its own score."""
    scoring = ["roc_auc", "accuracy", "loss"]
    model = fitted(small("binary", early_stopping=True, scoring=scoring), X, TASKS["binary"][1])
    assert scored_as_on_a_card == ["accuracy"]
    assert set(model.validation_curves_["validation"]) == {"loss", "roc_auc", "accuracy"}


@pytest.mark.parametrize("loss", [Quantile((0.1, 0.9)), "gaussian_nll"])
def test_several_columns_for_a_target(scored_as_on_a_card: list[str], loss: Any) -> None:
    """What they predict is not the raw predictions in the unit of y, so the host scores it."""
    settings = {"early_stopping": True, "scoring": None, "loss": loss, "random_state": 0}
    model = fitted(small("regression", **settings), X, target("regression"))
    assert scored_as_on_a_card == []
    assert np.isfinite(model.validation_scores_).all()


def test_other_scores_are_computed_on_the_host() -> None:
    """Those with options, of other methods, of functions, and of targets that are not what the loss predicts."""
    scorings: dict[str, Any] = {
        "a": make_scorer(accuracy_score, normalize=False),
        "b": make_scorer(r2_score, greater_is_better=False),
        "c": lambda model, X, y: 0.5,
        "d": "neg_mean_squared_error",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = metrics_of(BigMLPRegressor(scoring=scorings), weighted=False)
    assert device_scores(metrics, RegressionTargets(1, True), CARD) == {}
    known = [Metric("r2", get_scorer("r2"), formula=r2_score)]
    assert device_scores(known, RegressionTargets(1, True), torch.device("cpu")) == {}
    assert device_scores(known, RegressionTargets(1, True), CARD) == {"r2": r2}
    scaled = BigTabularRegressor()._make_targets(RANDOM.normal(size=9), None, False, False, SquaredError())
    assert (device_scores(known, scaled, CARD) == {}) is not isinstance(scaled.scale, float)
