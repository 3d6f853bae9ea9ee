"""Where we are: everything that changes while training, for all members at once.

Legend: M members, P parameters of one member, W weights among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.threads import on_one_thread
from skbig.components.averages import Average
from skbig.components.optimizers.base import Optimizer
from skbig.components.param_groups import ParamGroups
from skbig.engine.blocks import Block, Move, blocks_of, moves
from skbig.engine.reductions import WHOLE, Reductions
from skbig.networks.network import BuiltNetwork


class Members:
    """Parameters, running moments and optimizer state of M members.

    The parameters of a member lie one after another in a row of `flat`, so that an elementwise optimizer updates
    them all with a handful of operations; `parameters` are views of it.

    Attributes
    ----------
    network : BuiltNetwork
    seeds : list of int
        One per member; every random number of a member is a function of its seed.
    flat : Tensor (M, 1, P)
    parameters : dict of Tensor (M, *shape), or of its shape for one member
    statistics : dict of Tensor of the same form
        Running moments of a batch norm.
    blocks : list of Block
        Which parameters the optimizer moves at once.
    state : list of dict of Tensor
        The optimizer's, one dict for each of the blocks.
    steps, epochs, rows : int
        Updates done, whole epochs done, rows seen, since the members were made; rows may be an array (M,).
    rate_scale : ndarray (M,)
        What a plateau has made of the base rate.
    anchor : Tensor (M, 1, P) or None
        The parameters with which the training began, where they are held near them.
    averaged : Members or None
        Parameters and running moments averaged over the steps, where they are.
    reductions : Reductions
        What is asked of all parameters at once.
    beginning : callable or None
        Gives the tensors that a step changes as they are before the first step, where they are kept elsewhere.
    """

    def __init__(
        self,
        network: BuiltNetwork,
        seeds: list[int],
        flat: Tensor,
        statistics: dict[str, Tensor],
        reductions: Reductions = WHOLE,
    ) -> None:
        self.network = network
        self.reductions = reductions
        self.seeds = seeds
        self.flat = flat
        self.statistics = statistics
        self.parameters = _views(flat, network.shapes)
        self.blocks: list[Block] = []
        self.state: list[dict[str, Tensor]] = []
        self.line_search: list[dict[str, Any]] = [{} for _ in seeds]
        self.averaged: Members | None = None
        self.steps = self.epochs = 0
        self.rows: Any = 0
        self.rate_scale = np.ones(len(seeds))
        self.anchor: Tensor | None = None
        self.beginning: Callable[[], list[Tensor]] | None = None

    @property
    def n_members(self) -> int:
        return len(self.seeds)

    def tensors(self, elementwise: bool, flat: Tensor | None = None) -> list[Tensor]:
        """The parameters (or another tensor laid out as `flat`) as one tensor, or as one matrix (M, n, k) for each."""
        flat = self.flat if flat is None else flat
        return [flat] if elementwise else _matrices(flat, self.network.shapes)

    def weight_tensors(self, elementwise: bool, flat: Tensor | None = None) -> list[Tensor]:
        """The penalized part of `tensors`: one tensor (M, 1, W), or one matrix (M, n, k) for each parameter."""
        if not elementwise:
            return self.tensors(False, flat)[: len(self.network.penalized)]
        return [(self.flat if flat is None else flat).narrow(2, 0, self.network.n_penalized)]

    def rounded(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the parameters in another dtype, rounded all at once."""
        return _views(self.flat.to(dtype), self.network.shapes)

    def start(
        self,
        optimizer: Optimizer,
        average: Average | None = None,
        *,
        anchored: bool = False,
        state: list[dict[str, Tensor]] | None = None,
    ) -> None:
        """Give the optimizer its first state, or one to go on with; an average begins with the weights at hand.

        Where training begins is remembered if the members are `anchored`.
        """
        if average is not None:
            statistics = {name: value.clone() for name, value in self.statistics.items()}
            self.averaged = Members(self.network, self.seeds, self.flat.clone(), statistics, self.reductions)
        if not optimizer.full_batch:
            self.blocks = blocks_of(self.network, optimizer)
            self.state = first_state(optimizer, self.blocks, self.flat) if state is None else state
        self.anchor = self.flat.clone() if anchored else None

    def moves(self, optimizer: Optimizer, groups: ParamGroups | None, rate: Tensor) -> Iterator[Move]:
        """Yield what an update moves alike."""
        return moves(self.blocks, self.state, optimizer, groups, rate)

    @property
    def shown(self) -> Members:
        """What is scored, and predicts: the averaged members, where there are such."""
        if self.averaged is None:
            return self
        averaged = self.averaged
        averaged.steps, averaged.epochs, averaged.rows = self.steps, self.epochs, self.rows
        return averaged

    def move_average(self, share: Tensor) -> None:
        """Let the averaged weights follow: `share` is (1, 1, 1), or (M, 1, 1)."""
        assert self.averaged is not None
        self.averaged.flat.lerp_(self.flat, share)
        for name, mean in self.averaged.statistics.items():
            value = self.statistics[name]
            if value.is_floating_point():
                own_axes = value.dim() if self.n_members == 1 else value.dim() - 1
                one = share.view(()) if share.numel() == 1 else share.view(-1, *[1] * own_axes)
                mean.lerp_(value, one.to(mean))
            else:
                mean.copy_(value)

    def let_go(self) -> None:
        """Free the memory of everything that a step changes, until `take_up`."""
        if self.averaged is not None:
            self.averaged.let_go()
        for tensors in (self.statistics, *self.state):
            tensors.update({name: _shadow(tensor) for name, tensor in tensors.items()})
        self.flat = _shadow(self.flat)
        self.anchor = None if self.anchor is None else _shadow(self.anchor)
        self.parameters = _views(self.flat, self.network.shapes)

    def take_up(self, device: torch.device) -> None:
        """Have memory again, with no numbers in it yet."""
        if self.averaged is not None:
            self.averaged.take_up(device)
        if not self.flat.is_meta:
            return
        for tensors in (self.statistics, *self.state):
            tensors.update({name: torch.empty_like(tensor, device=device) for name, tensor in tensors.items()})
        self.flat = torch.empty_like(self.flat, device=device)
        self.anchor = None if self.anchor is None else torch.empty_like(self.anchor, device=device)
        self.parameters = _views(self.flat, self.network.shapes)

    def changing(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        states = [tensor for state in self.state for tensor in state.values()]
        averaged = [] if self.averaged is None else self.averaged.changing()
        return [self.flat, *self.statistics.values(), *states, *averaged]

    def held(self) -> list[Tensor]:
        """Every tensor that a step may read: what it changes, and what stays as it was."""
        return [*self.changing(), *([] if self.anchor is None else [self.anchor])]

    def all_finite(self) -> bool:
        """Whether all parameters of all members are finite."""
        return bool(on_one_thread(self.reductions.all_finite, self.flat))

    def norm(self, gradient: Tensor) -> Tensor:
        """Return the 2-norm of each member's gradient (M, 1, P): (M, 1, 1)."""
        return self.reductions.norm(gradient)

    def finite(self) -> np.ndarray:
        """Which members have finite parameters, (M,) of bool."""
        return np.asarray(torch.isfinite(self.flat).all(-1).view(-1).cpu().numpy())

    def copy(self) -> Iterable[Tensor]:
        """Remember every tensor that a step changes; those of the beginning are copied only when they are asked for."""
        beginning, self.beginning = self.beginning, None
        if beginning is not None:
            return _Later(beginning)
        return on_one_thread(list, map(torch.clone, self.changing()))

    def restore(self, copy: Iterable[Tensor]) -> None:
        """Go back to a `copy`, in place: recorded programs hold these very tensors.

        After a second Ctrl-C, too: what is half of a step must not be kept as what has been learnt so far.
        """
        try:
            self._restore(copy)
        except KeyboardInterrupt:
            self._restore(copy)
            raise

    def _restore(self, copy: Iterable[Tensor]) -> None:
        for tensor, old in zip(self.changing(), copy, strict=True):
            tensor.copy_(old)

    def arrays(self, *, shared: bool = False) -> dict[str, np.ndarray]:
        """Return parameters and running statistics as NumPy arrays (M, *shape).

        They are copies, unless the members are not trained any more, and their memory may be `shared`.
        """
        shapes = self.network.shapes | self.network.statistics_shapes
        named = self.parameters | self.statistics
        views = {name: value.view(self.n_members, *shapes[name]) for name, value in named.items()}
        return {name: to_array(value, shared=shared) for name, value in views.items()}


@dataclass(frozen=True)
class _Later:
    """Tensors that are made whenever one goes through them."""

    make: Callable[[], list[Tensor]]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.make())


def make_members(
    network: BuiltNetwork, seeds: list[int], arrays: Mapping[str, np.ndarray], device: torch.device, dtype: torch.dtype
) -> Members:
    """Put named arrays (M, *shape) of parameters and running statistics on a device; the arrays are copied."""
    n_members = len(seeds)
    rows = [np.asarray(arrays[name]).reshape(n_members, 1, -1) for name in network.shapes]
    numbers = np.float32 if dtype == torch.float32 else np.float64  # rounded while they are copied
    flat = torch.from_numpy(np.concatenate(rows, axis=2, dtype=numbers, casting="same_kind")).to(device, dtype)
    statistics = {name: placed(arrays[name], device, dtype) for name in network.statistics_shapes}
    if n_members == 1:
        statistics = {name: value.squeeze(0) for name, value in statistics.items()}
    return Members(network, list(seeds), flat, statistics)


def placed(array: np.ndarray, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Put a copy of numbers on a device: real ones in a dtype, whole ones and booleans in their own."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


def first_state(optimizer: Optimizer, blocks: Iterable[Block], flat: Tensor) -> list[dict[str, Tensor]]:
    """Return what an optimizer begins with for the blocks of parameters that lie as `flat` does."""
    return [optimizer.for_role(block.role).init(block.of(flat)) for block in blocks]


def _views(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Cut a tensor (M, 1, P) into views (M, *shape); without the members axis when it is one."""
    parts = flat.split_with_sizes([math.prod(shape) for shape in shapes.values()], 2)
    if flat.shape[0] == 1:
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
    return {
        name: _unflattened(part.squeeze(1), shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def _unflattened(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    return part.unflatten(1, shape) if shape else part.squeeze(1)


def _matrices(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> list[Tensor]:
    """Cut a tensor (M, 1, P) into matrices (M, n, k): all dims but the first of a parameter are one."""
    views = _views(flat, shapes)
    rows = {name: shape[0] if len(shape) > 1 else 1 for name, shape in shapes.items()}
    return [view.view(flat.shape[0], rows[name], -1) for name, view in views.items()]


def _shadow(tensor: Tensor) -> Tensor:
    """Return a tensor with the same form, and no numbers."""
    return torch.empty_like(tensor, device="meta")


def to_array(tensor: Tensor, *, shared: bool = False) -> np.ndarray:
    """Return a tensor as an array of its own, or, where it may be `shared` and lies in a line, in its memory."""
    array = tensor.detach().cpu().numpy()
    return array if shared and array.flags.c_contiguous else np.array(array)
