"""Which features a network rises or falls with, as a user says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import is_classifier

SIGNS = (-1, 0, 1)


def monotonic_signs(estimator: Any, n_features: int, n_outputs: int) -> tuple[int, ...]:
    """Return the sign of each feature; none where there is no constraint.

    Raises
    ------
    ValueError
        When `monotonic_cst` names no feature, has another length or value, or there are several classes or labels.
    """
    given = estimator.monotonic_cst
    if given is None:
        return ()
    if is_classifier(estimator) and n_outputs > 1:
        raise ValueError("monotonic constraints are not supported for multiclass or multilabel classification.")
    return _by_name(estimator, given) if isinstance(given, Mapping) else _by_place(given, n_features)


def _by_name(estimator: Any, given: Mapping[Any, Any]) -> tuple[int, ...]:
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        raise ValueError(
            f"{type(estimator).__name__} was not fitted on data with feature names. Pass monotonic_cst as an integer "
            "array instead."
        )
    unknown = sorted(map(str, set(given) - set(names)))
    if unknown:
        raise ValueError(f"monotonic_cst contains {len(unknown)} unexpected feature names: {unknown[:5]}.")
    for name, sign in given.items():
        _check_sign(sign, f"monotonic_cst[{name!r}]")
    return tuple(int(given.get(name, 0)) for name in names)


def _by_place(given: Any, n_features: int) -> tuple[int, ...]:
    listed = np.asarray(given)
    if listed.shape != (n_features,):
        raise ValueError(f"monotonic_cst has shape {listed.shape} but the input data X has {n_features} features.")
    for i, sign in enumerate(listed.tolist()):
        _check_sign(sign, f"monotonic_cst[{i}]")
    return tuple(int(sign) for sign in listed.tolist())


def _check_sign(sign: Any, name: str) -> None:
    if sign not in SIGNS:
        raise ValueError(f"{name} must be either -1, 0 or 1. Got {sign!r}.")
