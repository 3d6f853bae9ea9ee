"""What L-BFGS remembers of the curvature: the last moves, and by how much each changed the gradient.

Legend: P the parameters of one member, laid out flat; k the pairs.
"""

from __future__ import annotations

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
        The oldest first; of each the move, and the change of the gradient.
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
        """Return what is known after one more move; of more than `n_most` pairs the oldest is forgotten."""
        first = max(0, len(self.pairs) + 1 - n_most)
        pairs = torch.cat([self.pairs[first:], torch.stack([move, change])[None]])
        products = np.zeros((2, len(pairs), len(pairs)))
        products[:, :-1, :-1] = self.products[:, first:, first:]
        products[:, :, -1] = _double(pairs.flatten(0, 1) @ change).reshape(-1, 2).T
        products[1, -1] = products[1, :, -1]
        return Curvature(pairs, products)


def _double(values: Tensor) -> np.ndarray:
    return values.cpu().double().numpy()
