"""Callbacks, scikit-learn's or ours where it has none: a task for the fit and each epoch, and a say in when to stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skbig.exceptions import DivergenceError
from tests.fitting import ANY_TASK, BOTH, VALUES, WORDS, X, fitted, small, target, trained, weights_of

try:
    from sklearn import callback
except ImportError:
    callback = None
needs_callbacks = pytest.mark.skipif(callback is None, reason="scikit-learn has callbacks from version 1.9 on")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Witness:
    """A callback that writes down what it is told, and asks to stop after an epoch."""

    def __init__(self, stop_after: int | None = None, fail_after: int | None = None) -> None:
        self.stop_after, self.fail_after = stop_after, fail_after
        self.events: list[tuple[Any, ...]] = []
        self.epochs: list[Any] = []
        self.data: list[tuple[Any, Any, Any]] = []

    def setup(self, estimator: Any, context: Any) -> None:
        self.events.append(("setup",))

    def teardown(self, estimator: Any, context: Any) -> None:
        self.events.append(("teardown",))

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any, y: Any, metadata: Any) -> None:
        self.events.append(("begin", context.task_name, context.task_id))
        self.data.append((X, y, metadata))

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> bool:
        self.events.append(("end", context.task_name, context.task_id))
        if context.task_name != "epoch" or fitted_estimator is None:
            return False
        self.epochs.append(fitted_estimator)
        if self.fail_after == len(self.epochs):
            raise RuntimeError("a callback failed")
        return self.stop_after == len(self.epochs)


def tasks(n_epochs: int) -> list[tuple[Any, ...]]:
    """Return the events of a training of so many epochs."""
    epochs = [(when, "epoch", epoch) for epoch in range(n_epochs) for when in ("begin", "end")]
    return [("setup",), ("begin", "fit", 0), *epochs, ("end", "fit", 0), ("teardown",)]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@ANY_TASK
def test_each_epoch_is_a_task(task: str, optimizer: str) -> None:
    """Callbacks hear of the fit and of every epoch, begun and ended in turn, and training is the same with them."""
    witness = Witness()
    model = fitted(small(task, optimizer=optimizer).set_callbacks(witness), X, target(task))
    assert witness.events == tasks(3)
    assert weights_of(model).tobytes() == weights_of(trained(task, optimizer=optimizer)).tobytes()


@BOTH
def test_no_task_is_left_over_when_training_ends_early(task: str) -> None:
    """A training that converges, or whose time is over, has as many tasks as epochs."""
    for limits in ({"tol": 10.0, "n_iter_no_change": 2}, {"max_time": 1e-9}):
        witness = Witness()
        model = fitted(small(task, max_iter=50, **limits).set_callbacks(witness), X, target(task))
        assert model.n_iter_ in (1, 4)
        assert witness.events == tasks(model.n_iter_)


@ANY_TASK
def test_an_epoch_shows_the_model_as_it_is(task: str) -> None:
    """The estimator given after an epoch is the one that a fit of so many epochs leaves, and can predict."""
    witness = Witness()
    fitted(small(task).set_callbacks(witness), X, target(task))
    for n_epochs, model in enumerate(witness.epochs, start=1):
        alone = trained(task, max_iter=n_epochs)
        assert weights_of(model).tobytes() == weights_of(alone).tobytes()
        assert np.array_equal(model.predict(X), alone.predict(X))
        assert model.loss_curve_ == alone.loss_curve_


@BOTH
def test_a_callback_may_stop_the_training(task: str) -> None:
    """When a callback asks to stop, training ends there, without a warning and with that epoch's weights."""
    witness = Witness(stop_after=2)
    model = small(task, max_iter=50).set_callbacks(witness).fit(X, target(task))
    assert (model.n_iter_, model.stop_reason_) == (2, "callback")
    assert witness.events == tasks(2)
    assert weights_of(model).tobytes() == weights_of(trained(task, max_iter=2)).tobytes()


@BOTH
def test_all_callbacks_hear_of_the_last_epoch(task: str) -> None:
    """The wish of one callback does not keep another from hearing of the epoch."""
    witnesses = [Witness(), Witness(stop_after=1), Witness()]
    small(task).set_callbacks(*witnesses).fit(X, target(task))
    assert [witness.events for witness in witnesses] == [tasks(1)] * 3


def test_what_is_no_callback_is_refused() -> None:
    """A callback is an instance that has the hooks; none set takes them away."""
    model = small("regression")
    for wrong in (Witness, 5, "callback"):
        with pytest.raises(TypeError, match="callback"):
            model.set_callbacks(wrong)
    witness = Witness()
    fitted(model.set_callbacks(witness).set_callbacks(), X, VALUES)
    assert not witness.events


def test_a_clone_has_the_same_callbacks() -> None:
    """In a search, which clones, every fit is heard of."""
    witness = Witness()
    fitted(GridSearchCV(small("regression").set_callbacks(witness), {"alpha": [1e-4, 1e-3]}, cv=2), X, VALUES)
    assert witness.events.count(("setup",)) == 5 == witness.events.count(("teardown",))
    assert len(witness.epochs) == 15


class Greedy(Witness):
    """A callback that asks for what there is not."""

    def on_fit_task_end(self, estimator: Any, context: Any, *, everything: Any) -> bool:  # type: ignore[override]
        return False


def test_a_callback_that_asks_for_something_else_is_refused() -> None:
    """A keyword that is none of those that a callback may ask for is an error that names it."""
    with pytest.raises(TypeError, match="everything"):
        fitted(small("regression").set_callbacks(Greedy()), X, VALUES)


class Clumsy(Witness):
    """A callback that cannot put away its things."""

    def teardown(self, estimator: Any, context: Any) -> None:
        super().teardown(estimator, context)
        raise RuntimeError("a callback failed at its teardown")


def test_all_are_torn_down_when_one_fails() -> None:
    """The failure of one teardown does not keep another from its own, and is told."""
    witnesses = [Clumsy(), Witness()]
    with pytest.raises(RuntimeError, match="at its teardown"):
        fitted(small("regression").set_callbacks(*witnesses), X, VALUES)
    assert [witness.events[-1] for witness in witnesses] == [("teardown",)] * 2
    with pytest.raises(ExceptionGroup):
        fitted(small("regression").set_callbacks(Clumsy(), Clumsy()), X, VALUES)


@BOTH
def test_callbacks_see_the_data_as_given(task: str) -> None:
    """Rows, targets and weights are those that the user gave."""
    witness, weight = Witness(), np.ones(60)
    fitted(small(task, early_stopping=True).set_callbacks(witness), X, target(task), sample_weight=weight)
    for rows, y, metadata in witness.data:
        assert rows is X
        assert y is target(task)
        assert metadata == {"sample_weight": weight}


@BOTH
def test_a_call_of_partial_fit_is_an_epoch(task: str) -> None:
    """partial_fit and warm starts have tasks for the epochs that they train."""
    witness = Witness()
    model = small(task, warm_start=True).set_callbacks(witness)
    model.partial_fit(X, target(task), **({"classes": [0, 1]} if task == "binary" else {}))
    assert witness.events == tasks(1)
    fitted(model, X, target(task))
    assert witness.events == tasks(1) + tasks(3)


def test_every_task_ends_whatever_happens() -> None:
    """An error of training or of a callback ends every task and tears down; what was learnt before is kept."""
    witness = Witness()
    diverging = small("regression", learning_rate=1e200, optimizer="sgd", max_iter=9).set_callbacks(witness)
    with pytest.raises(DivergenceError):
        diverging.fit(X, VALUES)
    failing = Witness(fail_after=2)
    model = small("regression").set_callbacks(failing)
    with pytest.raises(RuntimeError, match="a callback failed"):
        model.fit(X, VALUES)
    assert model.n_iter_ == 2
    for events in (witness.events, failing.events):
        assert events[-1] == ("teardown",)
        begun, ended = ([event[1:] for event in events if event[0] == when] for when in ("begin", "end"))
        assert sorted(begun) == sorted(ended)


def test_bad_input_leaves_no_trace_of_callbacks() -> None:
    """A fit that is refused leaves the estimator with its callbacks and nothing else."""
    witness = Witness()
    model = small("regression").set_callbacks(witness)
    before = vars(model).copy()
    for bad in (np.full_like(VALUES, np.nan), np.full_like(VALUES, 1e300)):
        with pytest.raises(ValueError):
            model.fit(X, bad)
        assert vars(model) == before
    fitted(model, X, VALUES)
    assert witness.events[-6:] == tasks(3)[-6:]


@needs_callbacks
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_scoring_monitor_scores_each_epoch(early_stopping: bool) -> None:
    """ScoringMonitor logs a score for each epoch, and for the fit that of the model that is kept."""
    monitor = callback.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    model = small("multiclass", early_stopping=early_stopping, learning_rate=0.1).set_callbacks(monitor)
    fitted(model, X, WORDS, sample_weight=np.ones(60))
    log = monitor.get_logs().data
    assert [row["task_name"] for row in log] == ["fit", "epoch", "epoch", "epoch"]
    assert log[0]["accuracy"] == model.score(X, WORDS)
    expected = [fitted(clone(model).set_params(max_iter=n), X, WORDS).score(X, WORDS) for n in (1, 2, 3)]
    if not early_stopping:
        assert [row["accuracy"] for row in log[1:]] == expected


@needs_callbacks
def test_a_scoring_monitor_inside_others() -> None:
    """ScoringMonitor works inside a pipeline and a search, with a log of every fit."""
    monitor = callback.ScoringMonitor(scoring="r2")
    net = small("regression").set_callbacks(monitor)
    fitted(Pipeline([("scale", StandardScaler()), ("net", net)]), X, VALUES)
    assert [row["task_name"] for row in monitor.get_logs().data].count("epoch") == 3
    monitor = callback.ScoringMonitor(scoring="r2")
    net = small("regression").set_callbacks(monitor)
    for n_jobs in (1, 2):
        fitted(GridSearchCV(net, {"alpha": [1e-4, 1e-3]}, cv=2, n_jobs=n_jobs), X, VALUES)
    for log in monitor.get_logs(select="all"):
        assert [row["task_name"] for row in log.data].count("epoch") == 5 * 3


@needs_callbacks
@pytest.mark.parametrize("inside", ["alone", "pipeline", "search"])
def test_a_progress_bar_shows_the_epochs(inside: str, capsys: pytest.CaptureFixture[str]) -> None:
    """ProgressBar runs, alone, on a pipeline and on a search, and leaves nothing behind."""
    pytest.importorskip("rich")
    bar = callback.ProgressBar(max_propagation_depth=None)
    net = small("multiclass")
    model = {
        "alone": net,
        "pipeline": Pipeline([("scale", StandardScaler()), ("net", net)]),
        "search": GridSearchCV(net, {"alpha": [1e-4, 1e-3]}, cv=2),
    }[inside]
    fitted(model.set_callbacks(bar), X, WORDS)
    assert "100%" in capsys.readouterr().out
    assert model.score(X, WORDS) >= 0
