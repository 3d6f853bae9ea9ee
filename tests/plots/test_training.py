"""The picture of a training shows what the estimator says about it, whole and nothing else."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.plots import TrainingDisplay

X = np.arange(24.0).reshape(12, 2)
Y = np.arange(12) % 2


class Trained(BaseEstimator):
    """Has the attributes of a fitted estimator, from curves that are written down."""

    def __init__(
        self, early_stopping: bool = True, scoring: str | None = "loss", n_members: int = 1, rate: str = "constant"
    ) -> None:
        self.early_stopping = early_stopping
        self.scoring = scoring
        self.n_members = n_members
        self.rate = rate

    def fit(self, X: Any, y: Any) -> Trained:
        self.loss_curve_ = [0.9, 0.5, 0.3, 0.2]
        self.validation_loss_curve_ = [1.0, 0.7, 0.6, 0.8] if self.early_stopping else None
        self.validation_scores_ = None
        if self.early_stopping:
            self.validation_scores_ = [-1.0, -0.7, -0.6, -0.8] if self.scoring == "loss" else [0.5, 0.9, 0.8, 0.9]
        self.learning_rates_ = {
            "constant": [0.1] * 4,
            "falling": [0.1, 0.01, 0.001, 0.0001],
            "to zero": [0.1, 0.01, 0.001, 0.0],
        }[self.rate]
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.zeros(len(X))


class Classifier(ClassifierMixin, Trained):
    pass


class Regressor(RegressorMixin, Trained):
    pass


def display_of(**parameters: Any) -> TrainingDisplay:
    return TrainingDisplay.from_estimator(Classifier(**parameters).fit(X, Y))


def curve(axes: Any, label: str) -> list[float]:
    (line,) = (line for line in axes.lines if line.get_label() == label)
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(line.get_xdata()) + 1))
    return list(line.get_ydata())


def marked_epochs(display: TrainingDisplay) -> set[float]:
    """Return where vertical lines stand."""
    upright = (line.get_xdata() for axes in display.axes_ for line in axes.lines if list(line.get_ydata()) == [0, 1])
    return {x for xs in upright for x in xs}


def test_curves_are_those_of_the_estimator() -> None:
    """Every curve stands in its panel, over epochs counted from one, under its name."""
    display = display_of(scoring=None)
    loss, score, rate = display.axes_
    assert curve(loss, "training") == [0.9, 0.5, 0.3, 0.2]
    assert curve(loss, "validation") == [1.0, 0.7, 0.6, 0.8]
    assert curve(score, "validation") == [0.5, 0.9, 0.8, 0.9]
    assert curve(rate, "rate") == [0.1] * 4
    assert [axes.get_ylabel() for axes in display.axes_] == ["loss", "accuracy", "learning rate"]
    assert rate.get_xlabel() == "epoch"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert len(display.lines_) == 4


def test_no_panel_without_a_curve() -> None:
    """A score that is the loss itself, or no validation at all, leaves no empty panel."""
    assert [axes.get_ylabel() for axes in display_of().axes_] == ["loss", "learning rate"]
    alone = display_of(early_stopping=False, scoring=None)
    assert [axes.get_ylabel() for axes in alone.axes_] == ["loss", "learning rate"]
    assert [line.get_label() for line in alone.axes_[0].lines] == ["training"]


@pytest.mark.parametrize(("scoring", "epoch", "panel"), [("loss", 3, 0), (None, 2, 1)])
def test_the_kept_epoch_is_marked(scoring: str | None, epoch: int, panel: int) -> None:
    """The mark is at the first epoch of the best score, on the curve that was watched."""
    display = display_of(scoring=scoring)
    assert display.best_epoch == epoch
    assert marked_epochs(display) == {epoch}
    labels = [text.get_text() for text in display.axes_[panel].get_legend().get_texts()]
    assert labels[-1] == f"best: epoch {epoch}, weights kept"


@pytest.mark.parametrize("parameters", [{"early_stopping": False}, {"n_members": 3}])
def test_no_mark_where_no_epoch_was_kept(parameters: dict[str, Any]) -> None:
    """Without early stopping the last weights stay, and the members of an ensemble each keep their own."""
    assert marked_epochs(display_of(**parameters)) == set()


@pytest.mark.parametrize(("rate", "scale"), [("constant", "linear"), ("falling", "log"), ("to zero", "linear")])
def test_rates_over_decades_have_a_log_scale(rate: str, scale: str) -> None:
    """A rate that spans decades is read on a logarithmic scale, unless it reaches zero."""
    assert display_of(rate=rate).axes_[-1].get_yscale() == scale


@pytest.mark.parametrize(
    ("rate", "scale"),
    [
        ([0.1, 0.01, 1e-12], "linear"),
        (list(0.01 * (1 + np.cos(np.pi * np.arange(1, 101) / 100.001)) / 2), "linear"),
        (list(0.1 * 0.5 ** np.arange(60.0)), "log"),
        (list(np.repeat([0.1, 0.01, 0.001], 10)), "log"),
    ],
    ids=["vanishing", "cosine", "exponential", "steps"],
)
def test_every_rate_is_in_the_picture(rate: list[float], scale: str) -> None:
    """A last rate of next to nothing neither falls off its axis nor presses those before it into a corner."""
    axes = TrainingDisplay(loss=np.ones(len(rate)), rate=rate).plot().axes_[-1]
    low, high = axes.get_ylim()
    assert axes.get_yscale() == scale
    assert low <= min(rate)
    assert max(rate) <= high
    span = np.ptp([low, high] if scale == "linear" else np.log([low, high]))
    assert span < 1.25 * np.ptp([0, max(rate)] if scale == "linear" else np.log(rate))


@pytest.mark.parametrize(
    ("kind", "scoring", "name"),
    [
        (Classifier, None, "accuracy"),
        (Regressor, None, "R²"),
        (Classifier, "roc_auc", "roc auc"),
        (Regressor, "neg_mean_absolute_error", "negative mean absolute error"),
    ],
)
def test_the_score_is_named(kind: type[Trained], scoring: str | None, name: str) -> None:
    """The panel of scores says which score it is."""
    display = TrainingDisplay.from_estimator(kind(scoring=scoring).fit(X, Y))
    assert display.axes_[1].get_ylabel() == name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: make_pipeline(StandardScaler(), inner),
        lambda inner: GridSearchCV(inner, {"rate": ["falling"]}, cv=2, scoring="r2"),
        lambda inner: GridSearchCV(make_pipeline(StandardScaler(), inner), {}, cv=2, scoring="r2"),
        lambda inner: TransformedTargetRegressor(make_pipeline(inner), transformer=StandardScaler()),
    ],
    ids=["pipeline", "search", "search of a pipeline", "transformed target"],
)
def test_the_network_inside_is_found(wrap: Any) -> None:
    """A pipeline, a search and a transformed target show the network that they fitted, and say so when they did not."""
    outer = wrap(Regressor())
    with pytest.raises(NotFittedError):
        TrainingDisplay.from_estimator(outer)
    display = TrainingDisplay.from_estimator(outer.fit(X, Y.astype(float)))
    assert curve(display.axes_[0], "training") == [0.9, 0.5, 0.3, 0.2]


@pytest.mark.crossed
@pytest.mark.parametrize("kind", [BigMLPClassifier, BigMLPRegressor])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("validated", [False, True], ids=["", "validated"])
def test_a_real_training_is_drawn(kind: Any, optimizer: str, validated: bool) -> None:
    """Every curve that the estimator has is in the picture, for batches and for a line search."""
    rows = {"X_val": X, "y_val": Y} if validated else {}
    model = kind((4,), optimizer=optimizer, early_stopping=validated, max_iter=5, scoring=None, random_state=0)
    with pytest.raises(NotFittedError):
        TrainingDisplay.from_estimator(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, Y, **rows)
    display = TrainingDisplay.from_estimator(model)
    drawn = [list(line.get_ydata()) for line in display.lines_]
    curves = (model.loss_curve_, model.validation_loss_curve_, model.validation_scores_, model.learning_rates_)
    assert drawn == [curve for curve in curves if curve is not None]
    assert len(drawn) == (4 if validated else 2)
    assert (display.best_epoch is not None) is validated
    display.figure_.canvas.draw()


def test_another_estimator_is_refused() -> None:
    """What has no curves is told what is needed."""
    with pytest.raises(ValueError, match=r"must be a BigMLPClassifier .* Got LinearRegression\(\) instead"):
        TrainingDisplay.from_estimator(LinearRegression().fit(X, Y))


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    fitted = Classifier().fit(X, Y)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install skbig\[plot\]"):
        TrainingDisplay.from_estimator(fitted)


def test_given_axes_are_used() -> None:
    """One axes is divided, several are taken as they are, and a wrong number of them is refused."""
    fitted = Classifier().fit(X, Y)
    figure, (left, right) = plt.subplots(1, 2)
    divided = TrainingDisplay.from_estimator(fitted, ax=left)
    assert divided.figure_ is figure
    assert not left.axison
    assert all(axes.get_position().x1 <= right.get_position().x0 for axes in divided.axes_)
    _, two = plt.subplots(2)
    assert list(TrainingDisplay.from_estimator(fitted, ax=two).axes_) == list(two)
    _, three = plt.subplots(3)
    with pytest.raises(ValueError, match=r"one for each of \['loss', 'rate'\]. Got 3"):
        TrainingDisplay.from_estimator(fitted, ax=three)


def test_curves_are_styled() -> None:
    """What is given for lines reaches each of them."""
    display = TrainingDisplay.from_estimator(Classifier().fit(X, Y), line_kw={"linewidth": 5, "alpha": 0.5})
    assert {(line.get_linewidth(), line.get_alpha()) for line in display.lines_} == {(5, 0.5)}


def test_a_single_epoch_is_visible() -> None:
    """One epoch makes no line, so it is a point."""
    display = TrainingDisplay(loss=[0.5], rate=[0.1]).plot()
    assert {line.get_marker() for line in display.lines_} == {"o"}
    display.figure_.canvas.draw()
