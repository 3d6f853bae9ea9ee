"""A population: each training comes to what it comes to alone, whoever leaves, fails or does not fit beside it."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from skbig.components import (
    L1,
    LBFGS,
    SGD,
    Adam,
    AdamW,
    ClipNorm,
    Cosine,
    Huber,
    Linear,
    Mixup,
    Plateau,
    Poisson,
    Quantile,
    SwapNoise,
)
from skbig.data.rows import Rows, place_rows
from skbig.engine.executors.recorded import RecordedExecutor
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.history import History
from skbig.engine.population import Population
from skbig.engine.stacking import cohort, stackable
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import Training, train
from skbig.estimators.validation import ValidationSet
from skbig.exceptions import DivergenceError
from tests.small import CPU, assert_close, data, judge, kept, new_members, recipe, weights

TOLERANCE = 1e-9


def fold(start: int, stop: int, task: str = "regression", weighted: bool = False) -> Rows:
    """Return some of 60 rows."""
    X, y = data(task, 60)
    return place_rows(X[start:stop], y[start:stop], weights(60)[start:stop] if weighted else None, CPU, torch.float64)


def training(
    seeds: Sequence[int] = (0,),
    rows: Rows | None = None,
    *,
    judged: Any = None,
    task: str = "regression",
    **changes: Any,
) -> Training:
    """Return a training that is ready to run; with `judged`, by that score of validation rows (True: by their loss)."""
    what = recipe(task, **{"keep_best": judged is not None, "rate": 0.02, "alpha": 0.1} | changes)
    members = new_members(what, seeds)
    validation = None if judged is None else judge(fold(45, 60, task), None if judged is True else judged)
    rows = fold(0, 45, task) if rows is None else rows
    return Training(members, rows, what, StoppingTracker(members, what), History(), validation, 0)


def outcome(training: Training) -> dict[str, np.ndarray]:
    """Return all that a training has left behind, as arrays."""
    curves = {name: np.array(curve) for name, curve in training.history.curves().items()}
    tracker, members = training.tracker, training.members
    judgement = {name: getattr(tracker, name) for name in ("best_loss", "best_score", "stalled", "stopped")}
    counts = np.array([members.steps, members.epochs, members.rows])
    return kept(members) | curves | judgement | {"counts": counts, "rate_scale": members.rate_scale}


def assert_as_alone(trainings: Sequence[Training], specifications: Sequence[dict[str, Any]]) -> None:
    for together, specification in zip(trainings, specifications, strict=True):
        alone = training(**specification)
        alone.run()
        assert_close(outcome(together), outcome(alone), TOLERANCE)
        assert together.history.stop_reason == alone.history.stop_reason


STOPPING = {"max_epochs": 12, "schedule_epochs": 12, "tol": 0.02, "rate": 0.05}
FIRST, SECOND, THIRD = fold(0, 45), fold(12, 54), fold(5, 46)
COHORTS: dict[str, list[dict[str, Any]]] = {
    "seeds": [{"seeds": [0]}, {"seeds": [1]}, {"seeds": [2, 3]}],
    "rates and penalties": [{"rate": 0.01, "alpha": 0.0}, {"rate": 0.05, "alpha": 2.0}, {"rate": 0.03}],
    "epochs": [{"max_epochs": n, "schedule_epochs": n, "schedule": Linear()} for n in (1, 4, 2, 4)],
    "patience": [STOPPING | {"patience": n} for n in (0, 3, 1, 20)],
    "tolerance": [STOPPING | {"patience": 1, "tol": tol} for tol in (0.2, 1e-4, 0.05)],
    "patience of ensembles": [
        STOPPING | {"patience": n, "seeds": s} for n, s in ((0, [0, 1]), (2, [2]), (1, [3, 4, 5]))
    ],
    "plateaus": [
        STOPPING | {"patience": 1, "schedule": Plateau(factor=factor, patience=0, min_rate=least)}
        for factor, least in ((0.5, 1e-3), (0.1, 1e-3), (0.5, 4e-2))
    ],
    "validation": [STOPPING | {"judged": True, "patience": n, "seeds": [n]} for n in (0, 2, 5)],
    "validation of ensembles": [STOPPING | {"judged": True, "patience": n, "seeds": [n, 9]} for n in (0, 2, 5)],
    "scores": [
        STOPPING | {"judged": score, "patience": 1}
        for score in (True, lambda raw: -float(np.abs(raw).max()), lambda raw: float(raw.mean()))
    ],
    "rows": [{"rows": SECOND}, {"rows": FIRST}, {"rows": THIRD}, {"rows": FIRST, "rate": 0.01}, {"rows": SECOND}],
    "rows and a schedule": [{"rows": rows, "schedule": Linear(warmup=0.4)} for rows in (FIRST, SECOND, THIRD)],
    "rows and weights": [{"rows": fold(0, 45, weighted=True)}, {"rows": FIRST}, {"rows": fold(2, 44, weighted=True)}],
    # Plain descent: of a bias before a batch norm the gradient is nothing but rounding, which Adam would blow up.
    "rows and moments": [
        {"rows": rows, "normalization": "batch", "dropout": 0.3, "optimizer": SGD()} for rows in (FIRST, SECOND, THIRD)
    ],
    "rows and noise": [{"rows": rows, "augmentation": SwapNoise()} for rows in (FIRST, fold(3, 48), fold(15, 60))],
    "momentum": [{"optimizer": SGD(momentum=m), "max_epochs": n} for m, n in ((0.0, 2), (0.9, 1), (0.5, 3))],
    "betas": [{"optimizer": Adam(betas=betas)} for betas in ((0.9, 0.99), (0.5, 0.9))],
    "weight decay": [{"optimizer": AdamW(weight_decay=decay), "penalty": L1()} for decay in (0.0, 0.1)],
    "losses and clipping": [
        {"loss": Huber(delta), "clipping": ClipNorm(norm), "dropout": drop}
        for delta, norm, drop in ((0.1, 0.1, 0.0), (1.0, 10.0, 0.5), (10.0, 0.5, 0.2))
    ],
}


@pytest.mark.parametrize("name", COHORTS)
def test_each_is_trained_as_alone(name: str) -> None:
    """Weights, moments, optimizer state, curves, counts and the reason to stop are those of a training alone."""
    specifications = COHORTS[name]
    trainings = [training(**specification) for specification in specifications]
    assert all(map(stackable, trainings))
    assert all(cohort(one) == cohort(trainings[0]) for one in trainings)
    population = Population(trainings)
    population.train()
    assert population.failed == []
    assert_as_alone(trainings, specifications)


@pytest.mark.parametrize("name", ["epochs", "patience", "patience of ensembles", "validation"])
def test_who_has_ended_leaves(name: str) -> None:
    """A stack holds only those that still go on: each is in as many epochs as it takes alone."""
    trainings = [training(**specification) for specification in COHORTS[name]]
    present: list[list[int]] = []

    def on_epoch(going: Sequence[Training], report: Any) -> Any:
        present.append([id(one) for one in going])
        return "go on"

    Population(trainings, on_epoch).train()
    assert Counter(one for epoch in present for one in epoch) == {id(one): one.members.epochs for one in trainings}
    sizes = [len(epoch) for epoch in present]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0] == len(trainings)


# What must be the same.

UNLIKE: list[dict[str, Any]] = [
    {"hidden_layer_sizes": (5,)},
    {"activation": "relu"},
    {"normalization": "layer"},
    {"optimizer": SGD()},
    {"optimizer": Adam(amsgrad=True)},
    {"loss": Huber()},
    {"penalty": None},
    {"schedule": Cosine()},
    {"clipping": ClipNorm()},
    {"augmentation": Mixup()},
    {"batch_size": 21},
    {"batch_size": 45},
    {"shuffle": False},
    {"judged": True},
    {"rows": fold(0, 40)},
    {"rows": fold(0, 60), "batch_size": 15},
]


@pytest.mark.parametrize("changes", UNLIKE, ids=str)
def test_what_takes_other_operations_is_another_cohort(changes: dict[str, Any]) -> None:
    """Trainings of other shapes, kinds or numbers of batches are not stacked."""
    assert cohort(training(**changes)) != cohort(training())
    assert cohort(training(**changes, seeds=[1, 2], rate=0.5, alpha=0.0, dropout=0.1)) == cohort(training(**changes))


def test_an_augmentation_sees_no_padding() -> None:
    """Where rows are drawn among those of a batch, sets of other lengths are not stacked."""
    assert cohort(training(rows=FIRST)) == cohort(training(rows=SECOND))
    noisy = {"augmentation": SwapNoise()}
    assert cohort(training(rows=FIRST, **noisy)) != cohort(training(rows=SECOND, **noisy))


def test_some_are_never_stacked() -> None:
    """A line search, a limit of time, and a loss of the user's own are for one training."""
    assert stackable(training())
    assert not stackable(training(optimizer=LBFGS(), batch_size=45))
    assert not stackable(training(max_time=60.0))
    quantile = dataclasses.make_dataclass("Mine", [], bases=(Quantile,), frozen=True)
    assert not stackable(training(loss=quantile()))


# Failures.


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Limits how many members fit, to ``memory["members"]``, from the step ``memory["step"]`` on."""
    limit = {"members": 10**9, "step": 0, "refusals": 0, "largest": 0}

    def limit_steps(executor: type[RecordedExecutor] | type[WrittenExecutor]) -> None:
        step = executor.step

        def limited(self: Any, *args: Any) -> Any:
            n_members = self._members.n_members
            if n_members > limit["members"] and limit["step"] <= 0:
                limit["refusals"] += 1
                raise torch.OutOfMemoryError(f"{n_members} members are too many")
            limit["step"] -= 1
            limit["largest"] = max(limit["largest"], n_members)
            return step(self, *args)

        monkeypatch.setattr(executor, "step", limited)

    limit_steps(RecordedExecutor)
    limit_steps(WrittenExecutor)
    return limit


@pytest.mark.crossed
@pytest.mark.parametrize("name", ["patience", "validation", "rows", "plateaus", "rows and moments"])
@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("from_step", [0, 4])
def test_too_little_memory_halves_the_stack(name: str, most: int, from_step: int, memory: dict[str, int]) -> None:
    """What does not fit is trained in parts, with the same result; also when memory runs out within an epoch."""
    specifications = COHORTS[name]
    trainings = [training(**specification) for specification in specifications]
    memory.update(members=most, step=from_step)
    population = Population(trainings)
    population.train()
    assert population.failed == []
    assert memory["refusals"] > 0
    assert memory["largest"] == (most if from_step == 0 else len(trainings))
    memory["members"] = 10**9
    assert_as_alone(trainings, specifications)


def test_a_stack_that_is_halved_lets_go_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the half begins nothing is left of the whole, and none of it waits for the collector of garbage."""
    wholes: list[weakref.ref[Any]] = []
    left: list[bool] = []

    def limited(members: Any, *args: Any, **options: Any) -> None:
        if members.n_members > 1:
            wholes.append(weakref.ref(members.flat))
            raise torch.OutOfMemoryError("no")
        left.append(wholes[0]() is not None)
        train(members, *args, **options)

    monkeypatch.setattr("skbig.engine.population.train", limited)
    gc.disable()
    try:
        Population([training(), training(rate=0.1)]).train()
    finally:
        gc.enable()
    assert left == [False, False]


def test_little_is_redone(memory: dict[str, int]) -> None:
    """When memory runs out, only the epochs since somebody last left are repeated."""
    specifications = [{"max_epochs": n, "schedule_epochs": 6} for n in (2, 6, 6, 6)]
    trainings = [training(**specification) for specification in specifications]
    memory.update(members=2, step=4 * 3)  # three steps an epoch: memory runs out in the fifth
    epochs: Counter[int] = Counter()

    def on_epoch(going: Sequence[Training], report: Any) -> Any:
        epochs.update(id(one) for one in going)
        return "go on"

    Population(trainings, on_epoch).train()
    assert memory["refusals"] == 1
    assert [epochs[id(one)] for one in trainings] == [2, 8, 8, 8]
    assert_as_alone(trainings, specifications)


def test_who_was_in_a_stack_goes_back_to_what_it_came_to() -> None:
    """A training that goes on by itself, and fails, is not put back to where it was before it was stacked."""
    trainings = [training(seeds) for seeds in ([0], [1], [2])]
    for one in trainings:
        first = list(one.members.copy())
        one.members.beginning = lambda first=first: first
    Population(trainings).train()
    for one in trainings:
        before = kept(one.members)
        copy = one.members.copy()
        for tensor in one.members.changing():
            tensor.add_(1)
        one.members.restore(copy)
        assert all(np.array_equal(values, before[name]) for name, values in kept(one.members).items())


def test_what_does_not_fit_alone_is_given_back(memory: dict[str, int]) -> None:
    """An ensemble that does not fit by itself is left to be repeated alone; the others are trained."""
    specifications = [{"seeds": [0]}, {"seeds": [1, 2, 3]}, {"seeds": [4, 5]}]
    trainings = [training(**specification) for specification in specifications]
    memory["members"] = 2
    population = Population(trainings)
    population.train()
    assert population.failed == [trainings[1]]
    memory["members"] = 10**9
    assert_as_alone(trainings[::2], specifications[::2])


EXPLODING = {"optimizer": SGD(), "loss": Poisson(), "activation": "identity", "penalty": None, "max_epochs": 6}


@pytest.mark.crossed
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("changes", [{}, {"normalization": "batch"}, {"judged": True}, {"rows": SECOND}], ids=str)
def test_a_divergence_is_of_one_training(seeds: tuple[int, ...], changes: dict[str, Any]) -> None:
    """One whose numbers are not finite any more is given back, and the others never notice."""
    wild, tame = EXPLODING | {"rate": 1e300, "seeds": seeds} | changes, EXPLODING | {"rate": 1e-3}
    specifications: list[dict[str, Any]] = [tame | changes, wild, tame | changes | {"seeds": (5, 6), "max_epochs": 3}]
    with pytest.raises(DivergenceError):
        training(**wild).run()
    trainings = [training(**specification) for specification in specifications]
    population = Population(trainings)
    population.train()
    assert population.failed == [trainings[1]]
    assert_as_alone(trainings[::2], specifications[::2])


def test_no_score_is_asked_of_one_that_has_diverged() -> None:
    """A scorer, which might warn or take long, sees finite predictions only, as in a training alone."""
    asked: list[bool] = []

    def score(raw: np.ndarray) -> float:
        asked.append(bool(np.isfinite(raw).all()))
        return float(raw.mean())

    trainings = [training(judged=score, **EXPLODING | {"rate": rate}) for rate in (1e-3, 1e300, 1e-2)]
    population = Population(trainings)
    population.train()
    assert population.failed == [trainings[1]]
    assert asked and all(asked)


class Shy:
    """A score that can be asked for a few times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, raw: np.ndarray) -> float:
        self.times -= 1
        if self.times < 0:
            raise ValueError("no score on purpose")
        return float(raw.mean())


@pytest.mark.parametrize("epochs", [2, 6])
def test_a_score_that_fails_is_of_one_training(epochs: int) -> None:
    """One that cannot be judged is given back, beside others and when it is the last that goes on."""
    specifications: list[dict[str, Any]] = [{"judged": True, "max_epochs": epochs}, {"judged": Shy(4), "max_epochs": 6}]
    trainings = [training(**specification) for specification in specifications]
    population = Population(trainings)
    population.train()
    assert population.failed == [trainings[1]]
    assert_as_alone(trainings[:1], specifications[:1])


def test_a_validation_loss_may_be_infinite_for_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has been finite it may be infinite for an epoch, also when the stack has become another one since."""
    loss_of, times = ValidationSet.loss, Counter[int]()

    def infinite_once(self: Any, raw: Any, what: Any) -> torch.Tensor:
        times[id(self)] += 1
        loss = loss_of(self, raw, what)
        return torch.full_like(loss, np.inf) if times[id(self)] == 3 else loss

    monkeypatch.setattr(ValidationSet, "loss", infinite_once)
    specifications: list[dict[str, Any]] = [{"judged": True, "max_epochs": n} for n in (2, 5, 5)]
    trainings = [training(**specification) for specification in specifications]
    population = Population(trainings)
    population.train()
    assert population.failed == []
    assert_as_alone(trainings, specifications)


# Being told to stop.


@pytest.mark.parametrize("most", [10, 2])
def test_an_end_keeps_what_is_done(most: int, memory: dict[str, int]) -> None:
    """Told to end, all trainings are left with the epochs that are done, and say why."""
    settings = {"schedule_epochs": 6, "judged": True, "rate": 0.3, "optimizer": SGD(), "patience": 10**6}
    trainings = [training(seeds=[n], max_epochs=6, **settings) for n in range(4)]
    told: list[int] = []

    def on_epoch(going: Sequence[Training], report: Any) -> Any:
        told.append(report.epoch)
        return "end" if len(told) >= 3 else "go on"

    memory["members"] = most
    Population(trainings, on_epoch).train()
    for n, one in enumerate(trainings):
        assert one.history.stop_reason == "interrupted"
        alone = training(seeds=[n], max_epochs=max(1, one.members.epochs), **settings)
        alone.run()
        assert_close(outcome(one), outcome(alone), TOLERANCE)
    assert max(one.members.epochs for one in trainings) == 3


def test_a_rest_changes_nothing() -> None:
    """Between epochs everybody's state can be asked for, and the training goes on as if nothing had been."""
    specifications = COHORTS["validation"]
    trainings = [training(**specification) for specification in specifications]
    seen: list[tuple[int, int]] = []

    def on_rest(going: Sequence[Training]) -> None:
        for one in going:
            seen.append((one.members.epochs, len(one.history.loss)))
            shorter = training(
                **specifications[trainings.index(one)] | {"max_epochs": one.members.epochs, "keep_best": False}
            )
            shorter.run()
            assert_close(kept(one.members), kept(shorter.members), TOLERANCE)

    Population(trainings, lambda going, report: "rest", on_rest).train()
    assert seen and all(epochs == noted for epochs, noted in seen)
    assert_as_alone(trainings, specifications)


@pytest.mark.parametrize("name", ["epochs", "validation", "patience of ensembles", "rows and moments", "momentum"])
def test_going_on_is_one_training(name: str) -> None:
    """Trained for two epochs and then for the rest, each comes to what it comes to without a break."""
    specifications = COHORTS[name]
    trainings = [training(**specification) for specification in specifications]
    for n_epochs in (2, 100):
        going = []
        for one, specification in zip(trainings, specifications, strict=True):
            left = min(n_epochs, training(**specification).recipe.max_epochs) - one.members.epochs
            if left > 0 and not one.tracker.stopped.all():
                one.recipe = dataclasses.replace(one.recipe, max_epochs=left)
                one.tracker.restore_latest()
                going.append(one)
        Population(going).train()
    assert_as_alone(trainings, specifications)
