"""A layer: a part of a network with parameters of its own, and what it is told of a training step.

Legend: M members, R rows, I inputs, O outputs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from skbig._utils.random import Noise, Purpose
from skbig._utils.sparse import SparseRows
from skbig.networks.row_gradients import Tap, copies

BATCH_NORM_RATE = 0.1
"""How far the running mean and variance move towards those of a batch, as torch's ``momentum``."""

Total = Callable[[Tensor], Tensor]
"""Sums a tensor of each part of a batch over the parts, so that gradients flow back into all of them."""


def itself(tensor: Tensor) -> Tensor:
    """The sum over all parts of a batch that is not parted."""
    return tensor


@dataclass(frozen=True)
class Parameter:
    """What a layer declares of a parameter.

    Parameters
    ----------
    shape : tuple of int
        Members axis left out.
    role : str
        What it does: 'weight', 'head', 'bias', 'scale', 'offset', 'embedding', or a word of your own.
    penalized : bool
        Whether the penalty (`alpha`) acts on it.
    outputs_first : bool
        Whether the first dim of a weight is that of the outputs, as in torch's modules, and not the last.

    Examples
    --------
    >>> from skbig.networks import Parameter
    >>> Parameter((3, 2), "embedding").penalized
    False
    """

    shape: tuple[int, ...]
    role: str = "weight"
    penalized: bool = False
    outputs_first: bool = False


@dataclass(frozen=True)
class TrainingPass:
    """What a forward pass needs to know while training, and only then.

    Parameters
    ----------
    noise : Noise or None
        Random numbers of the step.
    share : Tensor of shape (M, R)
        Each row's share of the loss, for the weighted moments of a batch norm.
    moments_rate : float
        How far running moments move towards those of the batch.
    total : callable
        Sums over the parts of a batch, when the rows are one of them.
    layer : int
        Which layer it is.
    equal : bool
        Whether all rows are known to have the same share.

    Examples
    --------
    >>> import torch
    >>> from skbig.networks import TrainingPass
    >>> TrainingPass(noise=None, share=torch.full((1, 4), 0.25)).moments_rate
    0.1
    """

    noise: Noise | None
    share: Tensor
    moments_rate: float = BATCH_NORM_RATE
    total: Total = itself
    layer: int = 0
    equal: bool = False

    def keep(self, X: Tensor, probability: Any) -> Tensor:
        """Return ones with the given probability, a float or a tensor (M, 1, 1), else zeros; of the shape of X.

        They depend on the member's seed, the step, the layer, and the row's place in the whole batch, and on nothing
        else.
        """
        assert self.noise is not None, "a layer that draws noise says so by `draws_noise`"
        if isinstance(probability, Tensor):
            probability = probability.to(X)
        mask = self.noise.keep(X.shape[-2], X.shape[-1], Purpose.DROPOUT + self.layer, probability, X.dtype)
        return mask.view(X.shape)


class Layer(ABC):
    """A part of a network; a frozen dataclass, without state.

    A forward pass looks at the last two axes, rows and features, so that it serves one member and many. It never mixes
    members and, unless it says that it `couples_rows`, never mixes rows. While training it is given a `TrainingPass`;
    noise comes from there, and running statistics are updated in place.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from skbig.networks import Layer
    >>> @dataclass(frozen=True)
    ... class Square(Layer):
    ...     width: int
    ...     @property
    ...     def n_units(self):
    ...         return self.width
    ...     def parameters(self):
    ...         return {}
    ...     def initial(self, random):
    ...         return {}
    ...     def forward(self, X, parameters, statistics, training):
    ...         return X.square()
    >>> Square(2).forward(torch.tensor([[1.0, 3.0]]), {}, {}, None)
    tensor([[1., 9.]])
    """

    couples_rows: bool = False
    """Whether what a row comes to depends on the other rows of the batch."""

    frozen: tuple[str, ...] = ()
    """Which of its statistics are parameters that are not trained, by their names in the network."""

    stacks: bool = True
    """Whether several members are computed at once; else one after another, with the same result."""

    reads_sparse: bool = False
    """Whether it reads sparse rows as such; else it is given them as dense ones."""

    recordable: bool = True
    """Whether a step with it may be recorded, where its network says that it is made of such layers."""

    @property
    @abstractmethod
    def n_units(self) -> int:
        """How many numbers the result has for a row; of a layer that makes many on the way, all of them."""

    @property
    def most_units(self) -> int:
        """How many numbers the largest of its results has for a row."""
        return self.n_units

    @property
    def n_products(self) -> int:
        """How many products it takes for a row, about."""
        return sum(math.prod(parameter.shape) for parameter in self.parameters().values())

    @property
    def draws_noise(self) -> bool:
        """Whether random numbers are drawn while training."""
        return False

    @abstractmethod
    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters by name."""

    def statistics(self) -> dict[str, np.ndarray]:
        """Return the first values of what is kept and not optimised, as running moments; members axis left out."""
        return {}

    @abstractmethod
    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        """Draw the first values of the parameters, float64 arrays of the declared shapes.

        The generator is lent for the call: it is seeded anew for the next network.
        """

    @abstractmethod
    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        """Return what the layer makes of its input: (M, R, I) -> (M, R, O), or the same without M.

        A parameter is ``(M, *shape)``, or its declared shape for one member.
        """

    def bound(self, largest_input: float, largest_parameter: float) -> float:
        """Return what no number exceeds that the layer computes when it predicts; infinity where nothing is known.

        Given are the largest input and the largest parameter, both without their signs.
        """
        del largest_input, largest_parameter
        return math.inf

    @property
    def has_row_gradients(self) -> bool:
        """Whether `tapped` gives the gradients of single rows."""
        return self.stacks and not (self.couples_rows or self.draws_noise or self.statistics())

    def tapped(
        self, X: Tensor | SparseRows, parameters: Mapping[str, Tensor], training: TrainingPass
    ) -> tuple[Tensor, list[Tap]]:
        """Return what the layer makes of its input, and what tells the gradients of single rows by its parameters.

        Here each row is a member of its own, of one row and with a copy of the parameters.
        """
        assert isinstance(X, Tensor)
        rows = X.reshape(-1, 1, X.shape[-1])
        taps = [copies(name, parameters[name], X.shape[-2], own.shape) for name, own in self.parameters().items()]
        each = {tap.name: tap.tensor.reshape(-1, *tap.shape) for tap in taps}
        return self.forward(rows, each, {}, training).view(*X.shape[:-1], -1), list(taps)

    def cuts(self, *, by_outputs: bool) -> dict[str, int | None] | None:
        """Say how the layer is cut over processes, of which each has a part of its outputs, or else of its inputs.

        Returns
        -------
        cuts : dict or None
            Of each parameter and statistic the dim, members axis left out, along which it is cut, or None where each
            process has it whole. None for all: the layer cannot be cut.
        """
        del by_outputs
        return None
