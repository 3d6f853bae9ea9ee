"""The one line that `verbose=1` shows while training."""

from __future__ import annotations

import math
import shutil
import sys
import time
from typing import Protocol, TextIO

from skbig.engine.train import EpochReport

SECONDS_BETWEEN_REFRESHES = 0.1
LINES_OF_A_LOG = 10


class ProgressLine:
    """An observer of training that shows how far it is: epoch, loss, score, rate, rows per second, time left.

    With tqdm installed it is a bar of tqdm's; else a plain line, rewritten in place on a terminal, and about ten lines
    in all where the stream is a file. It goes to standard error, as tqdm's bars do, so that what a script prints itself
    stays clean.

    Parameters
    ----------
    max_time : float or None, default=None
        Seconds after which the training ends, known to the time left.
    n_before : int, default=0
        Epochs that earlier runs of the training have done.
    stream : text stream or None, default=None
        Where to write; standard error by default.
    """

    def __init__(self, *, max_time: float | None = None, n_before: int = 0, stream: TextIO | None = None) -> None:
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
        if self._line.is_due(self._n_before + report.epoch):
            self._line.write(self._n_before + report.epoch, self._words(report, f"{clock(self._left(report))} left"))

    def close(self) -> None:
        """Show the last epoch, and end the line."""
        if self._line is not None and self._last is not None:
            self._line.write(self._n_before + self._last.epoch, self._words(self._last, f"took {clock(self._seconds)}"))
            self._line.close()
            self._line = None

    def _left(self, report: EpochReport) -> float:
        """Seconds to the last epoch, if none of them stops the training early, or to the end of the time."""
        by_epochs = (report.max_epochs - report.epoch) * self._seconds / report.epoch
        return max(0.0, min(by_epochs, self._max_time - self._seconds))

    def _words(self, report: EpochReport, when: str) -> str:
        score = "" if report.validation_score is None else f", score {report.validation_score:.4g}"
        speed = short(self._rows / max(self._seconds, 1e-9))  # a coarse clock may say that no time has passed
        return f"loss {report.loss:.4g}{score}, rate {report.rate:.3g}, {speed} rows/s, {when}"


class Line(Protocol):
    """A place that shows one line at a time: how many of all are done, and words."""

    def is_due(self, n_done: int) -> bool: ...

    def write(self, n_done: int, words: str) -> None: ...

    def close(self) -> None: ...


class _Pace:
    """Lets a refresh pass when the last one is long enough ago, so that showing costs next to nothing."""

    def __init__(self) -> None:
        self._next = -math.inf

    def is_due(self) -> bool:
        now = time.monotonic()
        due = now >= self._next
        if due:
            self._next = now + SECONDS_BETWEEN_REFRESHES
        return due


class TerminalLine:
    """A line of a terminal, written over again and again."""

    def __init__(self, stream: TextIO, n_total: int, unit: str | None = "epoch") -> None:
        self._stream, self._n_total, self._unit = stream, n_total, unit
        self._pace = _Pace()
        self._width = 0

    def is_due(self, n_done: int) -> bool:
        return self._pace.is_due()

    def write(self, n_done: int, words: str) -> None:
        # A line that wraps could not be written over.
        text = f"{_count(n_done, self._n_total, self._unit)}, {words}"[: shutil.get_terminal_size().columns - 1]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def close(self) -> None:
        self._stream.write("\n")
        self._stream.flush()


class LogLines:
    """Lines of a file: the first news, each tenth of all, and the last."""

    def __init__(self, stream: TextIO, n_total: int, unit: str | None = "epoch") -> None:
        self._stream, self._n_total, self._unit = stream, n_total, unit
        self._between = math.ceil(n_total / LINES_OF_A_LOG)
        self._next = 0

    def is_due(self, n_done: int) -> bool:
        due = self._next == 0 or self._next <= n_done < self._n_total  # the last comes with the end
        if due:
            self._next = (n_done // self._between + 1) * self._between
        return due

    def write(self, n_done: int, words: str) -> None:
        self._stream.write(f"{_count(n_done, self._n_total, self._unit)}, {words}\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave nothing open: every line is complete."""


class BarLine:
    """A bar of tqdm's; raises ImportError without tqdm."""

    def __init__(self, stream: TextIO, n_total: int, unit: str | None = "epoch") -> None:
        from tqdm import tqdm

        class Bar(tqdm):
            monitor_interval = 0  # no thread of tqdm's that would live on after the training

        self._pace = _Pace()
        layout = "|{bar}| " + ("{percentage:.0f}%" if unit is None else "{n_fmt}/{total_fmt}") + "{postfix}"
        self._bar = Bar(total=n_total, file=stream, bar_format=layout, dynamic_ncols=True)

    def is_due(self, n_done: int) -> bool:
        return self._pace.is_due()

    def write(self, n_done: int, words: str) -> None:
        self._bar.n = n_done
        self._bar.set_postfix_str(words)

    def close(self) -> None:
        self._bar.close()


def line_on(stream: TextIO, n_total: int, unit: str | None = "epoch") -> Line:
    """Return the best kind of line for a stream; without a unit it counts in percent."""
    try:
        return BarLine(stream, n_total, unit)
    except ImportError:
        return TerminalLine(stream, n_total, unit) if stream.isatty() else LogLines(stream, n_total, unit)


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
