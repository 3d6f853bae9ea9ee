"""Parts of a batch are together the batch: its rows, its loss and its random numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.data import open_csr, save_csr
from skbig.data.batch import Batch
from skbig.data.rank_rows import RankRows, RankSlice
from skbig.data.rows import Rows, place_rows
from skbig.data.sources.open import as_source
from skbig.data.streamed_rows import StreamedRows, stream_rows

N_ROWS, N_FEATURES, BATCH_SIZE = 23, 5, 6  # the last batch has five rows
CPU = torch.device("cpu")
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(N_ROWS, N_FEATURES)) * (RANDOM.uniform(size=(N_ROWS, N_FEATURES)) < 0.4)
Y = np.arange(N_ROWS, dtype=float)[:, None]
WEIGHT = RANDOM.uniform(0.5, 2.0, N_ROWS)
ORDERS = {"one member": [3], "three members": [3, 4, 5]}
KINDS = ["dense", "sparse", "streamed", "streamed and sparse"]


@pytest.fixture(autouse=True)
def short_rows_stay_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)


def rows_of(kind: str, place: Path, weight: np.ndarray | None) -> Rows | StreamedRows:
    if kind == "streamed and sparse":
        save_csr(place / "rows", sparse.csr_array(X))
        return stream_rows(open_csr(place / "rows"), Y, weight, CPU, torch.float64)
    if kind == "streamed":
        np.save(place / "rows.npy", X)
        source = as_source(np.load(place / "rows.npy", mmap_mode="r"))
        assert source is not None
        return stream_rows(source, Y, weight, CPU, torch.float64)
    return place_rows(X if kind == "dense" else sparse.csr_array(X), Y, weight, CPU, torch.float64)


def dense(X: Tensor | SparseRows) -> Tensor:
    return X if isinstance(X, Tensor) else X.dense()


def batches_of(rows: Any, seeds: list[int]) -> list[Batch]:
    return [batch for batches in rows.epoch(seeds, 2, True, BATCH_SIZE, 3) for batch in batches]


def counted(part: Batch, whole: Batch) -> Batch:
    """Leave out the row of another part that stands for none."""
    assert part.n_rows == 1 or bool((part.share > 0).all())
    return part if bool((part.share > 0).all()) else part.part(0, 0)


@pytest.mark.crossed
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("seeds", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_the_whole(
    kind: str, weight: np.ndarray | None, seeds: list[int], n_ranks: int, tmp_path: Path
) -> None:
    """Joined, the parts of all ranks are the batches of one process, with its shares, in its order."""
    rows = rows_of(kind, tmp_path, weight)
    axis = 0 if len(seeds) == 1 else 1
    parts = [batches_of(RankRows(rows, RankSlice(rank, n_ranks)), seeds) for rank in range(n_ranks)]
    for whole, *own in zip(batches_of(rows, seeds), *parts, strict=True):
        assert {part.counted_rows for part in own} == {whole.n_rows}
        own = [counted(part, whole) for part in own]
        firsts = np.cumsum([0] + [part.n_rows for part in own])[:-1]
        assert all(part.first_row == first for part, first in zip(own, firsts, strict=True) if part.n_rows)
        torch.testing.assert_close(torch.cat([dense(part.X) for part in own], axis), dense(whole.X))
        torch.testing.assert_close(torch.cat([part.y for part in own], axis), whole.y)
        torch.testing.assert_close(torch.cat([part.share for part in own], axis), whole.share)


@pytest.mark.parametrize("kind", KINDS)
def test_a_local_part_is_a_batch_of_its_own(kind: str, tmp_path: Path) -> None:
    """The shares of a local part sum to one, and lists have as many batches as are asked for."""
    rows = RankRows(rows_of(kind, tmp_path, None), RankSlice(1, 4, local=True), steps_at_once=3)
    lists = list(rows.epoch([0], 0, True, BATCH_SIZE, 256))
    assert [len(batches) for batches in lists] == [3, 1]
    for batch in (batch for batches in lists for batch in batches):
        assert float(batch.share.sum()) == pytest.approx(1.0)


def test_whole_batches_are_parted_later() -> None:
    """Where an augmentation mixes rows, each rank gets them all, and takes the same part as otherwise."""
    rows = place_rows(X, Y, WEIGHT, CPU, torch.float64)
    for rank in range(3):
        share = RankSlice(rank, 3)
        whole = batches_of(RankRows(rows, share, whole=True), [0])
        own = batches_of(RankRows(rows, share), [0])
        assert [batch.n_rows for batch in whole] == [6, 6, 6, 5]
        for batch, expected in zip(whole, own, strict=True):
            part = share.of(batch)
            assert (part.first_row, part.counted_rows) == (expected.first_row, expected.counted_rows)
            torch.testing.assert_close([part.X, part.y, part.share], [expected.X, expected.y, expected.share])


def alone(rows: Rows) -> SparseRows:
    return rows.take(np.arange(7)[None]).X


def of_three_members(rows: Rows) -> SparseRows:
    return rows.take(np.array([np.arange(7), np.arange(7)[::-1], np.arange(3, 10)])).X


def shared(rows: Rows) -> SparseRows:
    return alone(rows).shared_by(3)


@pytest.mark.parametrize("made", [alone, of_three_members, shared])
@pytest.mark.parametrize("bounds", [(0, 0), (0, 3), (2, 2), (1, 7), (0, 7), (6, 7)])
def test_some_of_sparse_rows(bounds: tuple[int, int], made: Callable[[Rows], SparseRows]) -> None:
    """A part of sparse rows multiplies as the same rows of the matrix do, from both sides, for each member."""
    whole = made(place_rows(sparse.csr_array(X), Y, None, CPU, torch.float64))
    assert isinstance(whole, SparseRows)
    part, expected = whole.part(*bounds), whole.dense()[..., slice(*bounds), :]
    weight = torch.from_numpy(RANDOM.normal(size=(*whole.shape[:-2], N_FEATURES, 2)))
    gradient = torch.from_numpy(RANDOM.normal(size=(*expected.shape[:-1], 2)))
    assert part.shape == expected.shape
    torch.testing.assert_close(part.dense(), expected)
    torch.testing.assert_close(part.times(weight), expected @ weight)
    torch.testing.assert_close(part.transposed_times(gradient), expected.transpose(-1, -2) @ gradient)
    torch.testing.assert_close(part.squared_norms(), expected.square().sum(-1))


def test_sparse_rows_written_out() -> None:
    """Sparse rows are those of the matrix, in each member's order."""
    rows = place_rows(sparse.csr_array(X), Y, None, CPU, torch.float64)
    np.testing.assert_array_equal(alone(rows).dense(), X[:7])
    np.testing.assert_array_equal(of_three_members(rows).dense(), [X[:7], X[6::-1], X[3:10]])
    np.testing.assert_array_equal(shared(rows).dense(), [X[:7]] * 3)
