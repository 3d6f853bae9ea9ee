"""What layers compute, as functions of tensors.

Legend: M members, R rows, I inputs, O outputs, W width. A plain fit (M = 1) runs the same lines without the members
axis: every formula looks at the last two axes only.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig._utils.threads import on_one_thread
from skbig.networks.layer import Total, itself

EPSILON = 1e-5


def affine(X: Tensor | SparseRows, weight: Tensor, bias: Tensor) -> Tensor:
    """``X @ weight + bias``.

    Shape: X (M, R, I), weight (M, I, O), bias (M, 1, O) -> (M, R, O); or the same without M. X may be sparse.
    """
    if isinstance(X, SparseRows):
        return _SparseProduct.apply(X, weight) + bias
    if X.device.type != "cpu":
        return _affine_on_device(X, weight, bias)
    if X.dim() == 3:
        return torch.baddbmm(bias, X, weight)
    if _prefers_onednn(X, weight.shape[1]):
        return _OneDnnAffine.apply(X, weight, bias)
    if _is_narrow(X, weight.shape[1]):
        return _NarrowAffine.apply(X, weight, bias)
    return torch.addmm(bias, X, weight)


def transposed_product(X: Tensor | SparseRows, gradient: Tensor) -> Tensor:
    """``X.T @ gradient``, as the backward pass of `affine` computes it.

    Shape: X (M, R, I), gradient (M, R, O) -> (M, I, O); or the same without M. X may be sparse.
    """
    if isinstance(X, SparseRows):
        return X.transposed_times(gradient.contiguous())
    if X.dim() == 3:
        return torch.bmm(X.transpose(1, 2), gradient)
    if _prefers_onednn(X, gradient.shape[1]):
        return _onednn_product(X.t(), gradient.t())
    if _is_narrow(X, gradient.shape[1]):
        return on_one_thread(torch.mm, gradient.t(), X).t()
    return torch.mm(X.t(), gradient)


def _affine_on_device(X: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The dense product on a GPU, where a bias that is a table is first copied to every row."""
    if X.dim() == 3:
        return torch.bmm(X, weight).add_(bias)
    return torch.addmm(bias.view(-1), X, weight)  # a vector is added by the product itself


def layer_norm(X: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Normalise each row over its features (Ba, Kiros & Hinton, 2016)."""
    normal = torch.nn.functional.layer_norm(X, X.shape[-1:], eps=EPSILON)
    return torch.addcmul(offset, normal, scale)


def batch_norm(X: Tensor, scale: Tensor, offset: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Normalise each feature by a given mean and variance of shape (M, 1, W) (Ioffe & Szegedy, 2015)."""
    return torch.addcmul(offset, X - mean, scale * torch.rsqrt(variance + EPSILON))


def batch_moments(X: Tensor, share: Tensor, total: Total = itself) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each feature over the rows, each of shape (M, 1, W).

    `share` (M, R, 1) is the weight of each row and sums to one, so a row of weight two counts as two rows. Where the
    rows are a part of the batch, `total` sums over the parts.
    """
    mean = total((X * share).sum(-2, keepdim=True))
    return mean, total(((X - mean).square() * share).sum(-2, keepdim=True))


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
    """The dense product by oneDNN. On CPUs of other makers than Intel, torch's default (MKL) takes twice as long."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(X, weight)
        return _onednn_product(X, weight.t(), bias.view(-1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        X, weight = ctx.saved_tensors
        for_X = _onednn_product(gradient, weight) if ctx.needs_input_grad[0] else None
        return for_X, _onednn_product(X.t(), gradient.t()), gradient.sum(0, keepdim=True)


class _NarrowAffine(torch.autograd.Function):
    """The product with few outputs, computed as its transpose: where MKL is slow, three times as fast.

    Several threads would share the outputs so that the bits depend on how many there are.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(X, weight)
        return on_one_thread(torch.addmm, bias.view(-1, 1), weight.t(), X.t()).t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        X, weight = ctx.saved_tensors
        for_X = torch.mm(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        return for_X, on_one_thread(torch.mm, gradient.t(), X).t(), gradient.sum(0, keepdim=True)


def _onednn_product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.T + bias``."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


def _prefers_onednn(X: Tensor, n_out: int) -> bool:
    # Below some million multiplications oneDNN's set-up costs more than it saves.
    large = X.shape[0] * X.shape[1] * n_out >= 3_000_000
    return large and X.device.type == "cpu" and X.dtype == torch.float32 and _has_onednn() and _mkl_is_slow()


def _is_narrow(X: Tensor, n_out: int) -> bool:
    n_in = X.shape[1]
    narrow = 1 < n_out <= 32 and n_in >= 2 * n_out and X.shape[0] * n_in * n_out >= 30_000
    return narrow and X.device.type == "cpu" and _mkl_is_slow()


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@functools.cache
def _mkl_is_slow() -> bool:
    """Decide by the maker of the processor, not by a clock: the same machine must always give the same bits."""
    return platform.machine() in ("x86_64", "AMD64") and "GenuineIntel" not in _processor()


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()[:4096]
    except OSError:
        return platform.processor() or "GenuineIntel"
