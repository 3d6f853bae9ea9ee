"""The laws of networks.

Legend: M members, two here; R rows, nine here; F features, four; K raw outputs, two.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from skbig._utils.random import Noise, step_keys
from skbig._utils.sparse import SparseRows, rows_of_members
from skbig.networks.layer import TrainingPass, itself
from skbig.networks.network import BuiltNetwork, Network
from skbig.testing.laws import Blindfold, check_gradient, check_members, expect, same

N_ROWS, N_FEATURES, N_OUTPUTS = 9, 4, 2
SEEDS: tuple[int, ...] = (5, 6)


def check_network(network: Network) -> None:
    """Check shapes, that rows and members stay apart, the gradient, and that parts of a batch make the whole."""
    built = network.of_shape(N_FEATURES, N_OUTPUTS)
    _check_shapes(network, built)
    check_members(network, _outcome, "training pass", 1e-7, 1e-3)
    _check_gradient(network, built)
    _check_bounds(network, built)
    if not built.couples_rows:
        _check_rows_stay_apart(network, built)
    _check_parts(network, built)
    if built.layers and built.layers[0].reads_sparse:
        _check_sparse_rows(network, built)


def _check_shapes(network: Network, built: BuiltNetwork) -> None:
    first, again = built.initial(SEEDS), built.initial(SEEDS)
    shapes = {name: (len(SEEDS), *shape) for name, shape in built.shapes.items()}
    declared = {name: value.shape for name, value in first.items()} == shapes
    expect(declared, network, "must draw first parameters of the declared shapes.")
    repeated = all(np.array_equal(value, again[name]) for name, value in first.items())
    expect(repeated, network, "must draw the same first parameters for the same seed.")
    with Blindfold(network, "forward"), torch.no_grad():
        parameters, statistics = _begin(built, SEEDS)
        raw = built.forward(parameters, statistics, _rows(), _training(SEEDS))
    legal = raw.shape == (len(SEEDS), N_ROWS, N_OUTPUTS) and bool(raw.isfinite().all())
    expect(legal, network, "must give finite raw predictions of shape [M, R, K].")
    one = {name: value[:1].squeeze(0) for name, value in parameters.items()}
    moments = {name: value[:1].squeeze(0) for name, value in statistics.items()}
    alone = built.forward(one, moments, _rows()[0], None)
    together = built.forward(parameters, statistics, _rows(), None)
    expect(same(alone, together[0]), network, "must read parameters without a members axis as one member's.")


def _outcome(network: Network, own: slice, dtype: torch.dtype) -> Tensor:
    """Return of some members what a training pass comes to: predictions, statistics, gradients; [members, ...]."""
    built, seeds = network.of_shape(N_FEATURES, N_OUTPUTS), SEEDS[own]
    parameters, statistics = _begin(built, seeds, dtype)
    raw, gradients = _trained(built, parameters, statistics, _rows(dtype)[own], _training(seeds, dtype))
    pieces = (raw, *statistics.values(), *gradients)
    return torch.cat([piece.reshape(len(seeds), -1) for piece in pieces], 1)


def _check_gradient(network: Network, built: BuiltNetwork) -> None:
    """The gradient with respect to every parameter is that of finite differences."""
    parameters, statistics = _begin(built, SEEDS)
    _, gradients = _trained(built, parameters, _copy(statistics), _rows(), _training(SEEDS))
    for name, gradient in zip(parameters, gradients, strict=True):

        def value(point: Tensor, name: str = name) -> Tensor:
            moved = {**parameters, name: point}
            return built.forward(moved, _copy(statistics), _rows(), _training(SEEDS)).square()

        check_gradient(network, value, parameters[name], gradient)


def _check_bounds(network: Network, built: BuiltNetwork) -> None:
    """No layer computes a larger number than it says, whatever the size of the parameters."""
    for size in (1e-3, 1.0, 1e3):
        parameters, statistics = _begin(built, SEEDS)
        parameters = {name: size * value for name, value in parameters.items()}
        largest, X = max(float(value.abs().max()) for value in parameters.values()), _rows()
        for i, layer in enumerate(built.layers):
            bound, X = layer.bound(float(X.abs().max()), largest), built.layer(i, X, parameters, statistics, None)
            law = "must compute no larger number than the `bound` of a layer says."
            expect(not bool((X.abs() > bound).any()), network, law)


def _check_rows_stay_apart(network: Network, built: BuiltNetwork) -> None:
    """Some of the rows get what they get among all: so a row of weight two is the row twice."""
    parameters, statistics = _begin(built, SEEDS)
    whole = built.forward(parameters, statistics, _rows(), _training(SEEDS))
    some = built.forward(parameters, statistics, _rows()[:, 3:], _training(SEEDS, first_row=3))
    law = "must leave rows apart, or say by `couples_rows` of a layer that it does not."
    expect(same(some, whole[:, 3:]), network, law)


def _check_parts(network: Network, built: BuiltNetwork) -> None:
    """Two processes, each with some rows of a batch, come to what one comes to with all of them."""
    parameters, statistics = _begin(built, SEEDS)
    raw, gradients = _trained(built, parameters, whole := _copy(statistics), _rows(), _training(SEEDS))
    ranks, cut = _TwoRanks(), 4
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    moments = [_copy(statistics), _copy(statistics)]

    def part(rank: int, rows: slice) -> Tensor:
        training = _training(SEEDS, first_row=rows.start, total=ranks.total(rank))
        training = TrainingPass(training.noise, training.share[:, rows], total=training.total)
        return built.forward(leaves, moments[rank], _rows()[:, rows], training)

    with ThreadPoolExecutor(2) as pool:
        halves = [pool.submit(part, 0, slice(0, cut)), pool.submit(part, 1, slice(cut, N_ROWS))]
        joined = torch.cat([half.result() for half in halves], 1)
    summed = torch.autograd.grad(joined.square().sum(), list(leaves.values()), allow_unused=True)
    alike = same(joined.detach(), raw) and all(map(same, map(_known, summed, gradients), gradients))
    alike &= all(same(value, whole[name]) for each in moments for name, value in each.items())
    law = "must come to the same when the rows of a batch are spread over two processes: sum by `training.total`."
    expect(alike, network, law)


def _check_sparse_rows(network: Network, built: BuiltNetwork) -> None:
    """Of sparse rows comes what comes of the same rows written out."""
    X = _rows().where(_rows() < 0.6, 0.0)
    sparse = rows_of_members(csr_array(X.flatten(0, 1).numpy()), len(SEEDS), X.device)
    parameters, statistics = _begin(built, SEEDS)
    of_dense, of_sparse = _copy(statistics), _copy(statistics)
    expected, slopes = _trained(built, parameters, of_dense, X, _training(SEEDS))
    raw, gradients = _trained(built, parameters, of_sparse, sparse, _training(SEEDS))
    alike = same(raw, expected) and all(map(same, gradients, slopes))
    alike &= all(same(value, of_dense[name]) for name, value in of_sparse.items())
    law = "must make of sparse rows what it makes of dense ones, or not say of its first layer that it `reads_sparse`."
    expect(alike, network, law)


class _TwoRanks:
    """Two threads that sum tensors as two processes would, through which gradients flow back into both."""

    def __init__(self) -> None:
        self._given: list[Any] = [None, None]
        self._barrier = threading.Barrier(2, timeout=60)

    def total(self, rank: int) -> Any:
        def total(tensor: Tensor) -> Tensor:
            self._given[rank] = tensor
            self._barrier.wait()
            summed: Tensor = self._given[0] + self._given[1]
            self._barrier.wait()
            return summed

        return total


def _begin(
    built: BuiltNetwork, seeds: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return parameters and statistics, moved a little from where they begin: zeros hide much."""
    generator = torch.Generator().manual_seed(1)
    both = []
    for arrays in (built.initial(SEEDS), built.initial_statistics(len(SEEDS))):
        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        moved = {name: v + 0.1 * torch.rand(v.shape, generator=generator, dtype=v.dtype) for name, v in tensors.items()}
        own = slice(SEEDS.index(seeds[0]), SEEDS.index(seeds[0]) + len(seeds))
        both.append({name: value[own].to(dtype) for name, value in moved.items()})
    return both[0], both[1]


def _trained(
    built: BuiltNetwork,
    parameters: Mapping[str, Tensor],
    statistics: dict[str, Tensor],
    X: Tensor | SparseRows,
    training: TrainingPass,
) -> tuple[Tensor, list[Tensor]]:
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    raw = built.forward(leaves, statistics, X, training)
    gradients = torch.autograd.grad(raw.square().sum(), list(leaves.values()), allow_unused=True)
    return raw.detach(), [_known(g, leaf) for g, leaf in zip(gradients, leaves.values(), strict=True)]


def _known(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def _rows(dtype: torch.dtype = torch.float64) -> Tensor:
    shape, generator = (len(SEEDS), N_ROWS, N_FEATURES), torch.Generator().manual_seed(2)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def _training(
    seeds: tuple[int, ...], dtype: torch.dtype = torch.float64, first_row: int = 0, total: Any = itself
) -> TrainingPass:
    keys = torch.from_numpy(step_keys(seeds, 0, 1)[0])
    share = torch.full((len(seeds), N_ROWS), 1 / N_ROWS, dtype=dtype)
    return TrainingPass(Noise(keys, first_row), share, total=total)
