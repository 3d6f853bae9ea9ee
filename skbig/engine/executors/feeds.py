"""Where the steps of a graph take their batches from: tensors that stay where they are, and are filled before a launch.

Legend: M members, D orders that differ, R rows of a batch, F features, k steps of a graph, C steps that are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from skbig.data.batch import Batch
from skbig.data.rows import Rows
from skbig.data.stacked_rows import joined, padded
from skbig.data.steps import ResidentSteps

GATHERED_ON_DEVICE = 2**25
"""How much of the set is gathered at once in the memory of a device."""


class Feed(Protocol):
    """Gives the steps of a graph their batches."""

    def load(self, batches: Sequence[Batch]) -> None:
        """Be ready for these steps, at most C."""
        ...

    def prepare(self, first: int, count: int) -> None:
        """Be ready for a launch of some of them."""
        ...

    def batches(self, now: Tensor) -> list[Batch]:
        """Return the batches of the steps `now` (k,), by operations that a graph may repeat."""
        ...


class ResidentFeed:
    """Gathers rows that lie on the device, by an index that is loaded for many steps."""

    def __init__(self, steps: ResidentSteps, capacity: int) -> None:
        first = steps[0]
        self._sets = steps.rows.sets
        self._sizes, self._n_rows, self._equal = first.sizes, first.n_rows, first.equal
        device = first.y.device
        self._index = [
            torch.zeros(capacity, len(order.rows), self._n_rows, dtype=torch.int64, device=device)
            for order in steps.orders
        ]
        self._owners = [torch.from_numpy(np.ascontiguousarray(order.owner)).to(device) for order in steps.orders]
        self._shares = _Shares(self._sets, first)

    def load(self, batches: Sequence[Batch]) -> None:
        assert isinstance(batches, ResidentSteps)
        for index, order in zip(self._index, batches.orders, strict=True):
            rows = padded(order.rows, len(batches) * self._n_rows)
            on_device = torch.from_numpy(np.ascontiguousarray(rows)).to(index.device)
            index[: len(batches)].copy_(on_device.view(len(rows), len(batches), self._n_rows).transpose(0, 1))

    def prepare(self, first: int, count: int) -> None:
        """Nothing is left to do."""

    def batches(self, now: Tensor) -> list[Batch]:
        indices = [index.index_select(0, now) for index in self._index]  # (k, D, R) each
        n_bytes = indices[0].numel() * self._sets[0].row_bytes
        if len(self._sets) == 1 and n_bytes <= GATHERED_ON_DEVICE:
            return self._of_one_set(indices[0])
        return [self._of_step(step) for step in zip(*(index.unbind(0) for index in indices), strict=True)]

    def _of_one_set(self, index: Tensor) -> list[Batch]:
        """Gather the rows of all steps at once."""
        (rows,) = self._sets
        flat = index.flatten()
        sources = [(rows.X, rows.places(flat)), (rows.y, flat)]
        if rows.weight is not None:
            sources.append((rows.weight, flat))
        gathered = [values.index_select(0, at).view(*index.shape, *values.shape[1:]) for values, at in sources]
        batches = []
        for step in zip(*(values.unbind(0) for values in gathered), strict=True):
            X, y, *weight = map(self._for_members, step)
            share = self._shares.of(weight[0] if weight else None)
            batches.append(Batch(X, y, share, sizes=self._sizes, equal=self._equal))
        return batches

    def _for_members(self, values: Tensor) -> Tensor:
        """Give each member the rows of its order: (D, R, ...) -> (M, R, ...), or (R, ...) for one member."""
        (owner,) = self._owners
        if len(owner) == 1:
            return values.squeeze(0)
        if len(values) == 1:
            return values.expand(len(owner), *values.shape[1:])
        return values if len(values) == len(owner) else values.index_select(0, owner)

    def _of_step(self, index: Sequence[Tensor]) -> Batch:
        if len(self._sets) == 1:
            return self._of_one_set(index[0].unsqueeze(0))[0]
        index = [rows.index_select(0, owner) for rows, owner in zip(index, self._owners, strict=True)]
        places = [rows.places(which) for rows, which in zip(self._sets, index, strict=True)]
        X = joined([rows.X for rows in self._sets], places)
        y = joined([rows.y for rows in self._sets], index)
        weight = joined(self._shares.weights, index) if self._shares.weights else None
        return Batch(X, y, self._shares.of(weight), sizes=self._sizes, equal=self._equal)


class _Shares:
    """Each row's share of the loss: its weight over the number of its member's rows in the batch."""

    def __init__(self, sets: Sequence[Rows], like: Batch) -> None:
        dtype, device = like.share.dtype, like.share.device
        self._n_rows = like.n_rows
        self._inside: Tensor | None = None
        self._counts: Tensor | None = None
        self._equal = torch.full_like(like.share, 1.0 / like.n_rows)
        if like.sizes is not None:
            self._counts = torch.tensor(like.sizes, device=device).unsqueeze(1)
            self._inside = torch.arange(like.n_rows, device=device) < self._counts
            self._equal = self._inside.to(dtype) / self._counts
        self.weights: list[Tensor] = []
        if any(rows.weight is not None for rows in sets):
            ones = torch.ones(max(rows.n_rows for rows in sets), dtype=dtype, device=device)
            self.weights = [ones[: rows.n_rows] if rows.weight is None else rows.weight for rows in sets]

    def of(self, weight: Tensor | None) -> Tensor:
        """Return the shares of the rows of a batch, (M, R), or (R,) for one member."""
        if weight is None:
            return self._equal
        if self._inside is None or self._counts is None:
            return weight / self._n_rows
        return weight * self._inside / self._counts


class CopyFeed:
    """Copies batches that come from elsewhere to where the graph reads them, k at a time."""

    def __init__(self, batch: Batch, stride: int) -> None:
        self._like = batch
        self._static = [
            torch.zeros(stride, *one.shape, dtype=one.dtype, device=one.device) for one in map(_one, _columns(batch))
        ]
        self._batches: Sequence[Batch] = []

    def load(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def prepare(self, first: int, count: int) -> None:
        batches = self._batches[first : first + count]
        for static, column in zip(self._static, zip(*map(_columns, batches), strict=True), strict=True):
            torch.stack([_one(tensor) for tensor in column], out=static[: len(batches)])

    def batches(self, now: Tensor) -> list[Batch]:
        likes = _columns(self._like)
        steps = [
            [static.select(0, i).expand(like.shape) for static, like in zip(self._static, likes, strict=True)]
            for i in range(len(now))
        ]
        return [self._like._replace(X=X, y=y, share=share) for X, y, share in steps]


def _columns(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    assert isinstance(batch.X, Tensor)
    return batch.X, batch.y, batch.share


def _one(tensor: Tensor) -> Tensor:
    """Return a tensor, or what all members share of it."""
    return tensor[0] if tensor.dim() > 1 and tensor.stride(0) == 0 and tensor.shape[0] > 1 else tensor
