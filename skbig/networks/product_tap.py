"""Gradients of single rows by a weight, in closed form.

No gradient of a row is ever laid out for a weight. Of ``Z = X @ weight + bias`` the gradient of row i by the weight is
the outer product of its input and of the gradient by its sums, so its norm is the product of their norms, and a sum of
them by factors is one matrix product (Goodfellow, "Efficient Per-Example Gradient Computations", 2015).

Legend: M members, R rows, I inputs, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.networks.products import affine, transposed_product
from skbig.networks.row_gradients import squared_norms


@dataclass(frozen=True)
class ProductTap:
    """Of ``tensor = X @ weight + bias``, (M, R, O): by the weight and the bias.

    Attributes
    ----------
    tensor : Tensor (M, R, O)
    X : Tensor (M, R, I), or sparse rows
    has_bias : bool
    """

    tensor: Tensor
    X: Tensor | SparseRows
    has_bias: bool = True

    def squared_norms(self, gradient: Tensor) -> Tensor:
        of_inputs = self.X.squared_norms() if isinstance(self.X, SparseRows) else squared_norms(self.X)
        own = squared_norms(gradient)
        return own.addcmul_(own, of_inputs) if self.has_bias else own.mul_(of_inputs)  # a bias reads a one

    def sums(self, gradient: Tensor, factors: Tensor) -> dict[str, Tensor]:
        weighted = gradient * factors.unsqueeze(-1)
        of_weight = {"weight": transposed_product(self.X, weighted)}
        return of_weight | ({"bias": weighted.sum(-2, keepdim=True)} if self.has_bias else {})


def tap_of_product(X: Tensor | SparseRows, weight: Tensor, bias: Tensor | None) -> ProductTap:
    """Compute ``X @ weight + bias``, where there is a bias, so that it can be differentiated by."""
    Z = affine(X, weight, weight.new_zeros(1, weight.shape[-1]) if bias is None else bias)
    return ProductTap(Z if Z.requires_grad else Z.requires_grad_(), X, bias is not None)
