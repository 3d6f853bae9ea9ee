"""What the pictures of a search share: their labels, their notes, and room for both."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skbig.plots.candidates import Candidates
from skbig.plots.values import WIDEST_LABEL, Levels, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "0.65"
CROSS = "\N{MULTIPLICATION SIGN}"
RING: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": "C3", "markersize": 12, "markeredgewidth": 2}
MOST_TICKS = 10
DECADES_OF_PLAIN_TICKS = 300.0
"""From which ratio of the largest to the smallest number the powers of ten are labels enough."""
LINE_HEIGHT = 0.2
"""Of a label, in inches."""
LETTER_WIDTH = 0.085
"""Of a label, in inches."""


def inches(axes: Axes) -> tuple[float, float]:
    """Return how wide and high axes are, before the layout makes room for what stands around them."""
    return axes.bbox.width / axes.figure.dpi, axes.bbox.height / axes.figure.dpi


def open_sides(axes: Axes, grid: str) -> None:
    """Leave only the ink that helps."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def cut_below(axes: Axes, lowest: float | None, highest: float) -> None:
    """Begin the scale of scores at the lowest that is to be shown, and end it a little above the highest."""
    if lowest is not None:
        axes.set_ylim(lowest, highest + 0.05 * (highest - lowest))


def scale_axis(axes: Axes, side: str, levels: Levels) -> None:
    """Give the axis of a parameter its scale, and ticks at the values themselves where they have room."""
    scale = levels.scale()
    if scale == "levels":
        label_levels(axes, side, levels.labels())
        return
    getattr(axes, f"set_{side}scale")(scale)
    axis = getattr(axes, f"{side}axis")
    if _have_room(levels.positions(), scale):
        axis.set_ticks(levels.positions(), levels.labels())
        axis.set_ticks([], minor=True)
    elif scale == "log":
        label_decades(axis, levels.positions())


def label_decades(axis: Any, numbers: np.ndarray) -> None:
    """Write labels on a logarithmic axis that leave room for each other: at 1, 2 and 5, or over many decades at 1."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    if np.max(numbers) < DECADES_OF_PLAIN_TICKS * np.min(numbers):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda number, place: shorten(number)))
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _have_room(numbers: np.ndarray, scale: str) -> bool:
    places = np.log(numbers) if scale == "log" else numbers
    return 1 < len(numbers) <= MOST_TICKS and bool(np.diff(places).min() > 0.06 * np.ptp(places))


def label_levels(axes: Axes, side: str, labels: Sequence[str]) -> None:
    """Write a label at each level, or at every second, third, ... where there is no room for all."""
    width, height = inches(axes)
    room = (width if side == "x" else height) / len(labels)
    texts = [break_label(label) for label in labels]
    step = max(1, math.ceil(LINE_HEIGHT * max(1 + text.count("\n") for text in texts) / room))
    shown = range(0, len(labels), step)
    getattr(axes, f"set_{side}ticks")(list(shown), [texts[place] for place in shown])
    getattr(axes, f"set_{side}lim")(-0.5, len(labels) - 0.5)
    if side == "x" and width_of(texts[place] for place in shown) > room * step:
        axes.tick_params(axis="x", labelrotation=35)
        for text in axes.get_xticklabels():
            text.set(ha="right", va="top", rotation_mode="anchor")


def break_label(label: str) -> str:
    """Break a long label into lines, between words."""
    return textwrap.fill(label, WIDEST_LABEL, break_long_words=False, break_on_hyphens=False)


def width_of(texts: Iterable[str]) -> float:
    """Return about how wide the widest line of some labels is, in inches, with a gap on either side."""
    return LETTER_WIDTH * (1.5 + max(len(line) for text in texts for line in text.split("\n")))


def notes(candidates: Candidates, rows: Sequence[int], cross: bool) -> list[str]:
    """Return what a picture of some rows cannot show.

    Which numbers of the best are the last that were tried, how many failed, and how many scores lie below the scale.
    """
    count, failed, lowest = len(candidates.last), candidates.n_failed(), candidates.lowest_shown(rows)
    found = []
    if edges := candidates.at_edge():
        short, best = candidates.short_names(), candidates.params[candidates.best(candidates.last) or 0]
        values = ", ".join(f"{short[name]}={shorten(best[name])} ({end})" for name, end in edges)
        found.append(f"at the edge of what was tried: {values}")
    if failed:
        verb = "has" if failed == 1 else "have"
        found.append(f"{f'{CROSS} ' if cross else ''}{failed} of {count} candidates failed and {verb} no score")
    if lowest is not None:
        below = int((candidates.mean[list(rows)] < lowest).sum())
        found.append(f"{below} of {len(rows)} scores {'lies' if below == 1 else 'lie'} below the scale")
    return found


def wrap(axes: Axes, text: str) -> str:
    """Break a text that is wider than the axes."""
    return textwrap.fill(text, max(24, int(inches(axes)[0] / 0.068)), subsequent_indent="   ")


def write_above(axes: Axes, lines: Sequence[str]) -> None:
    """Write small lines above the axes, from the left."""
    axes.set_title("\n".join(wrap(axes, line) for line in lines), loc="left", fontsize="small", color="0.25")


def format_score(score: float, scores: np.ndarray) -> str:
    """Write a score in as many decimals as tell apart those it is shown with, which are finite."""
    if not math.isfinite(score):
        return "failed"
    if abs(score) >= 1e5 or 0 < abs(score) < 1e-4:
        return shorten(score, digits=2)
    spread = float(np.ptp(scores)) if len(scores) else 0.0
    decimals = 1 - math.floor(math.log10(spread)) if spread else 3
    largest = float(np.abs(scores).max(initial=abs(score)))  # all in one picture have as many
    return f"{score:.{min(max(decimals, 3 if largest < 10 else 0), 5)}f}"
