"""Gradients of single rows: their norms, and sums of them in which each row has its factor.

Legend: M members, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Tap(Protocol):
    """A tensor of the forward pass whose gradient says what the gradients of single rows are, by some parameters.

    Attributes
    ----------
    tensor : Tensor
        What the loss is differentiated by.
    """

    @property
    def tensor(self) -> Tensor: ...

    def squared_norms(self, gradient: Tensor) -> Tensor:
        """Return the squared norm of each row's gradient, (M, R), from the gradient by `tensor`."""
        ...

    def sums(self, gradient: Tensor, factors: Tensor) -> dict[str, Tensor]:
        """Return the sum over the rows of ``factor * gradient``, (M, *shape) for each parameter by name."""
        ...


@dataclass(frozen=True)
class CopiesTap:
    """Of a parameter of which each row has a copy of its own, so that the gradient is that of the rows.

    Attributes
    ----------
    tensor : Tensor (M, R, *shape)
    name : str
    shape : tuple of int
        That of the parameter, members axis left out.
    """

    tensor: Tensor
    name: str
    shape: tuple[int, ...]

    def squared_norms(self, gradient: Tensor) -> Tensor:
        return squared_norms(gradient.flatten(-max(1, len(self.shape))))

    def sums(self, gradient: Tensor, factors: Tensor) -> dict[str, Tensor]:
        flat = gradient.flatten(-max(1, len(self.shape)))
        summed = factors.unsqueeze(-2) @ flat
        return {self.name: summed.view(*summed.shape[:-2], *self.shape)}


@dataclass(frozen=True)
class NamedTap:
    """A tap of a layer whose parameters have other names in the network."""

    tap: Tap
    names: dict[str, str]

    @property
    def tensor(self) -> Tensor:
        return self.tap.tensor

    def squared_norms(self, gradient: Tensor) -> Tensor:
        return self.tap.squared_norms(gradient)

    def sums(self, gradient: Tensor, factors: Tensor) -> dict[str, Tensor]:
        return {self.names[name]: value for name, value in self.tap.sums(gradient, factors).items()}


def squared_norms(rows: Tensor) -> Tensor:
    """Return the squared norm of each row, (..., R).

    `vector_norm` takes seven times as long where rows lie transposed, as narrow layers leave them.
    """
    return (rows * rows).sum(-1)


def copies(name: str, parameter: Tensor, n_rows: int, shape: tuple[int, ...]) -> CopiesTap:
    """Give each row a copy of a parameter (M, *shape): views of one memory, (M, R, *shape)."""
    axis = parameter.dim() - len(shape)
    each = parameter.unsqueeze(axis).expand(*parameter.shape[:axis], n_rows, *shape)
    return CopiesTap(each.detach().requires_grad_(), name, shape)
