"""Tensors of torch as rows and targets, and predictions that come back as the rows came.

A tensor on a CPU is read as the array whose memory it is. One on another device stays there where the estimator
computes on it, or goes there in one copy; `tensor_checks.py` checks it where it is. Without array API dispatch
predictions are NumPy arrays, whatever the rows are; with it they are on the device of the rows, as scikit-learn's own
estimators give them.
"""

from __future__ import annotations

from typing import Any

import torch
from sklearn import get_config
from torch import Tensor

from skbig.components.losses.base import Loss

NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


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
    narrow = values.is_floating_point() and values.dtype not in NUMPY_FLOATS
    try:
        return (values.float() if narrow else values).cpu().resolve_neg().numpy()
    except TypeError as error:
        message = f"{name} is a tensor of dtype {values.dtype}, which NumPy does not have. Give one of real numbers."
        raise TypeError(message) from error


def on_device(values: Any, device: torch.device, name: str) -> Any:
    """Return a tensor of a device as one on the device that computes; all else, and all for a CPU, as `on_host`."""
    if device.type == "cpu" or not isinstance(values, Tensor) or values.device.type in ("cpu", "meta"):
        return on_host(values, name)
    if values.layout != torch.strided:
        return on_host(values, name)  # says what is wrong
    return values.detach().to(device)


def for_loss(loss: Loss, y: Any) -> Any:
    """Return targets as a loss looks whether they are legal: one that a user has written gets an array."""
    return y if type(loss).check_targets.__module__.startswith("skbig.") else on_host(y, "y")


def for_metric(values: Any, name: str) -> Any:
    """Return targets or weights as scikit-learn's metrics take them beside predictions: arrays, without dispatch."""
    return values if get_config()["array_api_dispatch"] else on_host(values, name)


def as_the_rows(result: Tensor, X: Any) -> Any:
    """Return predictions as an array; as a tensor for a tensor X, on its device, under array API dispatch."""
    if isinstance(X, Tensor) and get_config()["array_api_dispatch"]:
        return result.to(X.device)
    return result.cpu().numpy()
