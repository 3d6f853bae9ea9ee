"""The progress line: what it says, where, and how often."""

from __future__ import annotations

import io
import re
import sys
import threading
from itertools import pairwise
from types import SimpleNamespace

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
    monkeypatch.setitem(sys.modules, "tqdm", None)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which nothing has to be cut off."""
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch is shown, however fast they follow each other."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_REFRESHES", 0.0)


def report(epoch: int, max_epochs: int = 200, *, score: float | None = None, seconds: float = 0.5) -> EpochReport:
    return EpochReport(epoch, max_epochs, 1.0 / epoch, score, 0.001, 10_000, seconds)


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
    line(report(1, 121, score=0.75))
    assert shown(stream) == ["epoch 1/121, loss 1, score 0.75, rate 0.001, 20k rows/s, 1:00 left"]


@pytest.mark.usefixtures("wide", "unhurried")
def test_a_bar_says_everything() -> None:
    """The bar of tqdm says the same as the plain line."""
    pytest.importorskip("tqdm")
    last = train(Terminal(), 121, 121, score=0.75)[-1]
    assert last.endswith("121/121, loss 0.008264, score 0.75, rate 0.001, 20k rows/s, took 1:00")
    assert last.startswith("|")


@pytest.mark.usefixtures("no_tqdm", "wide")
@pytest.mark.parametrize("kind", [Terminal, io.StringIO], ids=["terminal", "file"])
def test_no_score_without_validation(kind: type[io.StringIO]) -> None:
    """Without validation rows no score is claimed."""
    assert not any("score" in text for text in train(kind(), 30))


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


@pytest.mark.usefixtures("no_tqdm")
@pytest.mark.parametrize("max_epochs", [1, 7, 10, 95, 200, 1001])
def test_a_file_gets_about_ten_lines(max_epochs: int) -> None:
    """A log does not grow with the epochs, and its first and last lines are the first and last epoch."""
    texts = train(io.StringIO(), max_epochs, max_epochs)
    epochs = [int(re.match(r"epoch (\d+)", text)[1]) for text in texts]
    assert epochs[0] == 1
    assert epochs[-1] == max_epochs
    assert min(max_epochs, 9) <= len(set(epochs)) <= 12


@pytest.mark.usefixtures("no_tqdm", "wide")
@pytest.mark.parametrize("kind", [Terminal, io.StringIO], ids=["terminal", "file"])
def test_an_early_end_is_shown(kind: type[io.StringIO]) -> None:
    """When training stops early the last epoch is the last thing shown."""
    assert train(kind(), 137)[-1].startswith("epoch 137/200, ")


@pytest.mark.parametrize("hidden", [True, False], ids=["plain", "tqdm"])
def test_refreshes_are_rare(hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand epochs a second are shown ten times a second."""
    if hidden:
        monkeypatch.setitem(sys.modules, "tqdm", None)
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
        monkeypatch.setitem(sys.modules, "tqdm", None)
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
    stream = io.StringIO()
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
