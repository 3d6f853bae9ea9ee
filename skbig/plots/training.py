"""Pictures of a training, in scikit-learn's Display convention; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skbig.plots.ink import label_decades
from skbig.plots.pyplot import import_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = dict[str, tuple[str, Any]]
"""Of one panel: label -> colour and values."""

DECADES_OF_A_LOG_SCALE = {"loss": 2.0, "score": np.inf, "rate": 0.9}
HEIGHTS = {"loss": 3.0, "score": 2.0, "rate": 1.2}


class TrainingDisplay:
    """Curves of a training: the losses, the validation scores, and the learning rate, epoch by epoch.

    Make it with :meth:`from_estimator`. What a training does not have is not drawn: no validation curve without
    validation rows, and no panel of scores where the score is the loss itself. A vertical line marks the epoch whose
    weights were kept. A loss that falls by more than two decades, and a rate of which the middle half of the epochs
    spans one, has a logarithmic scale.

    Parameters
    ----------
    loss : sequence of float
        Training loss of each epoch.
    validation_loss : sequence of float or None, default=None
    validation_score : sequence of float or None, default=None
        Higher is better.
    rate : sequence of float or None, default=None
        Learning rate of each epoch.
    best_epoch : int or None, default=None
        The epoch, counted from 1, whose weights the estimator kept.
    score_name : str, default="score"
        What the validation score is.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes
        One per panel, from top to bottom.
    lines_ : list of matplotlib Line2D
        The curves, in the order of the legends.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.plots import TrainingDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((16,), learning_rate=0.05, early_stopping=True, random_state=0).fit(X, y)
    >>> display = TrainingDisplay.from_estimator(model)
    >>> [axes.get_ylabel() for axes in display.axes_]
    ['loss', 'learning rate']
    """

    def __init__(
        self,
        *,
        loss: Sequence[float],
        validation_loss: Sequence[float] | None = None,
        validation_score: Sequence[float] | None = None,
        rate: Sequence[float] | None = None,
        best_epoch: int | None = None,
        score_name: str = "score",
    ) -> None:
        self.loss = loss
        self.validation_loss = validation_loss
        self.validation_score = validation_score
        self.rate = rate
        self.best_epoch = best_epoch
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, line_kw: dict[str, Any] | None = None
    ) -> TrainingDisplay:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted ``BigMLPClassifier`` or ``BigMLPRegressor``; or a ``Pipeline`` that ends in one, or a search or a
            ``TransformedTargetRegressor`` that has fitted one.
        ax : matplotlib Axes, array of Axes or None, default=None
            Where to draw: axes that are divided into the panels, or one per panel. By default a new figure is made.
        line_kw : dict or None, default=None
            Passed on to ``Axes.plot`` for every curve.

        Returns
        -------
        TrainingDisplay

        Raises
        ------
        NotFittedError
            When the estimator has not been fitted.
        ImportError
            Without matplotlib.
        """
        import_pyplot("TrainingDisplay")
        fitted = _trained(estimator)
        display = cls(
            loss=fitted.loss_curve_,
            validation_loss=fitted.validation_loss_curve_,
            validation_score=None if fitted.scoring == "loss" else fitted.validation_scores_,
            rate=fitted.learning_rates_,
            best_epoch=_kept_epoch(fitted),
            score_name=_name_of_score(fitted),
        )
        return display.plot(ax=ax, line_kw=line_kw)

    def plot(self, *, ax: Any = None, line_kw: dict[str, Any] | None = None) -> TrainingDisplay:
        """Draw the curves; parameters as in :meth:`from_estimator`."""
        panels = self._panels()
        self.axes_ = _make_axes(ax, list(panels))
        self.figure_ = self.axes_[0].figure
        self.lines_: list[Any] = []
        for axes, (panel, curves) in zip(self.axes_, panels.items(), strict=True):
            self._draw(axes, panel, curves, line_kw or {})
        self.axes_[-1].set_xlabel("epoch")
        self.figure_.align_ylabels(self.axes_)
        return self

    def _panels(self) -> dict[str, Curves]:
        """Return the panels that have something to show."""
        panels: dict[str, Curves] = {
            "loss": {"training": ("C0", self.loss), "validation": ("C1", self.validation_loss)},
            "score": {"validation": ("C1", self.validation_score)},
            "rate": {"rate": ("C2", self.rate)},
        }
        drawn = {
            panel: {label: curve for label, curve in curves.items() if curve[1] is not None and len(curve[1])}
            for panel, curves in panels.items()
        }
        return {panel: curves for panel, curves in drawn.items() if curves}

    def _draw(self, axes: Axes, panel: str, curves: Curves, line_kw: dict[str, Any]) -> None:
        for label, (colour, values) in curves.items():
            marker = "o" if len(values) == 1 else None  # one point makes no line
            style: dict[str, Any] = {"color": colour, "linewidth": 1.8, "marker": marker, "label": label} | line_kw
            self.lines_ += axes.plot(np.arange(1, len(values) + 1), values, **style)
        # Where a rate ends at next to nothing, as a cosine's, only its last epochs span decades.
        if _decades(curves, 0.5 if panel == "rate" else 1.0) > DECADES_OF_A_LOG_SCALE[panel]:
            axes.set_yscale("log")
        axes.set_ylabel({"loss": "loss", "score": self.score_name, "rate": "learning rate"}[panel])
        _tidy(axes, panel)
        self._mark_best(axes, panel, curves)
        if panel != "rate":
            # Above the panel, where no curve can run into it.
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)

    def _mark_best(self, axes: Axes, panel: str, curves: Curves) -> None:
        if self.best_epoch is None:
            return
        axes.axvline(self.best_epoch, color="0.6", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        watched = "score" if self.validation_score is not None else "loss"
        if panel == watched and "validation" in curves:
            colour, values = curves["validation"]
            label = f"best: epoch {self.best_epoch}, weights kept"
            axes.plot(self.best_epoch, values[self.best_epoch - 1], "o", color=colour, label=label, zorder=3)


def _trained(estimator: Any) -> Any:
    """Return the network inside pipelines, searches and transformed targets."""
    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        return _trained(estimator[-1])
    for name in ("best_estimator_", "regressor_"):
        if hasattr(estimator, name):
            return _trained(getattr(estimator, name))
    if not hasattr(estimator, "loss_curve_"):
        raise ValueError(
            "The 'estimator' parameter of TrainingDisplay.from_estimator must be a BigMLPClassifier or BigMLPRegressor "
            f"or hold one. Got {estimator!r} instead."
        )
    return estimator


def _kept_epoch(fitted: Any) -> int | None:
    """Return the epoch whose weights were kept; the members of an ensemble each have their own."""
    if not fitted.early_stopping or not fitted.validation_scores_ or getattr(fitted, "n_members", 1) > 1:
        return None
    return int(np.argmax(fitted.validation_scores_)) + 1


def _name_of_score(fitted: Any) -> str:
    """Return what `scoring` scores, in words."""
    scoring = fitted.scoring
    if scoring is None:
        return "accuracy" if is_classifier(fitted) else "R²"
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return name.replace("neg_", "negative ").replace("_", " ")


def _decades(curves: Curves, share: float) -> float:
    """Return how many powers of ten the middle share of the values spans; 0 where a value is not positive."""
    values = np.concatenate([np.asarray(values, dtype=float) for _, values in curves.values()])
    if not (values > 0).all():
        return 0.0
    low = np.quantile(values, (1 - share) / 2, method="higher")
    high = np.quantile(values, (1 + share) / 2, method="lower")
    return float(np.log10(high / low))


def _make_axes(ax: Any, panels: list[str]) -> np.ndarray:
    """Return one axes per panel: given, made within a given one, or in a new figure."""
    heights = [HEIGHTS[panel] for panel in panels]
    if ax is None:
        options = {"figsize": (7.0, 0.9 + sum(heights)), "layout": "constrained"}
        made = import_pyplot("TrainingDisplay").subplots(
            len(panels), sharex=True, squeeze=False, height_ratios=heights, **options
        )[1]
        return np.asarray(made[:, 0])
    given = np.asarray(ax, dtype=object).ravel()
    if given.size == 1 < len(panels):
        given[0].set_axis_off()
        grid = given[0].get_subplotspec().subgridspec(len(panels), 1, height_ratios=heights)
        return np.asarray(grid.subplots(sharex=True, squeeze=False)[:, 0])
    if given.size != len(panels):
        raise ValueError(f"ax must be one Axes, or one for each of {panels}. Got {given.size} instead.")
    return given


def _tidy(axes: Axes, panel: str) -> None:
    """Leave only the ink that helps: open sides, a light grid, whole epochs, and a rate that is read from zero."""
    from matplotlib.ticker import MaxNLocator

    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.minorticks_off()
    highest = axes.dataLim.intervaly[1]
    if axes.get_yscale() == "log":
        label_decades(axes.yaxis, axes.dataLim.intervaly)
    elif panel == "rate":
        axes.set_ylim(0, 1.2 * highest or 1)
