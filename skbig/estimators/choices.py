"""From an estimator's parameters to resolved, checked choices: the one door that names and instances go through."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch

from skbig._utils.component import PLAIN, Component, is_plain, n_registered, registered, resolve
from skbig._utils.device import choose_device
from skbig._utils.validation import Constraint, check
from skbig.components.augmentations import Augmentation
from skbig.components.averages import Average
from skbig.components.clipping import Clipping
from skbig.components.losses.base import Loss, resolve_loss
from skbig.components.optimizers.base import Optimizer
from skbig.components.penalties import Penalty
from skbig.components.privacy import DPSGD
from skbig.components.schedules.base import Schedule, resolve_schedule
from skbig.estimators.declaration import declared, parameters_of
from skbig.estimators.hints import hint_for_value
from skbig.estimators.interface import EstimatorInterface
from skbig.networks.network import Network

if TYPE_CHECKING:
    from skbig.distributed.backend import Backend

OPTIONAL = (Penalty, Clipping, Augmentation, Average, DPSGD)
"""Kinds of which None is a choice."""


@dataclass(frozen=True)
class Choices:
    """What an estimator is asked to do: its components, resolved and checked, and its other parameters as they are.

    Attributes
    ----------
    network, loss, penalty, optimizer, schedule, clipping, augmentation, average, privacy : component or None
    rate : float
        Base rate of the optimizer.
    backend : Backend or None
    parameters : mapping
        Every parameter by name, as the user gave it.
    """

    network: Network
    loss: Loss
    penalty: Penalty | None
    optimizer: Optimizer
    schedule: Schedule
    clipping: Clipping | None
    augmentation: Augmentation | None
    average: Average | None
    privacy: DPSGD | None
    rate: float
    backend: Backend | None
    parameters: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return a parameter as the user gave it."""
        return self.parameters[name]

    def with_parameters(self, **changes: Any) -> Choices:
        """Return the same choices with some parameters changed that are no components."""
        return replace(self, parameters={**self.parameters, **changes})


def planned(estimator: EstimatorInterface, name: str) -> int:
    """Return a parameter that counts, as `max_iter`, or about what it will be where that depends on the rows."""
    return estimator._planned(name)


def likely_cost(estimator: EstimatorInterface) -> float:
    """Return about how many products a training takes for a row, as far as parameters tell."""
    size: float = estimator._make_network().likely_size()
    return planned(estimator, "max_iter") * planned(estimator, "n_members") * size


def resolve_choices(estimator: EstimatorInterface) -> Choices:
    """Resolve and check all parameters of an estimator.

    Raises
    ------
    ValueError
        Naming the parameter, what it must be and what it is.
    """
    parameters = parameters_of(estimator)
    if not all(map(is_plain, parameters.values())):
        return _resolve_anew(estimator, parameters)
    form = (type(estimator), n_registered(), repr(parameters))
    kept = _kept.get(form)
    if kept is not None:
        follows = estimator._network_follows_from_parameters
        return kept if follows else replace(kept, network=estimator._make_network())
    if len(_kept) >= MOST:
        _kept.clear()
    _kept[form] = choices = _resolve_anew(estimator, parameters)
    return choices


MOST = 256
"""So many choices are kept: numbers and names that were resolved and checked once need not be again."""

_kept: dict[Any, Choices] = {}


def _resolve_anew(estimator: EstimatorInterface, given: Mapping[str, Any]) -> Choices:
    made: Any = type(estimator)
    parameters = {name: estimator._stands_for(name, value) for name, value in given.items()}
    owner, kinds = made.__name__, _kinds(made)
    components: dict[str, Any] = {}
    for name, value in parameters.items():
        kind = kinds[name]
        check_it = _checked if type(value) in PLAIN else _checked.__wrapped__
        named = None if kind is None else registered(kind.kind, value)
        component = check_it(made, name, value, estimator._for_classes, named)
        if kind is not None:
            components[name] = component
    rate = parameters["learning_rate"]
    choices = Choices(
        network=estimator._make_network(),
        **components,
        rate=components["optimizer"].default_rate if rate == "auto" else float(rate),
        backend=_named("backend", parameters.get("backend"), owner, backend_of),
        parameters=parameters,
    )
    _check_together(choices)
    return choices


@lru_cache(maxsize=4096, typed=True)
def _checked(owner: type, name: str, value: Any, for_classes: bool, named: Any) -> Any:
    """Check a parameter of a class of estimators; return the component that the value stands for, if it is one.

    A name stands for the class that is `named` so now.
    """
    del named
    allowed, kind = declared(owner)[name].metadata["allowed"], _kinds(owner)[name]
    if allowed:
        _named(name, value, owner.__name__, partial(_check, name, owner.__name__, allowed))
    if kind is None:
        return None
    return _resolved(name, value, owner.__name__, _way(kind, for_classes))


@lru_cache(maxsize=256)
def _kinds(owner: type) -> dict[str, Any]:
    """Return the kind of component that each parameter of a class is, or None; networks are made of several."""
    kinds = {name: field.metadata["kind"] for name, field in declared(owner).items()}
    return {name: None if kind is Network else kind for name, kind in kinds.items()}


def component_of(estimator: EstimatorInterface, name: str) -> Component | Backend | None:
    """Return the component, or the backend, that a parameter's value stands for, or None when there is none."""
    value = estimator._stands_for(name, getattr(estimator, name))
    kind = declared(estimator)[name].metadata["kind"]
    if value is None:
        return None
    if name == "backend":
        return backend_of(value)
    return None if kind is None else _way(kind, estimator._for_classes)(value)


def backend_of(value: Any) -> Backend | None:
    """Return the backend that a parameter's value stands for; None is this process, which loads none."""
    if value is None:
        return None
    from skbig.distributed.backend import resolve_backend

    return resolve_backend(value)


def device_of(value: Any, owner: str) -> torch.device:
    """Return the device that a parameter's value stands for."""
    if value == "cpu":  # is always there
        return torch.device("cpu")
    device: torch.device = _named("device", value, owner, choose_device)
    return device


def _check(name: str, owner: str, allowed: tuple[Constraint, ...], value: Any) -> None:
    check(name, owner, value, *allowed)


def _way(kind: type[Component], for_classes: bool) -> Callable[[Any], Any]:
    """Return what turns a value into a component of a kind."""
    if kind is Loss:
        return lambda value: resolve_loss(value, for_classes=for_classes)
    if kind is Schedule:
        return resolve_schedule
    return lambda value: resolve(kind, value, optional=kind in OPTIONAL)


def _resolved(name: str, value: Any, owner: str, how: Callable[[Any], Any]) -> Any:
    component = _named(name, value, owner, how)
    if component is None:
        return None
    component.check()
    return component.plain()


def _named(name: str, value: Any, owner: str, how: Callable[[Any], Any]) -> Any:
    """Say in an error whose parameter it is, and add a hint when the value is one that another library understands."""
    try:
        return how(value)
    except ValueError as error:
        message = re.sub(r"^(The '\w+' parameter)(?: of a \w+)? must", rf"\1 of {owner} must", str(error))
        raise ValueError(f"{message} {hint_for_value(name, value)}".rstrip()) from None


def _check_together(choices: Choices) -> None:
    """Refuse what would have to be ignored."""
    if choices.parameters.get("checkpoint_dir") is not None and choices["warm_start"]:
        raise ValueError(
            "checkpoint_dir goes on with a fit that was killed, warm_start=True with one that has ended. Use one of "
            "the two."
        )
    _check_decays(choices)
    if choices.optimizer.full_batch:
        _check_line_search(choices)
    elif choices.backend is not None and choices.backend.shares_parameters:
        _check_sharded(choices)


def _check_decays(choices: Choices) -> None:
    """Refuse factors of a weight decay that the optimizer does not have."""
    groups = (choices["param_groups"] or {}).values()
    decays = any(isinstance(group, Mapping) and "weight_decay" in group for group in groups)
    if decays and not hasattr(choices.optimizer, "weight_decay"):
        raise ValueError(
            f"param_groups={choices['param_groups']!r} changes the weight decay, and optimizer="
            f"{choices['optimizer']!r} has none. Use optimizer='adamw', or factors of the learning_rate alone."
        )


def _check_sharded(choices: Choices) -> None:
    """Refuse what needs whole matrices, where each worker has a part of them."""
    for name in ("optimizer", "penalty"):
        component = getattr(choices, name)
        if component is not None and not component.elementwise:
            raise ValueError(
                f"{name}={choices[name]!r} needs whole matrices, and with backend={choices['backend']!r} each "
                f"worker holds a part of them. Use backend='ddp', or another {name}."
            )


def _check_line_search(choices: Choices) -> None:
    """Refuse what an optimizer that reads the whole set in each iteration cannot do."""
    name = f"optimizer={choices['optimizer']!r}"
    if choices.backend is not None:
        raise ValueError(
            f"{name} searches along lines in one process. Use backend=None, or optimizer='adam' with "
            f"backend={choices['backend']!r}."
        )
    if choices.clipping is not None:
        raise ValueError(f"{name} takes no clipping: its line search sets the length of a step. Use clipping=None.")
    if choices.average is not None:
        raise ValueError(f"{name} has no noise to average out. Use average=None, or optimizer='adam'.")
    if choices["param_groups"]:
        raise ValueError(f"{name} moves all parameters at once. Use param_groups=None, or optimizer='adam'.")
    if choices.penalty is not None and choices.penalty.proximal:
        raise ValueError(
            f"{name} needs a smooth penalty. Use penalty='l2', or optimizer='adam' with {choices.penalty!r}."
        )
    if isinstance(choices["batch_size"], Integral):
        raise ValueError(f"{name} reads the whole set in each iteration. Use batch_size='auto' or 'full'.")
