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
from sklearn.pipeline import Pipeline

from skbig._utils.extras import import_extra
from skbig.estimators.module import BigModule
from skbig.estimators.tabular import BigTabular
from skbig.onnx.registration import parts_of
from skbig.onnx.table_feeds import table_inputs
from skbig.tables.cells import is_missing
from skbig.tables.encoding import TableEncoding
from skbig.tables.reading import as_table


@dataclass(frozen=True)
class Feeds:
    """What a graph is tried on.

    Attributes
    ----------
    inputs : dict of ndarray
        By the name of the graph's input: float32 or float64, int64, bool or texts, (N, F) or (N, 1).
    rows : array-like
        The same rows for the model: its numbers are those of the inputs.
    """

    inputs: dict[str, np.ndarray]
    rows: Any

    def types(self) -> list[tuple[str, Any]]:
        """Return the inputs as skl2onnx wants them declared."""
        types = import_extra("skl2onnx.common.data_types", "onnx", "skbig.onnx")
        kinds = {
            "float32": types.FloatTensorType,
            "float64": types.DoubleTensorType,
            "int64": types.Int64TensorType,
            "bool": types.BooleanTensorType,
        }
        return [
            (name, kinds.get(array.dtype.name, types.StringTensorType)([None, *array.shape[1:]]))
            for name, array in self.inputs.items()
        ]


def feeds_of(model: Any, X: Any, dtype: str) -> Feeds:
    """Return rows for a graph, whose real numbers are of a dtype, and for the model.

    Raises
    ------
    ValueError
        When X is sparse, is not a table, or has no rows.
    """
    if sparse.issparse(X):
        raise ValueError("X must be dense for to_onnx, since a graph reads dense rows. Use X.toarray().")
    reader, shape = _reader(model), np.shape(X)
    if not _fits(shape, isinstance(reader, BigModule)):
        raise ValueError(f"X must be a table of one row or more for to_onnx. Got the shape {shape} instead.")
    if isinstance(reader, BigTabular) and isinstance(reader.encoding_, TableEncoding):
        return Feeds(table_inputs(reader.encoding_, as_table(X), dtype), X)
    if hasattr(X, "to_pandas") and not hasattr(X, "iloc"):
        X = X.to_pandas()
    if hasattr(X, "iloc"):
        return _of_frame(model, X, dtype)
    array = np.asarray(X)
    if array.dtype.kind == "f":
        fed = array.astype(dtype)
        return Feeds({"X": fed}, fed.astype(array.dtype))
    return Feeds({"X": _as_fed(array, dtype)}, X)


def _fits(shape: tuple[int, ...], any_shape: bool) -> bool:
    return bool(shape and shape[0]) and (len(shape) == 2 or (any_shape and len(shape) > 1))


def _reader(model: Any) -> Any:
    """Return the estimator that reads the rows: the model, or its first part that does more than hand them on."""
    if isinstance(model, Pipeline):
        return _reader(next(step for _, step in model.steps if step is not None and step != "passthrough"))
    for name in ("best_estimator_", "regressor_", "estimator_"):
        if hasattr(model, name):
            return _reader(getattr(model, name))
    return model


def _of_frame(model: Any, X: Any, dtype: str) -> Feeds:
    columns = {str(name): _as_fed(X[name].to_numpy()[:, None], dtype) for name in X.columns}
    rounded = X.astype({name: X[name].dtype for name in X.columns})
    for name in X.columns:
        fed = columns[str(name)]
        if fed.dtype.kind == "f":
            rounded[name] = fed[:, 0].astype(np.float64)
    kinds = {array.dtype.kind for array in columns.values()}
    by_column = "O" in kinds or any(isinstance(part, ColumnTransformer | BigTabular) for part in parts_of(model))
    if by_column:
        return Feeds(columns, rounded)
    whole = np.hstack([array.astype(dtype) for array in columns.values()])
    return Feeds({"X": whole}, rounded)


def _as_fed(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array in the dtype of a graph's input."""
    if array.dtype.kind == "O" and not any(isinstance(value, str) for value in _known(array)):
        array = np.where(_missing(array), np.nan, array).astype(np.float64)
    kind = array.dtype.kind
    if kind in "OUS":
        return np.where(_missing(array), "", array.astype(object)).astype(object)
    return array.astype({"f": dtype, "b": "bool"}.get(kind, "int64"))


def _known(array: np.ndarray) -> Iterator[Any]:
    return (value for value, missing in zip(array.flat, _missing(array).flat, strict=True) if not missing)


def _missing(array: np.ndarray) -> np.ndarray:
    return np.array([is_missing(value) for value in array.flat], dtype=bool).reshape(array.shape)
