"""Random parameters: each from its own declaration, or something that it cannot be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from skbig._utils.component import Component, names, resolve
from skbig._utils.validation import Boolean, Constraint, Each, Interval, Options
from skbig.components.losses.base import Loss
from skbig.estimators.declaration import declared
from skbig.networks import MLP, Linear

NONSENSE: tuple[Any, ...] = (
    *(None, "", "nonsense", b"bytes", -1, 0, 2.5, True, 10**400, float("nan"), float("inf"), -1e-300, 1e308),
    *(np.array([1, 2]), np.array(3), np.float32(0.5), np.int64(2), np.True_, np.array([]), 1j, {}, {5: 1}, {2, 3}),
    *([], [None], (), (0,), ("a", 1), range(2), int, object, Ellipsis, lambda *_: None, lambda *_: 1.0, Component),
)
"""What grids, NumPy and mistakes bring; for some parameters some of it is legal."""

FIXED = ("backend", "checkpoint_dir", "checkpoint_every", "device", "verbose", "max_time", "callbacks", "module")
"""Not drawn, but for nonsense: they start processes, write files or depend on the clock."""


def parameters_for(kind: type, rng: np.random.Generator) -> dict[str, Any]:
    """Return some parameters of an estimator: most legal, a few not, and the rest left as they are by default."""
    drawn: dict[str, Any] = {}
    for name, field in declared(kind).items():
        chance = rng.random()
        if chance < 0.005:
            drawn[name] = NONSENSE[rng.integers(len(NONSENSE))]
        elif chance < 0.35 and name not in FIXED:
            value = _legal(name, field, kind, rng)
            drawn |= {} if value is NOTHING else {name: value}
    settings = {"max_iter": int(rng.integers(1, 5)), "random_state": int(rng.integers(3)), "device": "cpu"}
    if "preset" in declared(kind):
        settings["preset"] = "fast"
    return settings | drawn


NOTHING = object()


def _legal(name: str, field: dataclasses.Field[Any], kind: Any, rng: np.random.Generator) -> Any:
    special = {
        "hidden_layer_sizes": lambda: tuple(rng.integers(1, 9, size=rng.integers(0, 4)).tolist()),
        "network": lambda: [MLP((3,), dropout=0.2), Linear(), "mlp", MLP((4, 4), normalization="layer")][
            rng.integers(4)
        ],
        "learning_rate": lambda: float(10.0 ** rng.uniform(-6, 4)),
        "scoring": lambda: _scoring(kind, rng),
        "class_weight": lambda: [None, "balanced"][rng.integers(2)],
        "n_members": lambda: int(rng.integers(1, 4)),
        "max_iter": lambda: int(rng.integers(1, 6)),
        "random_state": lambda: [np.random.RandomState(5), int(rng.integers(2**32))][rng.integers(2)],
    }
    if name in special:
        return special[name]()
    component = field.metadata["kind"]
    if component is not None:
        return _component(component, kind, rng)
    return _meeting(field.metadata["allowed"], rng)


def _scoring(kind: Any, rng: np.random.Generator) -> Any:
    metrics = ["accuracy", "neg_log_loss"] if kind._for_classes else ["r2", "neg_max_error"]
    every = ["loss", None, *metrics, ["loss", metrics[0]], {"a": metrics[0]}, lambda model, X, y: float(len(X))]
    return every[rng.integers(len(every))]


def _component(kind: Any, owner: Any, rng: np.random.Generator) -> Any:
    """Return a component by its name, or with some of its hyperparameters changed."""
    own = [name for name in names(kind.kind) if kind is not Loss or _loss(name).for_classes == owner._for_classes]
    name = own[rng.integers(len(own))]
    component = resolve(kind, name)
    assert component is not None
    changes = {}
    for field in dataclasses.fields(component):
        value = _meeting(field.metadata.get("allowed", ()), rng) if rng.random() < 0.4 else NOTHING
        value = NONSENSE[rng.integers(len(NONSENSE))] if rng.random() < 0.01 else value
        changes |= {} if value is NOTHING else {field.name: value}
    return component.replace(**changes) if changes else name


def _loss(name: str) -> Loss:
    loss = resolve(Loss, name)
    assert loss is not None
    return loss


def _meeting(allowed: tuple[Constraint, ...], rng: np.random.Generator) -> Any:
    """Return a value that meets one of the constraints, where one can be drawn."""
    if not allowed:
        return NOTHING
    one = allowed[rng.integers(len(allowed))]
    if isinstance(one, Options):
        return one.values[rng.integers(len(one.values))]
    if isinstance(one, Boolean):
        return bool(rng.integers(2))
    if isinstance(one, Interval):
        return _between(one, rng)
    if isinstance(one, Each) and one.length is not None:
        return tuple(_meeting((one.item,), rng) for _ in range(one.length))
    return NOTHING


def _between(interval: Interval, rng: np.random.Generator) -> Any:
    low = 0.0 if interval.low is None else float(interval.low)
    if interval.integer:
        return int(min(low + rng.integers(0, 6), interval.high if interval.high is not None else np.inf))
    high = low + 10.0 ** rng.uniform(-6, 2) if interval.high is None else float(interval.high)
    value = float(low + (high - low) * rng.uniform(0.01, 0.99))
    return [value, np.float64(value), low][rng.choice(3, p=[0.6, 0.2, 0.2])]
