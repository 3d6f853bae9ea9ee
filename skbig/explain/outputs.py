"""Which of a model's outputs are explained.

Legend: R rows, K raw outputs or columns of a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from skbig.inference.fitted_network import FittedNetwork

Values = TypeVar("Values", Tensor, np.ndarray)

METHODS = ("auto", "decision_function", "predict_proba", "predict")


@dataclass(frozen=True)
class Outputs:
    """Columns of what a module gives.

    Attributes
    ----------
    raw : bool
        Whether they are raw predictions, and not those behind the link.
    column : int or None
        Which one; None is all.
    sign : float
        -1 for the first of two classes, of which a raw output tells by being negative.
    single : bool
        Whether there is but one, which takes no dim.
    names : list of str or None
    """

    raw: bool
    column: int | None
    sign: float
    single: bool
    names: list[str] | None

    def of(self, values: Values) -> Values:
        """Return them: (R, K) -> (R, 1) or (R, K)."""
        return values if self.column is None else values[:, self.column : self.column + 1] * self.sign


def chosen_outputs(fitted: FittedNetwork, response_method: str, target: Any) -> Outputs:
    """Return which outputs are explained."""
    method = _method(fitted, response_method)
    names = _names(fitted, method)
    column, sign = _column(fitted, method, names, target)
    single = column is not None or len(names) == 1
    shown = names if column is None else [names[column] if sign > 0 else str(target)]
    named = fitted.for_classes or len(names) > 1
    texts = [str(name) for name in shown] if named else None
    return Outputs(method == "decision_function", column, sign, single, texts)


def _method(fitted: FittedNetwork, given: str) -> str:
    possible = ["predict"]
    if fitted.for_classes:
        possible = ["decision_function", *(["predict_proba"] if fitted.loss.probabilistic else [])]
    if given == "auto":
        return possible[0]
    if given not in possible:
        raise ValueError(
            f"The 'response_method' parameter must be one of {['auto', *possible]} for this estimator. "
            f"Got {given!r} instead."
        )
    return given


def _names(fitted: FittedNetwork, method: str) -> list[Any]:
    """Return what the columns are: classes, labels, or the numbers of a regressor's outputs."""
    if not fitted.for_classes:
        return list(range(fitted.network.n_outputs))
    classes = list(fitted.targets.classes)  # type: ignore[union-attr]
    return classes[-1:] if fitted.two_classes and method == "decision_function" else classes


def _column(fitted: FittedNetwork, method: str, names: list[Any], target: Any) -> tuple[int | None, float]:
    if target is None:
        return None, 1.0
    known = names
    if fitted.two_classes and method == "decision_function":
        known = list(fitted.targets.classes)  # type: ignore[union-attr]
    places = [i for i, name in enumerate(known) if type(name) is not bool and np.all(name == target)]
    if len(places) != 1:
        kind = "class" if fitted.for_classes else "number of an output"
        raise ValueError(f"The 'target' parameter must be a {kind}, one of {known}, or None. Got {target!r} instead.")
    if len(known) == len(names):
        return places[0], 1.0
    return 0, 1.0 if places[0] == len(known) - 1 else -1.0
