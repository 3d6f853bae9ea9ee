"""Powers that come to the same bits wherever they are asked for.

Legend: S steps, M members. A step is `[S,1,1,1]`, a hyperparameter that differs between members `[M,1,1]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def power(base: Any, exponent: Any) -> Tensor:
    """``base ** exponent`` in float64, the same bits for a step whatever steps are asked for along with it.

    Torch and NumPy round an entry by its place in the tensor, and by what it is broadcast with, which would spoil an
    exact resume. In arrays of one row, one after another, NumPy does not.
    """
    numbers = [item.cpu().numpy() if isinstance(item, Tensor) else item for item in (base, exponent)]
    if isinstance(base, float) and isinstance(exponent, Tensor):  # most are; to broadcast them takes longer
        numbers[0] = np.full(exponent.shape, base)
    else:
        numbers = list(np.broadcast_arrays(*numbers))
    rows = [np.ascontiguousarray(array, dtype=np.float64) for array in numbers]
    with np.errstate(under="ignore", over="ignore"):  # late powers vanish, or grow beyond all numbers
        return torch.from_numpy(np.power(*rows))
