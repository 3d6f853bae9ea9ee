"""The one line that `verbose=1` shows while training."""

from __future__ import annotations

import math
import shutil
import sys
import time
from typing import Any, Protocol, TextIO

from skbig.engine.train import EpochReport

SECONDS_BETWEEN_REFRESHES = 0.1
SECONDS_BETWEEN_LINES = 2.0
MAX_SECONDS_BETWEEN_LINES = 600.0
GROWTH_OF_PAUSES = 0.2


class ProgressLine:
    """An observer of training that shows how far it is: epoch, losses, rate, rows per second, time left.

    With tqdm installed it is a bar of tqdm's, in a notebook a widget; else a plain line, rewritten in place on a
    terminal. A stream that is no terminal, such as a file, gets whole lines now and then. It goes to standard error, as
    tqdm's bars do, so that what a script prints itself stays clean.

    Parameters
    ----------
    scoring : str, callable or None, default="loss"
        What the validation scores are, as the estimator's parameter.
    max_time : float or None, default=None
        Seconds after which the training ends, known to the time left.
    n_before : int, default=0
        Epochs that earlier runs of the training have done.
    in_turn : bool, default=False
        Whether members are computed one after another, which is said.
    stream : text stream or None, default=None
        Where to write; standard error by default.
    """

    def __init__(
        self,
        *,
        scoring: Any = "loss",
        max_time: float | None = None,
        n_before: int = 0,
        in_turn: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self._in_turn = in_turn
        self._scoring = scoring
        self._max_time = math.inf if max_time is None else max_time
        self._n_before = n_before
        self._stream = sys.stderr if stream is None else stream
        self._line: Line | None = None
        self._rows, self._seconds = 0, 0.0
        self._last: EpochReport | None = None

    def __call__(self, report: EpochReport) -> None:
        """Take in an epoch; show it if the last refresh is long enough ago."""
        self._rows += report.n_rows
        self._seconds += report.seconds
        self._last = report
        if self._line is None:
            self._line = line_on(self._stream, self._n_before + report.max_epochs)
        if self._line.is_due():
            self._line.write(self._n_before + report.epoch, self._words(report, f"{clock(self._left(report))} left"))

    def close(self) -> None:
        """Show the last epoch, and end the line."""
        if self._line is not None and self._last is not None:
            self._line.write(self._n_before + self._last.epoch, self._words(self._last, f"took {clock(self._seconds)}"))
            self._line.close(self._last.last)
            self._line = None

    def _left(self, report: EpochReport) -> float:
        """Seconds to the last epoch, if none of them stops the training early, or to the end of the time."""
        by_epochs = (report.max_epochs - report.epoch) * self._seconds / report.epoch
        return max(0.0, min(by_epochs, self._max_time - self._seconds))

    def _words(self, report: EpochReport, when: str) -> str:
        score = report.validation_score
        judged = "" if score is None else f", {validation_words(self._scoring, score)}"
        speed = short(self._rows / max(self._seconds, 1e-9))  # a coarse clock may say that no time has passed
        how = ", members in turn" if self._in_turn else ""
        return f"loss {report.loss:.4g}{judged}, rate {report.rate:.3g}, {speed} rows/s{how}, {when}"


def validation_words(scoring: Any, score: float) -> str:
    """Return a validation score as one reads it: a loss or an error as such, and not as its negative.

    Examples
    --------
    >>> validation_words("loss", -0.138)
    'val loss 0.138'
    >>> validation_words("neg_mean_absolute_error", -2.5)
    'val mean_absolute_error 2.5'
    >>> validation_words(None, 0.97)
    'val score 0.97'
    """
    name = scoring if isinstance(scoring, str) else "score"
    if name == "loss" or name.startswith("neg_"):
        return f"val {name.removeprefix('neg_')} {-score:.4g}"
    return f"val {name} {score:.4g}"


class Line(Protocol):
    """A place that shows one line at a time: how many of all are done, and words."""

    def is_due(self) -> bool: ...

    def write(self, n_done: int, words: str) -> None: ...

    def close(self, is_complete: bool) -> None:
        """End the line; what is not complete has failed or was interrupted."""
        ...


class _Pace:
    """Lets a refresh pass when the last one is long enough ago, so that showing costs next to nothing.

    A pause lasts `least` seconds, or a share of the time that has passed since the first refresh, up to `most` seconds.
    """

    def __init__(self, least: float, growth: float = 0.0, most: float = math.inf) -> None:
        self._least, self._growth, self._most = least, growth, most
        self._began: float | None = None
        self._next = -math.inf

    def is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._began = now if self._began is None else self._began
        self._next = now + min(max(self._least, self._growth * (now - self._began)), self._most)
        return True


class TerminalLine:
    """A line of a terminal, written over again and again."""

    def __init__(self, stream: TextIO, n_total: int, unit: str | None = "epoch") -> None:
        self._stream, self._n_total, self._unit = stream, n_total, unit
        self.is_due = _Pace(SECONDS_BETWEEN_REFRESHES).is_due
        self._width = 0

    def write(self, n_done: int, words: str) -> None:
        # A line that wraps could not be written over.
        text = f"{_count(n_done, self._n_total, self._unit)}, {words}"[: shutil.get_terminal_size().columns - 1]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def close(self, is_complete: bool) -> None:
        del is_complete  # the count says it
        self._stream.write("\n")
        self._stream.flush()


class LogLines:
    """Lines of a file: the first news, others in pauses that grow from two seconds to ten minutes, and the last."""

    def __init__(self, stream: TextIO, n_total: int, unit: str | None = "epoch") -> None:
        self._stream, self._n_total, self._unit = stream, n_total, unit
        self.is_due = _Pace(SECONDS_BETWEEN_LINES, GROWTH_OF_PAUSES, MAX_SECONDS_BETWEEN_LINES).is_due

    def write(self, n_done: int, words: str) -> None:
        self._stream.write(f"{_count(n_done, self._n_total, self._unit)}, {words}\n")
        self._stream.flush()

    def close(self, is_complete: bool) -> None:
        """Leave nothing open: every line is complete."""


class BarLine:
    """A bar of tqdm's, or its widget in a notebook; raises ImportError without tqdm."""

    def __init__(self, stream: TextIO, n_total: int, unit: str | None = "epoch") -> None:
        from tqdm.auto import tqdm

        class Bar(tqdm):
            monitor_interval = 0  # no thread of tqdm's that would live on after the training

        self._n_total, self._unit = n_total, unit
        self.is_due = _Pace(SECONDS_BETWEEN_REFRESHES).is_due
        self._bar = Bar(total=n_total, file=stream, bar_format="|{bar}| {desc}", dynamic_ncols=True)

    def write(self, n_done: int, words: str) -> None:
        self._bar.n = n_done
        self._bar.set_description_str(f"{_count(n_done, self._n_total, self._unit)}, {words}")

    def close(self, is_complete: bool) -> None:
        if is_complete:  # a bar that is not full counts as failed in a notebook; but training may end early
            self._bar.total = self._bar.n
        self._bar.close()


def line_on(stream: TextIO, n_total: int, unit: str | None = "epoch") -> Line:
    """Return the best kind of line for a stream; without a unit it counts in percent."""
    if not _is_watched(stream):
        return LogLines(stream, n_total, unit)
    try:
        return BarLine(stream, n_total, unit)
    except ImportError:
        return TerminalLine(stream, n_total, unit)


def _is_watched(stream: TextIO) -> bool:
    """Say whether somebody looks on, and sees a line rewritten: at a terminal, or in a notebook."""
    return stream.isatty() or type(stream).__module__.partition(".")[0] == "ipykernel"


def _count(n_done: int, n_total: int, unit: str | None) -> str:
    return f"{n_done / n_total:.0%}" if unit is None else f"{unit} {n_done}/{n_total}"


def clock(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short(number: float) -> str:
    """Return a count with three digits and a unit: 950, 81.2k, 1.35M."""
    for unit in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}G"
