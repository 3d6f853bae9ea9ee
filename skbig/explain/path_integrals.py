r"""Integrals of a gradient along straight paths: how much each input contributes to the way from one row to another.

.. math:: a_i = (e_i - s_i) \int_0^1 \frac{\partial f}{\partial x_i}(s + t (e - s)) \, dt

Over the inputs they add up to :math:`f(e) - f(s)`, which tells how exact a computed integral is, also on every part of
the path. So a path is cut in two where its integral is not exact yet: with activations that have a corner, as 'relu',
the gradient jumps along the path, and points are of use where it does.

Legend: G groups of B paths, L pieces of paths, T points on a piece, E inputs, K outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skbig.explain.differentiable import Function

PART_POINTS, MOST_PARTS = 6, 16
"""Points on each part of a path, and into how many parts a piece is cut at most."""

MAX_POINTS = 20_000
"""On a path; then it is told that an integral is not exact."""

POINT_NUMBERS = 2**21
"""So many numbers the gradients of all points may be that are computed at once."""

SMALL_SHARE = 0.1
"""An error is measured by the difference of the predictions, or by this share of how far they move on the way."""


gauss_legendre = functools.cache(np.polynomial.legendre.leggauss)

Rule = tuple[Tensor, Tensor]
"""Points in [0, 1] and their weights."""


@dataclass
class Pieces:
    """Pieces of paths. Their integrals are not kept: thousands of pieces would each have as many numbers as a row.

    Attributes
    ----------
    path : Tensor (L,) of int64
    begin, end : Tensor (L, 1)
        In [0, 1].
    error : Tensor (L, K)
        By how much attributions do not add up to the difference of the predictions.
    """

    path: Tensor
    begin: Tensor
    end: Tensor
    error: Tensor

    def __getitem__(self, which: Tensor) -> Pieces:
        return Pieces(self.path[which], self.begin[which], self.end[which], self.error[which])

    def with_others(self, other: Pieces) -> Pieces:
        """Return both."""
        return Pieces(
            torch.cat([self.path, other.path]),
            torch.cat([self.begin, other.begin]),
            torch.cat([self.end, other.end]),
            torch.cat([self.error, other.error]),
        )


def mean_integrals(
    function: Function, starts: Tensor, ends: Tensor, n_points: int, tol: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean integrals of groups of paths (G, E, K), the mean predictions at their starts, and their errors.

    Parameters
    ----------
    function : Function
    starts, ends : Tensor (G or 1, B, E), (G, 1, E)
    n_points : int
        On a piece.
    tol : float
        The error that is left, as a share of the difference of the predictions.
    """
    starts, ends = torch.broadcast_tensors(starts, ends)
    paths = _Paths(function, starts, ends, n_points)
    n_groups, n_paths = paths.starts.shape[:2]
    whole = paths.whole()
    at_start, at_end = paths.at_start, paths.at_end
    scale = _group_means(at_end - at_start, n_groups).abs()
    scale = scale.maximum(SMALL_SHARE * _group_means(paths.farthest, n_groups))
    rounding = 64 * torch.finfo(function.dtype).eps * at_end.abs().maximum(at_start.abs()).view(n_groups, n_paths, -1)
    allowed = n_paths * (tol * scale + rounding.mean(1))
    pieces = _refined(paths, whole, allowed, n_paths)
    error = pieces.error.new_zeros(scale.shape).index_add_(0, pieces.path // n_paths, pieces.error).abs()
    left = (error / n_paths / scale).where(error > allowed, 0.0)
    return paths.total / n_paths, _group_means(at_start, n_groups), left


def _refined(paths: _Paths, pieces: Pieces, allowed: Tensor, n_paths: int) -> Pieces:
    """Cut pieces until the errors of each group add up to what is allowed (G, K)."""
    if not bool(allowed.isfinite().all()):
        return pieces
    most = MAX_POINTS * n_paths // PART_POINTS
    while True:
        group = pieces.path // n_paths
        of_pieces = pieces.error.abs() if n_paths == 1 else pieces.error  # those of many paths cancel, and may
        error = pieces.error.new_zeros(allowed.shape).index_add_(0, group, of_pieces).abs()
        count = torch.bincount(group, minlength=len(allowed)).unsqueeze(1)
        wanting = (error > allowed) & (count < most)
        cut = ((pieces.error.abs() * count[group] > allowed[group]) & wanting[group]).any(1)
        if not cut.any():
            return pieces
        # An error falls with the number of points or, where there is no corner, much faster.
        excess = float((error / allowed)[wanting].max())
        n_parts = int(min(MOST_PARTS, max(2.0, 2 * excess)))
        pieces = pieces[~cut].with_others(paths.parts(pieces[cut], n_parts))


class _Paths:
    """Straight paths between rows, on which a function is computed.

    Attributes
    ----------
    at_start, at_end : Tensor (P, K)
        Predictions at the ends of each path.
    farthest : Tensor (P, K)
        How far they move away from that at the start on each path.
    total : Tensor (G, E, K)
        Integrals of all pieces of each group of paths, added up.
    """

    def __init__(self, function: Function, starts: Tensor, ends: Tensor, n_points: int) -> None:
        self.function, self.starts = function, starts
        self.start = starts.reshape(-1, starts.shape[-1])
        self.way = ends.reshape(self.start.shape) - self.start
        self.first_rule, self.rule = self._rule(n_points), self._rule(PART_POINTS)
        self.every = torch.arange(len(self.start), device=self.start.device)
        begin = self.start.new_zeros(len(self.start), 1)
        self.at_start, self.at_end = self.at(self.every, begin), self.at(self.every, begin + 1)
        self.total = self.start.new_zeros(len(starts), starts.shape[-1], self.at_start.shape[1])
        self.farthest = torch.zeros_like(self.at_start)

    def _rule(self, n: int) -> Rule:
        nodes, weights = gauss_legendre(n)
        return (torch.from_numpy((nodes + 1) / 2).to(self.start), torch.from_numpy(weights / 2).to(self.start))

    def at(self, path: Tensor, place: Tensor) -> Tensor:
        """Return predictions at a place (L, 1) on each of some paths: (L, K)."""
        with torch.no_grad():
            found = [
                self.function(torch.addcmul(self.start[path[some]], self.way[path[some]], place[some]))
                for some in _blocks(len(path), self.start.shape[1])
            ]
        return torch.cat(found)

    def whole(self) -> Pieces:
        """Return each path as one piece."""
        begin = self.start.new_zeros(len(self.every), 1)
        sums, self.farthest = self._added(self.every, begin, begin + 1, self.first_rule)
        return Pieces(self.every, begin, begin + 1, sums - (self.at_end - self.at_start))

    def parts(self, pieces: Pieces, n: int) -> Pieces:
        """Return n equal parts of each piece, and let their integrals take the place of its own."""
        whole = (pieces.end - pieces.begin == 1).squeeze(1)
        for some, rule in ((pieces[whole], self.first_rule), (pieces[~whole], self.rule)):
            if len(some.path):
                self._added(some.path, some.begin, some.end, rule, sign=-1)
        share = torch.arange(n, device=self.start.device).to(self.start).repeat(len(pieces.path)).unsqueeze(1) / n
        begin, length = (each.repeat_interleave(n, 0) for each in (pieces.begin, pieces.end - pieces.begin))
        begin, path = begin + length * share, pieces.path.repeat_interleave(n)
        end = begin + length / n
        sums, _ = self._added(path, begin, end, self.rule)
        return Pieces(path, begin, end, sums - (self.at(path, end) - self.at(path, begin)))

    def _added(self, path: Tensor, begin: Tensor, end: Tensor, rule: Rule, sign: int = 1) -> tuple[Tensor, Tensor]:
        """Add integrals on pieces to the totals; return their sums, and how far predictions move on each (L, K)."""
        n_paths, sums, moved = self.starts.shape[1], [], []
        for some in _blocks(len(path), len(rule[0]) * self.total[0].numel()):
            integral, values = self._integral(path[some], begin[some], end[some], rule)
            self.total.index_add_(0, path[some] // n_paths, integral, alpha=sign)
            sums.append(integral.sum(1))
            moved.append((values - values[:, :1]).abs().amax(1))
        return torch.cat(sums), torch.cat(moved)

    def _integral(self, path: Tensor, begin: Tensor, end: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
        """Return the integral on pieces (L, E, K), and the predictions at their points (L, T, K)."""
        place = (begin + (end - begin) * rule[0]).unsqueeze(-1)
        way = self.way[path].unsqueeze(1)
        points = torch.addcmul(self.start[path].unsqueeze(1), way, place)
        gradient, values = gradients_at(self.function, points.flatten(0, 1))
        gradient = gradient.view(*points.shape, -1)
        weights = ((end - begin) * rule[1]).unsqueeze(1)
        mean = (weights @ gradient.flatten(2)).view(len(points), *gradient.shape[2:])
        return mean * way.transpose(1, 2), values.view(*points.shape[:2], -1)


def gradients_at(function: Function, E: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of each output (R, E, K) by the inputs of rows (R, E), and the outputs (R, K)."""
    with torch.enable_grad():
        leaf = E.detach().requires_grad_()
        values = function(leaf)
        if not values.requires_grad:  # of a single class, say, which is sure
            return leaf.new_zeros(*leaf.shape, values.shape[1]), values
        n = values.shape[1]
        found = [
            torch.autograd.grad(
                values[:, k].sum(), leaf, retain_graph=k < n - 1, materialize_grads=True, allow_unused=True
            )[0]
            for k in range(n)
        ]
    return torch.stack(found, -1), values.detach()


def _blocks(n: int, width: int) -> Iterator[slice]:
    step = max(1, POINT_NUMBERS // max(width, 1))
    for start in range(0, n, step):
        yield slice(start, start + step)


def _group_means(values: Tensor, n_groups: int) -> Tensor:
    return values.view(n_groups, -1, values.shape[-1]).mean(1)
