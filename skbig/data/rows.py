"""The rows of a training or validation set, placed on a device, and the batches that are read from them.

Legend: M members, N rows of the set, R rows of a batch, F features, K outputs, S steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skbig._utils.random import Purpose, generator
from skbig._utils.reduction import all_finite
from skbig._utils.sparse import SparseRows, rows_of_members
from skbig.data.array_rows import ArrayRows
from skbig.data.batch import Batch
from skbig.data.length_buckets import by_length
from skbig.data.steps import Order, ResidentSteps, cut
from skbig.data.tensor_rows import TensorRows, torch_dtype

GATHERED_BYTES = 2**22
"""How much of the set is gathered at once; batches are views of it, which is cheaper than gathering each."""

DENSE_BYTES = 2**26
"""Sparse rows are made dense up to here,"""

DENSE_FEATURES = 1000
"""and up to here: a step over dense rows is sooner done then, since it is recorded, and its products are plain ones."""


@dataclass(frozen=True)
class Rows:
    """A set of rows.

    Attributes
    ----------
    X : Tensor (V, F) on the device, or a SciPy CSR array, whose batches are placed on the device one by one
        Of whole numbers where a network takes these. It has V = N rows, or more where `index` tells which are meant.
    y : Tensor (N,) of class indices, or (N, K), on the device
    weight : Tensor (N,) on the device or None
        Weights divided by their mean, so that a batch of n rows has about the weight n.
    mean_weight : float
        That mean; 1 without weights.
    dtype : torch.dtype
        What is computed in.
    index : Tensor (N,) of int64, or None
        Where the rows of the set are in X, in the memory that X is in; None: X has no others.
    converts : bool
        Whether X has another dtype, from which batches are converted.
    row_lengths : ndarray (N,) or None
        How long each row is, where those of a batch are to be about as long.
    """

    X: Any
    y: Tensor
    weight: Tensor | None
    mean_weight: float
    dtype: torch.dtype
    index: Tensor | None = None
    converts: bool = False
    row_lengths: np.ndarray | None = None

    @property
    def n_rows(self) -> int:
        return int(self.y.shape[0])

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each member, or of all: (1,)."""
        return np.array([self.n_rows])

    @property
    def sets(self) -> tuple[Rows, ...]:
        """The sets that members read: this one."""
        return (self,)

    @property
    def is_sparse(self) -> bool:
        return not isinstance(self.X, Tensor)

    def to(self, device: torch.device) -> Rows:
        """Return the rows on another device; sparse ones stay in the memory of the host."""
        weight = None if self.weight is None else self.weight.to(device)
        moved = replace(self, y=self.y.to(device), weight=weight)
        if self.is_sparse or self.X.device == device:
            return moved
        X = self.X if self.index is None else self.X.index_select(0, self.index)  # of its memory no more than needed
        return replace(moved, X=self._converted(X.to(device)), index=None, converts=False)

    def places(self, rows: Tensor) -> Tensor:
        """Return where in X some rows of the set are."""
        return rows if self.index is None else self.index[rows]

    def features(self, which: slice | Tensor) -> Any:
        """Return some rows of X."""
        if self.index is not None:
            which = self.index[which]
        if isinstance(which, slice):
            return self._converted(self.X[which])
        if isinstance(self.X, Tensor):  # some dtypes have no X[which] in torch 2.6
            return self._converted(self.X.index_select(0, which))
        return self._converted(self.X[which.numpy()])

    def _converted(self, X: Any) -> Any:
        return X.to(self.dtype) if self.converts else X

    def epoch(
        self, seeds: list[int], epoch: int, shuffle: bool, batch_size: int, max_steps: int
    ) -> Iterator[ResidentSteps]:
        """Yield at most `max_steps` batches at a time, in the order that each member's seed and the epoch give."""
        yield from self.batches(self.order(seeds, epoch, shuffle, batch_size), batch_size, max_steps)

    def order(self, seeds: list[int], epoch: int, shuffle: bool, batch_size: int) -> Order:
        """Return in which order members read the rows: a function of their seeds and the epoch."""
        order = distinct_orders(seeds, epoch, self.n_rows, shuffle)
        if self.row_lengths is None or not shuffle:
            return order
        return by_length(order, self.row_lengths, batch_size, epoch)

    def batches(self, order: Order, batch_size: int, max_steps: int) -> Iterator[ResidentSteps]:
        """Yield at most `max_steps` batches at a time, read in the order of each member."""
        length = max_steps * batch_size
        for start in range(0, order.length, length):
            yield ResidentSteps(self, [order.part(start, start + length)], batch_size)

    def epochs(self, seed: int, first: int, n_epochs: int, shuffle: bool, batch_size: int) -> list[Batch]:
        """Return the batches of some epochs of one member, one after another, as `epoch` gives them."""
        orders = [self.order([seed], first + e, shuffle, batch_size).rows for e in range(n_epochs)]
        return self.gather_parts(np.concatenate(orders, axis=1), cut(self.n_rows, batch_size) * n_epochs)

    def steps_gathered(self, n_members: int, batch_size: int) -> int:
        """How many batches are gathered at once."""
        return max(1, GATHERED_BYTES // max(1, self.row_bytes * batch_size * n_members))

    def gather_orders(self, orders: Sequence[Order], batch_size: int) -> list[Batch]:
        """Return the rows of an order, the only one of a single set, in batches."""
        (order,) = orders
        return self.gather_parts(order.of_members(), cut(order.length, batch_size))

    def take(self, index: np.ndarray) -> Batch:
        """Return one batch: the rows `index` (M, R)."""
        return self.gather(index, index.shape[1])[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a batch, about."""
        if self.is_sparse and stays_sparse(self.X.shape[1]):
            return int(self.X.data.itemsize * max(1, self.X.nnz // max(1, self.X.shape[0])) * 3)
        dtype = self.dtype if self.converts else self.X.dtype
        return int(self.X.shape[1] * dtype.itemsize)

    def gather(self, index: np.ndarray, batch_size: int) -> list[Batch]:
        """Return the rows `index` (M, L) in batches."""
        return self.gather_parts(index, cut(index.shape[1], batch_size))

    def gather_parts(self, index: np.ndarray, sizes: list[int]) -> list[Batch]:
        """Return the rows `index` (M, L) in batches of these sizes, which add up to L."""
        on_device = torch.from_numpy(np.ascontiguousarray(index)).to(self.y.device)
        axis = 0 if index.shape[0] == 1 else 1
        y = _select(self.y, on_device).split_with_sizes(sizes, axis)
        X = (
            self._sparse_batches(index, sizes)
            if self.is_sparse
            else self._converted(_select(self.X, self.places(on_device))).split_with_sizes(sizes, axis)
        )
        share = self._shares(on_device, sizes)
        return [Batch(*columns, equal=self.weight is None) for columns in zip(X, y, share, strict=True)]

    def _shares(self, index: Tensor, sizes: list[int]) -> list[Tensor]:
        n_members = index.shape[0]
        if self.weight is not None:
            split = _select(self.weight, index).split_with_sizes(sizes, 0 if n_members == 1 else 1)
            return [weight / weight.shape[-1] for weight in split]
        like: Any = {"dtype": self.dtype, "device": self.y.device}
        of_members = () if n_members == 1 else (n_members,)
        equal = {n: torch.full((*of_members, n), 1.0 / n, **like) for n in set(sizes)}
        return [equal[n] for n in sizes]

    def _sparse_batches(self, index: np.ndarray, sizes: list[int]) -> list[Tensor | SparseRows]:
        if self.index is not None:
            index = self.index.numpy()[index]
        return [
            batch_of_csr(self.X[index[:, start : start + n].ravel()], index.shape[0], self.y.device)
            for start, n in zip(accumulate([0, *sizes[:-1]]), sizes, strict=True)
        ]


def place_rows(
    X: Any,
    y: np.ndarray | Tensor,
    weight: np.ndarray | Tensor | None,
    device: torch.device,
    dtype: torch.dtype,
    *,
    keep_whole: bool = False,
    row_lengths: np.ndarray | None = None,
) -> Rows:
    """Put checked arrays on a device, computing in `dtype`; rows of weight zero must have been dropped.

    What is a tensor is on the device already.
    """
    target = y if isinstance(y, Tensor) else as_tensor(np.ascontiguousarray(y))
    target = target.to(device=device, dtype=dtype if target.is_floating_point() else torch.int64)
    if target.is_floating_point() and not all_finite(target):
        name = str(dtype).removeprefix("torch.")
        raise ValueError(f"Input y contains infinity or a value too large for dtype({name!r}).")
    mean = 1.0 if weight is None else float(weight.mean())
    scaled = None if weight is None else _tensor_of(weight / mean).to(device=device, dtype=dtype)
    if isinstance(X, TensorRows):
        features = X.values.to(torch_dtype(X.dtype) if X.dtype.kind in "iub" else dtype).contiguous()
        return Rows(features, target, scaled, mean, dtype, X.rows, row_lengths=row_lengths)
    if isinstance(X, ArrayRows) and not (X.is_sparse or device.type == "cpu"):
        X = X.load()
    shared = X if isinstance(X, ArrayRows) else ArrayRows(X, X.dtype)
    index = None if shared.rows is None else torch.from_numpy(shared.rows)
    features = _place_features(shared.values, device, dtype, keep_whole or shared.converts)
    return Rows(features, target, scaled, mean, dtype, index, shared.converts, row_lengths)


def _tensor_of(values: np.ndarray | Tensor) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(values)


def _place_features(X: Any, device: torch.device, dtype: torch.dtype, keep_whole: bool) -> Any:
    numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
    if sparse.issparse(X):
        return sparse.csr_array(X, dtype=numpy_dtype)
    if keep_whole and (X.dtype.kind in "iub" or X.dtype == np.float16):
        return as_tensor(np.ascontiguousarray(X)).to(device)
    return as_tensor(np.ascontiguousarray(X, dtype=numpy_dtype)).to(device=device, dtype=dtype)


def batch_of_csr(X: Any, n_members: int, device: torch.device) -> Tensor | SparseRows:
    """Return the rows of members, which follow one another in a SciPy CSR array, as they are trained on."""
    if stays_sparse(X.shape[1]):
        return rows_of_members(X, n_members, device)
    dense = torch.from_numpy(X.toarray()).to(device)
    return dense if n_members == 1 else dense.view(n_members, -1, X.shape[1])


def stays_sparse(n_features: int) -> bool:
    """Whether batches of sparse rows are read as such.

    Batches of short rows are dense, as all of X is where it is small, so that rows of a file train to the same bits.
    """
    return n_features > DENSE_FEATURES


def dense_if_small(X: Any) -> Any:
    """Return sparse rows as dense ones where these are few and short; all others as they are."""
    is_sparse = X.is_sparse if isinstance(X, ArrayRows) else sparse.issparse(X)
    if not is_sparse or X.shape[1] > DENSE_FEATURES or X.dtype.itemsize * prod(X.shape) > DENSE_BYTES:
        return X
    return (X.load() if isinstance(X, ArrayRows) else X).toarray()


def as_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor that shares the memory of an array, also of a read-only one: it must not be written to."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    interface = dict(array.__array_interface__)
    interface["data"] = (interface["data"][0], False)
    return torch.from_numpy(np.asarray(_Readable(interface, array)))


class _Readable:
    """Presents a read-only array as a plain one, so that torch can share its memory without a warning."""

    def __init__(self, interface: dict[str, Any], owner: np.ndarray) -> None:
        self.__array_interface__ = interface
        self.owner = owner


def epoch_order(seeds: list[int], epoch: int, n_rows: int, shuffle: bool) -> np.ndarray:
    """Return the order in which each member reads the rows, (M, N): a function of its seed and the epoch."""
    return distinct_orders(seeds, epoch, n_rows, shuffle).of_members()


def distinct_orders(seeds: list[int], epoch: int, n_rows: int, shuffle: bool) -> Order:
    """Return the same, with an order that several members share in it once."""
    if not shuffle:
        return Order(np.arange(n_rows)[None], np.zeros(len(seeds), dtype=int))
    if len(seeds) == 1:
        return Order(generator(seeds[0], Purpose.ORDER, epoch).permutation(n_rows)[None], np.zeros(1, dtype=int))
    distinct = list(dict.fromkeys(seeds))
    orders = [generator(seed, Purpose.ORDER, epoch).permutation(n_rows) for seed in distinct]
    return Order(np.stack(orders), np.array([distinct.index(seed) for seed in seeds]))


def _select(values: Tensor, index: Tensor) -> Tensor:
    """Gather ``values[index]``: (N, ...) and (M, L) -> (M, L, ...), or (L, ...) for one member."""
    flat = values.index_select(0, index.flatten())
    return flat if index.shape[0] == 1 else flat.view(*index.shape, *values.shape[1:])
