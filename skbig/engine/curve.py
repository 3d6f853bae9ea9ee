"""A curve: what was noted down epoch by epoch.

Legend: M members.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class Curve(Sequence[np.ndarray]):
    """An array (M,) for each epoch. It never changes; one that goes on from it shares its memory, however long it is.

    Parameters
    ----------
    values : iterable of ndarray (M,)
    """

    def __init__(self, values: Iterable[np.ndarray] = ()) -> None:
        self._values, self._means = list(values), list[float]()  # of this curve, and of all that went on from it
        self._n_epochs = len(self._values)

    def and_then(self, value: np.ndarray) -> Curve:
        """Return the curve with one more epoch."""
        longer = Curve.__new__(Curve)
        is_last = len(self._values) == self._n_epochs
        longer._values = self._values if is_last else self._values[: self._n_epochs]
        longer._means = self._means if is_last else self._means[: self._n_epochs]
        longer._values.append(value)
        longer._n_epochs = self._n_epochs + 1
        return longer

    def means(self) -> list[float]:
        """Return the mean over the members of each epoch; what is known is not computed again."""
        means, known = self._means, len(self._means)
        more = [mean_of(value) for value in self._values[known : self._n_epochs]]
        means[known : known + len(more)] = more  # in their places, where another thread may just have put the same
        return means[: self._n_epochs]

    def latest(self) -> float:
        """Return the mean of the last epoch; NaN, if there is none."""
        return mean_of(self._values[self._n_epochs - 1]) if self._n_epochs else math.nan

    def __len__(self) -> int:
        return self._n_epochs

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return self._values[: self._n_epochs][index]
        return self._values[range(self._n_epochs)[index]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._values[: self._n_epochs])

    def __getstate__(self) -> dict[str, list[np.ndarray]]:
        return {"values": self._values[: self._n_epochs]}

    def __setstate__(self, state: dict[str, list[np.ndarray]]) -> None:
        self.__init__(state["values"])  # type: ignore[misc]


def mean_of(values: np.ndarray) -> float:
    """Return a mean over the members, of one, as mostly, without NumPy's detours."""
    return values.item() if values.size == 1 else float(values.mean())
