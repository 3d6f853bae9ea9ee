"""What happened: the curves of a training.

Legend: M members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass
class History:
    """One entry per epoch, each an array (M,); the validation curves stay empty without validation rows.

    Attributes
    ----------
    stop_reason : str
        Why the training has ended.
    executor : str
        How its steps were executed, in the end.
    """

    loss: list[np.ndarray] = field(default_factory=list)
    rate: list[np.ndarray] = field(default_factory=list)
    validation_loss: list[np.ndarray] = field(default_factory=list)
    validation_score: list[np.ndarray] = field(default_factory=list)
    stop_reason: str = ""
    executor: str = ""

    def curves(self) -> dict[str, list[np.ndarray]]:
        """Return every curve by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, list)}


def continued_history(curves: Mapping[str, list[np.ndarray]]) -> History:
    """Return a history that goes on with the curves of an earlier training."""
    return History(**{name: list(curve) for name, curve in curves.items()})  # type: ignore[arg-type]
