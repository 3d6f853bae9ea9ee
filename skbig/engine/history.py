"""What happened: the curves of a training.

Legend: M members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from skbig.engine.curve import Curve

MORE = "more/"
"""What the names of curves begin with that only some trainings have."""


@dataclass
class History:
    """One entry per epoch, each an array (M,); the validation curves stay empty without validation rows.

    Attributes
    ----------
    loss, rate, validation_loss, validation_score : Curve
    more : dict of Curve
        What else is noted down of the validation rows, by name.
    stop_reason : str
        Why the training has ended.
    executor : str
        How its steps were executed, in the end.
    """

    loss: Curve = field(default_factory=Curve)
    rate: Curve = field(default_factory=Curve)
    validation_loss: Curve = field(default_factory=Curve)
    validation_score: Curve = field(default_factory=Curve)
    more: dict[str, Curve] = field(default_factory=dict)
    stop_reason: str = ""
    executor: str = ""

    def curves(self) -> dict[str, Curve]:
        """Return every curve by name."""
        always = {name: value for name, value in vars(self).items() if type(value) is Curve}
        return always | {f"{MORE}{name}": curve for name, curve in self.more.items()}

    def take(self, curves: Mapping[str, Curve]) -> None:
        """Have other curves, by their names."""
        for name, curve in curves.items():
            if name.startswith(MORE):
                self.more[name.removeprefix(MORE)] = curve
            else:
                setattr(self, name, curve)


def history_of(curves: Mapping[str, Iterable[np.ndarray]]) -> History:
    """Return a history of these curves, by the names that `History.curves` gives them."""
    history = History()
    history.take({name: curve if isinstance(curve, Curve) else Curve(curve) for name, curve in curves.items()})
    return history


def continued_history(curves: Mapping[str, Iterable[np.ndarray]], more: Sequence[str]) -> History:
    """Return a history that goes on with the curves of an earlier training; what that had not noted is NaN."""
    history = history_of(curves)
    unknown = [np.full_like(values, np.nan, dtype=float) for values in history.validation_loss]
    history.more = {name: history.more.get(name, Curve(unknown)) for name in more}
    return history
