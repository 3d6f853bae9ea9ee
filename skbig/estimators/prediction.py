"""The raw predictions of a network, block by block.

Legend: M members, N rows, F features, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.sparse import SparseRows, sparse_rows
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.engine.step import forward
from skbig.networks.network import BuiltNetwork

PREDICT_BYTES = 2**20
"""How large the activations of a block of rows may be on a CPU: they should stay in the cache."""

DEVICE_BYTES = 2**28
"""And elsewhere, where a block has to be large enough to be worth its launches."""

MIN_BLOCK_ROWS = 256


def raw_predictions(
    network: BuiltNetwork,
    parameters: Mapping[str, Tensor],
    statistics: Mapping[str, Tensor],
    X: Any,
    blocks: Callable[[Any, int], Iterator[tuple[int, Any]]] | None = None,
) -> Tensor:
    """Return raw predictions (M, N, K) of dense rows (a tensor) or sparse ones (SciPy CSR), block by block.

    How X is cut in blocks may be given, as that of other processes must be the same.
    """
    like, n_members = _like(network, parameters)
    most = block_rows(like, network.width * n_members)
    if blocks is not None:
        return _in_blocks(network, parameters, statistics, blocks(X, most), X.shape[0])
    while True:
        try:
            if X.shape[0] <= most and not isinstance(X, LazyRows):
                with torch.no_grad():
                    raw = forward(network, parameters, statistics, _as_read(X, n_members, like))
                return raw.view(n_members, X.shape[0], -1)
            return _in_blocks(network, parameters, statistics, blocks_of(X, most), X.shape[0])
        except torch.OutOfMemoryError:
            if most <= MIN_BLOCK_ROWS:
                raise
        most = max(MIN_BLOCK_ROWS, min(most, X.shape[0]) // 2)  # only now the error has let go of the memory


def block_rows(like: Tensor, width: int) -> int:
    """Return how many rows to predict at once that are so wide in the widest layer, all members together."""
    if like.device.type == "cpu":
        return max(MIN_BLOCK_ROWS, PREDICT_BYTES // (width * like.element_size()))
    n_bytes = DEVICE_BYTES
    if like.device.type == "cuda":
        n_bytes = min(n_bytes, torch.cuda.mem_get_info(like.device)[0] // 8)
    return max(MIN_BLOCK_ROWS, n_bytes // (width * like.element_size()))


def _in_blocks(
    network: BuiltNetwork,
    parameters: Mapping[str, Tensor],
    statistics: Mapping[str, Tensor],
    blocks: Iterator[tuple[int, Any]],
    n_rows: int,
) -> Tensor:
    like, n_members = _like(network, parameters)
    with torch.no_grad():
        raw = like.new_empty(n_members, n_rows, network.n_outputs)
        for first, rows in blocks:
            part = forward(network, parameters, statistics, _as_read(rows, n_members, like))
            raw[:, first : first + rows.shape[0]] = part
    return raw


def _like(network: BuiltNetwork, parameters: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """Return a parameter, and of how many members it is."""
    name, like = next(iter(parameters.items()))
    return like, 1 if like.dim() == len(network.shapes[name]) else like.shape[0]


def blocks_of(X: Any, n_rows: int) -> Iterator[tuple[int, Any]]:
    """Yield the first row's number and the rows, at most `n_rows` at a time."""
    if isinstance(X, LazyRows):
        yield from X.blocks(n_rows)
    else:
        for start in range(0, X.shape[0], n_rows):
            yield start, X[start : start + n_rows]


def _as_read(rows: Any, n_members: int, like: Tensor) -> Tensor | SparseRows:
    """Some rows, as the network reads them: (R, F), or (M, R, F) for several members."""
    if isinstance(rows, np.ndarray):
        rows = torch.from_numpy(rows).to(like.device)
    if not isinstance(rows, Tensor):
        if n_members == 1:
            return sparse_rows(rows, like.device, for_training=False)
        rows = torch.from_numpy(rows.toarray()).to(like.device)
    return rows if n_members == 1 else rows.expand(n_members, *rows.shape)
