"""The line of a search: what it says, that it is true, and that it always ends."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigGridSearchCV, BigHalvingGridSearchCV, BigMLPClassifier
from skbig.engine.train import EpochReport
from skbig.estimators import progress as lines
from skbig.exceptions import DivergenceError
from skbig.search import progress
from skbig.search.progress import SearchLine

NETWORK = BigMLPClassifier((4,), max_iter=12, schedule="cosine", tol=0, random_state=0)
RATES = {"learning_rate": [1e-4, 1e-3, 1e-2, 1e-1]}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class FakeTask:
    """What the line wants to know of a task."""

    def __init__(self, candidate: int = 0, max_iter: Any = 10, n_members: int = 1, **parameters: Any) -> None:
        self.candidate, self.parameters = candidate, parameters
        self.estimator: Any = SimpleNamespace(max_iter=max_iter, n_members=n_members)
        self.session: Any = None
        self.last: Any = SimpleNamespace(scoring="loss")

    def stop(self, reason: str) -> None:
        """End the training for a reason, as seen in its history."""
        self.session = session(reason=reason)


def session(epochs: int = 0, reason: str = "") -> SimpleNamespace:
    members, history = SimpleNamespace(epochs=epochs), SimpleNamespace(stop_reason=reason)
    return SimpleNamespace(members=members, history=history, first_epoch=0)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the line reads."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, no_tqdm: None) -> None:
    """Everything is shown, however fast it comes, and nothing is cut off."""
    for name in ("SECONDS_BETWEEN_REFRESHES", "SECONDS_BETWEEN_LINES", "GROWTH_OF_PAUSES"):
        monkeypatch.setattr(lines, name, 0.0)
    monkeypatch.setenv("COLUMNS", "160")


def shown(stream: io.StringIO) -> list[str]:
    """Return what a reader saw, one after the other, without the blanks that wipe out a longer line."""
    return [text.strip() for text in re.split(r"[\r\n]+", stream.getvalue()) if text.strip()]


def train(line: SearchLine, tasks: Sequence[FakeTask], n_epochs: int = 1, score: float | None = None) -> None:
    """Tell of epochs of a stack."""
    for epoch in range(1, n_epochs + 1):
        line.epoch(tasks, EpochReport(epoch, n_epochs, 1.0, score, 0.001, 100, 0.1))


def evaluate(line: SearchLine, task: FakeTask, scores: Any = 0.5, fit_time: float = 0.0) -> None:
    line.result(task, {"test_scores": scores, "fit_error": None, "fit_time": fit_time})


def half_done_search(stream: io.StringIO, time: Clock) -> SearchLine:
    """Return the line of a search of 32 candidates, of which 8 are finished, after 42 of 105 seconds."""
    line = SearchLine(stream=stream)
    tasks = [FakeTask(i, max_iter=20) for i in range(32)]
    line.begin(tasks)
    time.now += 42
    for task in tasks[:8]:
        evaluate(line, task, 0.904 + 0.001 * task.candidate)
    train(line, tasks[8:], 4)
    return line


@pytest.mark.parametrize("kind", [Terminal, io.StringIO], ids=["terminal", "file"])
@pytest.mark.usefixtures("plain")
def test_a_plain_line_says_everything(kind: type[io.StringIO], time: Clock) -> None:
    """Candidates in training, epoch, best score and time left stand in the line, and at the end the time it took."""
    stream = kind()
    line = half_done_search(stream, time)
    assert shown(stream)[-1] == "40%, 24 of 32 candidates training, epoch 4, best score 0.911, 1:03 left"
    line.close()
    assert shown(stream)[-1] == "40%, 8 of 32 candidates finished, best score 0.911, took 0:42"


def test_a_bar_says_everything(monkeypatch: pytest.MonkeyPatch, time: Clock) -> None:
    """The bar of tqdm says the same as the plain line."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr(lines, "SECONDS_BETWEEN_REFRESHES", 0.0)
    monkeypatch.setenv("COLUMNS", "160")
    stream = Terminal()
    line = half_done_search(stream, time)
    assert shown(stream)[-1].endswith(" 40%, 24 of 32 candidates training, epoch 4, best score 0.911, 1:03 left")
    line.close()
    assert shown(stream)[-1].startswith("|")
    assert shown(stream)[-1].endswith(" 40%, 8 of 32 candidates finished, best score 0.911, took 0:42")


@pytest.mark.usefixtures("plain")
def test_time_left_comes_true(time: Clock) -> None:
    """Where every epoch of a member takes one second, the time left is right from the first line to the last."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    long, short, ensemble = FakeTask(0, 40), FakeTask(1, np.int64(7)), FakeTask(2, 5, n_members=3)
    line.begin([long, short, ensemble])
    for tasks, n_epochs, seconds in (([long, short], 7, 2), ([long], 33, 1), ([ensemble], 5, 3)):
        for _ in range(n_epochs):
            time.now += seconds
            train(line, tasks)
            minutes, rest = re.search(r"(\d+):(\d\d) left$", shown(stream)[-1]).groups()
            assert time.now + 60 * int(minutes) + int(rest) == 1000 + 40 + 7 + 15


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("converged", "75%, 1 of 2 candidates training, epoch 10, "),
        ("failed", "48%, 2 of 2 candidates training, epoch 10, "),
        ("interrupted", "48%, 2 of 2 candidates training, epoch 10, "),
        ("", "48%, 2 of 2 candidates training, epoch 10, "),
    ],
)
def test_who_leaves_early_is_done(reason: str, state: str, time: Clock) -> None:
    """A training that converges is done with all its epochs; one that failed is repeated, one interrupted is not."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    stays, leaves = FakeTask(0, 20), FakeTask(1, 20)
    line.begin([stays, leaves])
    train(line, [stays, leaves], 9)
    leaves.stop(reason)
    train(line, [stays])
    assert shown(stream)[-1].startswith(state)


@pytest.mark.usefixtures("plain")
def test_redone_epochs_do_not_count_twice(time: Clock) -> None:
    """Epochs that are repeated because memory ran out bring no search over its end."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    tasks = [FakeTask(0), FakeTask(1)]
    line.begin(tasks)
    train(line, tasks, 7)
    train(line, tasks[:1], 10)
    assert shown(stream)[-1].startswith("85%, 1 of 2 candidates training, epoch 7, ")


@pytest.mark.usefixtures("plain")
def test_a_task_that_is_fitted_alone_is_silent(time: Clock) -> None:
    """Tasks that are never told of an epoch, of estimators without epochs, or with a wrong parameter, count as well."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    tasks = [FakeTask(i, max_iter=value) for i, value in enumerate((1, None, "many", -3))]
    line.begin(tasks)
    for task in tasks:
        evaluate(line, task, 0.25)
    line.close()
    assert [text.partition(",")[0] for text in shown(stream)] == ["25%", "50%", "75%", "100%", "100%"]
    assert shown(stream)[0] == "25%, 3 of 4 candidates training, best score 0.25, 0:00 left"


@pytest.mark.usefixtures("plain")
def test_epochs_of_a_pipeline_are_those_of_its_last_step(time: Clock) -> None:
    """The plan is made of the network's own max_iter, as the candidate sets it, not of another step's."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    task = FakeTask(first__max_iter=1000, bigmlpclassifier__max_iter=8)
    task.estimator = make_pipeline(StandardScaler(), NETWORK)
    line.begin([task])
    train(line, [task], 2)
    assert shown(stream)[-1].startswith("25%, ")
    task = FakeTask(bigmlpclassifier=clone(NETWORK).set_params(max_iter=5))
    task.estimator = make_pipeline(StandardScaler(), NETWORK)
    line.begin([task])
    train(line, [task], 2)
    assert shown(stream)[-1].startswith("40%, rung 2, ")


@pytest.mark.usefixtures("plain")
def test_a_resumed_search_goes_on_where_it_was(time: Clock) -> None:
    """What an earlier run has finished or begun is done, but says nothing about the time that the rest will take."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    finished, begun, new = (FakeTask(i, max_iter=20) for i in range(3))
    trained = FakeTask(3, max_iter=20)
    line.begin([finished, begun, new, trained])
    evaluate(line, finished, 0.5, fit_time=100.0)
    assert stream.getvalue() == ""
    begun.session, new.session, trained.session = session(epochs=12), session(), session(epochs=20)
    for task in (begun, new, trained):
        line.prepared(task)
    time.now += 3
    evaluate(line, trained, 0.25)
    assert shown(stream)[-1] == "50%, 2 of 4 candidates training, best score 0.5"
    train(line, [begun, new], 4)
    assert shown(stream)[-1] == "75%, 2 of 4 candidates training, epoch 16, best score 0.5, 0:08 left"
    line.begin([finished])
    evaluate(line, finished, 0.5, fit_time=100.0)
    line.close()
    assert shown(stream)[-1] == "100%, rung 2, 1 of 4 candidates finished, best score 0.5, took 0:00"


@pytest.mark.usefixtures("plain")
def test_best_score_is_a_mean_over_all_folds(time: Clock) -> None:
    """A candidate competes when all of its folds are finished, with their mean; a failed one never does."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    scores = np.array([[0.5, 0.7], [0.9, np.nan], [0.95, 0.3], [0.6, 0.66]])
    tasks = [[FakeTask(i), FakeTask(i)] for i in range(4)]
    line.begin([task for own in tasks for task in own])
    said = []
    for fold in range(2):
        for own, score in zip(tasks, scores[:, fold], strict=True):
            evaluate(line, own[fold], float(score))
            said.append(re.findall(r"best score ([\d.]+)", shown(stream)[-1]))
    assert said == [[], [], [], [], ["0.6"], ["0.6"], ["0.625"], ["0.63"]]


@pytest.mark.usefixtures("plain")
def test_of_several_scores_the_first_is_shown_by_its_name(time: Clock) -> None:
    """With several scorers the line says which score it is."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    tasks = [FakeTask(0), FakeTask(1)]
    line.begin(tasks)
    evaluate(line, tasks[0], {"recall": 0.25, "precision": 0.75})
    evaluate(line, tasks[1], np.nan)  # what a failed fit gets where the scorers are not known by name
    assert "best recall 0.25, " in shown(stream)[-1]


@pytest.mark.usefixtures("plain")
def test_the_one_score_has_the_name_it_was_asked_for(time: Clock) -> None:
    """A search by a named scorer shows its best score by that name, as it stands in `best_score_`."""
    stream = Terminal()
    line = SearchLine(scoring="neg_log_loss", stream=stream)
    task = FakeTask()
    line.begin([task])
    evaluate(line, task, -0.25)
    assert "best neg_log_loss -0.25, " in shown(stream)[-1]


@pytest.mark.usefixtures("plain")
def test_validation_scores_stand_in_until_there_is_a_test_score(time: Clock) -> None:
    """While no candidate is finished the best validation score is shown, a loss as a loss, and not called more."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    task = FakeTask()
    line.begin([task])
    for score in (np.nan, -0.5, -0.75, np.nan, None):
        train(line, [task], score=score)
    assert "val" not in shown(stream)[0]
    assert all(", val loss 0.5, " in text for text in shown(stream)[1:])
    assert not any("best" in text for text in shown(stream))
    evaluate(line, task, -2.0)
    assert ", best score -2, " in shown(stream)[-1]


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.usefixtures("plain")
def test_a_rung_has_its_own_line(closes: bool, time: Clock) -> None:
    """A search that begins again ends its line and shows the next rung: of all candidates, with its own score."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    tasks = [FakeTask(i, max_iter=10) for i in range(4)]
    line.begin(tasks)
    train(line, tasks, 10)
    for task in tasks:
        evaluate(line, task, 0.9)
    if closes:
        line.close()
    time.now += 30
    again = FakeTask(0, max_iter=10)
    again.parameters, again.session = {"max_iter": 30}, session(epochs=10, reason="max_iter")  # as it was left
    line.begin([again])
    assert stream.getvalue().endswith("\n")
    assert shown(stream)[-1].startswith("100%, 4 of 4 candidates finished, best score 0.9, took ")
    time.now += 2
    train(line, [again], 5)
    assert shown(stream)[-1] == "25%, rung 2, 1 of 4 candidates training, epoch 15, 0:06 left"
    evaluate(line, again, 0.7)
    line.close()
    assert shown(stream)[-1] == "100%, rung 2, 1 of 4 candidates finished, best score 0.7, took 0:02"
    line.end()
    assert shown(stream)[-1] == "100%, 4 candidates finished in 2 rungs, best score 0.7, took 0:32"
    assert stream.getvalue().endswith("\n")


def test_nothing_is_left_behind(unchanged_globals: None) -> None:
    """Closing twice is harmless, and no news means no line."""
    stream = Terminal()
    line = SearchLine(stream=stream)
    line.close()
    task = FakeTask()
    line.begin([task])
    line.close()
    assert stream.getvalue() == ""
    line.begin([task])
    evaluate(line, task)
    line.close()
    once = stream.getvalue()
    assert once.endswith("\n")
    line.close()
    line.end()  # of one rung all is said
    assert stream.getvalue() == once


@pytest.mark.parametrize("seconds", [1, 60, 3600])
@pytest.mark.parametrize(("n_tasks", "size", "n_epochs"), [(1, 1, 200), (96, 7, 30), (500, 32, 50)])
def test_a_file_gets_lines_at_a_humane_pace(
    n_tasks: int, size: int, n_epochs: int, seconds: float, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tqdm or without, a log grows with the time, not with the search, and its last line tells the end."""
    monkeypatch.setattr(lines, "time", time)
    stream = io.StringIO()
    line = SearchLine(stream=stream)
    tasks = [FakeTask(i, n_epochs) for i in range(n_tasks)]
    line.begin(tasks)
    starts = range(0, n_tasks, size)
    for start in starts:
        for _ in range(n_epochs):
            time.now += seconds / len(starts) / n_epochs
            train(line, tasks[start : start + size])
        for task in tasks[start : start + size]:
            evaluate(line, task)
    line.close()
    texts = shown(stream)
    percents = [int(text.partition("%")[0]) for text in texts]
    assert "\r" not in stream.getvalue()
    assert percents == sorted(percents)
    assert texts[-1].startswith(f"100%, {n_tasks} of {n_tasks} candidates finished, best score 0.5, took ")
    assert (2 if seconds == 1 else 10) <= len(texts) <= 40


@pytest.mark.usefixtures("no_tqdm")
def test_refreshes_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand epochs a second are shown ten times a second."""
    now = iter(range(10_000))
    monkeypatch.setattr(lines, "time", SimpleNamespace(monotonic=lambda: next(now) / 10_000))
    stream = Terminal()
    line = SearchLine(stream=stream)
    task = FakeTask(max_iter=10_000)
    line.begin([task])
    train(line, [task], 10_000)
    line.close()
    assert 10 <= len(shown(stream)) <= 12


# Real searches.


@pytest.mark.parametrize("kind", [Terminal, io.StringIO], ids=["terminal", "file"])
@pytest.mark.usefixtures("plain")
def test_a_search_shows_it_when_asked_to(
    kind: type[io.StringIO],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unchanged_globals: None,
) -> None:
    """With verbose=1 the line goes from the first epoch to the best score; standard output is scikit-learn's."""
    stream = kind()
    monkeypatch.setattr(sys, "stderr", stream)
    search = BigGridSearchCV(NETWORK, RATES, cv=3, verbose=1).fit(*load_iris(return_X_y=True))
    texts = shown(stream)
    assert re.fullmatch(r"\d%, 4 of 4 candidates training, epoch 1, \d+:\d\d left", texts[0])
    epochs = [int(found) for text in texts for found in re.findall(r"epoch (\d+)", text)]
    assert 1 < max(epochs) <= 12
    last = rf"100%, 4 of 4 candidates finished, best score {search.best_score_:.4g}, took \d+:\d\d"
    assert re.fullmatch(last, texts[-1])
    assert stream.getvalue().endswith("\n")
    assert capsys.readouterr().out == "Fitting 3 folds for each of 4 candidates, totalling 12 fits\n"


def test_a_search_is_silent_when_not_asked(capfd: pytest.CaptureFixture[str]) -> None:
    """With verbose=0 nothing is written."""
    BigGridSearchCV(NETWORK, RATES, cv=2).fit(*load_iris(return_X_y=True))
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("plain")
def test_each_rung_of_halving_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A halving search ends a line per rung, each all done; epochs go on from one to the next."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    search = BigHalvingGridSearchCV(NETWORK, RATES, factor=2, cv=2, verbose=1).fit(*load_iris(return_X_y=True))
    rungs = [shown(io.StringIO(line)) for line in stream.getvalue().split("\n")[:-1]]
    assert len(rungs) - 1 == search.n_iterations_ > 1
    *rungs, (end,) = rungs
    assert all(re.match(r"100%, (rung \d, )?\d of 4 candidates finished, best score ", texts[-1]) for texts in rungs)
    best = f"best score {search.best_score_:.4g}, "
    assert end.startswith(f"100%, 4 candidates finished in {search.n_iterations_} rungs, {best}took ")
    epochs = [[int(found) for text in texts for found in re.findall(r"epoch (\d+)", text)] for texts in rungs]
    assert [min(own) for own in epochs] == [1, *(n + 1 for n in search.n_resources_[:-1])]
    assert all(max(own) <= n for own, n in zip(epochs, search.n_resources_, strict=True))
    assert f"best score {search.best_score_:.4g}, " in rungs[-1][-1]


@pytest.mark.parametrize("hidden", [True, False], ids=["plain", "tqdm"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, DivergenceError])
def test_a_search_that_fails_ends_its_line(
    error: type[BaseException], hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C or an exception the line is ended, and says how far the search came."""
    if hidden:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    else:
        pytest.importorskip("tqdm")
    monkeypatch.setenv("COLUMNS", "160")
    scored: list[Any] = []

    def score(model: Any, X: Any, y: Any) -> float:
        scored.append(model)
        if len(scored) == 5:
            raise error
        return 0.5

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    search = BigGridSearchCV(NETWORK, RATES, cv=2, scoring=score, error_score="raise", verbose=1)
    with pytest.raises(error):
        search.fit(*load_iris(return_X_y=True))
    assert stream.getvalue().endswith("\n")
    assert re.search(r"[0-3] of 4 candidates finished, .*took 0:\d\d$", shown(stream)[-1])
