"""The scores of a search over one or two of its parameters: a heat map, points, or a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skbig.plots.candidates import Candidates
from skbig.plots.ink import (
    CROSS,
    GREY,
    RING,
    cut_below,
    format_score,
    inches,
    label_levels,
    notes,
    open_sides,
    scale_axis,
    write_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ANNOTATIONS = 150
SMALLEST_FONT = 6.0


def is_grid(candidates: Candidates, names: Sequence[str]) -> bool:
    """Say whether the values of two parameters repeat, as in a grid, or most of their pairs were tried."""
    x, y = (len(candidates.levels(name).values) for name in names)
    return 2 * max(x, y) <= len(candidates.last) or 2 * len(candidates.cells(names)) > x * y


def shown_rows(candidates: Candidates, names: Sequence[str]) -> list[int]:
    """Return the rows whose scores a picture over some parameters shows."""
    return [row for row in candidates.cells(names).values() if row is not None]


def draw_heat_map(axes: Axes, candidates: Candidates, names: Sequence[str], plot_kw: dict[str, Any]) -> Any:
    """Draw a cell for each pair of values, in the colour of the best candidate that has it."""
    labels = [candidates.levels(name).labels() for name in names]
    cells = candidates.cells(names)
    scores = np.full((len(labels[1]), len(labels[0])), np.nan)
    for (column, row), best in cells.items():
        scores[row, column] = np.nan if best is None else candidates.mean[best]
    style: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.0} | _colours(candidates, names, plot_kw) | plot_kw
    corners = [np.arange(len(each) + 1) - 0.5 for each in labels]
    mesh = axes.pcolormesh(*corners, np.ma.masked_invalid(scores), **style)
    for side, each in zip("xy", labels, strict=True):
        label_levels(axes, side, each)
    _write_scores(axes, mesh, candidates, cells, scores)
    _mark_cells(axes, candidates, cells)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return mesh


def _colours(candidates: Candidates, names: Sequence[str], plot_kw: dict[str, Any]) -> dict[str, Any]:
    # A norm of one's own has limits of its own.
    lowest = None if "norm" in plot_kw else candidates.lowest_shown(shown_rows(candidates, names))
    return {"cmap": "viridis", "vmin": lowest}


def _write_scores(
    axes: Axes,
    mesh: Any,
    candidates: Candidates,
    cells: dict[tuple[int, ...], int | None],
    scores: np.ndarray,
) -> None:
    """Write each score into its cell, where there are few cells and they are wide enough."""
    usual = usual_scores(candidates, [row for row in cells.values() if row is not None])
    texts = {place: format_score(scores[place], usual) for place in zip(*np.isfinite(scores).nonzero(), strict=True)}
    if not texts or scores.size > MOST_ANNOTATIONS:
        return
    width, height = inches(axes)
    room = 72 * width / scores.shape[1] / (0.68 * max(map(len, texts.values())))
    size = min(9.0, room, 72 * height / scores.shape[0] / 1.5)
    if size < SMALLEST_FONT:
        return
    for (row, column), text in texts.items():
        red, green, blue, _ = mesh.to_rgba(scores[row, column])
        ink = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.42 else "white"
        axes.text(column, row, text, color=ink, fontsize=size, ha="center", va="center")


def _mark_cells(axes: Axes, candidates: Candidates, cells: dict[tuple[int, ...], int | None]) -> None:
    """Frame the cell of the best, and put a cross into those in which all failed."""
    from matplotlib.patches import Rectangle

    winner = candidates.best(candidates.last)
    for (column, row), best in cells.items():
        if best is None:
            axes.text(column, row, CROSS, color=GREY, ha="center", va="center")
        elif best == winner:
            frame: dict[str, Any] = {"fill": False, "edgecolor": "C3", "linewidth": 2.5, "label": "best"}
            axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, **frame))


def draw_points(axes: Axes, candidates: Candidates, names: Sequence[str], plot_kw: dict[str, Any]) -> Any:
    """Draw a point for each pair of values, in the colour of the best candidate that has it."""
    levels = [candidates.levels(name) for name in names]
    cells = candidates.cells(names)
    places = {key: [own.positions()[place] for own, place in zip(levels, key, strict=True)] for key in cells}
    found = {row: places[key] for key, row in cells.items() if row is not None}
    rows = sorted(found, key=lambda row: candidates.mean[row])  # the better lie on top
    style: dict[str, Any] = {"c": candidates.mean[rows], "s": 50, "edgecolors": "white", "linewidth": 0.7, "zorder": 3}
    style |= _colours(candidates, names, plot_kw) | plot_kw
    points = axes.scatter(*np.array([found[row] for row in rows]).reshape(-1, 2).T, **style)
    failed = np.array([places[key] for key, row in cells.items() if row is None]).reshape(-1, 2)
    axes.plot(*failed.T, "x", color=GREY, label="failed")
    if (winner := candidates.best(candidates.last)) is not None:
        axes.plot(*found[winner], "o", label="best", zorder=4, **RING)
    for side, own in zip("xy", levels, strict=True):
        scale_axis(axes, side, own)
    open_sides(axes, "both")
    return points


def draw_line(axes: Axes, candidates: Candidates, name: str, plot_kw: dict[str, Any]) -> list[Any]:
    """Draw the best score at each value, with one standard deviation over the folds on either side."""
    levels = candidates.levels(name)
    positions, cells = levels.positions(), candidates.cells([name])
    best = [cells[place,] for place in range(len(positions))]
    mean, std = (
        np.array([np.nan if row is None else values[row] for row in best])
        for values in (candidates.mean, candidates.std)
    )
    # Words have no order; and where nothing repeats, neighbours differ in the other parameters too.
    joined = levels.numeric and (len(candidates.varied) <= 1 or len(positions) < len(candidates.last))
    style: dict[str, Any] = {"color": "C0", "marker": "o", "linestyle": "-" if joined else "none", "linewidth": 1.8}
    lines = axes.plot(positions, mean, **style | plot_kw)
    colour = lines[0].get_color()
    if joined:
        axes.fill_between(positions, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)
    else:
        axes.errorbar(positions, mean, std, fmt="none", ecolor=colour, alpha=0.5)
    if (winner := candidates.best(candidates.last)) is not None:
        axes.plot(positions[best.index(winner)], candidates.mean[winner], "o", label="best", **RING)
    failed = positions[np.isnan(mean)]
    # On the floor, below where the score would be.
    axes.plot(failed, np.full(len(failed), 0.03), "x", color=GREY, transform=axes.get_xaxis_transform(), label="failed")
    scale_axis(axes, "x", levels)
    open_sides(axes, "y")
    if len(shown := shown_rows(candidates, [name])):
        cut_below(axes, candidates.lowest_shown(shown), float(np.nanmax(mean + std)))
    return lines


def usual_scores(candidates: Candidates, rows: Sequence[int]) -> np.ndarray:
    """Return the scores of some rows, without those that are too low to be shown."""
    scores, lowest = candidates.mean[list(rows)], candidates.lowest_shown(rows)
    return scores if lowest is None else scores[scores >= lowest]


def describe_best(axes: Axes, candidates: Candidates, names: Sequence[str]) -> None:
    """Write above the axes which candidate is the best, and what the picture cannot show."""
    rows, best = shown_rows(candidates, names), candidates.best(candidates.last)
    lines = notes(candidates, rows, cross=True)
    if best is not None:
        score = format_score(candidates.mean[best], usual_scores(candidates, rows))
        lines = [f"best {score}: {candidates.describe(best, candidates.varied or candidates.names)}", *lines]
    write_above(axes, lines)
