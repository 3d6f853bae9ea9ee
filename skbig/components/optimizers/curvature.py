"""What L-BFGS remembers of the curvature: the last moves, and by how much each changed the gradient.

Legend: P the parameters of one member, laid out flat; k the pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg.lapack import dtrtrs
from torch import Tensor


@dataclass(frozen=True)
class Curvature:
    r"""An estimate :math:`H` of the inverse Hessian, from pairs of moves :math:`s_i` and changes :math:`y_i`.

    It is the one of the two-loop recursion (Nocedal & Wright, 2006, "Numerical optimization", algorithm 7.4), in terms
    of inner products (Byrd, Nocedal & Schnabel, 1994, "Representations of quasi-Newton matrices", theorem 2.2): the
    memory of all pairs is read twice, however many there are.

    Attributes
    ----------
    pairs : Tensor of shape (k, 2, P)
        The oldest first; of each the move, and the change of the gradient, both divided by what makes their product
        about one: that is all the same to :math:`H`, and stays in the range of numbers.
    products : ndarray of shape (2, k, k)
        :math:`s_i^T y_j` where :math:`i \leq j`, and zero elsewhere; and :math:`y_i^T y_j`.
    """

    pairs: Tensor
    products: np.ndarray

    @classmethod
    def unknown(cls, point: Tensor) -> Curvature:
        """Return that of a search that has not moved yet."""
        return cls(point.new_empty((0, 2, len(point))), np.empty((2, 0, 0)))

    def downhill(self, gradient: Tensor) -> Tensor:
        """Return ``-H g`` (P,)."""
        if not len(self.pairs):
            return -gradient
        flat, (upper, changes) = self.pairs.flatten(0, 1), self.products
        of_moves, of_changes = _double(flat @ gradient).reshape(-1, 2).T
        scale = upper[-1, -1] / changes[-1, -1]
        alpha = dtrtrs(upper, of_moves)[0]
        omega = dtrtrs(upper, upper.diagonal() * alpha - scale * (of_changes - changes @ alpha), trans=1)[0]
        shares = torch.from_numpy(np.column_stack([-omega, scale * alpha]).ravel()).to(gradient)
        return torch.addmv(gradient, flat.t(), shares, beta=-scale)

    def after(self, move: Tensor, change: Tensor, n_most: int) -> Curvature:
        """Return what is known after one more move; of more than `n_most` pairs the oldest is forgotten.

        A move along which the gradient does not rise says nothing.
        """
        product = dot(move, change)
        if not 0 < product < math.inf:
            return self
        first = max(0, len(self.pairs) + 1 - n_most)
        pair = torch.stack([move, change]) * 2.0 ** -round(math.log2(product) / 2)
        pairs = torch.cat([self.pairs[first:], pair[None]])
        products = np.zeros((2, len(pairs), len(pairs)))
        products[:, :-1, :-1] = self.products[:, first:, first:]
        products[:, :, -1] = _double(pairs.flatten(0, 1) @ pair[1]).reshape(-1, 2).T
        products[1, -1] = products[1, :, -1]
        return Curvature(pairs, products) if products[:, -1, -1].all() and np.isfinite(products).all() else self


def dot(one: Tensor, other: Tensor) -> float:
    """Return the inner product of two vectors (P,), in float64 where another range of numbers is too small."""
    product = float(torch.dot(one, other))
    is_lost = product == 0 or not math.isfinite(product)
    return float(torch.dot(one.double(), other.double())) if is_lost and one.dtype != torch.float64 else product


def _double(values: Tensor) -> np.ndarray:
    return values.cpu().double().numpy()
