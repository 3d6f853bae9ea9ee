"""Ctrl-C once keeps the model so far and ends what is around it; Ctrl-C twice ends everything."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch import Tensor

from skbig import BigMLPClassifier
from skbig.components import LBFGS, Adam
from skbig.engine.epoch import Clock
from skbig.engine.members import Members
from skbig.engine.objective import Objective
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import epochs_of, train
from skbig.exceptions import InterruptedWarning
from tests.small import N_ROWS, assert_close, data, judge, kept, new_members, recipe, rows


def interrupted_at(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C in the midst of a step."""
    calls = []
    update = Adam.update

    def pressed(self: Adam, *args: Any) -> None:
        update(self, *args)
        calls.append(count)
        if len(calls) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(Adam, "update", pressed)
    # Only a step as written calls the optimizer each time.
    monkeypatch.setattr("skbig.engine.recipe.Recipe.recordable", False)


@pytest.mark.parametrize("n_members", [1, 2])
def test_ctrl_c_keeps_the_model_so_far(n_members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted within a step, training ends with a warning, and weights, moments and counts that belong together."""
    what = recipe(normalization="batch", max_epochs=5)
    expected = new_members(what, range(n_members))
    epochs = epochs_of(expected, rows("regression"), what, Clock(0.0, None), 0)
    epochs.run(), epochs.run()
    interrupted_at(8, monkeypatch)
    monkeypatch.setattr("skbig.engine.epochs_ahead.BLOCK_PRODUCTS", 0)
    members = new_members(what, range(n_members))
    with pytest.warns(InterruptedWarning, match="so far is kept"):
        history = train(members, rows("regression"), what)
    assert history.stop_reason == "interrupted" and len(history.loss) == 2
    assert_close(kept(members), kept(expected), 1e-9)
    assert (members.steps, members.epochs, members.rows) == (6, 2, 2 * N_ROWS)


@pytest.mark.parametrize("products", [0, 2**28], ids=["epoch by epoch", "epochs ahead"])
def test_ctrl_c_after_steps_that_are_not_counted(products: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted between the last step and its count, the members stay where these steps began."""
    monkeypatch.setattr("skbig.engine.epochs_ahead.BLOCK_PRODUCTS", products)
    what, calls, all_finite = recipe(max_epochs=200), [], Members.all_finite

    def pressed(self: Members) -> bool:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return all_finite(self)

    monkeypatch.setattr(Members, "all_finite", pressed)
    members = new_members(what)
    with pytest.warns(InterruptedWarning):
        history = train(members, rows("regression"), what)
    monkeypatch.undo()
    assert 0 < members.epochs == len(history.loss) < 200
    expected = new_members(what)
    epochs = epochs_of(expected, rows("regression"), what, Clock(0.0, None), 0)
    for _ in range(members.epochs):
        epochs.run()
    epochs.settle()
    assert_close(kept(members), kept(expected), 1e-12)
    assert members.steps == expected.steps


class Pressed(int):
    """A count that is interrupted when it is to become ten epochs' rows."""

    def __add__(self, other: Any) -> Any:
        if isinstance(other, int) and self == 9 * N_ROWS:
            raise KeyboardInterrupt
        return Pressed(int(self) + other) if isinstance(other, int) else int(self) + other


@pytest.mark.parametrize("products", [0, 2**28], ids=["epoch by epoch", "epochs ahead"])
def test_ctrl_c_while_an_epoch_is_counted(products: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of an epoch is counted, or none of it; its steps are, where they are kept."""
    monkeypatch.setattr("skbig.engine.epochs_ahead.BLOCK_PRODUCTS", products)
    what = recipe(max_epochs=30)
    members, expected = new_members(what), new_members(what)
    members.rows = Pressed(0)
    with pytest.warns(InterruptedWarning):
        history = train(members, rows("regression"), what)
    assert (members.epochs, members.rows, len(history.loss)) == (9, 9 * N_ROWS, 9)
    epochs = epochs_of(expected, rows("regression"), what, Clock(0.0, None), 0, watched=True)
    while expected.steps < members.steps:
        epochs.run()
    assert_close(kept(members), kept(expected), 1e-12)
    assert members.steps == expected.steps


def test_ctrl_c_between_epochs() -> None:
    """Interrupted by an observer, training has kept the epochs that were done."""
    what = recipe(max_epochs=5)

    def press(report: Any) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    members, expected = new_members(what), new_members(recipe(max_epochs=2))
    with pytest.warns(InterruptedWarning):
        train(members, rows("regression"), what, observers=[press])
    train(expected, rows("regression"), recipe(max_epochs=2))
    assert_close(kept(members), kept(expected), 0.0)


def test_ctrl_c_keeps_the_best_weights() -> None:
    """Interrupted with early stopping, the model is the best one so far."""
    what = recipe("binary", keep_best=True, max_epochs=50, rate=0.1, patience=100)
    members, seen = new_members(what), []

    def press(report: Any) -> None:
        seen.append(members.arrays())
        if report.epoch == 15:
            raise KeyboardInterrupt

    with pytest.warns(InterruptedWarning):
        history = train(
            members,
            rows("binary"),
            what,
            validation=judge(rows("binary", n_rows=70)),
            observers=[press],
        )
    best = int(np.argmax(history.validation_score))
    assert best < 14
    assert_close(members.arrays(), seen[best], 0.0)


def test_ctrl_c_within_a_line_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point that was only tried is not kept: the members stay where their iteration began."""
    what = recipe("multiclass", optimizer=LBFGS(), rate=1.0, max_epochs=4, normalization="batch")
    reached = []
    expected = new_members(what, range(2))
    train(expected, rows("multiclass"), what, observers=[lambda report: reached.append(kept(expected))])
    evaluate, calls = Objective.__call__, []

    def pressed(self: Objective, point: Tensor) -> Any:
        calls.append(1)
        outcome = evaluate(self, point)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(Objective, "__call__", pressed)
    members = new_members(what, range(2))
    with pytest.warns(InterruptedWarning):
        train(members, rows("multiclass"), what)
    assert 1 <= members.epochs < 4
    assert_close(kept(members), reached[members.epochs - 1], 0.0)


def test_a_second_ctrl_c_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who presses again while the model is put in order wants out."""

    def press(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(StoppingTracker, "restore_best", press)
    what = recipe(keep_best=True)
    validation = judge(rows("regression"))
    with pytest.warns(InterruptedWarning), pytest.raises(KeyboardInterrupt):
        train(new_members(what), rows("regression"), what, validation=validation, observers=[press])


# Behind the estimators.


def pressing(report_at: int) -> Any:
    """Return a scorer that stands for a user who presses Ctrl-C when it is called for the so-manieth time."""
    calls = []

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        calls.append(1)
        if len(calls) == report_at:
            os.kill(os.getpid(), signal.SIGINT)
        return float(len(calls))

    scorer.calls = calls  # type: ignore[attr-defined]
    return scorer


def test_ctrl_c_leaves_a_model_that_predicts() -> None:
    """Interrupted once, `fit` returns what it has so far, says so, and does not complain about convergence."""
    X, y = data("multiclass")
    model = BigMLPClassifier((6,), max_iter=50, early_stopping=True, scoring=pressing(4), random_state=0)
    with pytest.warns() as caught:
        assert model.fit(X, y) is model
    assert [warning.category for warning in caught] == [InterruptedWarning]
    assert model.stop_reason_ == "interrupted" and 3 <= model.n_iter_ <= 4
    assert np.isfinite(model.predict_proba(X)).all()
    model.set_params(scoring="loss").partial_fit(X, y, X_val=X, y_val=y)


@pytest.mark.parametrize("search", ["grid", "cross"])
def test_ctrl_c_stops_a_surrounding_search(search: str) -> None:
    """Within a search one Ctrl-C ends the search, not only the fit that it happened to meet."""
    X, y = data("multiclass")
    scorer = pressing(4)
    model = BigMLPClassifier((6,), max_iter=5, early_stopping=True, scoring=scorer, random_state=0, n_iter_no_change=99)
    with pytest.warns(InterruptedWarning), pytest.raises(KeyboardInterrupt):
        if search == "grid":
            GridSearchCV(model, {"learning_rate": [0.1, 0.01, 0.001]}, cv=2).fit(X, y)
        else:
            cross_val_score(model, X, y, cv=4)
    assert len(scorer.calls) == 4
