"""Rows as a graph reads them, and the same rows as the model does.

Legend: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer

from skbig._utils.extras import import_extra
from skbig.onnx.registration import parts_of


@dataclass(frozen=True)
class Feeds:
    """What a graph is tried on.

    Attributes
    ----------
    inputs : dict of ndarray
        By the name of the graph's input: float32, int64, bool or texts, (N, F) or (N, 1).
    rows : array-like
        The same rows for the model: its numbers are those of float32.
    """

    inputs: dict[str, np.ndarray]
    rows: Any

    def types(self) -> list[tuple[str, Any]]:
        """Return the inputs as skl2onnx wants them declared."""
        types = import_extra("skl2onnx.common.data_types", "onnx", "skbig.onnx")
        kinds = {"f": types.FloatTensorType, "i": types.Int64TensorType, "b": types.BooleanTensorType}
        return [
            (name, kinds.get(array.dtype.kind, types.StringTensorType)([None, array.shape[1]]))
            for name, array in self.inputs.items()
        ]


def feeds_of(model: Any, X: Any) -> Feeds:
    """Return rows for a graph, and for the model.

    Raises
    ------
    ValueError
        When X is sparse, is not a table, or has no rows.
    """
    if sparse.issparse(X):
        raise ValueError("X must be dense for to_onnx, since a graph reads dense rows. Use X.toarray().")
    if hasattr(X, "to_pandas") and not hasattr(X, "iloc"):
        X = X.to_pandas()
    shape = np.shape(X)
    if len(shape) != 2 or not shape[0]:
        raise ValueError(f"X must be a table of one row or more for to_onnx. Got the shape {shape} instead.")
    if hasattr(X, "iloc"):
        return _of_frame(model, X)
    array = np.asarray(X)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        return Feeds({"X": array}, array.astype(np.asarray(X).dtype))
    return Feeds({"X": _as_fed(array)}, X)


def _of_frame(model: Any, X: Any) -> Feeds:
    columns = {str(name): _as_fed(X[name].to_numpy()[:, None]) for name in X.columns}
    rounded = X.astype({name: X[name].dtype for name in X.columns})
    for name in X.columns:
        fed = columns[str(name)]
        if fed.dtype == np.float32:
            rounded[name] = fed[:, 0].astype(np.float64)
    kinds = {array.dtype.kind for array in columns.values()}
    by_column = "O" in kinds or any(isinstance(part, ColumnTransformer) for part in parts_of(model))
    if by_column:
        return Feeds(columns, rounded)
    whole = np.hstack([array.astype(np.float32) for array in columns.values()])
    return Feeds({"X": whole}, rounded)


def _as_fed(array: np.ndarray) -> np.ndarray:
    """Return an array in the dtype of a graph's input."""
    if array.dtype.kind == "O" and not any(isinstance(value, str) for value in _known(array)):
        array = array.astype(np.float64)
    kind = array.dtype.kind
    if kind in "OUS":
        return np.where(_missing(array), "", array.astype(object)).astype(object)
    return array.astype({"f": np.float32, "b": np.bool_}.get(kind, np.int64))


def _known(array: np.ndarray) -> Iterator[Any]:
    return (value for value, missing in zip(array.flat, _missing(array).flat, strict=True) if not missing)


def _missing(array: np.ndarray) -> np.ndarray:
    return np.array([value is None or value != value for value in array.flat], dtype=bool).reshape(array.shape)
