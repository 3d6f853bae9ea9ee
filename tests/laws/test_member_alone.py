"""A member trains the same alone and in a population: everything about many models at once rests on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig._utils.component import place, stack
from skbig._utils.random import member_seeds
from skbig._utils.threads import thread_count
from skbig.components import (
    L1,
    LBFGS,
    SGD,
    Adam,
    AdamW,
    ClipNorm,
    ClipValue,
    Cosine,
    ElasticNet,
    FocalLoss,
    GaussianNLL,
    GaussianNoise,
    Huber,
    LogLoss,
    Loss,
    Mixup,
    Plateau,
    Quantile,
    RMSprop,
    StepDecay,
    SwapNoise,
)
from skbig.components.param_groups import ParamGroups
from skbig.engine.history import History
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import train
from tests.small import (
    assert_close,
    data,
    factors,
    judge,
    kept,
    mini_batches,
    networks,
    new_members,
    recipe,
    rows,
    weights,
)

SEEDS = (0, 17, 2**32 - 1)
TOLERANCE = 1e-8
# Muon's default rounds to bfloat16, so that a last bit may become a thousandth.
FACTORS = {name: case for name, case in (factors() | networks()).items() if "ns_precision='bfloat16'" not in name}
ESTIMATORS = pytest.mark.parametrize("estimator", [BigMLPClassifier, BigMLPRegressor])


def trained(what: Recipe, task: str, seeds: tuple[int, ...], weighted: bool = False) -> dict[str, np.ndarray]:
    """Return all that two epochs have changed, and the losses."""
    members = new_members(what, seeds)
    epochs = mini_batches(members, rows(task, weight=weights() if weighted else None), what)
    with thread_count(1):
        losses = [epochs.run().loss for _ in range(2)]
    return kept(members) | {"loss": np.array(losses).T}


def member(arrays: dict[str, np.ndarray], m: int) -> dict[str, np.ndarray]:
    return {name: value[m : m + 1] for name, value in arrays.items()}


@pytest.mark.parametrize("name", FACTORS)
def test_with_its_own_seed(name: str) -> None:
    """A member of a population has the weights, moments, optimizer state and losses that its seed alone gives."""
    task, changes = FACTORS[name]
    together = trained(recipe(task, **changes), task, SEEDS)
    for m, seed in enumerate(SEEDS):
        assert_close(member(together, m), trained(recipe(task, **changes), task, (seed,)), TOLERANCE)
    first = next(iter(together.values()))
    assert not np.allclose(first[0], first[1])


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "multi-output"])
def test_with_weighted_rows(task: str) -> None:
    """Weights follow the rows into every member's own order."""
    what = recipe(task, normalization="batch")
    together = trained(what, task, SEEDS, weighted=True)
    for m, seed in enumerate(SEEDS):
        assert_close(member(together, m), trained(what, task, (seed,), weighted=True), TOLERANCE)


# Members with hyperparameters of their own: what a search over a population does.

STACKS: list[tuple[str, dict[str, list[Any]]]] = [
    ("regression", {"rate": [0.1, 0.01, 0.001]}),
    ("regression", {"alpha": [0.0, 0.1, 3.0]}),
    ("regression", {"dropout": [0.0, 0.2, 0.6]}),
    ("regression", {"fedprox": [0.1, 1.0, 20.0]}),
    ("regression", {"rate": [0.1, 0.01, 0.001], "alpha": [0.0, 0.1, 3.0], "penalty": [L1(), L1(), L1()]}),
    ("regression", {"optimizer": [Adam(betas=(0.5, 0.9)), Adam(), Adam(eps=0.1, weight_decay=0.1)]}),
    ("regression", {"optimizer": [AdamW(), AdamW(weight_decay=0.5), AdamW(betas=(0.0, 0.9))]}),
    ("regression", {"optimizer": [SGD(), SGD(momentum=0.9), SGD(momentum=0.5, dampening=0.5, weight_decay=0.1)]}),
    ("regression", {"optimizer": [RMSprop(), RMSprop(momentum=0.9), RMSprop(alpha=0.5, eps=0.1)]}),
    (
        "regression",
        {
            "param_groups": [
                ParamGroups((("weight1",), ("bias0", "weight0")), rates, decays)
                for rates, decays in (((1.0, 0.5), (1.0, 0.0)), ((0.1, 0.5), (1.0, 1.0)), ((1.0, 0.0), (0.0, 2.0)))
            ],
            "optimizer": [AdamW(weight_decay=0.1)] * 3,
            "penalty": [L1()] * 3,
        },
    ),
    ("regression", {"schedule": [Cosine(), Cosine(end=0.5), Cosine(warmup=0.5)]}),
    ("regression", {"schedule": [StepDecay(1), StepDecay(2, gamma=0.5), StepDecay(3)]}),
    ("regression", {"penalty": [ElasticNet(0.0), ElasticNet(0.5), ElasticNet(1.0)]}),
    ("regression", {"clipping": [ClipNorm(0.01), ClipNorm(0.1), ClipNorm(10.0)]}),
    ("regression", {"clipping": [ClipValue(0.001), ClipValue(0.01), ClipValue(10.0)]}),
    ("regression", {"augmentation": [Mixup(0.1), Mixup(0.5), Mixup(2.0)]}),
    ("regression", {"augmentation": [GaussianNoise(0.0), GaussianNoise(0.1), GaussianNoise(1.0)]}),
    ("regression", {"augmentation": [SwapNoise(0.0), SwapNoise(0.1), SwapNoise(0.9)]}),
    ("multi-output", {"loss": [Huber(0.1), Huber(1.0), Huber(5.0)]}),
    ("multi-output", {"loss": [Quantile(0.1), Quantile(0.5), Quantile(0.9)]}),
    ("regression", {"loss": [Quantile((0.1, 0.5, 0.9)), Quantile((0.1, 0.2, 0.3)), Quantile((0.4, 0.5, 0.9))]}),
    ("multi-output", {"loss": [GaussianNLL(), GaussianNLL(0.1), GaussianNLL(1.0)]}),
    ("multiclass", {"loss": [LogLoss(), LogLoss(label_smoothing=0.1), LogLoss(label_smoothing=0.5)]}),
    ("multilabel", {"loss": [FocalLoss(0.0), FocalLoss(0.5), FocalLoss(2.0)]}),
]


def stacked(values: list[Any], dtype: torch.dtype) -> Any:
    if isinstance(values[0], Loss):  # its numbers meet the raw prediction, and come in that dtype
        return place(stack(values), torch.empty((), dtype=dtype))
    if dataclasses.is_dataclass(values[0]):
        return stack(values)
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)


@pytest.mark.crossed
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("task", "choices"), STACKS)
def test_with_its_own_hyperparameters(task: str, choices: dict[str, list[Any]], dtype: torch.dtype) -> None:
    """Members that differ in numbers train side by side as each does alone."""
    what = recipe(task, **{name: stacked(values, dtype) for name, values in choices.items()})
    together = new_members(what, SEEDS, dtype)
    history = train(together, rows(task, dtype), what)
    tolerance = TOLERANCE if dtype == torch.float64 else 1e-4
    for m, seed in enumerate(SEEDS):
        own = recipe(task, **{name: values[m] for name, values in choices.items()})
        alone = new_members(own, (seed,), dtype)
        alone_history = train(alone, rows(task, dtype), own)
        assert_close(member(together.arrays(), m), alone.arrays(), tolerance)
        for curve, own_curve in ((history.loss, alone_history.loss), (history.rate, alone_history.rate)):
            np.testing.assert_allclose(np.array(curve)[:, m], np.ravel(own_curve), rtol=tolerance)


# Stopping.


def stopping_recipe(**changes: Any) -> Recipe:
    defaults = {"optimizer": SGD(), "rate": 0.02, "max_epochs": 40, "tol": 3e-3, "patience": 1}
    return recipe("binary", **defaults | changes)


def judged(what: Recipe, seeds: tuple[int, ...]) -> tuple[Members, History, StoppingTracker]:
    validation = judge(rows("binary", n_rows=70))
    members = new_members(what, seeds)
    tracker = StoppingTracker(members, what)
    return members, train(members, rows("binary"), what, validation=validation, tracker=tracker), tracker


@pytest.mark.crossed
@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize(
    "changes", [{}, {"schedule": Plateau(factor=0.1, patience=0, min_rate=0.004)}], ids=["constant", "plateau"]
)
@pytest.mark.parametrize("normalization", [None, "batch"])
def test_each_member_stops_at_its_own_time(keep_best: bool, changes: dict[str, Any], normalization: str | None) -> None:
    """A member ends with the weights with which it would have ended alone, however long the others go on."""
    what = stopping_recipe(keep_best=keep_best, normalization=normalization, **changes)
    together, history, tracker = judged(what, SEEDS)
    lengths = set()
    for m, seed in enumerate(SEEDS):
        alone, alone_history, alone_judge = judged(what, (seed,))
        assert_close(member(together.arrays(), m), alone.arrays(), TOLERANCE)
        best = tracker.best_loss[m], tracker.best_score[m]
        np.testing.assert_allclose(best, (alone_judge.best_loss[0], alone_judge.best_score[0]))
        length = len(alone_history.loss)
        np.testing.assert_allclose([rate[m] for rate in history.rate[:length]], np.ravel(alone_history.rate))
        lengths.add(length)
    assert len(lengths) > 1, "the members should stop at different epochs, or this shows nothing"
    assert len(history.loss) == max(lengths)


# Behind the estimators.


@pytest.mark.crossed
@ESTIMATORS
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"optimizer": "lbfgs"},
        {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "plateau", "n_iter_no_change": 1, "tol": 0.01},
        {"early_stopping": True, "n_iter_no_change": 1, "scoring": None, "learning_rate": 0.1},
        {"dropout": 0.3, "normalization": "batch", "augmentation": "mixup", "penalty": "l1", "clipping": "norm"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_ensemble_is_its_members(estimator: Any, parameters: dict[str, Any]) -> None:
    """Each member of an ensemble has the weights of a plain fit with its seed; the first one's is `random_state`."""
    X, y = data("multiclass" if estimator is BigMLPClassifier else "regression")
    y = y.ravel()
    held = {"X_val": X[::3], "y_val": y[::3]}
    common = {"hidden_layer_sizes": (6,), "activation": "tanh", "batch_size": "auto", "max_iter": 8, **parameters}
    ensemble = estimator(n_members=3, random_state=5, **common).fit(X, y, **held)
    for m, seed in enumerate(member_seeds(5, 3)):
        alone = estimator(random_state=seed, **common).fit(X, y, **held)
        for stacked_coef, coef in zip(ensemble.coefs_, alone.coefs_, strict=True):
            np.testing.assert_allclose(stacked_coef[m], coef, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("optimizer", [LBFGS(), LBFGS(history_size=2)])
def test_a_line_search_goes_its_own_way(optimizer: LBFGS) -> None:
    """Each member takes as many evaluations as alone, and so ends in the same point."""
    what = recipe("multiclass", optimizer=optimizer, rate=1.0, max_epochs=10, dropout=0.2, normalization="batch")
    together = new_members(what, SEEDS)
    train(together, rows("multiclass"), what)
    for m, seed in enumerate(SEEDS):
        alone = new_members(what, (seed,))
        train(alone, rows("multiclass"), what)
        assert_close(member(together.arrays(), m), alone.arrays(), 1e-12)
        assert together.line_search[m]["func_evals"] == alone.line_search[0]["func_evals"]
