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
"""How large the activations of a block of rows may be: they should stay in the cache."""


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
    name, like = next(iter(parameters.items()))
    n_members = 1 if like.dim() == len(network.shapes[name]) else like.shape[0]
    block = max(256, PREDICT_BYTES // (network.width * n_members * like.element_size()))
    n_rows = X.shape[0]
    with torch.no_grad():
        if blocks is None and n_rows <= block and not isinstance(X, LazyRows):
            raw = forward(network, parameters, statistics, _as_read(X, n_members, like))
            return raw.view(n_members, n_rows, -1)
        raw = like.new_empty(n_members, n_rows, network.n_outputs)
        for first, rows in (blocks or blocks_of)(X, block):
            part = forward(network, parameters, statistics, _as_read(rows, n_members, like))
            raw[:, first : first + rows.shape[0]] = part
    return raw


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
