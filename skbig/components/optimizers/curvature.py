"""What L-BFGS remembers of the curvature: the last moves, and by how much each changed the gradient.

Legend: P the parameters of one member, laid out flat; k the pairs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from skbig.components.optimizers.vectors import Vector, add, dot


class Curvature(NamedTuple):
    r"""An estimate :math:`H` of the inverse Hessian, from pairs of moves :math:`s_i` and changes :math:`y_i`.

    Both of a pair are divided by what makes their product about one: that is all the same to :math:`H`, and stays in
    the range of numbers.

    Attributes
    ----------
    moves, changes : tuples of k vectors (P,)
        The oldest first.
    products : tuple of k floats
        :math:`s_i^T y_i`.
    scale : float
        :math:`s_k^T y_k / y_k^T y_k`: what is known where no pair says more.
    """

    moves: tuple[Vector, ...] = ()
    changes: tuple[Vector, ...] = ()
    products: tuple[float, ...] = ()
    scale: float = 1.0

    def downhill(self, gradient: Vector) -> Vector:
        """Return ``-H g`` (P,).

        By the two loops of Nocedal & Wright (2006), "Numerical optimization", algorithm 7.4.
        """
        pairs = list(zip(self.moves, self.changes, self.products, strict=True))
        direction, shares = -gradient, []
        for move, change, product in reversed(pairs):
            shares.append(dot(move, direction) / product)
            add(direction, change, -shares[-1])
        direction *= self.scale
        for move, change, product in pairs:
            add(direction, move, shares.pop() - dot(change, direction) / product)
        return direction

    def after(self, move: Vector, change: Vector, n_most: int) -> Curvature:
        """Return what is known after one more move; of more than `n_most` pairs the oldest is forgotten.

        A move along which the gradient does not rise says nothing.
        """
        product = dot(move, change)
        if not 0 < product < math.inf:
            return self
        unit = 2.0 ** -round(math.log2(product) / 2)
        move, change = move * unit, change * unit
        product, square = float(move.dot(change)), float(change.dot(change))
        if not (0 < product < math.inf and 0 < square < math.inf):
            return self
        kept = slice(max(0, len(self.moves) + 1 - n_most), None)
        return Curvature(
            (*self.moves[kept], move), (*self.changes[kept], change), (*self.products[kept], product), product / square
        )
