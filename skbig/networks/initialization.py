"""The weights a network begins with: a function of the seed and the shapes.

They are scikit-learn's own: `MLPClassifier(random_state=0)` and `BigMLPClassifier(random_state=0)` begin with the same
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def glorot_uniform(seed: int, layers: list[tuple[int, int]], factor: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw weight and bias of each layer from U(-b, b), ``b = sqrt(factor / (n_in + n_out))`` (Glorot & Bengio, 2010).

    Shape: a list of weight (n_in, n_out) and bias (1, n_out), float64.
    """
    random = np.random.RandomState(seed)
    drawn = []
    for n_in, n_out in layers:
        bound = np.sqrt(factor / (n_in + n_out))
        drawn.append((random.uniform(-bound, bound, (n_in, n_out)), random.uniform(-bound, bound, (1, n_out))))
    return drawn


def stack_members(members: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put the members' arrays of one name on a leading members axis."""
    return {name: np.stack([member[name] for member in members]) for name in members[0]}
