"""Which parameters an optimizer moves at once, and which of them have a rate and a weight decay of their own.

Legend: M members, P parameters of one member, B of them in a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor

from skbig.components.optimizers.base import Optimizer, State
from skbig.components.param_groups import ParamGroups


@dataclass(frozen=True)
class Block:
    """Parameters that lie side by side and are moved at once: a matrix, or what any number of parameters hold.

    Attributes
    ----------
    sizes : tuple of (str, int)
        The parameters in their order, and how many numbers each has.
    start : int
        Where they begin.
    role : str
        What they do; of several roles that are moved alike, the first.
    rows : int or None
        The rows of a matrix (M, rows, B / rows); None for numbers in a row, (M, 1, B).
    outputs_first : bool
        Whether the rows of a matrix are outputs, as in torch's modules: it is then transposed.
    """

    sizes: tuple[tuple[str, int], ...]
    start: int
    role: str
    rows: int | None = None
    outputs_first: bool = False

    @property
    def size(self) -> int:
        return sum(size for _, size in self.sizes)

    def of(self, flat: Tensor) -> Tensor:
        """Return the block of a tensor (M, 1, P), as a view: (M, 1, B), or a matrix (M, in, out)."""
        part = flat if self.size == flat.shape[2] else flat.narrow(2, self.start, self.size)
        if self.rows is None:
            return part
        matrix = part.view(len(flat), self.rows, -1)
        return matrix.mT if self.outputs_first else matrix

    def parts(self, groups: ParamGroups | None) -> list[Part]:
        """Return the parts that have one rate and one decay each; neighbours of one group are one part."""
        parts, start = [], 0
        for group, own in groupby(self.sizes, lambda one: None if groups is None else groups.group_of(one[0])):
            size = sum(size for _, size in own)
            parts.append(Part(start, size, group, whole=size == self.size))
            start += size
        return parts


@dataclass(frozen=True)
class Part:
    """Numbers of a block that have one rate and one weight decay.

    Attributes
    ----------
    start, size : int
        Where they lie in the block.
    group : int or None
        Which group they are of; None: of none, whose factors are one.
    whole : bool
        Whether they are all of the block.
    """

    start: int
    size: int
    group: int | None
    whole: bool

    def of(self, tensor: Tensor) -> Tensor:
        """Return this part of a block, as a view."""
        return tensor if self.whole else tensor.narrow(2, self.start, self.size)

    def state_of(self, state: State, last: bool) -> State:
        """Return this part of a block's state; what is not a number for each parameter changes with the last part."""
        if self.whole:
            return state
        return {
            name: self.of(value) if value.shape[2] > 1 else (value if last else value.clone())
            for name, value in state.items()
        }

    def rate(self, rate: Tensor, groups: ParamGroups | None) -> Tensor:
        """Return the rate of these numbers, (1, 1, 1) or (M, 1, 1)."""
        if groups is None or self.group is None:
            return rate
        factor: Any = groups.rates[self.group]
        return rate * (factor.to(rate) if isinstance(factor, Tensor) else factor)

    def optimizer(self, optimizer: Optimizer, groups: ParamGroups | None) -> Optimizer:
        """Return the optimizer with the weight decay of these numbers."""
        if groups is None or self.group is None or not groups.changes_decay:
            return optimizer
        own: Any = optimizer
        decay, factor = own.weight_decay, groups.decays[self.group]
        if isinstance(decay, Tensor) and isinstance(factor, Tensor):
            factor = factor.to(decay)
        return optimizer.replace(weight_decay=decay * factor)


def blocks_of(network: Any, optimizer: Optimizer) -> list[Block]:
    """Return the blocks in which an optimizer moves the parameters of a built network, in the order of these."""
    blocks: list[Block] = []
    kinds: list[type[Optimizer] | None] = []  # of those that others may join
    start = 0
    for name, shape in network.shapes.items():
        role, size = network.roles[name], math.prod(shape)
        own = optimizer.for_role(role)
        if own.elementwise and kinds and kinds[-1] is type(own):
            last = blocks[-1]
            blocks[-1] = Block((*last.sizes, (name, size)), last.start, last.role)
        elif own.elementwise:
            blocks.append(Block(((name, size),), start, role))
            kinds.append(type(own))
        else:
            rows = shape[0] if len(shape) > 1 else 1
            outputs_first = len(shape) > 1 and network.parameters[name].outputs_first
            blocks.append(Block(((name, size),), start, role, rows, outputs_first))
            kinds.append(None)
        start += size
    return blocks


@dataclass(frozen=True)
class Move:
    """What is moved alike: the numbers, their optimizer, its state and their rate.

    Attributes
    ----------
    block : Block
    part : Part
    optimizer : Optimizer
    state : dict of Tensor
    rate : Tensor (1, 1, 1) or (M, 1, 1)
    """

    block: Block
    part: Part
    optimizer: Optimizer
    state: State
    rate: Tensor

    def of(self, flat: Tensor) -> Tensor:
        """Return what is moved of a tensor (M, 1, P), as a view."""
        return self.part.of(self.block.of(flat))

    @property
    def start(self) -> int:
        """Where the numbers lie among all."""
        return self.block.start + self.part.start


def moves(
    blocks: list[Block], states: list[State], optimizer: Optimizer, groups: ParamGroups | None, rate: Tensor
) -> Iterator[Move]:
    """Yield what is moved alike, in the order in which it lies in memory."""
    for block, state in zip(blocks, states, strict=True):
        own, parts = optimizer.for_role(block.role), block.parts(groups)
        for i, part in enumerate(parts, 1):
            yield Move(
                block,
                part,
                part.optimizer(own, groups),
                part.state_of(state, last=i == len(parts)),
                part.rate(rate, groups),
            )
