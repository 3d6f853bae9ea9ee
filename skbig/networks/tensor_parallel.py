"""A network whose layers are split over several processes, by torch's `DTensor`.

Of two layers that follow one another, the first is split by its outputs and the second by its inputs: what is between
them, each process has for its own units, and only the result of the second is summed (Shoeybi et al., 2019,
"Megatron-LM: training multi-billion parameter language models using model parallelism").

Legend: M members, R rows, F features, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from skbig._utils.random import Noise
from skbig._utils.sparse import SparseRows
from skbig.networks.cuts import Cut
from skbig.networks.mlp import MLP, Training

BY_INPUTS, BY_OUTPUTS = 0, 1


class TensorSplit:
    """Takes the place of an `MLP` whose `parameters` are this process's parts of them.

    Attributes
    ----------
    shapes : dict of tuple of int
        Of each parameter, members axis left out, the shape of this process's part. Those that every process has whole
        come last.
    cuts : dict of Cut
    n_parted : int
        How many numbers the parameters have that are this process's alone; they come first.
    """

    def __init__(self, mlp: MLP, mesh: DeviceMesh) -> None:
        self.mlp, self._mesh = mlp, mesh
        self.n_features, self.hidden, self.n_outputs = mlp.n_features, mlp.hidden, mlp.n_outputs
        self.drops, self.layers = mlp.drops, mlp.layers
        rank, n_ranks = mesh.get_local_rank(), mesh.size()
        self.cuts = _cuts(mlp, n_ranks)
        parts = {name: self.cuts[name].part_shape(rank, n_ranks) for name in mlp.shapes | mlp.statistics_shapes}
        parted = [name for name in mlp.shapes if self.cuts[name].dim is not None]
        self.shapes = {name: parts[name] for name in [*parted, *(name for name in mlp.shapes if name not in parted)]}
        self.statistics_shapes = {name: parts[name] for name in mlp.statistics_shapes}
        self.n_weights = sum(_size(parts[f"weight{i}"]) for i in range(len(mlp.layers)))
        self.n_parted = sum(_size(parts[name]) for name in parted)

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        X: Tensor | SparseRows,
        training: Training | None,
    ) -> Tensor:
        """Return the raw prediction, the same in every process: X (M, R, F) -> (M, R, K), or the same without M."""
        dense = X.dense() if isinstance(X, SparseRows) else X
        raw = self.mlp.forward(
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

    def _parallel(self, training: Training) -> Training:
        noise = None if training.noise is None else cast(Noise, _NoiseEverywhere(training.noise, self))
        return replace(training, noise=noise, share=self._everywhere(training.share))


class _NoiseEverywhere:
    """Random numbers, of which every process draws all and uses those of its units."""

    def __init__(self, noise: Noise, network: TensorSplit) -> None:
        self._noise, self._network = noise, network

    def keep(self, n_rows: int, width: int, purpose: int, share: Any, dtype: torch.dtype) -> DTensor:
        return self._network._everywhere(self._noise.keep(n_rows, width, purpose, share, dtype))


def _cuts(mlp: MLP, n_ranks: int) -> dict[str, Cut]:
    """Decide for each layer how it is split: by outputs, where there are enough and the one before it is not."""
    cuts, ways = {}, _ways(mlp, n_ranks)
    for name, shape in (mlp.shapes | mlp.statistics_shapes).items():
        kind = name.rstrip("0123456789")
        way = ways[int(name.removeprefix(kind))]
        whole = way == BY_INPUTS and kind != "weight"  # what is added to, or done with, a sum
        cuts[name] = Cut(shape, None if whole else way)
    return cuts


def _ways(mlp: MLP, n_ranks: int) -> list[int]:
    ways: list[int] = []
    for width in mlp.hidden:
        before = ways[-1] if ways else BY_INPUTS
        ways.append(BY_OUTPUTS if before == BY_INPUTS and width >= n_ranks else BY_INPUTS)
    return [*ways, BY_INPUTS]


def _size(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1]
