"""Adam's update by torch's own kernel, which goes over the numbers once, where ours would go over them seven times.

Legend: M members; a parameter is `[M,n,k]`, or all of them flat `[M,1,P]`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skbig.components.optimizers.base import State

MIN_NUMBERS_ON_GPU = 2**22
"""A GPU gives each 65,536 numbers to one of its multiprocessors, so that fewer would leave most of them idle."""


def takes_fused(param: Tensor, rate: Tensor, step: Tensor, numbers: tuple[Any, ...]) -> bool:
    """Return whether torch's kernel can take a step: all members have one rate, one count, and the same `numbers`."""
    agree = rate.numel() == step.numel() == 1 and not any(isinstance(number, Tensor) for number in numbers)
    if not agree or not param.is_contiguous() or param.dtype not in (torch.float32, torch.float64):
        return False
    if param.device.type == "cuda":
        return param.numel() >= MIN_NUMBERS_ON_GPU
    return param.device.type == "cpu"


def fused_adam(
    param: Tensor,
    grad: Tensor,
    state: State,
    rate: Tensor,
    step: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    *,
    decoupled: bool,
) -> None:
    """Take the step of `Adam`, or with `decoupled` that of `AdamW`, by torch's kernel; `step` is counted from 1."""
    kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
    if param.device.type == "cuda":  # where it reads them as they lie; on a CPU any shape and dtype will do
        rate, step = rate.view(()), step.view(()).float()
    kernel(
        [param],
        [grad],
        [state["mean"]],
        [state["variance"]],
        [state["peak"]] if "peak" in state else [],
        [step],
        lr=rate,
        beta1=beta1,
        beta2=beta2,
        weight_decay=weight_decay,
        eps=eps,
        amsgrad="peak" in state,
        maximize=False,
    )
