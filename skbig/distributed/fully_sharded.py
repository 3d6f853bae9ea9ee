"""A network of which each of several processes holds a part of every parameter, by torch's `fully_shard`.

Legend: M members, R rows, K raw outputs, L lengths of a process's part of a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from skbig._utils.sparse import SparseRows
from skbig.distributed.cuts import Cut
from skbig.networks.layer import TrainingPass
from skbig.networks.network import BuiltNetwork


class FullySharded:
    """Takes the place of a network whose `parameters` are lines of numbers, cut into one part per process.

    The forward pass puts the parameters of one layer after another together, and lets go of them again; so does the
    backward pass, which leaves to each process the gradient of its own part. All processes must take part in each.

    Attributes
    ----------
    shapes : dict of tuple of int
        Of each parameter, members axis left out, the shape of this process's part: ``(L, 1)``.
    cuts : dict of Cut

    Notes
    -----
    On a CPU, torch 2.6 takes a layer that the backward pass puts together a second time for one that was changed since
    the forward pass. There, a layer stays whole from the one to the other. And gradients of float32 are summed where
    `fully_shard` asks for their mean.
    """

    def __init__(
        self, whole: BuiltNetwork, mesh: DeviceMesh, n_members: int, dtype: torch.dtype, *, bf16: bool = False
    ) -> None:
        self.whole, self._bf16 = whole, bf16
        self.network, self.n_features, self.n_outputs = whole.network, whole.n_features, whole.n_outputs
        self.roles = whole.roles
        self.width, self.statistics_shapes, self.penalized = whole.width, whole.statistics_shapes, whole.penalized
        self.draws_noise, self.couples_rows = whole.draws_noise, whole.couples_rows
        self.n_products, self.recordable = whole.n_products, whole.recordable
        rank, n_ranks = mesh.get_local_rank(), mesh.size()
        self.cuts = {name: Cut((prod(shape), 1), 0) for name, shape in whole.shapes.items()}
        self.cuts |= {name: Cut((prod(shape), 1), None) for name, shape in whole.statistics_shapes.items()}
        self.shapes = {name: self.cuts[name].part_shape(rank, n_ranks) for name in whole.shapes}
        self.n_penalized = sum(self.shapes[name][0] for name in whole.penalized)
        self.n_parted = sum(length for length, _ in self.shapes.values())
        self._model = _Model(whole, n_members, dtype)
        self._n_ranks, self._dtype = n_ranks, dtype
        self._lets_go = mesh.device_type != "cpu" or cast(Any, torch.__version__) >= (2, 7)
        if not self._lets_go:
            _complete_cpu_streams()
        for layer in self._model.layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=self._lets_go)
        fully_shard(self._model, mesh=mesh)
        self._model.to_empty(device=mesh.device_type)
        self._sharded: dict[str, Any] = {
            _Layer.full_name(name): parameter
            for layer in self._model.layers
            for name, parameter in layer.named_parameters()
        }

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        X: Tensor | SparseRows,
        training: TrainingPass | None,
    ) -> Tensor:
        """Return the raw prediction: X (M, R, F) -> (M, R, K), or the same without M."""
        with torch.no_grad():
            for name, part in parameters.items():
                self._own(self._sharded[name]).copy_(part.squeeze(-1))
        if not self._lets_go:
            self._let_go()
        halves = self._bf16 and training is not None
        given = X.bfloat16() if halves and isinstance(X, Tensor) else X
        raw: Tensor = self._model(partial(_through, X=given, statistics=statistics, training=training, halves=halves))
        return raw if isinstance(X, SparseRows) and not halves else raw.to(X.dtype)

    def take_gradients(self) -> list[Tensor]:
        """Return the mean gradients that a backward pass has left, (L,) or (M, L), in the order of `shapes`."""
        gradients = []
        n_summed = self._n_ranks if self._dtype == torch.float32 and not self._lets_go else 1
        for name in self.shapes:
            parameter = self._sharded[name]
            own = self._own(parameter) if parameter.grad is None else self._own(parameter.grad)
            own = torch.zeros_like(own) if parameter.grad is None else own
            gradients.append(own if n_summed == 1 else own / n_summed)
            parameter.grad = None
        return gradients

    def _let_go(self) -> None:
        """Have the layers put together of the parts that are there now, not kept from a pass without gradients."""
        for layer in self._model.layers:
            cast(FSDPModule, layer).reshard()

    @staticmethod
    def _own(sharded: Any) -> Tensor:
        """Return this process's part, (L,) for one member, else (M, L)."""
        local: Tensor = sharded.to_local()
        return local if local.dim() == 1 else local.t()


def _complete_cpu_streams() -> None:
    """Give torch 2.6's streams of the CPU, which do nothing, the two methods that `fully_shard` calls and 2.7 has."""
    stream: Any = torch.cpu.Stream
    if not hasattr(stream, "record_event"):
        stream.record_event = lambda self: None
        stream.wait_event = lambda self, event: None


class _Layer(nn.Module):
    """One layer's parameters, (numbers,) or (numbers, M): cut along the first dim, the parts may differ by a number."""

    def __init__(self, whole: BuiltNetwork, i: int, n_members: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._whole, self._i, self._n_members = whole, i, n_members
        members = (n_members,) if n_members > 1 else ()
        for name in whole.layer_names[i][0].values():
            numbers = torch.empty(prod(whole.shapes[name]), *members, dtype=dtype, device="meta")
            self.register_parameter(name.replace(".", "/"), nn.Parameter(numbers))

    @staticmethod
    def full_name(name: str) -> str:
        """Return the network's name of a parameter; a module takes none with a point in it."""
        return name.replace("/", ".")

    def forward(
        self, X: Tensor | SparseRows, statistics: Mapping[str, Tensor], training: TrainingPass | None, halves: bool
    ) -> Tensor:
        named = {self.full_name(name): value for name, value in self.named_parameters()}
        parameters = {name: self._shaped(name, value) for name, value in named.items()}
        if halves:
            parameters = {name: value.bfloat16() for name, value in parameters.items()}
        Z = self._whole.layer(self._i, X, parameters, statistics, training)
        return Z.clone() if Z._is_view() else Z  # torch warns of views: its hooks would not see them change in place

    def _shaped(self, name: str, numbers: Tensor) -> Tensor:
        shape = self._whole.shapes[name]
        return numbers.view(shape) if numbers.dim() == 1 else numbers.t().reshape(self._n_members, *shape)


class _Model(nn.Module):
    """The layers, and whatever is to be done with them: it must be done within `forward`, where torch's hooks are."""

    def __init__(self, whole: BuiltNetwork, n_members: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(whole, i, n_members, dtype) for i in range(len(whole.layers)))

    def forward(self, function: Callable[[nn.ModuleList], Tensor]) -> Tensor:
        return function(self.layers)


def _through(
    layers: nn.ModuleList,
    X: Any,
    statistics: Mapping[str, Tensor],
    training: TrainingPass | None,
    halves: bool,
) -> Tensor:
    for layer in layers:
        X = layer(X, statistics, training, halves)
    assert isinstance(X, Tensor)
    return X
