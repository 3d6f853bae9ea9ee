"""The progress line: what it says, where, and how often."""

from __future__ import annotations

import io
import re
import sys
import threading
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from skbig import BigMLPRegressor
from skbig.engine.train import EpochReport
from skbig.estimators import progress
from skbig.estimators.progress import ProgressLine


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which nothing has to be cut off."""
    monkeypatch.setenv("COLUMNS", "160")


class Notebook(io.StringIO):
    """A stream of a notebook's kernel: no terminal, but a reader sees lines rewritten."""


Notebook.__module__ = "ipykernel.iostream"


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch is shown, however fast they follow each other."""
    for name in ("SECONDS_BETWEEN_REFRESHES", "SECONDS_BETWEEN_LINES", "GROWTH_OF_PAUSES"):
        monkeypatch.setattr(progress, name, 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock that the line reads; it goes when it is told to."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def report(
    epoch: int, max_epochs: int = 200, *, score: float | None = None, seconds: float = 0.5, last: bool = False
) -> EpochReport:
    return EpochReport(epoch, max_epochs, 1.0 / epoch, score, 0.001, 10_000, seconds, last)


def shown(stream: io.StringIO) -> list[str]:
    """Return what a reader saw, one after the other, without the blanks that wipe out a longer line."""
    return [text.strip() for text in re.split(r"[\r\n]+", stream.getvalue()) if text.strip()]


def train(stream: io.StringIO, n_epochs: int, max_epochs: int = 200, **more: float | None) -> list[str]:
    line = ProgressLine(stream=stream)
    for epoch in range(1, n_epochs + 1):
        assert line(report(epoch, max_epochs, **more)) is None  # a true answer would end the training
    line.close()
    return shown(stream)


@pytest.mark.parametrize("kind", [Terminal, io.StringIO], ids=["terminal", "file"])
@pytest.mark.usefixtures("no_tqdm", "wide", "unhurried")
def test_a_plain_line_says_everything(kind: type[io.StringIO]) -> None:
    """Epoch, loss, validation score, rate, rows per second and time left stand in the line."""
    stream = kind()
    line = ProgressLine(stream=stream)
    line(report(1, 121, score=-0.75))
    assert shown(stream) == ["epoch 1/121, loss 1, val loss 0.75, rate 0.001, 20k rows/s, 1:00 left"]


@pytest.mark.usefixtures("wide", "unhurried")
def test_a_bar_says_everything() -> None:
    """The bar of tqdm says the same as the plain line."""
    pytest.importorskip("tqdm")
    last = train(Terminal(), 121, 121, score=-0.75)[-1]
    assert last.endswith("| epoch 121/121, loss 0.008264, val loss 0.75, rate 0.001, 20k rows/s, took 1:00")
    assert last.startswith("|")


class Widget:
    """What a notebook shows: the words and the colour of a bar, as tqdm's own widget decides on it."""

    made: ClassVar[list[Widget]] = []

    def __init__(self, total: int, **options: Any) -> None:
        self.n, self.total, self.words, self.colour = 0, total, "", "blue"
        self.made.append(self)

    def set_description_str(self, words: str) -> None:
        self.words = words

    def close(self) -> None:
        self.colour = "red" if self.n < self.total else "green"


@pytest.mark.parametrize(("ended", "colour"), [(True, "green"), (False, "red")])
def test_a_notebook_gets_a_widget(ended: bool, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook it is tqdm's widget, which is red when a training was broken off, not when it stopped early."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=Widget))
    monkeypatch.setattr(Widget, "made", [])
    stream = Notebook()
    line = ProgressLine(stream=stream)
    line(report(1))
    line(report(2, last=ended))
    line.close()
    (widget,) = Widget.made
    assert stream.getvalue() == ""
    assert widget.words.startswith("epoch 2/200, loss 0.5, ")
    assert widget.colour == colour


@pytest.mark.usefixtures("no_tqdm", "wide", "unhurried")
def test_a_notebook_without_tqdm_gets_a_line_that_is_rewritten() -> None:
    """A notebook is no terminal, but shows a line rewritten in place as one does."""
    stream = Notebook()
    assert len(train(stream, 30)) == 31
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("scoring", "score", "words"),
    [
        ("loss", -0.138, "val loss 0.138"),
        ("neg_mean_absolute_error", -2.5, "val mean_absolute_error 2.5"),
        ("balanced_accuracy", 0.97, "val balanced_accuracy 0.97"),
        (None, 0.97, "val score 0.97"),
        (max, -3.0, "val score -3"),
    ],
)
@pytest.mark.usefixtures("wide")
def test_a_validation_score_has_its_name(scoring: Any, score: float, words: str) -> None:
    """What is a loss or an error is shown as one, and not as its negative."""
    stream = io.StringIO()
    ProgressLine(scoring=scoring, stream=stream)(report(1, score=score))
    assert f", {words}, rate" in stream.getvalue()


@pytest.mark.usefixtures("no_tqdm", "wide")
@pytest.mark.parametrize("kind", [Terminal, io.StringIO], ids=["terminal", "file"])
def test_no_score_without_validation(kind: type[io.StringIO]) -> None:
    """Without validation rows no score is claimed."""
    assert not any("val " in text for text in train(kind(), 30))


@pytest.mark.usefixtures("no_tqdm", "wide", "unhurried")
def test_a_terminal_shows_one_line() -> None:
    """On a terminal each text wipes out the one before, and the line ends once, at the end."""
    stream = Terminal()
    train(stream, 30)
    texts = stream.getvalue().split("\r")[1:]
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\n")
    assert all(len(after.rstrip("\n")) >= len(before.rstrip()) for before, after in pairwise(texts))


@pytest.mark.usefixtures("no_tqdm", "unhurried")
def test_a_line_does_not_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is longer than a narrow terminal is cut off, because a wrapped one could not be written over."""
    monkeypatch.setenv("COLUMNS", "40")
    assert max(len(text) for text in train(Terminal(), 30)) == 39


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(0.0, 2, 2), (1.0, 2, 2), (60.0, 10, 20), (3600.0, 30, 40), (36_000.0, 60, 110)]
)
def test_a_file_gets_lines_at_a_humane_pace(seconds: float, least: int, most: int, clock: SimpleNamespace) -> None:
    """With tqdm or without, a log grows with the time, not the epochs: the first, some between, and the last of all."""
    stream, n_epochs = io.StringIO(), 20_000
    line = ProgressLine(stream=stream)
    for epoch in range(1, n_epochs + 1):
        clock.now += seconds / n_epochs
        line(report(epoch, n_epochs, last=epoch == n_epochs))
    line.close()
    assert "\r" not in stream.getvalue()
    epochs = [int(re.match(r"epoch (\d+)/20000, ", text)[1]) for text in shown(stream)]
    assert epochs[0] == 1
    assert epochs[-1] == n_epochs
    assert epochs == sorted(epochs)
    assert least <= len(epochs) <= most


@pytest.mark.usefixtures("no_tqdm", "wide")
@pytest.mark.parametrize("kind", [Terminal, io.StringIO], ids=["terminal", "file"])
def test_an_early_end_is_shown(kind: type[io.StringIO]) -> None:
    """When training stops early the last epoch is the last thing shown."""
    assert train(kind(), 137)[-1].startswith("epoch 137/200, ")


@pytest.mark.parametrize("hidden", [True, False], ids=["plain", "tqdm"])
def test_refreshes_are_rare(hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand epochs a second are shown ten times a second."""
    if hidden:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    else:
        pytest.importorskip("tqdm")
    now = iter(range(10_000))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now) / 10_000))
    assert 10 <= len(train(Terminal(), 10_000, 10_000)) <= 13  # tqdm shows an empty bar first


@pytest.mark.usefixtures("no_tqdm", "wide", "unhurried")
def test_time_left_knows_the_time_limit() -> None:
    """A training that ends by the clock is not said to take as long as all its epochs would."""
    stream = Terminal()
    ProgressLine(stream=stream, max_time=30.0)(report(1, 10_000))
    assert shown(stream)[-1].endswith(" 0:30 left")


@pytest.mark.parametrize("hidden", [True, False], ids=["plain", "tqdm"])
def test_standard_output_stays_clean(
    hidden: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line goes to standard error, so that a script's own output can be piped on."""
    if hidden:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    line = ProgressLine()
    line(report(1))
    line.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loss 1, rate 0.001" in captured.err


@pytest.mark.usefixtures("no_tqdm", "wide")
@pytest.mark.parametrize("verbose", [False, True])
def test_an_estimator_shows_it_when_asked_to(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """With verbose=True a fit shows its epochs up to the last one; else it says nothing."""
    X = np.arange(60.0).reshape(30, 2) / 60
    model = BigMLPRegressor((2,), max_iter=40, tol=1.0, n_iter_no_change=3, verbose=verbose, random_state=0)
    model.fit(X, X[:, 0])
    captured = capsys.readouterr()
    assert captured.out == ""
    last = f"epoch {model.n_iter_}/40, loss {model.loss_curve_[-1]:.4g}, rate 0.001, "
    assert (last in captured.err) if verbose else (captured.err == "")


def test_nothing_is_left_behind(unchanged_globals: None) -> None:
    """Closing twice is harmless, no epoch means no line, and no thread of tqdm's lives on."""
    threads = set(threading.enumerate())
    stream = Terminal()
    line = ProgressLine(stream=stream)
    line.close()
    assert stream.getvalue() == ""
    line(report(1))
    line.close()
    once = stream.getvalue()
    line.close()
    assert stream.getvalue() == once
    assert set(threading.enumerate()) == threads


@pytest.mark.usefixtures("no_tqdm", "wide")
@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "took 0:00"), (59.7, "took 1:00"), (61.0, "took 1:01"), (7325.0, "took 2:02:05")]
)
def test_durations_are_read_like_a_clock(seconds: float, words: str) -> None:
    """Minutes and seconds, with hours where there are any, also when no time seems to have passed."""
    assert train(io.StringIO(), 1, seconds=seconds)[-1].endswith(words)
