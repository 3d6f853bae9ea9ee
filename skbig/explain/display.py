"""Pictures of an explanation, in scikit-learn's Display convention; matplotlib is imported when one is drawn.

Legend: N rows, C columns of X, K outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skbig.explain.attributions import expected_gradients, integrated_gradients
from skbig.plots.ink import label_levels, open_sides
from skbig.plots.pyplot import import_pyplot
from skbig.plots.values import Levels, is_number, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("bars", "waterfall", "dependence")
RISES, FALLS = "C3", "C0"
MINUS = "\N{MINUS SIGN}"
ROW_HEIGHT = 0.34
"""Of a bar with its gap, in inches."""


class ExplanationDisplay:
    """Attributions as bars, as the waterfall of one row, or as a column's dependence.

    - ``plot("bars")``: the mean size of each column's attributions, the largest on top.
    - ``plot("waterfall", row=3)``: the way from the base value to the prediction of a row, column by column.
    - ``plot("dependence", feature="age")``: the attribution of a column beside its value, one point for each row.

    Parameters
    ----------
    explanation : Explanation or shap.Explanation
        What is drawn.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    bars_ : list of matplotlib BarContainer
        The bars, of each output; empty for a dependence.
    points_ : matplotlib PathCollection or None
        The points of a dependence.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbig import BigMLPRegressor
    >>> from skbig.explain import ExplanationDisplay, integrated_gradients
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = BigMLPRegressor((16,), schedule="cosine", max_iter=20, random_state=0).fit(X, y)
    >>> display = ExplanationDisplay(integrated_gradients(model, X)).plot("waterfall", row=3)
    >>> display.ax_.get_xlabel()
    'prediction'
    """

    def __init__(self, explanation: Any) -> None:
        self.explanation = explanation

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        kind: str = "bars",
        *,
        background: Any = None,
        baseline: Any = None,
        response_method: str = "auto",
        target: Any = None,
        row: int = 0,
        feature: Any = None,
        max_features: int = 10,
        random_state: Any = None,
        ax: Any = None,
    ) -> ExplanationDisplay:
        """Explain rows, and draw the explanation.

        Parameters
        ----------
        estimator : estimator
            As of `integrated_gradients`.
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Rows to explain.
        kind : {'bars', 'waterfall', 'dependence'}, default='bars'
            The picture.
        background : {array-like, sparse matrix, DataFrame} of shape (n_rows, n_features), default=None
            With it `expected_gradients` are drawn, else `integrated_gradients`.
        baseline : array-like, default=None
            As of `integrated_gradients`.
        response_method, target : default='auto', default=None
            As of `integrated_gradients`.
        row : int, default=0
            The row of X of a waterfall.
        feature : str, int or None, default=None
            The column of a dependence; None is the one with the largest attributions.
        max_features : int, default=10
            So many columns have a bar of their own.
        random_state : int, RandomState instance or None, default=None
            As of `expected_gradients`.
        ax : matplotlib Axes or None, default=None
            Where to draw; by default a new figure is made.

        Returns
        -------
        ExplanationDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        import_pyplot("ExplanationDisplay")
        options = {"response_method": response_method, "target": target}
        if background is None:
            explanation = integrated_gradients(estimator, X, baseline=baseline, **options)
        elif baseline is None:
            explanation = expected_gradients(estimator, X, background, random_state=random_state, **options)
        else:
            raise ValueError("Pass either a 'baseline' or a 'background', not both.")
        return cls(explanation).plot(kind, row=row, feature=feature, max_features=max_features, ax=ax)

    def plot(
        self,
        kind: str = "bars",
        *,
        row: int = 0,
        feature: Any = None,
        output: Any = None,
        max_features: int = 10,
        ax: Any = None,
    ) -> ExplanationDisplay:
        """Draw a picture; parameters as in :meth:`from_estimator`.

        `output` is the name or the number of one of several outputs. None is all of them in bars, and in a waterfall
        the one with the highest prediction; a dependence needs one.
        """
        if kind not in KINDS:
            raise ValueError(
                f"The 'kind' parameter of ExplanationDisplay.plot must be one of {list(KINDS)}. Got {kind!r} instead."
            )
        found = self.explanation
        if np.ndim(found.values) not in (2, 3) or np.ndim(found.data) != 2:
            raise ValueError("ExplanationDisplay draws columns. Rows of another shape are pictures themselves.")
        self.bars_: list[Any] = []
        self.points_: Any = None
        if kind == "bars":
            self._draw_bars(_values_of_outputs(found, output), max_features, ax)
        elif kind == "waterfall":
            self._draw_waterfall(row, output, max_features, ax)
        else:
            self._draw_dependence(feature, output, ax)
        return self

    def _axes(self, ax: Any, height: float, width: float = 6.4) -> Axes:
        if ax is None:
            _, ax = import_pyplot("ExplanationDisplay").subplots(figsize=(width, height), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        axes: Axes = ax
        return axes

    def _draw_bars(self, values: dict[str, np.ndarray], max_features: int, ax: Any) -> None:
        """Draw mean sizes of attributions, those of several outputs behind each other."""
        sizes = np.array([np.nan_to_num(np.abs(each).mean(0)) for each in values.values()])
        order, rest = _largest(sizes.sum(0), max_features)
        names = [self.explanation.feature_names[i] for i in order]
        axes, begin = self._axes(ax, 1.0 + ROW_HEIGHT * len(names)), np.zeros(len(names))
        for name, widths in zip(values, sizes[:, order], strict=True):
            self.bars_.append(axes.barh(np.arange(len(names)), widths, left=begin, height=0.7, label=name))
            begin += widths
        if len(rest):
            together = shorten(float(sizes[:, rest].sum()))
            axes.set_title(f"{len(rest)} others, together {together}", loc="right", fontsize="small", color="0.35")
        _label_rows(axes, names)
        axes.set_xlabel("mean size of attributions")
        if len(values) > 1:
            axes.legend(loc="lower right", frameon=False)

    def _draw_waterfall(self, row: int, output: Any, max_features: int, ax: Any) -> None:
        """Draw the way from the base value to the prediction of a row; the largest steps come last, on top."""
        found = self.explanation
        if found.base_values is None:
            raise ValueError("A waterfall needs attributions that add up; gradients do not. Use integrated_gradients.")
        if not -len(found.values) <= row < len(found.values):
            raise ValueError(f"The 'row' parameter must be one of the {len(found.values)} rows. Got {row!r} instead.")
        place = _output_of_row(found, row, output)
        values, base = np.asarray(found.values)[row], np.asarray(found.base_values)[row]
        if place is not None:
            values, base = values[:, place], base[place]
        order, rest = _largest(np.abs(values), max_features)
        data = np.asarray(found.data, dtype=object)[row]
        names = [f"{found.feature_names[i]} = {shorten(data[i])}" for i in order]
        steps = [float(values[i]) for i in order]
        if len(rest):
            names.append(f"{len(rest)} others")
            steps.append(float(values[rest].sum()))
        self._draw_steps(self._axes(ax, 1.3 + ROW_HEIGHT * len(names)), names, np.array(steps), float(base))
        if place is not None:
            self.ax_.set_title(found.output_names[place] if found.output_names else f"output {place}", loc="left")

    def _draw_steps(self, axes: Axes, names: list[str], steps: np.ndarray, base: float) -> None:
        ends = base + np.cumsum(steps[::-1])[::-1]  # the last row is the first step
        begins = ends - steps
        colours = [RISES if step >= 0 else FALLS for step in steps]
        self.bars_.append(axes.barh(np.arange(len(names)), steps, left=begins, height=0.7, color=colours))
        for place in range(len(names) - 1):
            axes.plot([begins[place]] * 2, [place - 0.35, place + 1.35], color="0.5", linewidth=0.8)
        low, high = min(ends.min(), base), max(ends.max(), base)
        margin = 0.02 * (high - low or 1.0)
        for place, step in enumerate(steps):
            right = max(begins[place], ends[place])
            axes.text(right + margin, place, _signed(step), va="center", fontsize="small", color=colours[place])
        axes.set_xlim(low - 3 * margin, high + 9 * margin)
        for value in (base, ends[0]):
            axes.axvline(value, color="0.5", linestyle=":", linewidth=1, zorder=0)
        _label_rows(axes, names)
        axes.set_xlabel("prediction")
        text = f"base value {shorten(base)}, prediction {shorten(float(ends[0]))}"
        axes.set_title(text, loc="right", fontsize="small", color="0.35")

    def _draw_dependence(self, feature: Any, output: Any, ax: Any) -> None:
        """Draw attributions of a column beside its values."""
        found = self.explanation
        names = list(found.feature_names)
        values = _values_of_outputs(found, output)
        if len(values) > 1:
            raise ValueError(f"A dependence is that of one output. Pass `output`, one of {list(values)}.")
        ((name, of_output),) = values.items()
        if feature is None:
            feature = int(np.nan_to_num(np.abs(of_output).mean(0)).argmax())
        place = _place(feature, names, "feature")
        cells, axes = np.asarray(found.data, dtype=object)[:, place], self._axes(ax, 3.6)
        numbers = all(is_number(cell) or cell is None or cell != cell for cell in cells.tolist())
        where = _numbers(cells) if numbers else _spread_levels(axes, cells)
        axes.axhline(0.0, color="0.5", linewidth=0.8, zorder=0)
        self.points_ = axes.scatter(where, of_output[:, place], s=14, alpha=0.6, linewidths=0)
        open_sides(axes, "y")
        axes.set_xlabel(names[place])
        axes.set_ylabel(f"attribution of {names[place]}" if not name else f"attribution, to {name}")


def _values_of_outputs(found: Any, output: Any) -> dict[str, np.ndarray]:
    """Return the attributions (N, C) of one output, or of each, by name."""
    values = np.asarray(found.values, dtype=float)
    if values.ndim == 2:
        return {"": values}
    names = _output_names(found)
    chosen = range(len(names)) if output is None else [_place(output, names, "output")]
    return {names[k]: values[:, :, k] for k in chosen}


def _output_names(found: Any) -> list[str]:
    names = found.output_names
    return [f"output {k}" for k in range(found.values.shape[2])] if names is None else [str(name) for name in names]


def _output_of_row(found: Any, row: int, output: Any) -> int | None:
    """Return the number of the output of a waterfall, or None where there is one."""
    if np.ndim(found.values) == 2:
        return None
    if output is not None:
        return _place(output, _output_names(found), "output")
    predictions = np.asarray(found.base_values)[row] + np.asarray(found.values)[row].sum(0)
    return int(predictions.argmax())


def _place(given: Any, names: list[str], parameter: str) -> int:
    """Return the number of what is named."""
    if isinstance(given, str) and given in names:
        return names.index(given)
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool) and -len(names) <= given < len(names):
        return int(given) % len(names)
    raise ValueError(
        f"The {parameter!r} parameter of ExplanationDisplay must be one of {names}, or its number. Got {given!r} "
        "instead."
    )


def _largest(sizes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the largest sizes, in order, and of the others; one alone is no others."""
    order = np.argsort(-np.nan_to_num(sizes), kind="stable")
    n = len(order) if len(order) <= n + 1 else n
    return order[:n], order[n:]


def _label_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    open_sides(axes, "x")
    axes.spines["left"].set_visible(False)


def _signed(value: float) -> str:
    return ("+" if value >= 0 else MINUS) + shorten(abs(value))


def _numbers(cells: np.ndarray) -> np.ndarray:
    return np.array([np.nan if cell is None else float(cell) for cell in cells.tolist()])


def _spread_levels(axes: Axes, cells: np.ndarray) -> np.ndarray:
    """Return places for cells that are no numbers: those of one level lie beside each other, a little spread."""
    levels = Levels.of(["missing" if cell is None or cell != cell else cell for cell in cells.tolist()])
    label_levels(axes, "x", levels.labels())
    spread = np.linspace(-0.18, 0.18, 7)
    seen = np.zeros(len(levels.values), dtype=int)
    places = np.empty(len(cells))
    for i, level in enumerate(levels.index):
        places[i] = level + spread[(3 * seen[level]) % 7]
        seen[level] += 1
    return places
