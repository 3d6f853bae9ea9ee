"""A network whose layers are split over several processes, by torch's `DTensor`.

Of two layers that follow one another, the first is split by its outputs and the second by its inputs: what is between
them, each process has for its own units, and only the result of the second is summed (Shoeybi et al., 2019,
"Megatron-LM: training multi-billion parameter language models using model parallelism").

Legend: M members, R rows, F features, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from skbig._utils.random import Noise
from skbig._utils.sparse import SparseRows
from skbig.distributed.activations import learn_activations
from skbig.distributed.cuts import Cut
from skbig.networks.layer import TrainingPass
from skbig.networks.network import BuiltNetwork

learn_activations()


class TensorSplit:
    """Takes the place of a network whose `parameters` are this process's parts of them.

    Attributes
    ----------
    shapes : dict of tuple of int
        Of each parameter, members axis left out, the shape of this process's part. Those that every process has whole
        come last.
    cuts : dict of Cut
    n_parted : int
        How many numbers the parameters have that are this process's alone; they come first.
    """

    def __init__(self, whole: BuiltNetwork, mesh: DeviceMesh) -> None:
        self.whole, self._mesh = whole, mesh
        self.network, self.n_features, self.n_outputs = whole.network, whole.n_features, whole.n_outputs
        self.roles = whole.roles
        self.width, self.draws_noise, self.couples_rows = whole.width, whole.draws_noise, whole.couples_rows
        self.penalized, self.n_products, self.recordable = whole.penalized, whole.n_products, whole.recordable
        rank, n_ranks = mesh.get_local_rank(), mesh.size()
        self.cuts = cuts_of(whole, n_ranks)
        parts = {name: cut.part_shape(rank, n_ranks) for name, cut in self.cuts.items()}
        parted = [name for name in whole.shapes if self.cuts[name].dim is not None]
        self.shapes = {name: parts[name] for name in [*parted, *(name for name in whole.shapes if name not in parted)]}
        self.statistics_shapes = {name: parts[name] for name in whole.statistics_shapes}
        self.n_penalized = sum(prod(parts[name]) for name in whole.penalized)
        self.n_parted = sum(prod(parts[name]) for name in parted)

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        X: Tensor | SparseRows,
        training: TrainingPass | None,
    ) -> Tensor:
        """Return the raw prediction, the same in every process: X (M, R, F) -> (M, R, K), or the same without M."""
        like = next(iter(parameters.values()))
        dense = X.dense().to(like.dtype) if isinstance(X, SparseRows) else X
        raw = self.whole.forward(
            {name: self._split(name, value) for name, value in parameters.items()},
            {name: self._split(name, value) for name, value in statistics.items()},
            self._everywhere(dense if dense.dim() == 3 else dense.unsqueeze(0)),
            None if training is None else self._parallel(training),
        )
        whole = cast(DTensor, raw).full_tensor()
        return whole if dense.dim() == 3 else whole.squeeze(0)

    def _split(self, name: str, part: Tensor) -> Tensor:
        """Return the parameter of which a tensor, (M, in, out) or (in, out), is this process's part."""
        cut = self.cuts[name]
        part = part if part.dim() == 3 else part.unsqueeze(0)
        placement = Replicate() if cut.dim is None else Shard(cut.dim + 1)
        shape = torch.Size((len(part), *cut.shape))
        stride = (cut.shape[0] * cut.shape[1], cut.shape[1], 1)
        return DTensor.from_local(part, self._mesh, [placement], run_check=False, shape=shape, stride=stride)

    def _everywhere(self, tensor: Tensor) -> DTensor:
        """Return a tensor that every process has whole as one of all processes."""
        return DTensor.from_local(tensor, self._mesh, [Replicate()], run_check=False)

    def _parallel(self, training: TrainingPass) -> TrainingPass:
        noise = None if training.noise is None else cast(Noise, _NoiseEverywhere(training.noise, self))
        return replace(training, noise=noise, share=self._everywhere(training.share))


class _NoiseEverywhere:
    """Random numbers, of which every process draws all and uses those of its units."""

    def __init__(self, noise: Noise, network: TensorSplit) -> None:
        self._noise, self._network = noise, network

    def keep(self, n_rows: int, width: int, purpose: int, share: Any, dtype: torch.dtype) -> DTensor:
        return self._network._everywhere(self._noise.keep(n_rows, width, purpose, share, dtype))


def cuts_of(whole: BuiltNetwork, n_ranks: int) -> dict[str, Cut]:
    """Decide how each parameter and statistic is cut."""
    cuts: dict[str, Cut] = {}
    shapes = whole.shapes | whole.statistics_shapes
    for layer, by_outputs, names in zip(whole.layers, _ways(whole, n_ranks), whole.layer_names, strict=True):
        dims = layer.cuts(by_outputs=by_outputs)
        assert dims is not None, "TensorParallel.check_network has refused such a layer"
        for own in names:
            cuts |= {full: Cut(cast(tuple[int, int], shapes[full]), dims[name]) for name, full in own.items()}
    return cuts


def _ways(whole: BuiltNetwork, n_ranks: int) -> list[bool]:
    """Decide for each layer whether it is split by outputs: where there are enough and the one before it is not."""
    ways: list[bool] = []
    for layer in whole.layers[:-1]:
        after_outputs = bool(ways) and ways[-1]
        ways.append(not after_outputs and layer.n_units >= n_ranks)
    return [*ways, False]
