"""The raw predictions of a network, block by block.

Legend: M members, N rows, F features, K raw outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skbig._utils.sparse import SparseRows, sparse_rows
from skbig.data.array_rows import ArrayRows
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.data.streaming.sent_rows import SentRows
from skbig.data.tensor_rows import TensorRows
from skbig.engine.step import forward
from skbig.networks.network import BuiltNetwork

PREDICT_BYTES = 2**20
"""How large the activations of a block of rows may be on a CPU: they should stay in the cache."""

DEVICE_BYTES = 2**28
"""And elsewhere, where a block has to be large enough to be worth its launches."""

MIN_BLOCK_ROWS = 256

ROWS_AT_ONCE = 64
"""Blocks hold a multiple of these: what is left of a vector of numbers is computed otherwise, to another last bit."""


def raw_predictions(
    network: BuiltNetwork,
    parameters: Mapping[str, Tensor],
    statistics: Mapping[str, Tensor],
    X: Any,
    blocks: Callable[[Any, int], Iterator[tuple[int, Any]]] | None = None,
    of_raw: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return raw predictions (M, N, K) of dense rows (a tensor) or sparse ones (SciPy CSR), block by block.

    How X is cut in blocks may be given, as that of other processes must be the same. With `of_raw`, what it makes of
    them is returned instead. The result is on the device of the parameters, and on the host for rows that are sent.
    """
    like, n_members = _like(network, parameters)
    most = block_rows(like, network.width * n_members)

    def predict(rows: Any) -> Tensor:
        raw = forward(network, parameters, statistics, _as_read(rows, n_members, like))
        raw = raw.view(n_members, rows.shape[0], network.n_outputs)
        return raw if of_raw is None else of_raw(raw)

    with torch.no_grad():
        if X.shape[0] == 0 and blocks is None:  # as in a rank that has none of a few validation rows
            none = like.new_empty(n_members, 0, network.n_outputs)
            return none if of_raw is None else of_raw(none)
        if blocks is not None:
            return _gathered(predict, blocks(X, most), X)
        while True:
            try:
                whole = X.shape[0] <= most and not isinstance(X, LazyRows | SentRows | ArrayRows | TensorRows)
                return predict(X) if whole else _gathered(predict, blocks_of(X, most), X)
            except torch.OutOfMemoryError:
                if most <= MIN_BLOCK_ROWS:
                    raise
            most = max(MIN_BLOCK_ROWS, min(most, X.shape[0]) // 2)  # only now the error has let go of the memory


def raw_predictions_of_own(
    network: BuiltNetwork, parameters: Mapping[str, Tensor], statistics: Mapping[str, Tensor], X: Tensor
) -> Tensor:
    """Return raw predictions (M, N, K) of dense rows (M, N, F), of which each member has its own, block by block."""
    like, n_members = _like(network, parameters)
    most = block_rows(like, network.width * n_members)
    with torch.no_grad():
        blocks = [forward(network, parameters, statistics, block.to(like)) for block in X.split(most, 1)]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)


def block_rows(like: Tensor, width: int) -> int:
    """Return how many rows to predict at once that are so wide in the widest layer, all members together."""
    n_bytes = PREDICT_BYTES if like.device.type == "cpu" else DEVICE_BYTES
    if like.device.type == "cuda":
        n_bytes = min(n_bytes, torch.cuda.mem_get_info(like.device)[0] // 8)
    n_rows = n_bytes // (width * like.element_size())
    return max(MIN_BLOCK_ROWS, n_rows // ROWS_AT_ONCE * ROWS_AT_ONCE)


def _gathered(predict: Callable[[Any], Tensor], blocks: Iterator[tuple[int, Any]], X: Any) -> Tensor:
    """Put the predictions of blocks side by side; those of sent rows on the host, some blocks at a time."""
    to_host = isinstance(X, SentRows)
    result: Tensor | None = None
    waiting: list[Tensor] = []
    start = stop = 0
    for first, rows in blocks:
        part = predict(rows)
        if result is None:
            place = torch.device("cpu") if to_host else part.device
            result = torch.empty((len(part), X.shape[0], part.shape[-1]), dtype=part.dtype, device=place)
        waiting.append(part)
        stop = first + part.shape[1]
        if not to_host or stop == X.shape[0] or sum(each.nbytes for each in waiting) > DEVICE_BYTES:
            result[:, start:stop] = waiting[0] if len(waiting) == 1 else torch.cat(waiting, 1)
            waiting, start = [], stop
    assert result is not None
    return result


def _like(network: BuiltNetwork, parameters: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """Return a parameter, and of how many members it is."""
    name, like = next(iter(parameters.items()))
    return like, 1 if like.dim() == len(network.shapes[name]) else like.shape[0]


def blocks_of(X: Any, n_rows: int) -> Iterator[tuple[int, Any]]:
    """Yield the first row's number and the rows, at most `n_rows` at a time."""
    if isinstance(X, LazyRows | SentRows):
        yield from X.blocks(n_rows)
    else:
        for start in range(0, X.shape[0], n_rows):
            yield start, X[start : start + n_rows]


def _as_read(rows: Any, n_members: int, like: Tensor) -> Tensor | SparseRows:
    """Some rows, as the network reads them: (R, F), or (M, R, F) for several members."""
    if isinstance(rows, np.ndarray):
        rows = torch.from_numpy(rows).to(like.device)
    if not isinstance(rows, Tensor):
        return sparse_rows(rows, like.device, for_training=False).shared_by(n_members)
    return rows if n_members == 1 else rows.expand(n_members, *rows.shape)


def pooled(raw: Tensor, multiclass: bool) -> Tensor:
    """Return the log-odds of the mean of some members' probabilities, or the logarithms of the means: (N, K).

    What members give are log-odds, (M, N, K), so that one member's are returned as they are.
    """
    if raw.shape[0] == 1:
        return raw[0]
    if multiclass:
        return raw.log_softmax(-1).logsumexp(0) - math.log(raw.shape[0])
    return functional.logsigmoid(raw).logsumexp(0) - functional.logsigmoid(-raw).logsumexp(0)
