"""Rows, targets and weights that are tensors of a device are checked there: a number or two come back.

What does not pass at once is read on the host, where scikit-learn's own checks say what is wrong, or find nothing.

Legend: N rows, F features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig.data.streaming.reader import largest_of
from skbig.data.tensor_rows import TensorRows, in_double
from skbig.estimators.row_checks import (
    check_rows,
    check_targets_of,
    check_training_rows,
    check_validation_rows,
    check_weight,
    lines,
    note_features,
    takes_any_shape,
)
from skbig.estimators.tensors import on_host

WHOLE = {
    torch.uint8: np.uint8,
    torch.int8: np.int8,
    torch.int16: np.int16,
    torch.int32: np.int32,
    torch.int64: np.int64,
    torch.bool: np.bool_,
}
REAL = {torch.float32: np.float32, torch.float64: np.float64, torch.float16: np.float16, torch.bfloat16: np.float32}
DTYPES: dict[torch.dtype, Any] = {**WHOLE, **REAL}
"""What is checked on a device, and as what NumPy reads it."""


def check_training_tensor(
    estimator: Any, X: Tensor, y: Any, dtypes: list[Any], *, reset: bool, numeric: bool
) -> tuple[Any, Any]:
    """Return checked rows, on the device, and targets, and note the features."""
    rows = _rows(estimator, X, dtypes, reset=reset)
    if rows is None:
        host = on_host(X, "X"), on_host(y, "y")
        return check_training_rows(estimator, *host, dtypes, reset=reset, numeric=numeric)
    checked = _targets(y, len(rows))
    if checked is None:
        checked = check_targets_of(estimator, rows, on_host(y, "y"), numeric=numeric)
    note_features(estimator, X, reset=reset)
    return rows, checked


def check_validation_tensor(estimator: Any, X: Tensor, dtype: Any, name: str) -> Any:
    """Return checked validation rows, on the device."""
    rows = _rows(estimator, X, [dtype], name)
    return check_validation_rows(estimator, on_host(X, name), dtype, name) if rows is None else rows


def check_tensor(estimator: Any, X: Tensor, dtype: Any, *, finite: bool = True) -> Any:
    """Return checked rows to predict, on the device."""
    rows = _rows(estimator, X, [dtype], to_train=False)
    return check_rows(estimator, on_host(X, "X"), dtype, finite=finite) if rows is None else rows


def checked_target(y: Any, n_rows: int) -> Tensor | None:
    """Return targets of validation rows, (N,) or (N, K); None where they are to be looked at on the host."""
    checked = _targets(y, n_rows)
    return checked.squeeze(1) if checked is not None and checked.dim() == 2 and checked.shape[1] == 1 else checked


def checked_weight(weight: Any, n_rows: int, name: str = "sample_weight") -> Any:
    """Return checked weights in double precision, an array or a tensor of a device, or None."""
    if weight is None:
        return None
    if not isinstance(weight, Tensor):
        return check_weight(weight, n_rows, name)
    if weight.dtype in DTYPES and weight.shape == (n_rows,):
        values = in_double(weight)
        low, total = torch.stack([values.min(), values.sum()]).tolist()
        if low >= 0 and 0 < total < np.inf:
            return values
    return check_weight(on_host(weight, name), n_rows, name)


def _rows(
    estimator: Any, X: Tensor, dtypes: list[Any], name: str = "X", *, to_train: bool = True, reset: bool = False
) -> TensorRows | None:
    """Return the rows, or None where scikit-learn is to look at them."""
    any_shape = takes_any_shape(estimator)
    if X.dtype not in DTYPES or not X.numel() or not (X.dim() == 2 or (any_shape and X.dim() > 2)):
        return None
    if not reset and (X.shape[1] != estimator.n_features_in_ or hasattr(estimator, "feature_names_in_")):
        return None
    dtype = _read_as(X.dtype, dtypes)
    if dtype is None or not _are_numbers(X, dtype, to_train=to_train):
        return None
    return TensorRows(lines(estimator, X, name, reset=reset), dtype)


def _read_as(given: torch.dtype, dtypes: list[Any]) -> np.dtype[Any] | None:
    """Return in which of the dtypes values are read; None where some would be cut off."""
    own, first = np.dtype(DTYPES[given]), np.dtype(dtypes[0])
    if own in dtypes:
        return own
    return first if first.kind == "f" or np.can_cast(own, first) else None


def _are_numbers(values: Tensor, dtype: np.dtype[Any], *, to_train: bool) -> bool:
    """Whether all values are finite in a dtype, and their squares are where they are trained on."""
    if not values.is_floating_point():
        return True
    limit = largest_of(dtype) if to_train else float(np.finfo(dtype).max)
    low, high = torch.aminmax(values)
    return float(torch.maximum(high, -low)) <= limit  # of a NaN both are


def _targets(y: Any, n_rows: int) -> Tensor | None:
    """Return targets that are a tensor of finite numbers, (N,) or (N, K), as it is; None for all others."""
    if not isinstance(y, Tensor) or y.dtype not in DTYPES or y.dim() not in (1, 2) or len(y) != n_rows or not y.numel():
        return None
    if y.dtype == torch.bfloat16:
        y = y.float()
    return y if _are_numbers(y, np.dtype(DTYPES[y.dtype]), to_train=False) else None
