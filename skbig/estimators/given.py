"""Rows, targets and weights, as the user gave them and then checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig.data.array_rows import ArrayRows, is_large
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.data.tensor_rows import TensorRows, rows_of
from skbig.estimators.tensors import on_device, on_host


@dataclass(frozen=True)
class Given:
    """Rows, targets and weights; as the user gave them, then checked.

    Attributes
    ----------
    X, y : rows and their targets
    weight : ndarray (N,), Tensor (N,) on the device of X, or None
    soft : ndarray (N, C) or None
        What a row is to be predicted as besides its target, for a loss that reads both.
    """

    X: Any
    y: Any
    weight: Any = None
    soft: np.ndarray | None = None

    def on_host(self, *names: str) -> Given:
        """Return the same with arrays in place of tensors; `names` are those that the user gave them under."""
        X, y, weight = map(on_host, (self.X, self.y, self.weight), names)
        return Given(X, y, weight, self.soft)

    def on_device(self, device: torch.device, *names: str) -> Given:
        """Return the same with what lies on a device, if the rows do, as tensors on the one that computes."""
        if self.soft is not None or not isinstance(self.X, Tensor):
            return self.on_host(*names)
        X = _trainable(on_device(self.X, device, names[0]))
        there = device if isinstance(X, Tensor) else torch.device("cpu")
        y, weight = (on_device(each, there, name) for each, name in zip((self.y, self.weight), names[1:], strict=True))
        return Given(X, _trainable(y), _trainable(weight))

    def labels_on_host(self) -> Given:
        """Return the same with targets and weights in arrays: a few numbers a row, where rows may have many."""
        return replace(self, y=on_host(self.y, "y"), weight=on_host(self.weight, "sample_weight"))

    def take(self, index: Any) -> Given:
        """Return some of the rows; those in memory are copied."""
        if isinstance(self.X, TensorRows):
            return self._with(self.X.take(index).load(), index)
        return self._with(self.X.take(index) if isinstance(self.X, LazyRows) else rows_of(self.X, index), index)

    def select(self, index: Any) -> Given:
        """Return some of the rows, without a copy of many: an index beside all of them."""
        X = self.X
        if isinstance(X, LazyRows | ArrayRows) or (isinstance(X, TensorRows) and X.is_large):
            return self._with(X.take(index), index)
        if isinstance(X, TensorRows) or not is_large(X):
            return self.take(index)
        return self._with(ArrayRows(X, X.dtype, index), index)

    def _with(self, X: Any, index: Any) -> Given:
        weight, soft = (None if values is None else rows_of(values, index) for values in (self.weight, self.soft))
        return Given(X, rows_of(self.y, index), weight, soft)

    def encoded(self, encode: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return what the loss reads of each row, (N,) or (N, K); with soft targets they come before it, (N, C + K)."""
        hard = encode(self.y)
        return hard if self.soft is None else np.column_stack([self.soft, hard])

    def copied(self) -> Given:
        """Return the same with rows of its own in place of an index."""
        return replace(self, X=self.X.load()) if isinstance(self.X, ArrayRows | TensorRows) else self

    def without_weightless(self) -> Given:
        """Drop rows of weight zero: they take no part in anything, not even in the size of a batch."""
        if self.weight is None or self.weight.all():
            return self
        weight = self.weight
        return self.select(weight.nonzero().flatten() if isinstance(weight, Tensor) else np.flatnonzero(weight))


def _trainable(values: Any) -> Any:
    """Return a tensor of inference mode as a copy: a training saves it for its gradients, and torch would refuse."""
    return values.clone() if isinstance(values, Tensor) and values.is_inference() else values
