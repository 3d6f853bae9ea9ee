"""Rows as a user has them, and what becomes of attributions to their columns.

Legend: N rows, B rows of a background, C columns of X, E inputs, K outputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skbig.estimators.tensors import on_host
from skbig.explain.differentiable import Differentiable
from skbig.explain.explanation import Explanation


def as_rows(X: Any, estimator: Any, name: str = "X") -> Any:
    """Return rows as an array, a CSR matrix or a pandas DataFrame, whose columns are in the order of the fit."""
    X = on_host(X, name)
    if hasattr(X, "to_pandas"):
        X = X.to_pandas()
    if hasattr(X, "iloc"):
        names = list(getattr(estimator, "feature_names_in_", []))
        return X[names] if names and set(names) <= set(X.columns) else X
    if sparse.issparse(X):
        return sparse.csr_array(X)
    X = np.asarray(X)
    if X.ndim < 2:
        raise ValueError(f"Expected 2D array for {name}, got an array of shape {X.shape} instead. A row is ``X[:1]``.")
    return X.reshape(len(X), math.prod(X.shape[1:]))


def baseline_inputs(model: Differentiable, estimator: Any, baseline: Any, X: Any) -> Tensor:
    """Return the inputs of the baseline, (1, E) or (N, E)."""
    if baseline is None:
        if model.zeros is None:
            raise ValueError(
                "A baseline is needed, since a step before the network mixes columns, and zeros behind it are no row. "
                "Pass one, such as the mean of the training rows: ``baseline=X.mean(axis=0)``."
            )
        return torch.from_numpy(model.zeros).to(model.dtype).to(model.device).unsqueeze(0)
    rows = as_rows(_as_table(baseline, X), estimator, "baseline")
    if rows.shape[0] not in (1, X.shape[0]) or rows.shape[1] != X.shape[1]:
        raise ValueError(
            f"The 'baseline' parameter must be a row of {X.shape[1]} features, or one for each of the {X.shape[0]} "
            f"rows of X; got {rows.shape[0]} rows of {rows.shape[1]}. For many baselines use expected_gradients."
        )
    return model.inputs(rows)


def _as_table(baseline: Any, X: Any) -> Any:
    """Return a single row as a table with one row, with the names of X."""
    if hasattr(baseline, "to_frame"):  # a Series of pandas
        return baseline.to_frame().T.infer_objects()
    shape: tuple[int, ...] = getattr(baseline, "shape", ())
    if len(shape) == 2 and shape[1] == X.shape[1]:
        return baseline
    baseline = np.asarray(on_host(baseline, "baseline"), dtype=object if hasattr(X, "iloc") else None)
    if baseline.ndim < 2 or baseline.size == X.shape[1]:
        baseline = baseline.reshape(1, -1)
    if hasattr(X, "iloc") and baseline.ndim == 2 and baseline.shape[1] == X.shape[1]:
        return type(X)(baseline, columns=X.columns).infer_objects()
    return baseline


def explanation_of(
    model: Differentiable, estimator: Any, given: Any, X: Any, values: Tensor, base: Tensor | None
) -> Explanation:
    """Return attributions to the inputs (N, E, K) as an explanation by the columns of X.

    Rows with several axes, as images have them, keep these.
    """
    by_column = model.by_column(values.cpu().numpy())
    base_values = None if base is None else base.cpu().double().numpy()
    if model.outputs.single:
        by_column = by_column[..., 0]
        base_values = None if base_values is None else base_values[..., 0]
    data = X.toarray() if sparse.issparse(X) else np.asarray(X)
    names = getattr(estimator, "feature_names_in_", getattr(X, "columns", None))
    names = [f"x{i}" for i in range(X.shape[1])] if names is None else [str(name) for name in names]
    shape = getattr(given, "shape", ())
    if len(shape) > 2:
        by_column = by_column.reshape(*shape, *by_column.shape[2:])
        data = data.reshape(shape)
    return Explanation(by_column, base_values, data, names, model.outputs.names)
