"""Targets: from labels to what a loss reads, and back.

Legend: N rows, K outputs (raw columns).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from skbig.data.tensor_rows import beside, in_double

PIECE_ROWS = 2**20

MOST_SHARE = 0.25
"""Whole numbers that are at most so many, of the rows, are classes without a doubt; of half, scikit-learn warns."""


INDEXED: list[Any] = [np.uint8, np.int8, np.int16, np.int32, np.int64, np.bool_, np.float16, np.float32, np.float64]
"""Dtypes whose tensors torch takes numbers from by their places, on every device."""


@dataclass(frozen=True)
class ClassTargets:
    """The classes of a classifier.

    Attributes
    ----------
    classes : ndarray (n_classes,)
        Sorted labels; for multilabel targets 0, 1, ..., n_outputs - 1.
    multilabel : bool
    """

    classes: np.ndarray
    multilabel: bool = False

    @property
    def n_outputs(self) -> int:
        """Raw columns: one for two classes or one, else one per class."""
        return 1 if len(self.classes) <= 2 and not self.multilabel else len(self.classes)

    @property
    def multiclass(self) -> bool:
        return self.n_outputs > 1 and not self.multilabel

    def encode(self, y: Any) -> Any:
        """Return class indices (N,) for more than two classes, else zeros and ones (N, K), float; where y is.

        Raises
        ------
        ValueError
            When y holds labels that are not among the classes.
        """
        if isinstance(y, Tensor):
            return self._encoded_there(y)
        if self.multilabel:
            return _indicator(y, len(self.classes))
        y = _labels(y)
        codes = np.empty(len(y), np.int64 if self.multiclass else np.float32)
        for start in range(0, len(y), PIECE_ROWS):  # of all rows at once, what is in between would take much memory
            codes[start : start + PIECE_ROWS] = self._codes(y[start : start + PIECE_ROWS])
        return codes if self.multiclass else codes[:, None]

    def _encoded_there(self, y: Tensor) -> Tensor | np.ndarray:
        """Return the same of a tensor, on its device; where its labels are wrong, by an array that tells of them."""
        if self.multilabel:
            fits = y.dim() == 2 and y.shape[1] == len(self.classes) and _is_indicator(y)
            return in_double(y) if fits else self.encode(y.cpu().numpy())
        if self.classes.dtype.kind not in "biuf" or y.shape.numel() != len(y):
            return self.encode(y.cpu().numpy())
        real = y.is_floating_point() or self.classes.dtype.kind == "f"
        labels = (in_double(y) if real else y.long()).flatten().contiguous()
        classes = torch.from_numpy(self.classes.astype(np.float64 if real else np.int64)).to(labels)
        index = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
        if bool((classes[index] != labels).any()):
            return self.encode(y.cpu().numpy())
        return index if self.multiclass else index.float()[:, None]

    def _codes(self, y: np.ndarray) -> np.ndarray:
        try:
            index = np.minimum(np.searchsorted(self.classes, y), len(self.classes) - 1)
        except TypeError as error:
            raise ValueError(f"y has labels that cannot be compared with those in `classes_`: {error}.") from None
        unseen = self.classes[index] != y
        if unseen.any():
            some, known = np.unique(y[unseen])[:10].tolist(), self.classes.tolist()
            raise ValueError(f"y has the classes {some}, which are not in `classes_`: {known}.")
        return index

    def choose(self, scores: Any, threshold: float) -> Any:
        """Return which class each row has (N, 1), or which labels (N, K), by scores (N, K) in an array or a tensor."""
        if self.multiclass:
            return scores.argmax(1)[:, None]
        chosen = scores > threshold
        return chosen.long() if isinstance(chosen, Tensor) else chosen.astype(int)

    def named(self, chosen: Any) -> Any:
        """Return the labels of what has been chosen, an array or a tensor; names that are no numbers in an array."""
        if self.multilabel:
            return chosen
        if not isinstance(chosen, Tensor):
            return self.classes.take(chosen[:, 0], mode="clip")
        index = chosen[:, 0].clip(max=len(self.classes) - 1)
        if self.classes.dtype not in INDEXED:
            labels = self.classes[index.cpu().numpy()]
            if labels.dtype.kind not in "biuf":
                return labels
            return torch.from_numpy(labels.astype(labels.dtype.newbyteorder("="))).to(chosen.device)
        return torch.tensor(self.classes, device=chosen.device).index_select(0, index)


def class_targets(y: Any, classes: Any = None) -> ClassTargets:
    """Find the classes in y, or take the given ones.

    Raises
    ------
    ValueError
        When y is no classification target.
    """
    named = None if classes is None else sorted_labels(classes)
    if type(y) is np.ndarray and y.ndim == 1 and y.size and y.dtype.kind in "iub":
        found = np.unique(y)
        if len(found) <= MOST_SHARE * len(y):  # scikit-learn has nothing to say of them; its look takes longer
            return ClassTargets(found if named is None else named)
    if isinstance(y, Tensor):
        there = _found_there(y)
        return class_targets(y.cpu().numpy(), classes) if there is None else _of_names(there, named)
    try:
        kind = type_of_target(y, input_name="y", raise_unknown=True)
    except TypeError as error:
        raise ValueError(f"The labels in y must be strings or numbers, and not both: {error}.") from None
    if kind == "multilabel-indicator":
        return _of_names(ClassTargets(np.arange(_indicator(y, None).shape[1]), multilabel=True), named)
    if kind not in ("binary", "multiclass"):
        raise ValueError(
            f"Unknown label type: {kind}. Maybe you are trying to fit a classifier, which expects discrete classes on "
            "a regression target with continuous values."
        )
    return ClassTargets(np.unique(_labels(y)) if named is None else named)


def _found_there(y: Tensor) -> ClassTargets | None:
    """Find classes where a tensor is: of whole numbers the few different ones come back; None where there is doubt."""
    if y.dim() == 2:
        return ClassTargets(np.arange(y.shape[1]), multilabel=True) if y.shape[1] > 1 and _is_indicator(y) else None
    labels: np.ndarray = torch.unique(y).cpu().numpy()
    whole = labels.dtype.kind != "f" or bool((labels == np.trunc(labels)).all())
    return ClassTargets(labels) if whole and len(labels) <= MOST_SHARE * len(y) else None


def _of_names(found: ClassTargets, named: np.ndarray | None) -> ClassTargets:
    """Return the classes that are named, if any are; those of a multilabel y can only be what they are."""
    if named is None or (found.multilabel and np.array_equal(named, found.classes)):
        return found
    if found.multilabel:
        raise ValueError(
            f"The classes of a multilabel y are the numbers of its columns, {found.classes}. Got {named.tolist()} "
            "instead."
        )
    return ClassTargets(named)


def _is_indicator(y: Tensor) -> bool:
    return bool(((y == 0) | (y == 1)).all())


def sorted_labels(classes: Any) -> np.ndarray:
    """Return the classes that a user names, each once.

    Raises
    ------
    ValueError
        When they are no labels, or cannot be told from each other.
    """
    if isinstance(classes, Tensor):
        classes = classes.detach().cpu().numpy()
    labels = np.asarray(list(classes) if isinstance(classes, Set) else classes)
    mixed = labels.dtype.kind == "U" and not all(isinstance(label, str) for label in classes)
    if labels.ndim != 1 or not len(labels) or mixed or (labels.dtype.kind == "f" and np.isnan(labels).any()):
        raise ValueError(f"classes must be a list of labels, all strings or all numbers. Got {classes!r} instead.")
    try:
        return np.unique(labels)
    except TypeError as error:
        raise ValueError(f"The labels in classes must be strings or numbers, and not both: {error}.") from None


def of_labels(answers: Sequence[np.ndarray], classes: Sequence[Any]) -> np.ndarray:
    """Return the probability of each label, (N, n_labels), of the list that trees give.

    It has an array for each label, with a column for each of the label's classes: one alone where all rows agreed.
    """
    return np.column_stack([each @ (np.asarray(own) == 1) for each, own in zip(answers, classes, strict=True)])


@dataclass(frozen=True)
class RegressionTargets:
    """The targets of a regressor.

    Attributes
    ----------
    n_outputs : int
        Raw columns.
    one_dimensional : bool
        Whether y has the shape (N,).
    centre, scale : ndarray (K,) or float
        A network is trained on ``(y - centre) / scale``.
    low, high : ndarray (K,) or float
        Predictions stay between them.
    per_target : int
        Raw columns for each column of y.
    """

    n_outputs: int
    one_dimensional: bool
    centre: Any = 0.0
    scale: Any = 1.0
    low: Any = -np.inf
    high: Any = np.inf
    per_target: int = 1

    @property
    def n_columns(self) -> int:
        """Columns of y."""
        return self.n_outputs // self.per_target

    def encode(self, y: Any) -> Any:
        """Return what a network is trained on, floats (N, K), where y is.

        Raises
        ------
        ValueError
            When y has another number of outputs.
        """
        columns = (in_double(y) if isinstance(y, Tensor) else np.asarray(y, dtype=np.float64)).reshape(len(y), -1)
        if columns.shape[1] != self.n_columns:
            raise ValueError(f"y has {columns.shape[1]} output(s), and the model has {self.n_columns}.")
        if isinstance(y, Tensor):
            return (columns - beside(y, self.centre)) / beside(y, self.scale)
        return (columns - self.centre) / self.scale

    def decode(self, predictions: Any) -> Any:
        """Return predictions (..., K), in an array or a tensor, in the unit of y."""
        if isinstance(self.scale, float):  # nothing was done to y
            return predictions
        if not isinstance(predictions, Tensor):
            return np.clip(predictions * self.scale + self.centre, self.low, self.high)
        if predictions.device.type == "cpu":
            return torch.from_numpy(self.decode(predictions.numpy()))
        centre, scale, low, high = (
            beside(predictions, each) for each in (self.centre, self.scale, self.low, self.high)
        )
        return (predictions * scale + centre).clamp(low, high)


def _labels(y: Any) -> np.ndarray:
    if type(y) is np.ndarray and y.ndim == 1:  # scikit-learn would look for what else it may be
        return y
    return np.asarray(column_or_1d(y, warn=True))


def _indicator(y: Any, n_columns: int | None) -> np.ndarray:
    dense = np.asarray(y.toarray() if hasattr(y, "toarray") else y, dtype=np.float64)
    if n_columns is not None and (dense.ndim != 2 or dense.shape[1] != n_columns):
        raise ValueError(f"y must be a multilabel indicator with {n_columns} columns. Got shape {dense.shape} instead.")
    if not ((dense == 0) | (dense == 1)).all():
        raise ValueError(
            f"A multilabel indicator must hold zeros and ones. Got {np.unique(dense)[:10].tolist()} instead."
        )
    return dense
