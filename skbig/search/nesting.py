"""Where the network is in what is searched: last in a Pipeline, or in what fits one estimator, at any depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline


@cache
def holders() -> dict[type, str]:
    """Return estimators that fit a clone of one other, once, and the parameter that holds it.

    The clone's name ends in _.
    """
    from sklearn.compose import TransformedTargetRegressor  # it imports all linear models

    return {TransformedTargetRegressor: "regressor", FixedThresholdClassifier: "estimator"}


def levels(estimator: Any, *, fitted: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield what is searched and what it holds, down to the network, each with how the names of its parameters begin.

    With `fitted`, what has been fitted: clones of what the parameters hold.
    """
    prefix = ""
    yield prefix, estimator
    while (held := _held_by(estimator, fitted)) is not None:
        name, estimator = held
        prefix += f"{name}__"
        yield prefix, estimator


def last_step(estimator: Any) -> Any:
    """Return what is held at the innermost level, which is the network where there is one."""
    for _, part in levels(estimator):
        estimator = part
    return estimator


def pipelines_of(estimator: Any, *, fitted: bool = False) -> list[Pipeline]:
    """Return the Pipelines at all levels."""
    return [part for _, part in levels(estimator, fitted=fitted) if isinstance(part, Pipeline)]


def name_of_parameter(estimator: Any, name: str) -> str:
    """Return the full name of a parameter of the network: ``step__max_iter``."""
    for prefix, _ in levels(estimator):
        full = prefix + name
    return full


def parameter_of_candidate(estimator: Any, parameters: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return a parameter of the network as it is once a candidate's parameters are set, some of which may be levels."""
    prefix = ""
    while (held := _held_by(estimator, False)) is not None:
        step, own = held
        estimator = parameters.get(prefix + step, own)
        prefix += f"{step}__"
    return parameters.get(prefix + name, getattr(estimator, name, default))


def settings_around(estimator: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are not the network's own: those on which its rows and targets may depend."""
    prefix = name_of_parameter(estimator, "")
    own = prefix.removesuffix("__")
    return {name: value for name, value in parameters.items() if not name.startswith(prefix) and name != own}


def _held_by(estimator: Any, fitted: bool) -> tuple[str, Any] | None:
    """Return the name and the estimator at the next level; None at the innermost."""
    if isinstance(estimator, Pipeline):
        name, step = estimator.steps[-1]
        return name, step
    for kind, name in holders().items():
        if isinstance(estimator, kind):
            return name, getattr(estimator, f"{name}_" if fitted else name, None)
    return None
