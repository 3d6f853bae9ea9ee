"""A training of which several processes hold a part each: how it is cut, and put together again.

The caller's training stays whole, in the memory of the host. Each process trains a part of it, on its device, and what
is asked of the whole is brought up to date when it is asked for.

Legend: M members, P parameters of a member, S running moments of a member.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, cast

import numpy as np
import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh

from skbig.data.rows import Rows
from skbig.data.streamed_rows import StreamedRows
from skbig.distributed.cuts import Cut
from skbig.distributed.fully_sharded import FullySharded
from skbig.distributed.rank_processes import RankProcesses
from skbig.distributed.ranks import Ranks
from skbig.distributed.sharded_reductions import ShardedReductions
from skbig.distributed.tensor_parallel import TensorSplit
from skbig.engine.members import Members
from skbig.engine.state_dict import load_state_dict, state_dict
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import EpochReport, Training
from skbig.networks.network import BuiltNetwork


class ShardedTraining:
    """A rank's part of a training.

    Parameters
    ----------
    whole : Training
        In the memory of the host.
    ranks : Ranks

    Attributes
    ----------
    part : Training
        What this rank trains, on its device.
    """

    def __init__(self, whole: Training, ranks: Ranks) -> None:
        self._whole, self._ranks = whole, ranks
        self._network = _network(whole, ranks)
        self._orders = _orders(whole, self._network)
        self.part = self._part()
        whole.members.let_go()

    def count(self, report: EpochReport) -> None:
        """Be an observer: the whole training always knows how far it is."""
        del report
        whole, part = self._whole.members, self.part.members
        whole.steps, whole.epochs, whole.rows = part.steps, part.epochs, part.rows

    def bring_up_to_date(self, everywhere: bool = False) -> None:
        """Put into the whole training of rank 0, or of all, what its parts have come to; all ranks take part."""
        arrays, facts = state_dict(self.part)
        wanted = everywhere or self._ranks.is_first
        wholes = {}
        for name in sorted(arrays):
            whole = self._join(name, arrays[name], wanted)
            if whole is not None:
                wholes[name] = whole
        if wanted:
            self._whole.members.take_up(torch.device("cpu"))
            load_state_dict(self._whole, wholes, facts | {"elapsed": self._whole.elapsed})

    def _part(self) -> Training:
        whole, ranks = self._whole, self._ranks
        members = self._members()
        bf16 = whole.recipe.bf16 and isinstance(self._network, TensorSplit)
        recipe = replace(whole.recipe, network=members.network, bf16=bf16)
        assert isinstance(whole.rows, Rows | StreamedRows)
        part = Training(
            members=members,
            rows=whole.rows.to(ranks.device),
            recipe=recipe,
            tracker=StoppingTracker(members, recipe),
            history=whole.history,
            validation=whole.validation,
            first_epoch=whole.first_epoch,
            processes=RankProcesses(ranks),
        )
        arrays, facts = state_dict(whole)
        load_state_dict(part, {name: self._cut(name, array) for name, array in arrays.items()}, facts)
        return part

    def _members(self) -> Members:
        """Return members of the right shapes, whose numbers are yet to come."""
        old, network = self._whole.members, self._network
        like: dict[str, Any] = {"dtype": old.flat.dtype, "device": self._ranks.device}
        axis = () if old.n_members == 1 else (old.n_members,)
        statistics = {name: torch.zeros(*axis, *shape, **like) for name, shape in network.statistics_shapes.items()}
        n_numbers = sum(map(prod, network.shapes.values()))
        flat = torch.zeros(old.n_members, 1, n_numbers, **like)
        reductions = ShardedReductions(self._ranks.add_up, network.n_parted)
        members = Members(cast(BuiltNetwork, network), list(old.seeds), flat, statistics, reductions)
        recipe = self._whole.recipe
        members.start(recipe.optimizer, recipe.average, anchored=recipe.anchored)
        return members

    # The arrays of a state_dict: cut, and put together.

    def _cut(self, name: str, array: np.ndarray) -> np.ndarray:
        """Return this rank's part of an array, (M, 1, numbers)."""
        if name not in self._orders:
            return array
        (whole, part), cuts, ranks = self._orders[name], self._network.cuts, self._ranks
        pieces = _apart(array, {name: cuts[name].shape for name in whole})
        return np.concatenate([cuts[name].part(pieces[name], ranks.rank, ranks.n_ranks) for name in part], 2)

    def _join(self, name: str, array: np.ndarray, wanted: bool) -> np.ndarray | None:
        """Return the whole of which an array is this rank's part, (M, 1, numbers), where it is wanted."""
        if name not in self._orders:
            return array
        (whole, part), cuts, ranks = self._orders[name], self._network.cuts, self._ranks
        own = _apart(array, {name: cuts[name].part_shape(ranks.rank, ranks.n_ranks) for name in part})
        wholes = {name: self._gathered(cuts[name], piece, wanted) for name, piece in own.items()}
        return np.concatenate([wholes[name] for name in whole], 2) if wanted else None

    def _gathered(self, cut: Cut, own: np.ndarray, wanted: bool) -> np.ndarray:
        """Put together one parameter, of which each rank has a part of its own length."""
        ranks, n_ranks = self._ranks, self._ranks.n_ranks
        sizes = [prod(cut.part_shape(rank, n_ranks)) for rank in range(n_ranks)]
        padded = torch.zeros(len(own), 1, max(sizes), dtype=torch.from_numpy(own).dtype, device=ranks.device)
        padded[:, :, : own.shape[2]] = torch.from_numpy(own)
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        ranks.beat()
        if not wanted:
            return own
        return cut.whole([part[:, :, :size].cpu().numpy() for part, size in zip(parts, sizes, strict=True)])


def _network(whole: Training, ranks: Ranks) -> FullySharded | TensorSplit:
    """Return the network whose parameters are this rank's parts."""
    group = distributed.group.WORLD
    assert group is not None
    mesh = DeviceMesh.from_group(group, ranks.device.type)
    members = whole.members
    if not ranks.shares_rows:
        return TensorSplit(members.network, mesh)
    bf16 = whole.recipe.bf16  # it rounds the parameters itself, of one layer after another
    return FullySharded(members.network, mesh, members.n_members, members.flat.dtype, bf16=bf16)


Orders = dict[str, tuple[list[str], list[str]]]


def _orders(whole: Training, network: FullySharded | TensorSplit) -> Orders:
    """Return of which parameters and moments each array of a state dict is made: in the whole, and in a part of it."""
    members, moments = whole.members, list(network.statistics_shapes)
    flat = (list(members.network.shapes), list(network.shapes))
    orders: Orders = {"members/anchor": flat}
    for own in ("members", "members/averaged"):
        orders |= {f"{own}/{name}": ([name], [name]) for name in moments} | {f"{own}/flat": flat}
    for i, state in enumerate(members.state):
        alike = [name for name, tensor in state.items() if tensor.shape == members.flat.shape]
        orders |= {f"members/state/{i}/{name}": flat for name in alike}
    everything = ([*flat[0], *moments], [*flat[1], *moments])
    return orders | {"stopping/best": everything, "stopping/latest": everything}


def _apart(array: np.ndarray, shapes: Mapping[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """Take an array apart into pieces of given shapes, (M, 1, numbers) each."""
    sizes = [prod(shape) for shape in shapes.values()]
    laid = array.reshape(-1, 1, sum(sizes))
    return dict(zip(shapes, np.split(laid, np.cumsum(sizes)[:-1], 2), strict=True))
