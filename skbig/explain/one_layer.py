r"""A network with one hidden layer: its gradients, and their integrals along straight paths in closed form.

.. math:: f(x) = c + \sum_h v_h \, \varphi(x \cdot w_h + b_h)

On a straight path the sum :math:`z_h` that a unit reads moves straight, too, from :math:`z_h^s` to :math:`z_h^e`. So
the mean slope of the unit on the path is that of its secant, whatever the activation, and nothing is left to estimate:

.. math::
    \int_0^1 \varphi'\bigl(z_h^s + t (z_h^e - z_h^s)\bigr) \, dt =
    \frac{\varphi(z_h^e) - \varphi(z_h^s)}{z_h^e - z_h^s}

Legend: R rows, G groups of B paths, E inputs, Z features of the network, H hidden units, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skbig.data.targets import RegressionTargets
from skbig.explain.outputs import Outputs
from skbig.inference.affine import affine_of, is_affine
from skbig.inference.fitted_network import FittedNetwork
from skbig.networks.activations import ACTIVATIONS
from skbig.networks.layer import Layer

NEAR = 1e-5
"""Where a sum moves by less, the difference of two values is mostly rounding, and a tangent is the better secant."""

NUMBERS = 2**20
"""So many numbers the slopes of all units may be, about, that are computed at once."""


@dataclass(frozen=True)
class OneLayer:
    """A function of inputs with one hidden layer.

    Attributes
    ----------
    activation : str
    weight, bias : Tensor (E, H), (H,)
        What units sum up.
    outer, base : Tensor (H, K), (K,)
        What outputs are made of.
    """

    activation: str
    weight: Tensor
    bias: Tensor
    outer: Tensor
    base: Tensor

    def gradients(self, E: Tensor) -> Tensor:
        """Return the gradients of each output by the inputs of rows: (R, E) -> (R, E, K)."""
        slopes = tangents(self.activation, self._sums(E))
        return torch.stack([(slopes * outer) @ self.weight.t() for outer in self.outer.t()], -1)

    def mean_integrals(self, starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean integrals of groups of paths (G, E, K), and the mean outputs at their starts (G, K).

        Parameters
        ----------
        starts, ends : Tensor (G or 1, B, E), (G, E)
        """
        begin, end, ends = self._sums(starts), self._sums(ends).unsqueeze(1), ends.unsqueeze(1)
        at_start = (ACTIVATIONS[self.activation](begin).mean(1) @ self.outer + self.base).expand(len(ends), -1)
        step = max(1, NUMBERS // (len(self.bias) * max(starts.shape[1:])))
        if step >= len(ends):
            return self._of_groups(starts, ends, begin, end), at_start
        starts, begin = (each.expand(len(ends), -1, -1) for each in (starts, begin))
        parts = zip(*(each.split(step) for each in (starts, ends, begin, end)), strict=True)
        return torch.cat([self._of_groups(*part) for part in parts]), at_start

    def _of_groups(self, starts: Tensor, ends: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        slopes, moved = mean_slopes(self.activation, begin, end), ends - starts  # (G, B, H), (G, B, E)
        outer = self.outer / starts.shape[1]
        if outer.shape[1] == 1:
            return (((slopes * outer.t()) @ self.weight.t()).mul_(moved)).sum(1).unsqueeze(2)
        return (moved.transpose(1, 2) @ slopes).mul_(self.weight) @ outer

    def _sums(self, E: Tensor) -> Tensor:
        return functional.linear(E, self.weight.t(), self.bias)


def mean_slopes(activation: str, begin: Tensor, end: Tensor) -> Tensor:
    """Return the mean slope of an activation between two numbers."""
    function, way = ACTIVATIONS[activation], end - begin
    slopes = (function(end) - function(begin)).div_(way)
    if float(way.abs_().amin()) < NEAR:
        near = (way < NEAR).nonzero(as_tuple=True)
        begin, end, secants = begin.expand_as(way)[near], end.expand_as(way)[near], slopes[near]
        # On both sides of a corner, which is at zero, values are as small as the way, and nothing is rounded.
        slopes[near] = torch.where(begin * end < 0, secants, tangents(activation, torch.lerp(begin, end, 0.5)))
    return slopes


def tangents(activation: str, at: Tensor) -> Tensor:
    """Return the slope of an activation at each number."""
    with torch.enable_grad():
        leaf = at.detach().requires_grad_()
        (slope,) = torch.autograd.grad(ACTIVATIONS[activation](leaf).sum(), leaf)
    return slope


def one_layer(
    fitted: FittedNetwork, outputs: Outputs, matrix: Any, shift: np.ndarray, dtype: torch.dtype, device: torch.device
) -> OneLayer | None:
    """Return a model as such a function of inputs, or None where it is none.

    No link that bends may follow. The mean of several members is a wider layer, and a model without a hidden layer has
    one that changes nothing.

    Parameters
    ----------
    fitted : FittedNetwork
    outputs : Outputs
    matrix, shift : sparse (E, Z) or ndarray (Z,), ndarray (Z,)
        The network reads ``inputs @ matrix + shift``, or ``inputs * matrix + shift``.
    """
    activation = _only_activation(fitted.network.layers)
    if activation is None or not _is_affine_behind(fitted, outputs):
        return None
    weight, bias, outer, base = _two_maps(fitted)
    if isinstance(targets := fitted.targets, RegressionTargets):
        outer, base = outer * targets.scale, base * targets.scale + targets.centre
    bias = shift @ weight + bias
    weight = matrix[:, None] * weight if matrix.ndim == 1 else matrix @ weight
    numbers = (weight, bias, outputs.of(outer), outputs.of(base)[0])
    return OneLayer(activation, *(torch.from_numpy(each).to(device, dtype) for each in numbers))


def _only_activation(layers: Sequence[Layer]) -> str | None:
    """Return what the only hidden layer does to its sums."""
    if not all(map(is_affine, layers)):
        return None
    *hidden, last = (getattr(layer, "activation", "identity") for layer in layers)
    return (*hidden, "identity")[0] if last == "identity" and len(hidden) < 2 else None


def _is_affine_behind(fitted: FittedNetwork, outputs: Outputs) -> bool:
    """Whether what is explained is a weighted sum of the raw predictions of all members."""
    if fitted.pools and fitted.n_members > 1:
        return False
    targets = fitted.targets
    unbound = isinstance(targets, RegressionTargets) and np.isinf(targets.low).all() and np.isinf(targets.high).all()
    return outputs.raw or (fitted.link == "identity" and bool(unbound))


def _two_maps(fitted: FittedNetwork) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return weights and biases, (Z, H), (H,), (H, K), (1, K): the hidden layers of all members are side by side."""
    maps = [affine_of(layer, fitted.of_layer(i)) for i, layer in enumerate(fitted.network.layers)]
    n_members, n_outputs = fitted.n_members, fitted.network.n_outputs
    if len(maps) == 1:
        maps.append((np.tile(np.eye(n_outputs), (n_members, 1, 1)), np.zeros((n_members, 1, n_outputs))))
    (weight, bias), (outer, base) = maps
    outer = outer.reshape(-1, n_outputs).astype(float) / (n_members * fitted.temperature)
    base = base.mean(axis=0, dtype=float) / fitted.temperature
    return weight.transpose(1, 0, 2).reshape(weight.shape[1], -1), bias.ravel(), outer, base
