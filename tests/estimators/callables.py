"""Callables of every kind, each made by a function of the one number that it holds somewhere."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.metrics import make_scorer, mean_pinball_loss
from sklearn.preprocessing import FunctionTransformer

from skbig.components import FunctionLoss, Loss

FACTOR = 1.0
SETTINGS = SimpleNamespace(factor=1.0)


def by_global(raw: Any, y: Any) -> Any:
    return FACTOR * (raw - y).abs()


def by_global_of_another(raw: Any, y: Any) -> Any:
    return by_global(raw, y)


def by_attribute(raw: Any, y: Any) -> Any:
    return SETTINGS.factor * (raw - y).abs()


def by_import(raw: Any, y: Any) -> Any:
    from tests.estimators.callables import FACTOR as factor

    return factor * (raw - y).abs()


class Weighted:
    """An object that is called, and has a method."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, raw: Any, y: Any) -> Any:
        return self.factor * (raw - y).abs()

    def error(self, raw: Any, y: Any) -> Any:
        return self(raw, y)


class Slotted:
    """An object without a dict."""

    __slots__ = ("factor",)

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, raw: Any, y: Any) -> Any:
        return self.factor * (raw - y).abs()


class Looped:
    """An object that holds itself."""

    def __init__(self, factor: float) -> None:
        self.factor, self.me = factor, self

    def __call__(self, raw: Any, y: Any) -> Any:
        return self.me.factor * (raw - y).abs()


@dataclass(frozen=True)
class Own(Loss):
    """A component of a user."""

    factor: float = 1.0

    def per_row(self, raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.factor * (raw - y).abs().sum(-1)


def enclosing(held: Any) -> Any:
    """Return a function over something."""
    return lambda raw, y: y if held is None else (raw - y).abs()


def with_default(factor: float) -> Any:
    def loss(raw: Any, y: Any, *, factor: float = factor) -> Any:
        return factor * (raw - y).abs()

    return loss


def with_attribute(factor: float) -> Any:
    def loss(raw: Any, y: Any) -> Any:
        return (raw - y).abs()

    loss.factor = factor  # type: ignore[attr-defined]
    return loss


def of_class(factor: float) -> Any:
    class Made:
        weight = factor

        def __call__(self, raw: Any, y: Any) -> Any:
            return self.weight * (raw - y).abs()

    return Made()


def decorated(factor: float) -> Any:
    @functools.wraps(by_attribute)
    def loss(raw: Any, y: Any) -> Any:
        return factor * by_attribute(raw, y)

    return loss


def layer(factor: float) -> torch.nn.Module:
    module = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(module.weight, factor)
    torch.nn.init.constant_(module.bias, 0.0)
    return module


CALLABLES: dict[str, Callable[[float], Any]] = {
    "callable object": Weighted,
    "object with slots": Slotted,
    "object that holds itself": Looped,
    "bound method": lambda factor: Weighted(factor).error,
    "method of a list": lambda factor: [factor].count,
    "partial": lambda factor: functools.partial(by_attribute, y=factor),
    "partial of an object": lambda factor: functools.partial(Weighted(factor), y=1),
    "partial of keywords": lambda factor: functools.partial(mean_pinball_loss, alpha=factor),
    "function with a default": with_default,
    "function with an attribute": with_attribute,
    "decorated function": decorated,
    "function with a memory": lambda factor: functools.lru_cache(enclosing(factor)),
    "object of a local class": of_class,
    "component": Own,
    "component of a function": lambda factor: FunctionLoss(enclosing(factor)),
    "scorer": lambda factor: make_scorer(mean_pinball_loss, alpha=factor),
    "scorer of a closure": lambda factor: make_scorer(enclosing(factor)),
    "estimator": lambda factor: FunctionTransformer(enclosing([factor])).transform,
    "module of torch": layer,
    "itemgetter": operator.itemgetter,
    "closure over a number": enclosing,
    "closure over a list": lambda factor: enclosing([1, [factor]]),
    "closure over a dict": lambda factor: enclosing({"a": {"b": factor}}),
    "closure over a set": lambda factor: enclosing({"x", "y", "z", factor}),
    "closure over an array": lambda factor: enclosing(np.array([1.0, factor])),
    "closure over objects in an array": lambda factor: enclosing(np.array(["a", factor], dtype=object)),
    "closure over a tensor": lambda factor: enclosing(torch.tensor([1.0, factor])),
    "closure over half a tensor": lambda factor: enclosing(torch.tensor([1.0, factor]).bfloat16()),
    "closure over a sparse array": lambda factor: enclosing(sparse.csr_array([[0.0, factor]])),
    "closure over a frame": lambda factor: enclosing(pd.DataFrame({"a": [1.0, factor]})),
    "closure over a closure": lambda factor: enclosing(enclosing(factor)),
    "closure over an object": lambda factor: enclosing(Weighted(factor)),
    "closure over a generator of numbers": lambda factor: enclosing(np.random.default_rng(int(factor))),
    "closure over a class": lambda factor: enclosing(type(of_class(factor))),
}
"""Kinds of callables; each is another for another number, and the same for the same."""

READS = {
    "global": by_global,
    "global of another function": by_global_of_another,
    "attribute of a global": by_attribute,
    "imported name": by_import,
    "method of a class": Weighted(1.0).error,
}
