"""What happened: the curves of a training.

Legend: M members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

MORE = "more/"
"""What the names of curves begin with that only some trainings have."""


@dataclass
class History:
    """One entry per epoch, each an array (M,); the validation curves stay empty without validation rows.

    Attributes
    ----------
    loss, rate, validation_loss, validation_score : list of ndarray
    more : dict of list of ndarray
        What else is noted down of the validation rows, by name.
    stop_reason : str
        Why the training has ended.
    executor : str
        How its steps were executed, in the end.
    """

    loss: list[np.ndarray] = field(default_factory=list)
    rate: list[np.ndarray] = field(default_factory=list)
    validation_loss: list[np.ndarray] = field(default_factory=list)
    validation_score: list[np.ndarray] = field(default_factory=list)
    more: dict[str, list[np.ndarray]] = field(default_factory=dict)
    stop_reason: str = ""
    executor: str = ""

    def curves(self) -> dict[str, list[np.ndarray]]:
        """Return every curve by name."""
        always = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        return always | {f"{MORE}{name}": curve for name, curve in self.more.items()}


def history_of(curves: Mapping[str, list[np.ndarray]]) -> History:
    """Return a history of these curves, by the names that `History.curves` gives them."""
    more = {name.removeprefix(MORE): curve for name, curve in curves.items() if name.startswith(MORE)}
    always = {name: curve for name, curve in curves.items() if not name.startswith(MORE)}
    return History(**always, more=more)  # type: ignore[arg-type]


def continued_history(curves: Mapping[str, list[np.ndarray]], more: Sequence[str]) -> History:
    """Return a history that goes on with the curves of an earlier training; what that had not noted is NaN."""
    history = history_of({name: list(curve) for name, curve in curves.items()})
    unknown = [np.full_like(values, np.nan, dtype=float) for values in history.validation_loss]
    history.more = {name: history.more.get(name, list(unknown)) for name in more}
    return history
