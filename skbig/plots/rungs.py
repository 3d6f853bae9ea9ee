"""The rungs of a halving search: who went how far, and with which score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skbig.plots.candidates import Candidates
from skbig.plots.ink import cut_below, format_score, notes, open_sides, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("C3", "C0", "C1", "C2", "C4", "C5")
"""Of the finalists, the best first; those behind share one more."""
UNNAMED = "#a6c8e0"
DROPPED = {"color": "0.7", "linewidth": 1.0, "marker": ".", "zorder": 2}
FINALIST = {"linewidth": 1.8, "marker": "o", "markersize": 5}


def draw_rungs(axes: Axes, candidates: Candidates, names: Sequence[str], plot_kw: dict[str, Any]) -> list[Any]:
    """Draw a line for each candidate: grey when it was dropped, coloured when it reached the last rung."""
    finalists, dropped = _divide(candidates)
    lines = [_draw_path(axes, candidates, rows, DROPPED | plot_kw) for rows in dropped]
    named = []
    for place, rows in enumerate(finalists):
        colour = COLOURS[place] if place < len(COLOURS) else UNNAMED
        # The better lie on top.
        style = FINALIST | {"color": colour, "zorder": 4 - place / len(finalists)}
        named.append(_draw_path(axes, candidates, rows, style | plot_kw))
    _name_finalists(axes, candidates, finalists, names, named, lines[:1])
    _label_rungs(axes, candidates)
    open_sides(axes, "y")
    if np.isfinite(candidates.mean).any():
        cut_below(axes, candidates.lowest_shown(candidates.rows), float(np.nanmax(candidates.mean)))
    return named + lines


def _divide(candidates: Candidates) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the paths to the last rung, the best first, and the others."""
    top = candidates.rung.max(initial=0)
    finished = [bool(candidates.rung[rows[-1]] == top) for rows in candidates.paths]
    finalists = [rows for rows, end in zip(candidates.paths, finished, strict=True) if end]
    finalists.sort(key=lambda rows: -np.nan_to_num(candidates.mean[rows[-1]], nan=-np.inf))
    return finalists, [rows for rows, end in zip(candidates.paths, finished, strict=True) if not end]


def _draw_path(axes: Axes, candidates: Candidates, rows: np.ndarray, style: dict[str, Any]) -> Any:
    return axes.plot(candidates.rung[rows], candidates.mean[rows], **style)[0]


def _name_finalists(
    axes: Axes,
    candidates: Candidates,
    finalists: list[np.ndarray],
    names: Sequence[str],
    lines: list[Any],
    dropped: list[Any],
) -> None:
    """Write a legend above the axes, where no line can run into it, and over it what the picture cannot show."""
    ends = [int(rows[-1]) for rows in finalists]
    scores = candidates.mean[ends][np.isfinite(candidates.mean[ends])]
    texts = [f"{format_score(candidates.mean[end], scores)}: {candidates.describe(end, names)}" for end in ends]
    labels = [wrap(axes, text) for text in texts[: len(COLOURS)]]
    handles = lines[: len(labels)]
    if rest := len(ends) - len(labels):
        handles, labels = [*handles, lines[-1]], [*labels, f"{rest} more at the last rung"]
    if dropped:
        handles, labels = [*handles, *dropped], [*labels, f"{len(candidates.paths) - len(ends)} dropped"]
    title = "\n".join(wrap(axes, line) for line in notes(candidates, candidates.rows, cross=False))
    axes.legend(
        handles,
        labels,
        title=title or None,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        borderaxespad=0.2,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
    )


def _label_rungs(axes: Axes, candidates: Candidates) -> None:
    """Write at each rung what a candidate is given there, and how many were left."""
    counts = Counter(candidates.rung.tolist())
    amounts = candidates.rung if candidates.resources is None else candidates.resources
    amount = dict(zip(candidates.rung.tolist(), amounts.tolist(), strict=True))
    rungs = sorted(counts)
    axes.set_xticks(rungs, [f"{amount[rung]}\n({counts[rung]})" for rung in rungs])
    # Also where all failed, and no line begins.
    margin = 0.05 * (rungs[-1] - rungs[0]) or 0.5
    axes.set_xlim(rungs[0] - margin, rungs[-1] + margin)
