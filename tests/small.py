"""Small trainings below the estimators: data, recipes, members, and the choices that a law must hold for.

Legend: M members, N rows, F features, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from skbig._utils.component import names, resolve
from skbig.components import (
    DPSGD,
    EMA,
    L1,
    L2,
    SGD,
    Adam,
    AdamW,
    ClipNorm,
    ClipValue,
    Constant,
    Cosine,
    ElasticNet,
    FunctionSchedule,
    GaussianNoise,
    InverseTime,
    LogLoss,
    Loss,
    Mixup,
    Muon,
    NAdam,
    Optimizer,
    Plateau,
    Quantile,
    Schedule,
    SquaredError,
    SwapNoise,
)
from skbig.components.param_groups import groups_of
from skbig.data.rows import Rows, place_rows
from skbig.engine.epoch import Clock
from skbig.engine.members import Members, make_members
from skbig.engine.minibatch import MiniBatchEpochs
from skbig.engine.recipe import Recipe
from skbig.engine.train import epochs_of
from skbig.estimators.given import Given
from skbig.estimators.scoring import Metric
from skbig.estimators.validation import Validation, ValidationSet
from skbig.networks import MLP, Linear, Network
from skbig.networks.activations import ACTIVATIONS
from tests.networks.own import Embedded, ResNet

N_ROWS, N_FEATURES, BATCH_SIZE = 45, 4, 20  # the last batch is a short one
N_OUTPUTS = {"binary": 1, "multiclass": 3, "multilabel": 3, "regression": 1, "multi-output": 2}
CLASS_TASKS, VALUE_TASKS = ("binary", "multiclass", "multilabel"), ("regression", "multi-output")
CPU = torch.device("cpu")
NETWORK_FIELDS = ("hidden_layer_sizes", "activation", "dropout", "normalization")


def data(task: str, n_rows: int = N_ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Return X (N, F) and encoded targets; those of a regression are positive, as some losses need."""
    random = np.random.RandomState(3)
    X = random.normal(size=(n_rows, N_FEATURES))
    signal = X @ random.normal(size=(N_FEATURES, 3)) + 0.3 * random.normal(size=(n_rows, 3))
    y = {
        "binary": (signal[:, :1] > 0).astype(float),
        "multiclass": signal.argmax(axis=1),
        "multilabel": (signal > 0).astype(float),
        "regression": np.exp(signal[:, :1] / 3),
        "multi-output": np.exp(signal[:, :2] / 3),
    }
    return X, y[task]


def weights(n_rows: int = N_ROWS) -> np.ndarray:
    """Return positive weights that are no integers."""
    return np.random.RandomState(4).uniform(0.5, 3, size=n_rows)


def rows(task: str, dtype: torch.dtype = torch.float64, weight: np.ndarray | None = None, n_rows: int = N_ROWS) -> Rows:
    X, y = data(task, n_rows)
    return place_rows(X, y, weight, CPU, dtype)


def recipe(task: str = "regression", **changes: Any) -> Recipe:
    """Return a small recipe with some choices changed: of the MLP's own, or with another network."""
    mlp: dict[str, Any] = {"hidden_layer_sizes": (6,), "activation": "tanh"} | {
        k: changes.pop(k) for k in NETWORK_FIELDS if k in changes
    }
    network: Network = changes.pop("network", MLP(**mlp))
    n_outputs = N_OUTPUTS[task] * getattr(changes.get("loss"), "columns_per_target", 1)
    built = network.of_shape(N_FEATURES, n_outputs)
    if isinstance(changes.get("param_groups"), dict):
        changes["param_groups"] = groups_of(changes["param_groups"], built.roles)
    choices: dict[str, Any] = {
        "loss": LogLoss() if task in CLASS_TASKS else SquaredError(),
        "penalty": L2(),
        "optimizer": Adam(),
        "schedule": Constant(),
        "clipping": None,
        "augmentation": None,
        "alpha": 0.1,
        "rate": 0.01,
        "batch_size": BATCH_SIZE,
        "max_epochs": 3,
        "schedule_epochs": 3,
        "tol": 0.0,
    }
    return Recipe(network=built, **choices | changes)


def new_members(recipe: Recipe, seeds: Sequence[int] = (0,), dtype: torch.dtype = torch.float64) -> Members:
    network = recipe.network
    arrays = network.initial(list(seeds)) | network.initial_statistics(len(seeds))
    members = make_members(network, list(seeds), arrays, CPU, dtype)
    if recipe.keeps_zeros:
        members.flat[..., ::2] = 0.0
    members.start(recipe.optimizer, recipe.average, anchored=recipe.anchored)
    return members


def judge(rows: Rows, score: Callable[[np.ndarray], float] | None = None) -> Validation:
    """Return a validation by these rows: by their loss, or by a score of the raw predictions of a member."""
    scorer = None if score is None else (lambda raw, X, y: score(raw))
    metrics = [Metric("score", scorer)]
    return Validation(
        [ValidationSet("validation", rows, Given(None, None), metrics, lambda raw: raw, lambda one: one, {})]
    )


def mini_batches(members: Members, rows: Rows, recipe: Recipe) -> MiniBatchEpochs:
    epochs = epochs_of(members, rows, recipe, Clock(0.0, None), 0)
    assert isinstance(epochs, MiniBatchEpochs)
    return epochs


def kept(members: Members) -> dict[str, np.ndarray]:
    """Return a copy of all that training has changed, by name; every array has a leading members axis."""
    state = {f"{name} {i}": value for i, one in enumerate(members.state) for name, value in one.items()}
    if members.averaged is not None:
        state |= {f"averaged {name}": torch.from_numpy(value) for name, value in members.averaged.arrays().items()}
    return members.arrays() | {name: value.numpy().copy() for name, value in state.items()}


def assert_close(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def optimizers() -> list[Optimizer]:
    """Every optimizer that takes a step per batch, and the choices of some that change their state."""
    named = [resolve(Optimizer, name) for name in names("optimizer")]
    more = [
        SGD(momentum=0.9, nesterov=True),
        SGD(momentum=0.9, dampening=0.5, weight_decay=0.1),
        SGD(momentum=0.9, rate_in_velocity=True),
        Adam(amsgrad=True, weight_decay=0.1),
        AdamW(amsgrad=True, weight_decay=0.1),
        NAdam(weight_decay=0.1),
        resolve(Optimizer, "rmsprop").replace(centered=True, momentum=0.9),
        resolve(Optimizer, "adagrad").replace(lr_decay=0.1),
        Muon(ns_precision="parameter", adjust_rate="match_rms_adamw"),
    ]
    return [optimizer for optimizer in (*named, *more) if not optimizer.full_batch]


def losses() -> list[tuple[str, Loss]]:
    """Every loss with every task it is for."""
    every = [resolve(Loss, name) for name in names("loss")]
    found = [(task, loss) for loss in every for task in (CLASS_TASKS if loss.for_classes else VALUE_TASKS)]
    return [*found, ("regression", Quantile((0.05, 0.5, 0.95))), ("regression", Quantile((0.3, 0.6)))]


def _schedules() -> list[Schedule]:
    named = [resolve(Schedule, name) for name in names("schedule")]
    more = [
        Cosine(warmup=0.3),
        InverseTime(beta=0.1, unit="step"),
        FunctionSchedule(lambda fraction: 1 - fraction / 2),
        Plateau(factor=0.5, patience=0),
    ]
    return named + more


def factors() -> dict[str, tuple[str, dict[str, Any]]]:
    """The choices that a step may meet, one factor changed at a time: name -> task and changes of the recipe."""
    changes: list[dict[str, Any]] = [{"optimizer": optimizer} for optimizer in optimizers()]
    changes += [{"schedule": schedule} for schedule in _schedules()]
    changes += [{"penalty": penalty} for penalty in (None, L1(), ElasticNet(0.5))]
    changes += [{"clipping": clipping} for clipping in (ClipNorm(0.1), ClipValue(0.05))]
    changes += [{"augmentation": augmentation} for augmentation in (Mixup(), GaussianNoise(), SwapNoise())]
    changes += [{"privacy": DPSGD(0.5, 0.2)}, {"privacy": DPSGD(0.5, 0.2), "dropout": 0.3, "normalization": "layer"}]
    changes += [{"activation": activation} for activation in ACTIVATIONS]
    groups = {"head": 0.1, "weight0": {"weight_decay": 3.0}, "bias": {"learning_rate": 5.0, "weight_decay": 0.0}}
    changes += [
        {"param_groups": groups, "optimizer": AdamW(weight_decay=0.1)},
        {"param_groups": groups, "optimizer": Muon(ns_precision="parameter"), "penalty": L1()},
        {"param_groups": {"*1": 0.1}, "optimizer": SGD(momentum=0.9), "penalty": L1()},
        {"average": EMA(decay=0.9), "normalization": "batch"},
        {"average": EMA(warmup=False), "dropout": 0.2},
        {"dropout": 0.4},
        {"normalization": "batch"},
        {"normalization": "layer"},
        {"hidden_layer_sizes": ()},
        {"shuffle": False},
        {"fedprox": 5.0},
        {"keeps_zeros": True, "clipping": ClipNorm(0.1)},
    ]
    changes += [{"hidden_layer_sizes": (6, 5, 3), "dropout": 0.2, "normalization": "batch"}]
    changes += [{"hidden_layer_sizes": (6, 5), "dropout": 0.2, "normalization": "layer", "augmentation": Mixup()}]
    cases = [("regression", change) for change in changes]
    cases += [(task, {"loss": loss}) for task, loss in losses()]
    cases += [(task, {"augmentation": Mixup(1.0)}) for task in ("binary", "multiclass", "multilabel")]
    return {f"{task}, {_describe(change)}": (task, change) for task, change in cases}


def networks() -> dict[str, tuple[str, dict[str, Any]]]:
    """Networks other than the multi-layer perceptron, as `factors`."""
    every = (Linear(), Linear(fit_intercept=False), Embedded(), Embedded(normalization="batch"), ResNet(dropout=0.3))
    return {f"multiclass, {network}": ("multiclass", {"network": network}) for network in every}


def tolerance_of(case: tuple[str, dict[str, Any]]) -> float:
    """Return by how much two ways of computing a case may differ, in float64.

    The gradient of a bias before a batch norm is nothing but rounding, which Adam makes steps of.
    """
    return 1e-9 if "batch" in repr(case) else 1e-12


def _describe(change: dict[str, Any]) -> str:
    shown = dict(change)
    shown |= {name: "function" for name, value in change.items() if isinstance(value, FunctionSchedule)}
    shown |= {name: "DPSGD" for name, value in change.items() if isinstance(value, DPSGD)}
    return ", ".join(f"{name}={value}" for name, value in shown.items())
