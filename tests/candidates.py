"""Candidates of small searches: those that may share a stack, since they differ in numbers, and those that may not."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skbig.components import SGD, AdamW, Cosine, GaussianNoise, InverseTime, Muon, Plateau, RMSprop, StepDecay
from tests.searching import EARLY, RATES, each


class Case(NamedTuple):
    """A task, parameters that all candidates have, and the searched ones."""

    task: str
    parameters: dict[str, Any]
    grid: Any


# StepInputs may differ within a stack.

OPTIMIZERS = {
    "sgd": Case(
        "multiclass", {"optimizer": "sgd"}, each(optimizer__momentum=[0.0, 0.5, 0.9], learning_rate=[0.1, 0.02, 0.1])
    ),
    "sgd without momentum": Case("binary", {"optimizer": SGD(momentum=0)}, {"learning_rate": [0.02, 0.1, 0.2]}),
    "sgd, dampening": Case(
        "regression",
        {"optimizer": SGD(nesterov=False)},
        each(optimizer__momentum=[0, 0.8, 0.8, 0], optimizer__dampening=[0.5, 0.5, 0, 0], max_iter=[3, 3, 2, 4]),
    ),
    "sgd, rate in velocity": Case(
        "binary",
        {"optimizer": SGD(rate_in_velocity=True), "schedule": "exponential"},
        each(optimizer__momentum=[0.0, 0.8, 0.8], optimizer__weight_decay=[0.1, 0.0, 0.1]),
    ),
    "adagrad": Case(
        "binary",
        {"optimizer": "adagrad"},
        each(optimizer__lr_decay=[0.0, 0.1, 0.1], optimizer__initial_accumulator_value=[0.1, 0.0, 0.1]),
    ),
    "rmsprop": Case(
        "regression",
        {"optimizer": "rmsprop"},
        each(
            optimizer__alpha=[0.9, 0.99, 0.9], optimizer__momentum=[0.0, 0.5, 0.2], learning_rate=[0.002, "auto", 0.01]
        ),
    ),
    "rmsprop, centered": Case(
        "multi-output",
        {"optimizer": RMSprop(centered=True, eps=1e-3)},
        each(optimizer__eps=[1e-3, 1e-2, 0.1], optimizer__alpha=[0.9, 0.95, 0.9]),
    ),
    "adam": Case(
        "multiclass",
        {"optimizer": "adam"},
        each(optimizer__betas=[(0.9, 0.999), (0.8, 0.99), (0.0, 0.9)], learning_rate=[0.01, "auto", 0.03]),
    ),
    "adam, amsgrad": Case(
        "binary",
        {"optimizer": "adam", "optimizer__amsgrad": True},
        each(optimizer__eps=[1e-8, 1e-3, 1e-3], optimizer__weight_decay=[0.1, 0.0, 0.1]),
    ),
    "adamw": Case(
        "multilabel",
        {"optimizer": AdamW(betas=(0.9, 0.95))},
        each(optimizer__weight_decay=[0.0, 0.1, 0.1], alpha=[1, 0, 1], learning_rate=RATES),
    ),
    "nadam": Case(
        "regression",
        {"optimizer": "nadam"},
        each(optimizer__momentum_decay=[0.1, 0.004, 0.1], optimizer__betas=[(0.9, 0.999), (0.5, 0.9), (0.5, 0.9)]),
    ),
    "lion": Case(
        "multiclass",
        {"optimizer": "lion"},
        each(optimizer__betas=[(0.9, 0.99), (0.5, 0.9), (0.9, 0.99)], optimizer__weight_decay=[0.0, 0.1, 0.1]),
    ),
    "muon": Case(
        "multiclass",
        {"optimizer": Muon(ns_precision="parameter")},
        each(
            optimizer__momentum=[0.9, 0.5, 0.9],
            optimizer__adam_betas=[(0.9, 0.99), (0.8, 0.9), (0.8, 0.9)],
            learning_rate=RATES,
        ),
    ),
}
OPTIMIZERS["groups of parameters"] = Case(
    "multiclass",
    {"optimizer": AdamW(weight_decay=0.1)},
    each(
        param_groups=[
            {"head": 0.1, "weight": 1.0},
            {"head": 1, "weight": {"weight_decay": 0.0}},
            {"head": 0, "weight": 2},
        ],
        learning_rate=RATES,
    ),
)
SCHEDULES = {
    "cosine": Case(
        "multiclass", {"schedule": "cosine"}, each(schedule__warmup=[0, 0.3, 0.3], schedule__end=[0.2, 0, 0.2])
    ),
    "flat cosine": Case(
        "multiclass", {"schedule": "flat_cosine"}, each(schedule__flat=[0, 0.5, 0.5], schedule__end=[0.2, 0, 0.2])
    ),
    "linear": Case("binary", {"schedule": "linear"}, each(schedule__warmup=[0, 0.3, 0.3], max_iter=[2, 4, 5])),
    "one cycle": Case(
        "regression", {"schedule": "one_cycle"}, each(schedule__peak_at=[0.2, 0.5, 0.5], max_iter=[3, 4, 2])
    ),
    "exponential": Case(
        "binary", {"schedule": "exponential"}, each(schedule__gamma=[0.5, 0.97, 0.5], max_iter=[2, 3, 4])
    ),
    "step": Case(
        "binary", {"schedule": StepDecay(1)}, each(schedule__step_size=[1, 2, 2], schedule__gamma=[0.1, 0.5, 0.1])
    ),
    "inverse time": Case(
        "regression",
        {"schedule": InverseTime(unit="step")},
        each(schedule__beta=[0, 0.1, 0.1], schedule__gamma=[1, 1, 2]),
    ),
    "inverse scaling": Case("regression", {"schedule": "invscaling"}, {"schedule__power_t": [0.1, 0.5, 0.0]}),
    "a function": Case(
        "binary", {"schedule": lambda done: 1 - done / 2}, each(learning_rate=RATES, max_iter=[2, 4, 3])
    ),
    "plateau": Case(
        "regression",
        {"schedule": Plateau(patience=1, min_rate=1e-3), "max_iter": 12, "tol": 0.05, "learning_rate": 0.05},
        each(
            schedule__factor=[0.2, 0.5, 0.5, 0.2],
            schedule__patience=[0, 1, 0, 1],
            schedule__min_rate=[1e-3, 1e-3, 2e-2, 2e-2],
        ),
    ),
}
NUMBERS = {
    "rate, alpha and dropout": Case(
        "multiclass", {}, each(learning_rate=RATES, alpha=[0, 1, 0.1], dropout=[0.3, 0, 0.1])
    ),
    "l1": Case("regression", {"penalty": "l1", "learning_rate": 0.01}, {"alpha": [0, 0.01, 0.5]}),
    "monotonic": Case("binary", {"monotonic_cst": [1, 0, -1, 0]}, each(learning_rate=RATES, dropout=[0, 0.1, 0.2])),
    "group lasso": Case("multi-output", {"penalty": "group_l1", "learning_rate": 0.01}, {"alpha": [0, 0.01, 0.5]}),
    "elasticnet": Case("multiclass", {"penalty": "elasticnet"}, each(penalty__l1_ratio=[0, 0.5, 1], alpha=[0.1, 1, 0])),
    "no penalty": Case("binary", {"penalty": None}, each(alpha=[0, 1, 2], learning_rate=RATES)),
    "norm clipping": Case("regression", {"clipping": "norm"}, {"clipping__max_norm": [0.05, 0.5, 100.0]}),
    "value clipping": Case("regression", {"clipping": "value"}, {"clipping__max_value": [0.01, 0.1, 100.0]}),
    "averages": Case("multiclass", {"average": "ema"}, each(average__decay=[0.5, 0.9, 0.99], learning_rate=RATES)),
    "label smoothing": Case("multiclass", {}, {"loss__label_smoothing": [0.0, 0.1, 0.3]}),
    "label smoothing of two classes": Case("binary", {}, {"loss__label_smoothing": [0.0, 0.1, 0.3]}),
    "focal": Case("multilabel", {"loss": "focal"}, {"loss__gamma": [0, 1.0, 2.0]}),
    "hinge": Case("multiclass", {"loss": "squared_hinge"}, {"learning_rate": RATES}),
    "huber": Case("regression", {"loss": "huber"}, {"loss__delta": [0.1, 1.35, 10.0]}),
    "quantile": Case("multi-output", {"loss": "quantile"}, {"loss__quantile": [0.1, 0.5, 0.9]}),
    "mean and variance": Case(
        "multi-output", {"loss": "gaussian_nll"}, each(loss__eps=[1e-6, 0.1, 1], alpha=[0, 1, 0])
    ),
    "epsilon": Case("regression", {"loss": "epsilon_insensitive"}, {"loss__epsilon": [0.0, 0.3, 0.1]}),
    "dropout in two layers": Case("binary", {"hidden_layer_sizes": (6, 5)}, {"dropout": [0.0, 0.2, 0.5]}),
    "seeds": Case("multiclass", {"dropout": 0.3}, {"random_state": [0, 7, 2**32 - 1]}),
    "epochs": Case("regression", {}, each(max_iter=[1, 5, 3, 5], learning_rate=[0.01, *RATES])),
    "patience": Case(
        "regression",
        {"max_iter": 14, "learning_rate": 0.02},
        each(n_iter_no_change=[0, 1, np.inf, 3, 0], tol=[0.2, 0.05, 0.2, 0.03, 1e-4]),
    ),
    "ensembles": Case("multiclass", {"dropout": 0.2}, each(n_members=[1, 3, 2], learning_rate=RATES)),
    "ensembles that stop": Case(
        "regression",
        {"max_iter": 10, "tol": 0.05, "learning_rate": 0.03},
        each(n_members=[3, 1, 2, 1], n_iter_no_change=[0, 0, 2, 2], alpha=[0, 1, 1, 0]),
    ),
    "mixup": Case("multiclass", {"augmentation": "mixup"}, each(augmentation__alpha=[0.2, 1, 1], dropout=[0, 0.2, 0])),
    "gaussian noise": Case("binary", {"augmentation": "gaussian_noise"}, {"augmentation__scale": [0.0, 0.1, 0.5]}),
    "swap noise": Case("regression", {"augmentation": "swap_noise"}, {"augmentation__probability": [0, 0.15, 1]}),
    "batch norm": Case(
        "multiclass",
        {"normalization": "batch", "hidden_layer_sizes": (5, 4)},
        each(learning_rate=RATES, dropout=[0, 0.2, 0]),
    ),
    "batch norm of ensembles": Case("regression", {"normalization": "batch"} | EARLY, {"n_members": [1, 2, 3]}),
    "layer norm": Case("regression", {"normalization": "layer"}, each(learning_rate=RATES, alpha=[0, 1, 1])),
    "class weight": Case("multiclass", {}, {"class_weight": [None, "balanced", {0: 3, 2: 0.5}, {1: 0}]}),
    "class weight of two": Case("binary", {}, each(class_weight=["balanced", None, {0: 3}], learning_rate=RATES)),
    "no shuffling": Case("multiclass", {"shuffle": False}, {"learning_rate": RATES}),
    "no hidden layer": Case("multiclass", {"hidden_layer_sizes": ()}, each(alpha=[0, 0.1, 1], learning_rate=RATES)),
}
EARLY_STOPPING = {
    "by loss": Case(
        "multiclass", {"scoring": "loss"}, each(learning_rate=[0.01, 0.1, 0.1], n_iter_no_change=[1, 1, 9])
    ),
    "by its own score": Case(
        "binary", {"scoring": None}, each(learning_rate=[0.01, 0.1, 0.1], n_iter_no_change=[1, 1, 3])
    ),
    "by a scorer": Case("multiclass", {"scoring": "neg_log_loss"}, each(learning_rate=RATES, random_state=[0, 1, 2])),
    "by accuracy": Case("multiclass", {"scoring": "accuracy"}, each(alpha=[0, 1, 1], tol=[0.1, 0, 0.1])),
    "by a function": Case(
        "regression",
        {"scoring": lambda estimator, X, y: -np.abs(estimator.predict(X) - y).max(), "learning_rate": 0.03},
        each(tol=[0.0, 0.05, 0.0], n_iter_no_change=[1, 2, 3]),
    ),
    "by several": Case("regression", {"learning_rate": 0.03}, {"scoring": ["loss", None, "neg_mean_absolute_error"]}),
    "with class weights": Case("multiclass", {"scoring": "loss"}, {"class_weight": ["balanced", None, {0: 3}]}),
    "by several fractions": Case("multi-output", {"scoring": "loss"}, {"validation_fraction": [0.1, 0.25, 0.3]}),
    "of ensembles": Case("multiclass", {"scoring": "loss"}, each(n_members=[1, 3, 2], learning_rate=[0.1, 0.1, 0.02])),
    "with a plateau": Case(
        "multiclass",
        {"scoring": "loss", "schedule": Plateau(patience=0, min_rate=1e-3), "tol": 0.02, "learning_rate": 0.05},
        each(schedule__factor=[0.2, 0.5, 0.5], n_iter_no_change=[2, 2, 6]),
    ),
}
STACKED = OPTIMIZERS | SCHEDULES | NUMBERS
STACKED |= {
    f"early stopping {name}": case._replace(parameters=EARLY | case.parameters) for name, case in EARLY_STOPPING.items()
}


# What is split into several stacks, or trained alone.

APART = {
    "optimizers": Case(
        "multiclass",
        {},
        [
            {"optimizer": ["sgd", AdamW(), "adam"], "learning_rate": ["auto", 0.01]},
            {"optimizer": ["lbfgs"], "batch_size": ["auto"], "max_iter": [3, 4]},
        ],
    ),
    "widths": Case("multiclass", {}, {"hidden_layer_sizes": [(), (3,), 4, (4, 3)]}),
    "activations": Case("multiclass", {}, {"activation": ["tanh", "relu"], "normalization": [None, "layer"]}),
    "batches": Case("regression", {}, {"batch_size": [10, 16, 17, "full", "auto"], "dropout": [0.3]}),
    "batches that are too large": Case("regression", {}, {"batch_size": [34, 40, 100]}),
    "schedules": Case("binary", {}, {"schedule": ["constant", "cosine", Cosine(warmup=0.5), "plateau"]}),
    "losses": Case("multilabel", {}, {"loss": ["log_loss", "focal", "squared_hinge"]}),
    "penalties": Case("regression", {}, {"penalty": ["l1", "l2", None], "alpha": [0.1, 1.0]}),
    "augmentations": Case("multiclass", {}, {"augmentation": [None, "mixup", "swap_noise", GaussianNoise(0.5)]}),
    "clippings": Case("multiclass", {}, {"clipping": [None, "norm", "value"]}),
    "stopping early or not": Case("binary", {}, {"early_stopping": [True, False], "learning_rate": RATES[:2]}),
    "order": Case("binary", {}, {"shuffle": [True, False], "learning_rate": RATES[:2]}),
    "several grids": Case(
        "multiclass",
        {},
        [
            {"optimizer": ["adam"], "optimizer__betas": [(0.9, 0.99), (0.5, 0.9)]},
            {"optimizer": ["sgd"], "optimizer__nesterov": [True, False], "max_iter": [2, 4]},
        ],
    ),
}
