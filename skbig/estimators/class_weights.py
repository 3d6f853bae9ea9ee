"""From the weights of classes to those of rows.

Legend: N rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from skbig.data.targets import ClassTargets
from skbig.estimators.given import Given
from skbig.estimators.row_checks import check_weight


def row_weights(class_weight: Any, given: Given, targets: ClassTargets) -> Any:
    """Return the weight of each row, (N,): its own times that of its class; None where nothing is weighted."""
    if class_weight is None:
        return given.weight
    given = given.labels_on_host()
    if class_weight == "balanced":
        return _balanced(given, targets)
    if isinstance(class_weight, list) and not targets.multilabel:
        raise ValueError(f"class_weight must be a dict for y of one column. Got {class_weight!r} instead.")
    if targets.multilabel:
        weights = compute_sample_weight(class_weight, given.y)
    else:  # of all classes, also those that are not in these rows
        factor = compute_class_weight(class_weight, classes=targets.classes, y=targets.classes)
        weights = factor[targets.encode(given.y).astype(int).reshape(-1)]
    return check_weight(weights if given.weight is None else weights * given.weight, len(weights), "class_weight")


def _balanced(given: Given, targets: ClassTargets) -> np.ndarray:
    """Weights that give every class, or both values of each label, the same sum; a row of weight two counts as two."""
    weight = np.ones(given.X.shape[0]) if given.weight is None else given.weight
    columns = targets.encode(given.y).astype(int).reshape(len(weight), -1).T
    return weight * np.prod([_balancing_factors(column, weight) for column in columns], axis=0)


def _balancing_factors(index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    sums = np.bincount(index, weights=weight)
    with np.errstate(divide="ignore"):
        factor = weight.sum() / ((sums > 0).sum() * sums)
    return factor[index]
