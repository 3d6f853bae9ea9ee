"""The validation rows of a fit: those that the user gives, checked, or those that are held out from X.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from skbig._utils.random import Purpose, generator
from skbig.data.folded_rows import deal_out, n_shared, with_shared
from skbig.data.tensor_rows import TensorRows
from skbig.estimators.choices import Choices
from skbig.estimators.given import Given
from skbig.estimators.inputs import hold_out
from skbig.estimators.interface import EstimatorInterface
from skbig.estimators.tensor_checks import checked_target, checked_weight
from skbig.estimators.tensors import for_loss, on_host

ARGUMENTS = ("X_val", "y_val", "sample_weight_val")

FOLDS = "folds"
"""The value of `early_stopping` by which each member holds out rows of its own."""

ONLY = "validation"
"""What the set is called where there is but one."""


def checked_validation(
    estimator: EstimatorInterface, held: Given, dtype: Any, choices: Choices, device: torch.device
) -> dict[str, Given] | None:
    """Return checked sets of validation rows by name, or None where the user has given none.

    Tensors of the `device` are rows as they are, and all others arrays.

    Raises
    ------
    ValueError
        Naming the argument, when it is wrong or missing.
    """
    if held.X is None and held.y is None:
        if held.weight is not None:
            raise ValueError("sample_weight_val was given without X_val and y_val.")
        return None
    if held.X is None or held.y is None:
        given, missing = ("X_val", "y_val") if held.y is None else ("y_val", "X_val")
        raise ValueError(f"{given} was given without {missing}. Pass both, or none.")
    sets, one = _by_name(held)
    named = {name: tuple(what if one else f"{what}[{name!r}]" for what in ARGUMENTS) for name in sets}
    return {
        name: _checked(estimator, given.on_device(device, *named[name]), dtype, choices, *named[name])
        for name, given in sets.items()
    }


def _checked(
    estimator: EstimatorInterface, held: Given, dtype: Any, choices: Choices, X_name: str, y_name: str, weight_name: str
) -> Given:
    X = estimator._check_validation_rows(held.X, dtype, X_name)
    n_rows, y, weight = X.shape[0], None, held.weight
    if isinstance(X, TensorRows):
        y = checked_target(held.y, n_rows)
    else:
        weight = on_host(weight, weight_name)
    if y is None:
        y = estimator._checked_target(on_host(held.y, y_name), y_name)
    choices.loss.check_targets(for_loss(choices.loss, y))
    if n_rows != len(y):
        raise ValueError(f"{X_name} and {y_name} have inconsistent numbers of samples: {[n_rows, len(y)]}.")
    return Given(X, y, checked_weight(weight, n_rows, weight_name)).without_weightless().copied()


def _by_name(held: Given) -> tuple[dict[str, Given], bool]:
    """Return the sets that the user has given by name, and whether it is the one that needs none."""
    given = [held.X, held.y, {} if held.weight is None else held.weight]
    if _is_list_of_sets(held.X):
        given = [_numbered(values) if isinstance(values, list | tuple) else values for values in given]
    if not isinstance(given[0], Mapping):
        return {ONLY: held}, True
    X, y, weight = given
    if not (X and isinstance(y, Mapping) and isinstance(weight, Mapping) and set(y) == set(X) >= set(weight)):
        shown = ", ".join(f"{what} with {_names_in(values)}" for what, values in zip(ARGUMENTS, given, strict=True))
        raise ValueError(
            "Where X_val holds several sets, y_val and sample_weight_val must hold as many, in a list, or in a dict by "
            f"the same names. Got {shown}."
        )
    return {str(name): Given(X[name], y[name], weight.get(name)) for name in X}, False


def _is_list_of_sets(X: Any) -> bool:
    """Whether it is a list of tables; a list of rows is one table."""
    return isinstance(X, list | tuple) and bool(X) and all(len(getattr(one, "shape", ())) == 2 for one in X)


def _numbered(values: Any) -> dict[str, Any]:
    return {f"{ONLY}_{i}": value for i, value in enumerate(values) if value is not None}


def _names_in(values: Any) -> str:
    return f"{[*values]}" if isinstance(values, Mapping) else f"a {type(values).__name__}"


def held_out(
    estimator: EstimatorInterface, checked: Given, seed: int, incremental: bool
) -> tuple[Given, dict[str, Given]]:
    """Split the checked rows for early stopping into those to train on and those to validate by."""
    if incremental:
        raise _of_calls(True)
    stratify = estimator._for_classes and np.shape(checked.y)[1:] in ((), (1,))
    training, validation = hold_out(checked, estimator.validation_fraction, seed, stratify)
    return training, {ONLY: validation}


def _of_calls(early_stopping: object) -> ValueError:
    return ValueError(
        f"partial_fit with early_stopping={early_stopping!r} needs X_val and y_val, so that all calls are judged alike."
    )


def check_folds(n_members: int, *, incremental: bool, alone: bool) -> None:
    """Raise ValueError where members cannot hold out rows of their own."""
    if incremental:
        raise _of_calls(FOLDS)
    if n_members < 2:
        raise ValueError(
            f"early_stopping='folds' needs two members or more, each to be judged by rows that the others read. Got "
            f"n_members={n_members}. Use early_stopping=True."
        )
    if not alone:
        raise ValueError("early_stopping='folds' is trained by one process. Use early_stopping=True, or no backend.")


def left_out_by_members(
    estimator: EstimatorInterface, checked: Given, weight: Any, seeds: list[int]
) -> tuple[dict[int, np.ndarray], dict[str, Given]]:
    """Deal out the checked rows, so that each member holds out a part of its own.

    Returns
    -------
    left_out : dict of int to ndarray
        By the seed of each member, which of the rows that have a weight it does not read: its part, and of many rows to
        be classified some that no member reads.
    held : dict of Given
        The parts, member by member.

    Raises
    ------
    ValueError
        When there are fewer rows than members.
    """
    weight = on_host(weight, "sample_weight")
    kept = checked if weight is None else checked.take(np.flatnonzero(weight))
    stratify = estimator._for_classes and np.shape(kept.y)[1:] in ((), (1,))
    labels = np.ravel(on_host(kept.y, "y")) if stratify else None
    n_rows, n_folds = kept.X.shape[0], len(seeds)
    folds = deal_out(n_rows, n_folds, generator(seeds[0], Purpose.SPLIT), labels)
    if not folds.size:
        raise ValueError(
            f"early_stopping='folds' cannot hold out rows for each of {n_folds} members: there are {n_rows}. Use "
            "early_stopping=True, or fewer n_members."
        )
    left_out = with_shared(folds, n_shared(n_rows, *folds.shape)) if estimator._for_classes else folds
    return dict(zip(seeds, left_out, strict=True)), {ONLY: kept.take(folds.ravel())}
