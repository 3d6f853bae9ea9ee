"""The product of a layer, and that of its backward pass, each by the kernel that is the fastest on this processor.

Torch's own on a CPU is MKL, which is Intel's. On other processors it is slow where there are few outputs, and somewhat
slower than oneDNN where a product is large. Which kernel is taken follows from the processor and the shapes, and never
from a clock: the same machine always gives the same bits.

Legend: M members, R rows, I inputs, O outputs.
"""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig._utils.threads import on_at_most


def affine(X: Tensor | SparseRows, weight: Tensor, bias: Tensor) -> Tensor:
    """``X @ weight + bias``.

    Shape: X (M, R, I), weight (M, I, O), bias (M, 1, O) -> (M, R, O); or the same without M. X may be sparse.
    """
    if isinstance(X, SparseRows):
        return _SparseProduct.apply(X, weight) + bias
    if X.device.type != "cpu":
        return _affine_on_device(X, weight, bias)
    if _is_worth_a_choice(X, weight.shape[-1]):
        if _prefers_onednn(X, weight.shape[-1]):
            return _OneDnnAffine.apply(X, weight, bias)
        if _is_narrow(X, weight.shape[-1]):
            return _NarrowAffine.apply(X, weight, bias)
    return torch.baddbmm(bias, X, weight) if X.dim() == 3 else torch.addmm(bias, X, weight)


def transposed_product(X: Tensor | SparseRows, gradient: Tensor) -> Tensor:
    """``X.T @ gradient``, as the backward pass of `affine` computes it.

    Shape: X (M, R, I), gradient (M, R, O) -> (M, I, O); or the same without M. X may be sparse.
    """
    if isinstance(X, SparseRows):
        return X.transposed_times(gradient.contiguous())
    if _is_worth_a_choice(X, gradient.shape[-1]):
        if _mkl_takes_twice_as_long() and _prefers_onednn(X, gradient.shape[-1]):  # which first turns X
            return _onednn_product(X.t().contiguous(), gradient.t())
        if _is_narrow(X, gradient.shape[-1]):
            return _turned_product(X, gradient)
    return torch.bmm(X.mT, gradient) if X.dim() == 3 else torch.mm(X.mT, gradient)


def _affine_on_device(X: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The dense product on a GPU, where a bias that is a table is first copied to every row."""
    if X.dim() == 3:
        return torch.bmm(X, weight).add_(bias)
    return torch.addmm(bias.view(-1), X, weight)  # a vector is added by the product itself


class _SparseProduct(torch.autograd.Function):
    """Sparse rows times a dense weight."""

    @staticmethod
    def forward(ctx: Any, X: SparseRows, weight: Tensor) -> Tensor:
        ctx.X = X
        return X.times(weight.to(X.dtype)).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, ctx.X.transposed_times(gradient.to(ctx.X.dtype).contiguous()).to(gradient.dtype)


class _OneDnnAffine(torch.autograd.Function):
    """The dense product by oneDNN, where torch's default (MKL) takes longer."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(X, weight)
        return _onednn_product(X, weight.t(), bias.view(-1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        X, weight = ctx.saved_tensors
        for_X = _onednn_product(gradient, weight) if ctx.needs_input_grad[0] else None
        return for_X, transposed_product(X, gradient), gradient.sum(0, keepdim=True)


class _NarrowAffine(torch.autograd.Function):
    """The product with few outputs, computed as its transpose: where MKL is slow, three times as fast.

    More threads than members would share the outputs of one, so that the bits depend on how many there are.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(X, weight)
        affine = torch.baddbmm if X.dim() == 3 else torch.addmm
        turned: Tensor = on_at_most(_n_products(X), affine, bias.mT, weight.mT, X.mT)
        return turned.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        X, weight = ctx.saved_tensors
        for_X = _wide_product(gradient, weight.mT) if ctx.needs_input_grad[0] else None
        return for_X, _turned_product(X, gradient), gradient.sum(-2, keepdim=True)


def _turned_product(X: Tensor, gradient: Tensor) -> Tensor:
    """``X.T @ gradient`` of few outputs."""
    product = torch.bmm if X.dim() == 3 else torch.mm
    turned: Tensor = on_at_most(_n_products(X), product, gradient.mT, X)
    return turned.mT


def _wide_product(gradient: Tensor, weight: Tensor) -> Tensor:
    """``gradient @ weight`` of few outputs."""
    if gradient.shape[-1] == 1:
        return gradient * weight
    return torch.bmm(gradient, weight) if gradient.dim() == 3 else torch.mm(gradient, weight)


def _n_products(X: Tensor) -> int:
    return len(X) if X.dim() == 3 else 1


def _onednn_product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.T + bias``."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


def _is_worth_a_choice(X: Tensor, n_out: int) -> bool:
    """Whether a product is so large, and of such a machine, that another kernel may be faster than torch's own."""
    return X.numel() * n_out >= 30_000 and X.device.type == "cpu" and _mkl_is_slow()


def _prefers_onednn(X: Tensor, n_out: int) -> bool:
    # With fewer multiplications oneDNN's set-up costs more than it saves.
    large = X.dim() == 2 and X.numel() * n_out >= (3_000_000 if _mkl_takes_twice_as_long() else 16_000_000)
    return large and X.dtype == torch.float32 and _has_onednn()


def _is_narrow(X: Tensor, n_out: int) -> bool:
    n_in = X.shape[-1]
    narrow = n_in >= max(n_out, 16) if X.dim() == 3 else 1 < n_out <= n_in // 2  # of a stack one output is slow, too
    return n_out <= 32 and narrow


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@functools.cache
def _mkl_is_slow() -> bool:
    """Whether the processor is of another maker than Intel."""
    return platform.machine() in ("x86_64", "AMD64") and "GenuineIntel" not in _processor()


@functools.cache
def _mkl_takes_twice_as_long() -> bool:
    """Whether the vectors of such a processor are as wide as Intel's, as AMD's since Zen 5: MKL takes half of them."""
    family = re.search(r"family\s*:?\s*(\d+)", _processor(), re.IGNORECASE)
    return _mkl_is_slow() and family is not None and int(family[1]) >= 26


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()[:4096]
    except OSError:
        return platform.processor() or "GenuineIntel"
