"""An epoch of training: on time, within the memory there is, and to the last good step when it goes wrong."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skbig.components import LBFGS, SGD, Adam, Cosine, Linear, Mixup, NAdam, Poisson
from skbig.engine import step
from skbig.engine.executors.recorded import RecordedExecutor
from skbig.engine.kept_recordings import forget
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.train import train
from skbig.exceptions import DivergenceError, MemorySplitWarning
from skbig.networks import TrainingPass
from tests.small import N_ROWS, assert_close, judge, kept, new_members, recipe, rows

STEP = 0.01
"""Seconds that a step takes on the test's own clock."""


class Watch:
    """Stands in for the time module; only steps take time."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    for module in ("epoch", "minibatch", "executors.recorded", "train"):
        monkeypatch.setattr(f"skbig.engine.{module}.time", watch)
    untimed = RecordedExecutor.step

    def timed(self: RecordedExecutor, *args: Any) -> Tensor:
        watch.now += STEP
        return untimed(self, *args)

    monkeypatch.setattr(RecordedExecutor, "step", timed)
    return watch


# Time.


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Linear(warmup=0.2)], ids=str)
def test_training_ends_on_time_and_so_does_the_schedule(schedule: Any, watch: Watch) -> None:
    """With a time limit and far too many epochs, training takes that time, and the rate goes all its way."""
    what = recipe(schedule=schedule, max_epochs=1000, schedule_epochs=10**6, max_time=3.0, patience=10**6)
    members = new_members(what)
    history = train(members, rows("regression"), what)
    assert history.stop_reason == "max_time"
    assert 103.0 <= watch.now <= 103.0 + 2 * STEP
    assert members.steps == round((watch.now - 100.0) / STEP)
    rates = np.ravel(history.rate) / what.rate
    assert rates[-1] < 0.03 and rates.max() > 0.75
    assert (np.diff(rates[len(rates) // 4 :]) < 0).all()
    middle = {"Linear": 0.5, "Cosine": 0.5}[type(schedule).__name__]
    np.testing.assert_allclose(rates[len(rates) // 2], middle, atol=0.03)


def test_enough_epochs_in_time(watch: Watch) -> None:
    """A time limit that is not reached changes nothing."""
    limited, free = recipe(schedule=Linear(), max_time=1000.0), recipe(schedule=Linear())
    members, expected = new_members(limited), new_members(free)
    assert train(members, rows("regression"), limited).stop_reason == "max_iter"
    train(expected, rows("regression"), free)
    assert_close(kept(members), kept(expected), 1e-3)  # the rates of some steps come by the clock


@pytest.mark.parametrize("n_members", [1, 3])
def test_time_ends_within_an_epoch(n_members: int, watch: Watch) -> None:
    """A long epoch is not waited for: what was trained until then is kept and counted."""
    what = recipe(batch_size=1, max_epochs=5, max_time=0.2 - STEP / 2)
    members = new_members(what, range(n_members))
    history = train(members, rows("regression"), what)
    assert history.stop_reason == "max_time" and len(history.loss) == 1
    assert members.steps == members.rows == 20
    assert np.isfinite(history.loss[0]).all()


def test_at_least_one_step_is_taken(watch: Watch) -> None:
    """Even the shortest time is enough for one step."""
    what = recipe(max_time=1e-9)
    members = new_members(what)
    before = kept(members)["weight0"]
    history = train(members, rows("regression"), what)
    assert (members.steps, history.stop_reason) == (1, "max_time")
    assert not np.array_equal(members.arrays()["weight0"], before)


def test_a_line_search_ends_on_time(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line search ends with the iteration in which the time is up."""
    iterate = LBFGS.iterate

    def timed(self: LBFGS, *args: Any, **keywords: Any) -> Any:
        watch.now += STEP
        return iterate(self, *args, **keywords)

    monkeypatch.setattr(LBFGS, "iterate", timed)
    what = recipe("multiclass", optimizer=LBFGS(), rate=1.0, max_epochs=1000, max_time=0.1 - STEP / 2)
    members = new_members(what)
    assert train(members, rows("multiclass"), what).stop_reason == "max_time"
    assert members.epochs == 10


def test_the_best_weights_are_kept_when_time_is_up(watch: Watch) -> None:
    """Out of time is no reason to keep the last weights instead of the best."""
    what = recipe("binary", keep_best=True, max_epochs=50, max_time=0.5, rate=0.1, patience=100)
    members, seen = new_members(what), []
    validation = judge(rows("binary", n_rows=70))
    history = train(
        members, rows("binary"), what, validation=validation, observers=[lambda report: seen.append(members.arrays())]
    )
    best = int(np.argmax(history.validation_score))
    assert history.stop_reason == "max_time" and best < len(seen) - 1
    assert_close(members.arrays(), seen[best], 0.0)


# Groups of steps.


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("n_members", [1, 2])
def test_it_does_not_matter_how_many_steps_are_prepared_at_once(
    at_once: int, n_members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates, masks and blends belong to a step, not to the group of steps that it is prepared with."""
    what = recipe("multiclass", dropout=0.3, augmentation=Mixup(), schedule=Cosine(warmup=0.3), optimizer=NAdam())
    expected, members = new_members(what, range(n_members)), new_members(what, range(n_members))
    expected_history = train(expected, rows("multiclass"), what)
    monkeypatch.setattr(RecordedExecutor, "steps_at_once", at_once)
    history = train(members, rows("multiclass"), what)
    assert_close(kept(members), kept(expected), 1e-12)
    np.testing.assert_allclose(history.loss, expected_history.loss)
    np.testing.assert_allclose(history.rate, expected_history.rate)


@pytest.mark.parametrize("n_members", [1, 2])
def test_a_line_search_knows_the_moments_of_the_whole_set(n_members: int) -> None:
    """After a line search a batch norm's running moments are those of the training rows: it predicts as it trained."""
    what = recipe("multiclass", optimizer=LBFGS(), rate=1.0, normalization="batch", max_epochs=3)
    members = new_members(what, range(n_members))
    train(members, rows("multiclass"), what)
    X = rows("multiclass").take(np.tile(np.arange(N_ROWS), (n_members, 1))).X
    share = torch.full(X.shape[:-1], 1 / N_ROWS, dtype=X.dtype)
    network, parameters = what.network, members.parameters
    statistics = {name: value.clone() for name, value in members.statistics.items()}
    predicted = network.forward(parameters, members.statistics, X, None)
    torch.testing.assert_close(predicted, network.forward(parameters, statistics, X, TrainingPass(None, share)))


# Divergence.


def exploding(optimizer: Any, **changes: Any) -> Recipe:
    settings = {"activation": "identity", "loss": Poisson(), "penalty": None, "rate": 3.0, "max_epochs": 50}
    return recipe(optimizer=optimizer, **settings | {"patience": 100, **changes})


@pytest.mark.parametrize(
    "optimizer", [SGD(), SGD(momentum=0.9), Adam()], ids=lambda optimizer: type(optimizer).__name__
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n_members", [1, 2])
def test_divergence_keeps_the_last_finite_step(
    optimizer: Any, dtype: torch.dtype, n_members: int, watch: Watch
) -> None:
    """The error names where it went wrong; weights, moments and optimizer state are those of one step before."""
    seeds, what = (
        range(n_members),
        exploding(optimizer, normalization="layer" if optimizer.name == "adam" else None, rate=300.0),
    )
    diverged = new_members(what, seeds, dtype)
    with pytest.raises(DivergenceError) as caught:
        train(diverged, rows("regression", dtype), what)
    pattern = r"in epoch (\d+), step (\d+), at the learning rate (\S+) and a gradient norm of (\S+)\. .*StandardScaler"
    epoch, at, rate, norm = re.search(pattern, str(caught.value)).groups()  # type: ignore[union-attr]
    assert int(epoch) == (int(at) - 1) // 3 + 1 and float(rate) == 300.0
    assert not float(norm) < 1e3
    assert diverged.steps == int(at) - 1 >= 1
    # A clock that is up at that very step shows what one step less would have given.
    shorter = exploding(
        optimizer, normalization=what.network.network.normalization, rate=300.0, max_time=(int(at) - 1.5) * STEP
    )
    before = new_members(shorter, seeds, dtype)
    history = train(before, rows("regression", dtype), shorter)
    assert history.stop_reason == "max_time" and before.steps == diverged.steps
    restored = Members.arrays(diverged)
    assert all(np.isfinite(value).all() for value in restored.values())
    assert_close(kept(diverged), kept(before), 1e-6)


def test_divergence_of_moments_is_noticed() -> None:
    """A batch norm hides an explosion from the loss but not from the check of the weights."""
    what = exploding(SGD(), normalization="batch", rate=1e300, loss=Poisson())
    members = new_members(what)
    with pytest.raises(DivergenceError):
        train(members, rows("regression"), what)
    assert all(np.isfinite(value).all() for value in kept(members).values())


def test_divergence_of_a_line_search() -> None:
    """A line search that starts at an infinite loss says so and moves nobody."""
    what = recipe(optimizer=LBFGS(), loss=Poisson(), rate=1.0, activation="identity", normalization=None)
    members = new_members(what, range(2))
    members.flat[1].fill_(1e200)
    before = kept(members)
    with pytest.raises(DivergenceError, match="StandardScaler"):
        train(members, rows("regression"), what)
    assert_close(kept(members), before, 0.0)
    assert members.line_search == [{}, {}] and members.steps == members.epochs == 0


# Memory.


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Limits how many rows can be differentiated at once, to ``memory["rows"]``."""
    limit = {"rows": 10**9, "refusals": 0}
    differentiate = step.differentiate_here

    def limited(members: Any, batch: Any, *args: Any) -> Any:
        if batch.n_rows > limit["rows"]:
            limit["refusals"] += 1
            raise torch.OutOfMemoryError(f"{batch.n_rows} rows are too many")
        return differentiate(members, batch, *args)

    monkeypatch.setattr(step, "differentiate_here", limited)
    return limit


SPLITTABLE: list[tuple[str, dict[str, Any]]] = [
    ("regression", {}),
    ("multi-output", {"hidden_layer_sizes": (6, 5), "dropout": 0.3}),
    ("multiclass", {"normalization": "layer", "optimizer": SGD(momentum=0.9)}),
    ("multilabel", {"shuffle": False, "batch_size": N_ROWS}),
    ("multiclass", {"optimizer": LBFGS(), "rate": 1.0, "batch_size": N_ROWS, "dropout": 0.3}),
]


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize(("task", "changes"), SPLITTABLE, ids=str)
def test_too_little_memory_splits_the_batch(
    task: str, changes: dict[str, Any], n_members: int, memory: dict[str, int]
) -> None:
    """A batch that does not fit is computed in parts, with the same result, and that is said once."""
    what = recipe(task, **changes)
    expected, members = new_members(what, range(n_members)), new_members(what, range(n_members))
    expected_history = train(expected, rows(task), what)
    forget()  # as written steps alone know of the memory here
    memory["rows"] = 6
    with pytest.warns(MemorySplitWarning, match="batch_size") as caught:
        history = train(members, rows(task), what)
    assert len(caught) == 1
    assert memory["refusals"] >= 2  # in two parts it is still too large
    assert_close(kept(members), kept(expected), 1e-9)
    np.testing.assert_allclose(history.loss, expected_history.loss, rtol=1e-9)
    assert (members.steps, members.epochs, members.rows) == (expected.steps, expected.epochs, expected.rows)


@pytest.mark.parametrize("changes", [{"normalization": "batch"}, {"augmentation": Mixup()}, {"penalty": None}], ids=str)
def test_a_batch_that_cannot_be_split(changes: dict[str, Any], memory: dict[str, int]) -> None:
    """Where parts would change the result, or not even a row fits, an error says what to reduce."""
    what = recipe(**changes)
    members = new_members(what)
    before = kept(members)
    memory["rows"] = 0 if "penalty" in changes else 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemorySplitWarning)
        with pytest.raises(MemoryError, match="Reduce batch_size"):
            train(members, rows("regression"), what)
    assert_close(kept(members), before, 0.0)
