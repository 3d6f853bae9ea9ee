"""The range test trains what a fit at each rate would, and the picture shows it."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier, BigMLPRegressor, BigTabularRegressor
from skbig.components import DPSGD
from skbig.engine.population import Population
from skbig.plots import LearningRateDisplay
from tests.fitting import VALUES, WORDS, X, fitted, state_of

RATES = [1e-4, 1e-3, 1e-2, 1e-1]


def small(**parameters: Any) -> BigMLPClassifier:
    return BigMLPClassifier((6,), random_state=0, **parameters)


def test_losses_are_those_of_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rate's losses are those of a fit at that rate alone, and one stack trains them all."""
    sizes, train = [], Population.train
    monkeypatch.setattr(Population, "train", lambda self: (sizes.append(len(self._trainings)), train(self))[1])
    display = LearningRateDisplay.from_estimator(
        small(batch_size=20, optimizer="sgd"), X, WORDS, rates=RATES, n_epochs=4
    )
    monkeypatch.undo()
    assert sizes == [len(RATES)]
    for place, rate in enumerate(RATES):
        alone = fitted(small(batch_size=20, optimizer="sgd", learning_rate=rate, max_iter=4), X, WORDS)
        np.testing.assert_allclose(display.losses[:, place], alone.loss_curve_, rtol=1e-6)
    assert display.best_rate_ == RATES[int(np.argmin(display.losses[-1]))]
    assert display.own_rate == 0.001


def test_the_estimator_stays_as_it_is() -> None:
    """Only clones are trained, whatever the estimator's own length, schedule, ensemble and early stopping."""
    model = small(schedule="cosine", n_members=3, early_stopping=True, max_iter=1, learning_rate=0.02)
    before = state_of(model)
    display = LearningRateDisplay.from_estimator(model, X, WORDS, rates=RATES, n_epochs=3)
    assert state_of(model) == before
    assert display.losses.shape == (3, len(RATES)) and display.own_rate == 0.02


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), BigMLPRegressor((4,), random_state=0)),
        TransformedTargetRegressor(BigMLPRegressor((4,), random_state=0), transformer=StandardScaler()),
        BigTabularRegressor("fast", random_state=0),
        BigMLPRegressor((4,)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_is_around_the_network(model: Any) -> None:
    """Steps before the network and transformed targets are taken along."""
    display = LearningRateDisplay.from_estimator(
        model, X, VALUES, rates=RATES, n_epochs=2, fit_params={} if hasattr(model, "steps") else None
    )
    assert np.isfinite(display.losses).all()


def test_weights_of_rows_count() -> None:
    """What is passed on to fit counts."""
    weight = np.r_[np.ones(30), np.zeros(30)]
    whole = LearningRateDisplay.from_estimator(
        small(), X, WORDS, rates=RATES, n_epochs=2, fit_params={"sample_weight": weight}
    )
    half = LearningRateDisplay.from_estimator(small(), X[:30], WORDS[:30], rates=RATES, n_epochs=2)
    np.testing.assert_allclose(whole.losses, half.losses, rtol=1e-6)


@pytest.mark.parametrize("stacked", [True, False])
def test_rates_that_explode(stacked: bool) -> None:
    """Where numbers are not finite any more there is no line but a cross, and no warning."""
    rates = [1e-3, 1e-2, 1e30, 1e35]
    model = BigMLPRegressor((6,), optimizer="sgd", random_state=0, max_time=None if stacked else 1e3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display = LearningRateDisplay.from_estimator(model, X, VALUES, rates=rates, n_epochs=3)
    assert np.isfinite(display.losses[-1]).tolist() == [True, True, False, False]
    (crosses,) = [line for line in display.ax_.lines if line.get_label() == "not finite"]
    assert list(crosses.get_xdata()) == rates[2:]
    assert display.best_rate_ == 1e-2


def test_the_picture() -> None:
    """Lines of some epochs, the last one darkest; the lowest loss and the estimator's rate are marked."""
    losses = np.array([[2.0, 1.8, 1.9], [1.9, 1.0, 1.5], [1.8, 0.6, 1.4]])
    _, ax = plt.subplots()
    display = LearningRateDisplay(rates=[0.001, 0.01, 0.1], losses=losses, own_rate=0.001).plot(
        ax=ax, line_kw={"color": "k"}
    )
    assert display.ax_ is ax and ax.get_xscale() == "log"
    assert [line.get_label() for line in display.lines_] == ["epoch 1", "epoch 2", "epoch 3"]
    assert display.lines_[-1].get_color() == "k" and display.lines_[0].get_alpha() < 1
    assert display.best_rate_ == 0.01
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[3:] == ["lowest: 0.01", "set: 0.001"]
    low, high = ax.get_ylim()
    assert low < 0.6 and 2.0 < high < 3.0
    nothing = LearningRateDisplay(rates=[0.1, 1.0], losses=np.full((2, 2), np.nan)).plot()
    assert nothing.best_rate_ is None


def test_steps_decide_the_length() -> None:
    """Small batches need fewer epochs for as many steps."""
    epochs = [
        len(LearningRateDisplay.from_estimator(small(batch_size=size), X, WORDS, rates=[0.01, 0.1]).losses)
        for size in (4, 60)
    ]
    assert epochs == [14, 50]


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        (LogisticRegression(), {}, "must be one network of this package, or a Pipeline"),
        (small(optimizer="lbfgs"), {}, "optimizer='lbfgs' finds its steps itself: no rate can be tested"),
        (small(), {"rates": [0.1]}, "'rates' parameter of LearningRateDisplay must be two positive numbers or more"),
        (small(), {"rates": [0.1, -1.0]}, "'rates' parameter of LearningRateDisplay must be two positive numbers"),
        (
            small(),
            {"n_epochs": 0},
            "'n_epochs' parameter of LearningRateDisplay must be an int .* or one of {None}. Got 0",
        ),
        (small(), {"n_epochs": 2.5}, "'n_epochs' parameter of LearningRateDisplay must be an int"),
        (small(privacy=DPSGD(1.0)), {}, "keeps the training loss back"),
        (small(activation="swash"), {}, "activation"),
    ],
)
def test_bad_arguments(estimator: Any, options: dict[str, Any], message: str) -> None:
    """What cannot be tested is said so."""
    with pytest.raises(ValueError, match=message):
        LearningRateDisplay.from_estimator(estimator, X, WORDS, **options)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it, before anything is trained."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"LearningRateDisplay draws with matplotlib"):
        LearningRateDisplay.from_estimator(small(), X, WORDS)
