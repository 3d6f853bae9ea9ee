"""The picture of a learning-rate range test.

Legend: L rates, E epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skbig.plots.ink import label_decades
from skbig.plots.pyplot import import_pyplot
from skbig.plots.rate_test import rate_test
from skbig.plots.values import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike
    from sklearn.base import BaseEstimator

    from skbig.estimators.types import Table, Targets

RATES = tuple(np.geomspace(1e-5, 3.0, 34).tolist())
MOST_LINES = 4
SPAN_OF_A_LOG_SCALE = 100.0


class LearningRateDisplay:
    """A learning-rate range test: the training loss after some epochs over the rate.

    Make it with :meth:`from_estimator`. The same network is trained from the same first weights at each rate, all
    rates together as one stack, with a constant schedule. The line of the last epoch is dark, those of earlier ones are
    light. A point marks the lowest loss; a rate somewhat below it is a good base rate, and one at the foot of the slope
    on the left is too low. Where the loss is not finite any more a cross says so.

    Parameters
    ----------
    rates : array-like of shape (n_rates,)
        Rising.
    losses : array-like of shape (n_epochs, n_rates)
        Training loss of each epoch; NaN where it was not finite.
    own_rate : float or None, default=None
        The rate that the estimator is set to, which a vertical line marks.

    Attributes
    ----------
    best_rate_ : float or None
        That of the lowest loss in the last epoch; None where no loss is finite.
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    lines_ : list of matplotlib Line2D
        A line for each epoch that is drawn, that of the last epoch last.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigMLPClassifier
    >>> from skbig.plots import LearningRateDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), BigMLPClassifier((16,), random_state=0))
    >>> display = LearningRateDisplay.from_estimator(model, X, y, rates=[1e-4, 1e-3, 1e-2, 1e-1], n_epochs=20)
    >>> display.best_rate_
    0.1
    """

    def __init__(self, *, rates: Sequence[float], losses: ArrayLike, own_rate: float | None = None) -> None:
        self.rates = rates
        self.losses = losses
        self.own_rate = own_rate

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Table,
        y: Targets,
        *,
        rates: Sequence[float] = RATES,
        n_epochs: int | None = None,
        fit_params: Mapping[str, Any] | None = None,
        ax: Axes | None = None,
        line_kw: Mapping[str, Any] | None = None,
    ) -> LearningRateDisplay:
        """Train at each rate, and draw the losses; the estimator itself is left as it is.

        Parameters
        ----------
        estimator : estimator
            One of this package, or a ``Pipeline`` or ``TransformedTargetRegressor`` around one; it need not be fitted.
        X, y : array-like
            As for its `fit`.
        rates : sequence of float, default=34 from 0.00001 to 3
        n_epochs : int or None, default=None
            None takes as many as make some 200 steps.
        fit_params : dict or None, default=None
            Passed on to its `fit`, as ``sample_weight``.
        ax : matplotlib Axes or None, default=None
            Where to draw. By default a new figure is made.
        line_kw : dict or None, default=None
            Passed on to ``Axes.plot`` for the line of the last epoch.

        Returns
        -------
        LearningRateDisplay

        Raises
        ------
        ValueError
            When the estimator has no network, its optimizer takes no rate, or `rates` are not positive numbers.
        ImportError
            Without matplotlib.
        """
        import_pyplot("LearningRateDisplay")
        found = rate_test(estimator, X, y, rates, n_epochs, fit_params or {})
        display = cls(rates=found.rates.tolist(), losses=found.losses, own_rate=found.own_rate)
        return display.plot(ax=ax, line_kw=line_kw)

    def plot(self, *, ax: Axes | None = None, line_kw: Mapping[str, Any] | None = None) -> LearningRateDisplay:
        """Draw the losses; parameters as in :meth:`from_estimator`."""
        self.ax_ = (
            import_pyplot("LearningRateDisplay").subplots(figsize=(7.0, 4.6), layout="constrained")[1]
            if ax is None
            else ax
        )
        self.figure_ = self.ax_.figure
        rates, losses = np.asarray(self.rates, dtype=float), np.asarray(self.losses, dtype=float)
        last = losses[-1]
        self.best_rate_ = float(rates[np.nanargmin(last)]) if np.isfinite(last).any() else None
        self.ax_.set_xscale("log")
        self.lines_ = self._draw_lines(rates, losses, dict(line_kw or {}))
        self._limit(losses)
        self._mark(rates, last)
        self._tidy(rates)
        return self

    def _draw_lines(self, rates: np.ndarray, losses: np.ndarray, line_kw: dict[str, Any]) -> list[Any]:
        epochs = np.unique(np.geomspace(1, len(losses), min(MOST_LINES, len(losses))).round().astype(int))
        lines: list[Any] = []
        for place, epoch in enumerate(epochs.tolist(), 1):
            is_last = place == len(epochs)
            style: dict[str, Any] = {"color": "C0", "alpha": 1.0 if is_last else 0.15 + 0.5 * place / len(epochs)}
            style |= {"linewidth": 2.2 if is_last else 1.2, "label": f"epoch {epoch}"} | (line_kw if is_last else {})
            lines += self.ax_.plot(rates, losses[epoch - 1], **style)
        return lines

    def _limit(self, losses: np.ndarray) -> None:
        """Show what lies between the lowest loss and a little above that of the lowest rate: others run out on top."""
        finite = losses[np.isfinite(losses)]
        if finite.size:
            first = losses[0][np.isfinite(losses[0])]
            low, high = finite.min(), max(first[0] if first.size else finite.max(), finite.min())
            if 0 < low < high / SPAN_OF_A_LOG_SCALE:
                self.ax_.set_yscale("log")
                self.ax_.set_ylim(low / 1.5, high * 2)
                return
            room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
            self.ax_.set_ylim(low - room, high + 3 * room)

    def _mark(self, rates: np.ndarray, last: np.ndarray) -> None:
        if self.best_rate_ is not None:
            label = f"lowest: {shorten(self.best_rate_)}"
            self.ax_.plot(self.best_rate_, np.nanmin(last), "o", color="C3", label=label, zorder=3)
        if self.own_rate is not None:
            label = f"set: {shorten(self.own_rate)}"
            self.ax_.axvline(self.own_rate, color="0.6", linewidth=1, linestyle=(0, (4, 3)), zorder=0, label=label)
        lost = rates[~np.isfinite(last)]
        if lost.size:
            top = self.ax_.get_ylim()[1]
            self.ax_.plot(lost, np.full(lost.size, top), "x", color="C3", clip_on=False, label="not finite", zorder=3)

    def _tidy(self, rates: np.ndarray) -> None:
        self.ax_.set(xlabel="learning rate", ylabel="training loss")
        self.ax_.spines[["top", "right"]].set_visible(False)
        self.ax_.grid(axis="y", color="0.9", linewidth=0.8)
        self.ax_.set_axisbelow(True)
        label_decades(self.ax_.xaxis, rates)
        self.ax_.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.4)
