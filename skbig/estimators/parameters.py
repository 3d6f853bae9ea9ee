"""From an estimator's parameters to resolved, checked choices: the one door that names and instances go through."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from math import inf
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.metrics import get_scorer_names

from skbig._utils.validation import Boolean, Callable, Constraint, Interval, Options, check
from skbig.backends.backend import Backend, resolve_backend
from skbig.backends.single import PRECISIONS, choose_device
from skbig.components.augmentations import Augmentation
from skbig.components.clipping import Clipping
from skbig.components.component import Component, resolve
from skbig.components.losses.base import Loss, resolve_loss
from skbig.components.optimizers.base import Optimizer
from skbig.components.penalties import Penalty
from skbig.components.schedules import Schedule, resolve_schedule
from skbig.estimators.hints import hint_for_value
from skbig.networks.mlp import ACTIVATIONS, NORMALIZATIONS


@dataclass(frozen=True)
class _Instance(Constraint):
    kinds: tuple[type, ...]
    words: str

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self.kinds)

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class _ScorerName(Constraint):
    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and value in get_scorer_names()

    def __str__(self) -> str:
        return "a name of sklearn.metrics.get_scorer_names()"


_COUNT = Interval(1, None, integer=True)

CONSTRAINTS: dict[str, tuple[Constraint, ...]] = {
    "activation": (Options(tuple(ACTIVATIONS)),),
    "alpha": (Interval(0, None),),
    "learning_rate": (Options(("auto",)), Interval(0, None, "neither")),
    "dropout": (Interval(0, 1, "left"),),
    "normalization": (Options(NORMALIZATIONS),),
    "n_members": (_COUNT,),
    "batch_size": (Options(("auto", "full")), _COUNT),
    "max_iter": (_COUNT,),
    "max_time": (Options((None,)), Interval(0, None, "neither")),
    "shuffle": (Boolean(),),
    "class_weight": (
        Options(("balanced", None)),
        _Instance((Mapping, list), "a dict of weights (a list of them for multilabel y)"),
    ),
    "early_stopping": (Boolean(),),
    "validation_fraction": (Interval(0, 1, "neither"),),
    "n_iter_no_change": (Interval(0, None, integer=True), Options((inf,))),
    "tol": (Interval(0, None),),
    "scoring": (Options(("loss", None)), _ScorerName(), Callable()),
    "warm_start": (Boolean(),),
    "random_state": (
        Options((None,)),
        Interval(0, 2**32 - 1, integer=True),
        _Instance((np.random.RandomState,), "a numpy.random.RandomState"),
    ),
    "device": (_Instance((str,), "a str"),),
    "precision": (Options(PRECISIONS),),
    "verbose": (Boolean(), Interval(0, None, integer=True)),
    "checkpoint_dir": (Options((None,)), _Instance((str, os.PathLike), "a path")),
    "checkpoint_every": (Interval(1, None, integer=True), Interval(0, None, "neither")),
}


@dataclass(frozen=True)
class Choices:
    """The components of an estimator, resolved and checked."""

    loss: Loss
    penalty: Penalty | None
    optimizer: Optimizer
    schedule: Schedule
    clipping: Clipping | None
    augmentation: Augmentation | None
    hidden: tuple[int, ...]
    rate: float


def resolve_choices(parameters: Mapping[str, Any], owner: str, *, for_classes: bool) -> Choices:
    """Resolve and check all parameters of an estimator.

    Raises
    ------
    ValueError
        Naming the parameter, what it must be and what it is.
    """
    for name, allowed in CONSTRAINTS.items():
        if name in parameters:
            _checked(name, parameters[name], owner, lambda value, n=name, a=allowed: check(n, owner, value, *a))
    how: dict[str, Any] = {
        "loss": lambda value: resolve_loss(value, for_classes=for_classes),
        "penalty": lambda value: resolve(Penalty, value, optional=True),
        "optimizer": lambda value: resolve(Optimizer, value),
        "schedule": resolve_schedule,
        "clipping": lambda value: resolve(Clipping, value, optional=True),
        "augmentation": lambda value: resolve(Augmentation, value, optional=True),
    }
    if "backend" in parameters:  # a subclass may have other parameters
        _checked("backend", parameters["backend"], owner, resolve_backend)
    components: dict[str, Any] = {name: _resolved(name, parameters[name], owner, how[name]) for name in how}
    rate = parameters["learning_rate"]
    choices = Choices(
        **components,
        hidden=hidden_sizes(parameters["hidden_layer_sizes"], owner),
        rate=components["optimizer"].default_rate if rate == "auto" else float(rate),
    )
    _check_together(choices, parameters)
    return choices


def component_of(name: str, value: Any, *, for_classes: bool) -> Component | Backend | None:
    """Return the component, or the backend, that a parameter's value stands for, or None when there is none."""
    if value is None:
        return None
    if name == "backend":
        return resolve_backend(value)
    if name == "loss":
        return resolve_loss(value, for_classes=for_classes)
    if name == "schedule":
        return resolve_schedule(value)
    interfaces: dict[str, type[Component]] = {
        "penalty": Penalty, "optimizer": Optimizer, "clipping": Clipping, "augmentation": Augmentation,
    }  # fmt: skip
    return resolve(interfaces[name], value) if name in interfaces else None


def hidden_sizes(value: Any, owner: str) -> tuple[int, ...]:
    """Return the widths of the hidden layers as a tuple."""
    sizes = (value,) if isinstance(value, Integral) else value
    # A generator could be read only once, so it must have a length.
    valid = isinstance(sizes, Sized) and isinstance(sizes, Iterable) and all(map(_COUNT.accepts, sizes))
    if not valid:
        raise ValueError(
            f"The 'hidden_layer_sizes' parameter of {owner} must be a sequence of ints > 0, or one int. "
            f"Got {value!r} instead."
        )
    return tuple(int(size) for size in sizes)


def device_of(value: Any, owner: str) -> torch.device:
    """Return the device that a parameter's value stands for."""
    device: torch.device = _checked("device", value, owner, choose_device)
    return device


def _resolved(name: str, value: Any, owner: str, how: Any) -> Any:
    component = _checked(name, value, owner, how)
    if component is not None:
        component.check()
    return component


def _checked(name: str, value: Any, owner: str, how: Any) -> Any:
    """Say in an error whose parameter it is, and add a hint when the value is one that another library understands."""
    try:
        return how(value)
    except ValueError as error:
        message = re.sub(r"^(The '\w+' parameter)(?: of a \w+)? must", rf"\1 of {owner} must", str(error))
        raise ValueError(f"{message} {hint_for_value(name, value)}".rstrip()) from None


def _check_parts(choices: Choices, parameters: Mapping[str, Any]) -> None:
    """Refuse what needs whole matrices, where each worker has a part of them."""
    backend = resolve_backend(parameters.get("backend"))
    if backend is None or not backend.shares_parameters or choices.optimizer.full_batch:
        return
    for name in ("optimizer", "penalty"):
        component = getattr(choices, name)
        if component is not None and not component.elementwise:
            raise ValueError(
                f"{name}={parameters[name]!r} needs whole matrices, and with backend={parameters['backend']!r} each "
                f"worker holds a part of them. Use backend='ddp', or another {name}."
            )


def _check_together(choices: Choices, parameters: Mapping[str, Any]) -> None:
    """Refuse what would have to be ignored."""
    if parameters.get("checkpoint_dir") is not None and parameters["warm_start"]:
        raise ValueError(
            "checkpoint_dir goes on with a fit that was killed, warm_start=True with one that has ended. Use one of "
            "the two."
        )
    _check_parts(choices, parameters)
    if not choices.optimizer.full_batch:
        return
    name = f"optimizer={parameters['optimizer']!r}"
    if parameters.get("backend") is not None:
        raise ValueError(
            f"{name} searches along lines in one process. Use backend=None, or optimizer='adam' with "
            f"backend={parameters['backend']!r}."
        )
    if choices.clipping is not None:
        raise ValueError(f"{name} takes no clipping: its line search sets the length of a step. Use clipping=None.")
    if choices.penalty is not None and choices.penalty.proximal:
        raise ValueError(
            f"{name} needs a smooth penalty. Use penalty='l2', or optimizer='adam' with {choices.penalty!r}."
        )
    if isinstance(parameters["batch_size"], Integral):
        raise ValueError(f"{name} reads the whole set in each iteration. Use batch_size='auto' or 'full'.")
