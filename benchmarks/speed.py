"""What is timed: training on a CPU and on a GPU, and prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier

from benchmarks.environment import multiplies_bf16
from benchmarks.options import Options
from benchmarks.peers import (
    HAS_SKORCH,
    Task,
    flops_of_training,
    make_rows,
    not_converged,
    train_lean,
    train_skbig,
    train_sklearn,
    train_skorch,
    weights_of,
)
from benchmarks.timing import Row, Table, in_turn
from skbig import BigMLPClassifier

NO_SKORCH = "skorch is not installed (pip install skorch), so it is left out."
NO_GPU = "No GPU is at hand."


SMALL_BATCHES = Task(20, (100,), 32, n_rows=20_000, n_epochs=5)
SMALL = Task(20, (100,), 200, n_rows=20_000, n_epochs=20)
MIDDLE = Task(50, (256, 256), 256, n_rows=20_000, n_epochs=10)
LARGE = Task(100, (1024, 1024, 1024), 1024, n_rows=20_480, n_epochs=2)
ONE_ROW, MANY_ROWS = 1.5, 1.8
"""How many times faster than MLPClassifier's a prediction is to be."""

ON_GPU = Task(50, (256, 256, 256), 256, n_rows=50_000, n_epochs=20, device="cuda")


def train_on_cpu(task: Task, options: Options, sklearn: float, skorch: float, lean: float) -> Table:
    """Time a training beside all others; the numbers say how many times faster we want to be."""
    contenders: dict[str, tuple[Callable[..., float], float | None]] = {
        "skbig": (train_skbig, None),
        "MLPClassifier": (train_sklearn, sklearn),
        **skorch_contenders(skorch),
        "lean torch": (train_lean, lean),
    }
    return train_in_turn(task, options, contenders)


def train_in_bf16(options: Options) -> Table:
    """Time a large training in bfloat16 with float32 master weights."""
    has_bf16 = multiplies_bf16()
    contenders: dict[str, tuple[Callable[..., float], float | None]] = {
        "skbig, bf16": (lambda task, X, y: train_skbig(task, X, y, "bf16"), None),
        "skbig, float32": (train_skbig, None),
        "MLPClassifier": (train_sklearn, 2.5 if has_bf16 else None),
    }
    without = "This CPU does not multiply bfloat16 (avx512_bf16 in /proc/cpuinfo), so no ratio is asked for."
    return train_in_turn(LARGE, options, contenders, [] if has_bf16 else [without], head='precision="bf16": ')


def train_on_gpu(options: Options) -> Table | str:
    """Time a training on a GPU, where there is one; the transfer is included."""
    if not torch.cuda.is_available():
        return NO_GPU
    contenders: dict[str, tuple[Callable[..., float], float | None]] = {
        "skbig": (train_skbig, None),
        "lean torch": (train_lean, 8),
        **skorch_contenders(25),
    }
    return train_in_turn(ON_GPU, options, contenders, head=f"{torch.cuda.get_device_name()}: ")


def skorch_contenders(wanted: float) -> dict[str, tuple[Callable[..., float], float | None]]:
    """Return skorch as it comes, and at its fastest, which is the one we compare with."""
    if not HAS_SKORCH:
        return {}
    return {
        "skorch": (train_skorch, None),
        "skorch, no callbacks": (lambda task, X, y: train_skorch(task, X, y, "disable"), wanted),
    }


def train_in_turn(
    task: Task,
    options: Options,
    contenders: dict[str, tuple[Callable[..., float], float | None]],
    notes: list[str] | None = None,
    head: str = "",
) -> Table:
    """Train with each contender in turn, after a short training of each that sets up the process."""
    task = options.sized(task)
    if not options.quick:
        short = replace(task, n_rows=4 * task.batch_size, n_epochs=1)
        small = make_rows(short)
        for train, _ in contenders.values():
            train(short, *small)
    X, y = make_rows(task)
    runs = {name: (lambda train=train: train(task, X, y)) for name, (train, _) in contenders.items()}
    timed = in_turn(runs, options.repeats, collect=not options.quick)
    rows = [
        Row(name, seconds, contenders[name][1], loss, in_bf16="bf16" in name) for name, (seconds, loss) in timed.items()
    ]
    title = f"{head}{task}: {task.size()}{', validation on a tenth' * task.validation}"
    notes = (notes or []) + [NO_SKORCH] * (not HAS_SKORCH)
    limits = options.limits if task.device == "cpu" else None
    return Table(title, task.n_steps, "step", rows, notes, flops=flops_of_training(task), limits=limits)


def predict_one_row(options: Options) -> Table:
    """Time the prediction of single rows."""
    models, X = fitted_models(1)
    calls = {name: (lambda model=model: model.predict(X)) for name, model in models.items()}
    in_turn(calls, 3, collect=False)
    timed = in_turn(calls, 5 if options.quick else 1000, collect=False)
    rows = [Row(name, seconds, ONE_ROW if name == "MLPClassifier" else None) for name, (seconds, _) in timed.items()]
    return Table("predict one row: 20 features, (100,)", 1, "row", rows)


def predict_many_rows(options: Options) -> Table:
    """Time the prediction of a million rows at once."""
    n_rows = 10_000 if options.quick else 1_000_000
    models, X = fitted_models(n_rows)
    calls = {name: (lambda model=model: model.predict(X)) for name, model in models.items()}
    timed = in_turn(calls, options.repeats, collect=not options.quick)
    rows = [Row(name, seconds, MANY_ROWS if name == "MLPClassifier" else None) for name, (seconds, _) in timed.items()]
    flops = 2.0 * n_rows * sum(weights_of(SMALL))
    title = f"predict {n_rows:,} rows: 20 features, (100,)"
    return Table(title, n_rows, "row", rows, flops=flops, limits=options.limits)


def fitted_models(n_rows: int) -> tuple[dict[str, Any], np.ndarray]:
    """Return ours and scikit-learn's after an epoch, and rows to predict."""
    task = replace(SMALL, n_rows=2000)
    settings: dict[str, Any] = {"hidden_layer_sizes": task.hidden, "max_iter": 1, "random_state": 0}
    models = {"skbig": BigMLPClassifier(device="cpu", **settings), "MLPClassifier": MLPClassifier(**settings)}
    with not_converged():
        models = {name: model.fit(*make_rows(task)) for name, model in models.items()}
    return models, make_rows(replace(task, n_rows=n_rows))[0]


SECTIONS: dict[str, Callable[[Options], Table | str]] = {
    "small-batches": lambda options: train_on_cpu(SMALL_BATCHES, options, sklearn=2.5, skorch=8, lean=4),
    "small": lambda options: train_on_cpu(SMALL, options, sklearn=2.5, skorch=8.5, lean=3),
    "middle": lambda options: train_on_cpu(MIDDLE, options, sklearn=2.0, skorch=2.5, lean=1.6),
    "large": lambda options: train_on_cpu(LARGE, options, sklearn=1.4, skorch=1.9, lean=1.8),
    "bf16": train_in_bf16,
    "one-row": predict_one_row,
    "many-rows": predict_many_rows,
    "gpu": train_on_gpu,
}
