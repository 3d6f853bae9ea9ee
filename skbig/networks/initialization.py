"""The weights a network begins with: a function of the seed and the shapes.

They are scikit-learn's own: `MLPClassifier(random_state=0)` and `BigMLPClassifier(random_state=0)` begin with the same
numbers.
"""

from __future__ import annotations

import numpy as np


def glorot_uniform(
    random: np.random.RandomState, n_in: int, n_out: int, gain: float = 6.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw weight and bias from U(-b, b), ``b = sqrt(gain / (n_in + n_out))`` (Glorot & Bengio, 2010).

    Shape: weight (n_in, n_out) and bias (1, n_out), float64.
    """
    bound = np.sqrt(gain / (n_in + n_out))
    return random.uniform(-bound, bound, (n_in, n_out)), random.uniform(-bound, bound, (1, n_out))
