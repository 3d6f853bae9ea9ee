"""Fits whose steps are graphs are those whose steps are recorded: whatever is chosen, and whatever ends them.

The graphs are those of `tests.capturing`, on a CPU; tests/gpu says the same of a card.
"""

from __future__ import annotations

import gc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from skbig import BigGridSearchCV, BigModuleClassifier, BigTabularClassifier
from skbig.engine import processes, step
from skbig.engine.executors.cuda_graph import GraphedExecutor
from skbig.engine.executors.graph_loop import GraphLoop
from skbig.engine.executors.recorded import RecordedExecutor
from skbig.engine.members import Members
from skbig.exceptions import DeviceError, ExecutorWarning, InterruptedWarning, MemorySplitWarning
from tests.capturing import CpuCapture, CpuGraph
from tests.fitting import ANY_TASK, MULTICLASS, X, fitted, small, target, weights_of
from tests.networks.modules import MODULES, labels

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SETTINGS: dict[str, Any] = {"batch_size": 16, "device": "cpu"}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let steps of this machine be graphs, as those of a card are, and epochs run one after another."""
    choose = processes.choose_executor

    def graphed(members: Any, recipe: Any, mean_weight: Any, **facts: Any) -> Any:
        chosen = choose(members, recipe, mean_weight, **facts)
        is_recorded = isinstance(chosen, RecordedExecutor)
        return GraphedExecutor(members, recipe, mean_weight, CpuCapture()) if is_recorded else chosen

    monkeypatch.setattr(processes, "choose_executor", graphed)
    monkeypatch.setattr("skbig.engine.train.may_go_ahead", lambda *_: False)


def both(monkeypatch: pytest.MonkeyPatch, task: str, **parameters: Any) -> tuple[Any, Any]:
    """Return a model that was trained by graphs, and one that was not."""
    graphed = fitted(small(task, **SETTINGS | parameters), X, target(task))
    monkeypatch.undo()
    return graphed, fitted(small(task, **SETTINGS | parameters), X, target(task))


HELD_OUT = {"early_stopping": True, "validation_fraction": 0.25}
CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "an ensemble": {"n_members": 3},
    "early stopping": HELD_OUT | {"n_iter_no_change": 2, "max_iter": 20},
    "early stopping of an ensemble": HELD_OUT | {"n_members": 3, "n_iter_no_change": 2, "max_iter": 20},
    "by the loss": HELD_OUT | {"scoring": "loss"},
    "patience": {"n_iter_no_change": 2, "tol": 1.0, "max_iter": 20},
    "a time limit": {"max_time": 60.0},
    "one batch": {"batch_size": "full"},
    "all at once": {"dropout": 0.3, "normalization": "batch", "augmentation": "mixup", "clipping": "norm"},
    "plateau": {"schedule": "plateau", "max_iter": 20},
    "an average": {"average": "ema"},
    "bfloat16": {"precision": "bf16"},
}


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is chosen, graphs come to the same weights and curves, and the model says that they were used."""
    graphed, recorded = both(monkeypatch, "multiclass", **CHOICES[name])
    assert (graphed.executor_, recorded.executor_) == ("graphed", "recorded")
    assert (graphed.n_iter_, graphed.stop_reason_) == (recorded.n_iter_, recorded.stop_reason_)
    np.testing.assert_allclose(weights_of(graphed), weights_of(recorded), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(graphed.loss_curve_, recorded.loss_curve_, rtol=1e-9)
    if "early_stopping" in CHOICES[name]:
        np.testing.assert_allclose(graphed.validation_scores_, recorded.validation_scores_, rtol=1e-9)


@pytest.mark.usefixtures("graphs")
@ANY_TASK
def test_tasks(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is of every task."""
    graphed, recorded = both(monkeypatch, task)
    np.testing.assert_allclose(weights_of(graphed), weights_of(recorded), rtol=1e-9, atol=1e-12)


class Normed(nn.Module):
    """Counts its batches, in whole numbers, and draws noise."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.hidden, self.norm, self.out = nn.Linear(n_features, 6), nn.BatchNorm1d(6), nn.Linear(6, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        noisy = nn.functional.dropout(self.norm(self.hidden(X)).relu(), 0.2, self.training)
        result: Tensor = self.out(noisy)
        return result


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("n_members", [1, 3])
def test_modules(n_members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of one's own is graphed, with all that it keeps of its batches."""
    models = []
    for _ in range(2):
        settings = SETTINGS | {"max_iter": 3, "random_state": 0, "n_members": n_members}
        models.append(fitted(BigModuleClassifier(Normed, **settings), X, MULTICLASS))
        monkeypatch.undo()
    graphed, recorded = models
    assert (graphed.executor_, recorded.executor_) == ("graphed", "recorded")
    np.testing.assert_allclose(graphed.predict_proba(X), recorded.predict_proba(X), rtol=1e-9)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("name", [*(each for each in MODULES if each != "deciding"), "a table"])
def test_every_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are modules of every kind, and what encodes a table."""
    results = []
    for executor in ("graphed", "recorded"):
        settings = {"device": "cpu", "max_iter": 3, "random_state": 0}
        if name == "a table":
            model, rows, y = BigTabularClassifier(preset="fast", **settings), X, MULTICLASS
        else:
            module, parameters, rows = MODULES[name]
            own = {f"module__{key}": value for key, value in parameters.items()}
            model, y = BigModuleClassifier(module, batch_size=16, **own, **settings), labels(rows)
        assert fitted(model, rows, y).executor_ == executor
        results.append(model.predict_proba(rows))
        monkeypatch.undo()
    np.testing.assert_allclose(*results, rtol=1e-9)


@pytest.mark.usefixtures("graphs")
def test_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """partial_fit and warm_start go on from where graphs have ended."""
    results = []
    for _ in range(2):
        model = small("multiclass", **SETTINGS)
        for _ in range(3):
            model.partial_fit(X, MULTICLASS, classes=[0, 1, 2])
        results.append(weights_of(fitted(model.set_params(warm_start=True), X, MULTICLASS)))
        monkeypatch.undo()
    np.testing.assert_allclose(*results, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("options", [{}, {"n_members": 2}, HELD_OUT], ids=str)
def test_a_search(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates of a stack are graphed together, and have the scores that they have without graphs."""
    grid = {"learning_rate": [1e-3, 1e-2], "alpha": [1e-4, 1e-2]}
    graphed = fitted(BigGridSearchCV(small("multiclass", **SETTINGS | options), grid, cv=3), X, MULTICLASS)
    assert graphed.best_estimator_.executor_ == "graphed"
    monkeypatch.undo()
    recorded = fitted(BigGridSearchCV(small("multiclass", **SETTINGS | options), grid, cv=3), X, MULTICLASS)
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_allclose(graphed.cv_results_[name], recorded.cv_results_[name], rtol=1e-9)


@pytest.mark.usefixtures("graphs")
def test_two_threads() -> None:
    """Fits in two threads at once come to what they come to one after the other."""

    def work(seed: int) -> tuple[np.ndarray, str]:
        model = small("multiclass", **SETTINGS | {"random_state": seed}).fit(X, MULTICLASS)
        return weights_of(model), model.executor_

    alone = [work(seed)[0] for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        for (weights, executor), expected in zip(pool.map(work, range(4)), alone, strict=True):
            assert executor == "graphed"
            np.testing.assert_array_equal(weights, expected)


@pytest.mark.usefixtures("graphs")
def test_time_runs_out() -> None:
    """A time limit ends a training of graphs within an epoch of some steps."""
    endless = {"max_iter": 10**6, "max_time": 0.3, "n_iter_no_change": 10**6}
    model = fitted(small("multiclass", **SETTINGS | endless), X, MULTICLASS)
    assert (model.stop_reason_, model.executor_) == ("max_time", "graphed")


@pytest.mark.usefixtures("graphs")
def test_graphs_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fit nothing of its graphs is left, and none of it waits for the collector of garbage."""
    fitted(small("multiclass", **SETTINGS), X, MULTICLASS)  # the first has torch load what it needs
    made: list[weakref.ref[Any]] = []
    for kind in (CpuGraph, GraphLoop):
        begin = kind.__init__

        def noted(self: Any, *args: Any, begin: Any = begin) -> None:
            begin(self, *args)
            made.append(weakref.ref(self))

        monkeypatch.setattr(kind, "__init__", noted)
    gc.collect()
    gc.disable()
    try:
        model = fitted(small("multiclass", **SETTINGS), X, MULTICLASS)
    finally:
        gc.enable()
    assert model.executor_ == "graphed" and len(made) == 5  # of two, of one and of the last batch; and two loops
    assert not any(reference() is not None for reference in made)


def failing(
    monkeypatch: pytest.MonkeyPatch, kind: type, number: int, error: BaseException, name: str = "__call__"
) -> None:
    """Let a capture, a launch, or another method, fail: that of a number."""
    call, n_calls = getattr(kind, name), 0

    def fail(self: Any, *args: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == number:
            raise error
        return call(self, *args)

    monkeypatch.setattr(kind, name, fail)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_capture_that_fails(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit goes on as written, and one warning says why, at the line of the fit."""
    failing(monkeypatch, CpuCapture, number, RuntimeError("CUDA error: operation not permitted"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ExecutorWarning)
        model, expected = both(monkeypatch, "multiclass")
    (only,) = [warning for warning in caught if warning.category is ExecutorWarning]
    assert "since torch cannot capture it: CUDA error: operation not permitted." in str(only.message)
    assert only.filename.endswith("tests/fitting.py")
    assert model.executor_ == "written"
    np.testing.assert_allclose(weights_of(model), weights_of(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    "options", [{}, {"normalization": "batch", "augmentation": "mixup"}, {"n_members": 2}], ids=str
)
@pytest.mark.parametrize(
    ("kind", "name", "number"),
    [
        *((GraphLoop, name, number) for name in ("__init__", "load", "capture") for number in (1, 2)),
        *((Members, "copy", number) for number in (2, 3)),  # the first is what the steps of an epoch go back to
        *((CpuGraph, "__call__", number) for number in (3, 8, 11)),
    ],
)
def test_memory_that_runs_out(kind: type, name: str, number: int, options: dict[str, Any], monkeypatch: Any) -> None:
    """Wherever graphs, or what they need, find no memory, whole batches are computed as written: that may fit."""
    failing(monkeypatch, kind, number, torch.OutOfMemoryError("no"), name)
    with pytest.warns(ExecutorWarning, match="since the device has too little memory for it") as caught:
        model, expected = both(monkeypatch, "multiclass", **options)
    assert len([warning for warning in caught if warning.category is not ConvergenceWarning]) == 1
    assert model.executor_ == "written"
    np.testing.assert_allclose(weights_of(model), weights_of(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("graphs")
def test_batches_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the step as written finds no memory, either, batches are computed in parts, and no more is said."""
    differentiate = step.differentiate_here

    def limited(members: Any, batch: Any, *args: Any) -> Any:
        if batch.n_rows > 8:
            raise torch.OutOfMemoryError("no")
        return differentiate(members, batch, *args)

    monkeypatch.setattr(step, "differentiate_here", limited)
    with pytest.warns(MemorySplitWarning) as caught:
        model, expected = both(monkeypatch, "multiclass")
    assert len([warning for warning in caught if warning.category is not ConvergenceWarning]) == 1
    np.testing.assert_allclose(weights_of(model), weights_of(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), RuntimeError("CUDA error: out of memory")], ids=repr)
def test_a_stack_whose_graphs_find_no_memory(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is halved, and the halves are graphs: faster than the whole as written, step by step."""
    sizes = []
    capture = GraphLoop.capture

    def limited(loop: GraphLoop, *args: Any) -> None:
        sizes.append(loop.losses.shape[1])
        if sizes[-1] > 3:
            raise error
        capture(loop, *args)

    monkeypatch.setattr(GraphLoop, "capture", limited)
    grid = {"learning_rate": [1e-3, 1e-2], "alpha": [1e-4, 1e-2]}
    search = fitted(BigGridSearchCV(small("multiclass", **SETTINGS), grid, cv=3, refit=False), X, MULTICLASS)
    assert sizes[:2] == [12, 6] and {*sizes} == {12, 6, 3}
    monkeypatch.undo()
    expected = fitted(BigGridSearchCV(small("multiclass", **SETTINGS), grid, cv=3, refit=False), X, MULTICLASS)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"], rtol=1e-9
    )


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("kind", ["fit", "search"])
def test_a_device_that_computes_no_more(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends a fit and a search, with what can be done, and does not hide behind what else fails then."""

    def lost(*_: Any) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    failing(monkeypatch, CpuGraph, 9, RuntimeError("CUDA error: unspecified launch failure"))
    monkeypatch.setattr(Members, "arrays", lost)  # it holds nothing that could be kept
    model = small("multiclass", **SETTINGS)
    if kind == "search":
        model = BigGridSearchCV(model, {"alpha": [1e-4, 1e-2]}, cv=3)
    n_restored = 0
    restore = Members.restore

    def restored(members: Members, copy: Any) -> None:
        nonlocal n_restored
        n_restored += 1
        restore(members, copy) if n_restored <= 6 else lost()  # those of the first launches, which are compared

    monkeypatch.setattr(Members, "restore", restored)
    with pytest.raises(DeviceError, match="unspecified launch failure. In this process it computes nothing any more"):
        model.fit(X, MULTICLASS)
    assert not hasattr(model, "classes_")


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(("number", "n_epochs"), [(1, 0), (6, 0), (9, 1), (11, 2)])
def test_an_interrupt_between_launches(number: int, n_epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C keeps the model of the last whole epoch, from which the fit goes on to what it would have come to."""
    failing(monkeypatch, CpuGraph, number, KeyboardInterrupt())
    model = small("multiclass", **SETTINGS)
    with pytest.warns(InterruptedWarning):
        model.fit(X, MULTICLASS)
    assert (model.stop_reason_, model.n_iter_) == ("interrupted", n_epochs)
    if n_epochs:
        expected = fitted(small("multiclass", **SETTINGS | {"max_iter": n_epochs}), X, MULTICLASS)
        np.testing.assert_array_equal(weights_of(model), weights_of(expected))
