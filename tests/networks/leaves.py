"""Tensors to differentiate by, and the gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def gradients(result: Tensor, *leaves: Tensor) -> list[Tensor]:
    weight = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
    return [result.detach(), *torch.autograd.grad((result * weight).sum(), leaves)]
