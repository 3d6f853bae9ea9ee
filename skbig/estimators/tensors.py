"""Tensors of torch as rows and targets, and predictions that come back as the rows came.

Without array API dispatch predictions are NumPy arrays, whatever the rows are; with it they are on the device of the
rows, as scikit-learn's own estimators give them.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import numpy as np
import torch
from sklearn import get_config
from torch import Tensor

from skbig.estimators.types import Method


def on_host(values: Any, name: str) -> Any:
    """Return a tensor as a NumPy array, which shares its memory where it can; anything else as it is.

    NumPy has no bfloat16, so that is read as float32. What would be differentiated is not.
    """
    if isinstance(values, (list, tuple)) and any(isinstance(each, Tensor) and each.dim() for each in values):
        return type(values)(on_host(each, name) for each in values)
    if not isinstance(values, Tensor):
        return values
    if values.is_meta:
        raise ValueError(
            f"{name} is a tensor on the 'meta' device, which holds no numbers. Give one that is on a device."
        )
    if values.layout != torch.strided:
        raise TypeError(
            f"{name} is a tensor of layout {values.layout}, which is not read. Give a scipy.sparse.csr_array, or "
            f"{name}.to_dense()."
        )
    values = values.detach()
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()


def as_the_rows(predict: Method) -> Method:
    """Let a method ``predict(self, X, ...)`` return tensors for a tensor, where array API dispatch is switched on."""

    @functools.wraps(predict)
    def predicting(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        result = predict(self, X, *args, **kwargs)
        if not isinstance(X, Tensor) or not get_config()["array_api_dispatch"]:
            return result
        return _on_device(result, X.device)

    return cast(Method, predicting)


def _on_device(result: Any, device: torch.device) -> Any:
    if isinstance(result, tuple):
        return tuple(_on_device(each, device) for each in result)
    numbers = isinstance(result, np.ndarray) and result.dtype.kind in "biuf"
    return torch.from_numpy(np.ascontiguousarray(result)).to(device) if numbers else result
