"""Rows that are read from where they lie come as rows in memory do: each once, well mixed, and repeatably."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.data import open_csr, save_csr, streamed_rows
from skbig.data.batch import Batch
from skbig.data.rows import place_rows
from skbig.data.sources.base import Source
from skbig.data.sources.open import as_source
from skbig.data.steps import Order
from skbig.data.streamed_rows import StreamedRows, stream_rows
from skbig.data.streaming import device_copy
from skbig.data.streaming.chunks import blocks
from skbig.data.streaming.prefetch import prefetch
from tests.small import CPU, assert_close, data, kept, mini_batches, new_members, recipe, weights

N_ROWS, N_FEATURES = 1000, 6
DEVICES = [pytest.param(CPU, id="cpu")]
if torch.cuda.is_available():
    DEVICES.append(pytest.param(torch.device("cuda"), id="cuda"))


class Recorded(Source):
    """Rows in memory that are read like others; every row begins with its number."""

    def __init__(self, n_rows: int = N_ROWS, n_features: int = N_FEATURES, edges: Any = None, **changes: Any) -> None:
        self.X = np.random.RandomState(0).normal(size=(n_rows, n_features))
        self.X[:, 0] = np.arange(n_rows)
        self.shape, self.dtype, self.edges = self.X.shape, self.X.dtype, edges
        self.is_sparse = changes.pop("is_sparse", False)
        self.ranges: list[tuple[int, int]] = []
        self.delay, self.n_released = 0.0, 0
        assert not changes

    def read(self, start: int, stop: int) -> Any:
        self.ranges.append((start, stop))
        time.sleep(self.delay)
        return sparse.csr_array(self.X[start:stop]) if self.is_sparse else self.X[start:stop].copy()

    def release(self) -> None:
        self.n_released += 1

    @property
    def n_read(self) -> int:
        return sum(stop - start for start, stop in self.ranges)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test does, no thread of ours outlives it."""
    yield
    assert not [thread.name for thread in threading.enumerate() if "skbig" in thread.name]


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sets are not held whole, and are cut in many blocks."""
    monkeypatch.setattr(streamed_rows, "MIN_BUFFER_BYTES", 1000)
    monkeypatch.setattr(streamed_rows, "CHUNK_BYTES", (4000, 200))


def targets(source: Source) -> np.ndarray:
    """Return targets that tell which row they belong to."""
    return np.arange(source.shape[0], dtype=float)[:, None] * [1.0, -1.0]


def rows_of(source: Source, dtype: torch.dtype = torch.float64, weight: Any = None, **options: Any) -> StreamedRows:
    y = targets(source) if options.get("rows") is None else targets(source)[options["rows"]]
    return stream_rows(source, y, weight, options.pop("device", CPU), dtype, **options)


def dense(X: Tensor | SparseRows) -> Tensor:
    if not isinstance(X, SparseRows):
        return X
    return X.times(torch.eye(X.shape[-1], dtype=X.dtype, device=X.device).expand(*X.shape[:-2], -1, -1))


def batches_of(
    rows: StreamedRows, seeds: Any = (0,), epoch: int = 0, shuffle: bool = True, size: int = 30
) -> list[Batch]:
    return [batch for group in rows.epoch(list(seeds), epoch, shuffle, size, 4) for batch in group]


def order_of(rows: StreamedRows, **choices: Any) -> np.ndarray:
    """Return the numbers of the rows in the order in which they were read."""
    return torch.cat([dense(batch.X)[..., 0] for batch in batches_of(rows, **choices)], -1).cpu().numpy().astype(int)


@pytest.mark.crossed
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("batch_size", [30, 100, 700, 5 * N_ROWS])
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("part", [None, "weighted", "some rows"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_row_is_read_once(
    device: torch.device,
    n_members: int,
    batch_size: int,
    is_sparse: bool,
    part: str | None,
    shuffle: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The batches of an epoch are the rows with their own targets and weights, and in the forms of rows in memory."""
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    source = Recorded(is_sparse=is_sparse, edges=[0, 10, 11, 500, 980, N_ROWS])
    index = np.flatnonzero(np.random.RandomState(1).uniform(size=N_ROWS) < 0.6) if part == "some rows" else None
    kept = np.arange(N_ROWS) if index is None else index
    weight = np.random.RandomState(2).uniform(0.5, 3, size=len(kept)) if part == "weighted" else None
    rows = rows_of(source, weight=weight, rows=index, device=device)
    assert (rows.n_rows, rows.is_sparse) == (len(kept), is_sparse)
    groups = list(rows.epoch([5] * n_members, 2, shuffle, batch_size, 4))
    assert all(1 <= len(group) <= 4 for group in groups)
    batches = [batch for group in groups for batch in group]
    order = torch.cat([dense(batch.X)[..., 0] for batch in batches], -1).cpu().numpy().astype(int)
    first = order if n_members == 1 else order[0]
    np.testing.assert_array_equal(np.sort(first), kept)
    assert np.array_equal(first, kept) == (not shuffle)
    in_memory = place_rows(source.X[kept], targets(source)[kept], weight, device, torch.float64)
    assert rows.mean_weight == in_memory.mean_weight
    places = np.searchsorted(kept, order.reshape(n_members, -1))
    expected = [
        batch for group in in_memory.batches(Order(places, np.arange(n_members)), batch_size, 4) for batch in group
    ]
    for batch, other in zip(batches, expected, strict=True):
        assert isinstance(batch.X, SparseRows) == is_sparse
        for ours, theirs in ((dense(batch.X), other.X), (batch.y, other.y), (batch.share, other.share)):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_batches_of_short_sparse_rows_are_dense() -> None:
    """As all of them are in memory, where they are few: so a file trains to the same bits."""
    rows = rows_of(Recorded(is_sparse=True, edges=[0, N_ROWS]))
    batches = [batch for group in rows.epoch([5], 0, False, 100, 4) for batch in group]
    assert all(isinstance(batch.X, Tensor) and batch.X.dim() == 2 for batch in batches)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    """An order can be repeated, however slow the disk is; another epoch and another seed have another."""
    source = Recorded()
    order = order_of(rows_of(source), seeds=[7], epoch=3)
    source.delay = 0.0002
    np.testing.assert_array_equal(order_of(rows_of(source), seeds=[7], epoch=3), order)
    for seed, epoch in ((7, 4), (8, 3), (2**32 + 7, 3)):
        other = order_of(rows_of(source), seeds=[seed], epoch=epoch)
        assert (order != other).mean() > 0.9
        # Which rows come early is drawn anew, too, and not only their order within a buffer.
        assert len(np.intersect1d(order[:100], other[:100])) < 60


@pytest.mark.parametrize("is_sparse", [False, True])
def test_members_share_the_first_ones_order(is_sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All members read the batches that the first one reads alone; they are there once."""
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    rows = rows_of(Recorded(is_sparse=is_sparse))
    alone, together = batches_of(rows, [4]), batches_of(rows, [4, 9, 1])
    for one, all_of_them in zip(alone, together, strict=True):
        for member in range(3):
            torch.testing.assert_close(dense(all_of_them.X)[member], dense(one.X), rtol=0, atol=0)
            torch.testing.assert_close(all_of_them.y[member], one.y, rtol=0, atol=0)
        X = all_of_them.X
        assert X.shared if is_sparse else len({X[member].data_ptr() for member in range(3)}) == 1


@pytest.mark.parametrize(
    ("edges", "worst"), [(None, 5), (np.arange(0, 20_001, 100), 5), (np.r_[0, np.arange(50, 20_000, 97), 20_000], 8)]
)
@pytest.mark.parametrize("seed", range(3))
def test_labels_in_the_order_of_the_file_are_mixed(edges: Any, worst: float, seed: int) -> None:
    """With rows sorted by ten labels and a 5% buffer, batches hold the labels as those of a full shuffle do."""
    n_rows, n_labels, size = 20_000, 10, 200
    rows = rows_of(Recorded(n_rows, 2, edges=edges), buffer=0.05)
    assert rows.window_rows == n_rows * 0.05
    labels = order_of(rows, seeds=[seed], size=size) * n_labels // n_rows
    counts = np.stack([np.bincount(batch, minlength=n_labels) for batch in labels.reshape(-1, size)])
    # The count of a label in a batch of a full shuffle is hypergeometric.
    expected_spread = np.sqrt(size * 0.1 * 0.9 * (n_rows - size) / (n_rows - 1))
    assert counts.std() < 1.35 * expected_spread
    assert abs(counts - size / n_labels).max() < worst * expected_spread
    # Nor does a label come early or late.
    thirds = np.stack([np.bincount(third, minlength=n_labels) for third in np.array_split(labels, 3)])
    np.testing.assert_allclose(thirds, n_rows / n_labels / 3, rtol=0.15)


def test_neighbours_are_parted() -> None:
    """Rows that lie side by side are as far apart in a batch as others of the same buffer."""
    order = order_of(rows_of(Recorded(20_000, 2), buffer=0.05))
    place = np.argsort(order)
    assert (np.abs(np.diff(place)) == 1).mean() < 0.01
    assert np.median(np.abs(np.diff(place))) > 200


def test_little_is_read_ahead() -> None:
    """What was read and not yet handed out is never more than two buffers and a block."""
    source = Recorded(20_000)
    rows = rows_of(source, buffer=0.05)
    seen = most = 0
    for group in rows.epoch([0], 0, True, 50, 2):
        time.sleep(0.0005)
        seen += sum(batch.n_rows for batch in group)
        most = max(most, source.n_read - seen)
    assert source.n_read == seen == 20_000
    largest = max(stop - start for start, stop in source.ranges)
    assert 0.04 * 20_000 < most <= 2 * 0.05 * 20_000 + 2 * largest + 100


def test_buffers_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many windows an epoch has, memory is asked for twice or so; and a batch is never written over."""
    asked = []
    memory = device_copy.DeviceCopy._memory

    def noted(self: Any, n_bytes: int) -> Any:
        before = len(self._free)
        found = memory(self, n_bytes)
        asked.append(len(self._free) == before)
        return found

    monkeypatch.setattr(device_copy.DeviceCopy, "_memory", noted)
    source = Recorded(20_000)
    order = order_of(rows_of(source, buffer=0.05))  # of batches that were all kept
    assert len(asked) >= 20 and sum(asked) <= 4
    np.testing.assert_array_equal(np.sort(order), np.arange(20_000))


def test_a_buffer_has_a_most_and_a_least_size() -> None:
    """A buffer is a share of the set, within the memory that is allowed; small sets have more of it."""
    row_bytes = 8 * N_FEATURES
    assert rows_of(Recorded(10_000), buffer=0.1).window_rows == 1000
    assert rows_of(Recorded(10_000), buffer=0.1, buffer_bytes=50 * row_bytes).window_rows == 50
    assert rows_of(Recorded(100), buffer=0.01).window_rows == 1000 // row_bytes
    assert rows_of(Recorded(10_000), torch.float32, buffer_bytes=50 * row_bytes).window_rows == 100


def test_blocks_are_large_enough_and_many() -> None:
    """A large set is read in ranges of the most size, a small one in smaller ranges, so that a buffer holds many."""
    for n_rows, expected in ((200_000, 4000), (20_000, 0.05 * 20_000 * 48 / 64), (500, 200)):
        sizes = 48 * np.diff(rows_of(Recorded(n_rows), buffer=0.05).blocks.edges)
        assert np.median(sizes) == pytest.approx(expected, abs=48)


def test_chunks_are_read_once() -> None:
    """A chunk, which can only be read whole, is read once per epoch."""
    edges = np.unique(np.r_[0, np.random.RandomState(0).randint(1, N_ROWS, size=30), N_ROWS])
    source = Recorded(edges=edges)
    for shuffle in (True, False):
        source.ranges.clear()
        batches_of(rows_of(source), shuffle=shuffle)
        assert {edge for pair in source.ranges for edge in pair} <= set(edges)
        assert source.n_read == N_ROWS


@pytest.mark.parametrize("n_lanes", [1, 3, 100])
def test_parts_that_belong_together_are_read_in_order(n_lanes: int) -> None:
    """A piece that is decoded from its begin is read part after part, and only a few pieces side by side."""
    source = Recorded(5000, edges=np.arange(0, 5001, 250))
    source.in_order, source.most_open = True, n_lanes
    batches_of(rows_of(source, buffer=0.01))
    assert source.n_read == 5000 and max(stop - start for start, stop in source.ranges) < 250
    started: dict[int, int] = {}
    most = 0
    for start, stop in source.ranges:
        assert started.get(start // 250, start // 250 * 250) == start
        started[start // 250] = stop
        most = max(most, sum(stop % 250 != 0 for stop in started.values()))
    assert (1 if n_lanes == 1 else 2) <= most <= min(n_lanes, 20)


BAD = {
    "NaN": np.nan,
    r"infinity or a value too large for dtype\('float32'\)": -np.inf,
    "infinity or a value too": 1e300,
}


@pytest.mark.crossed
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(("words", "value"), BAD.items())
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("index", [None, np.arange(0, N_ROWS, 3)])
def test_bad_values_are_named(words: str, value: float, is_sparse: bool, shuffle: bool, index: Any) -> None:
    """A value that is not finite is found before the first epoch ends, with its row and column in the whole set."""
    source = Recorded(is_sparse=is_sparse)
    source.X[627, 4] = value
    with pytest.raises(ValueError, match=f"Input X contains {words}.*It is in row 627, column 4"):
        batches_of(rows_of(source, torch.float32, rows=index), shuffle=shuffle)
    with pytest.raises(ValueError, match=f"Input X contains {words}.*It is in row 627, column 4"):
        list(blocks(source, np.float32, 100, rows=index))
    assert source.n_released == 2


@pytest.mark.parametrize("is_sparse", [False, True])
def test_large_values_are_read(is_sparse: bool) -> None:
    """Values whose sum is infinite are finite; those whose squares are infinite are read, but not to train on them."""
    source = Recorded(is_sparse=is_sparse)
    source.X[:, 1:] = 1e19
    assert len(order_of(rows_of(source, torch.float32))) == N_ROWS
    source.X[627, 4] = -3e38
    assert sum(block.shape[0] for _, block in blocks(source, np.float32, 100)) == N_ROWS
    for read in (
        lambda: order_of(rows_of(source, torch.float32)),
        lambda: list(blocks(source, np.float32, 100, to_train=True)),
    ):
        with pytest.raises(ValueError, match="too large to train on in .*float32.*: -3e\\+38.*row 627, column 4"):
            read()


def test_errors_name_the_set() -> None:
    """Rows that are not X are called by their own name."""
    source = Recorded()
    source.X[3, 2] = np.nan
    with pytest.raises(ValueError, match="Input X_val contains NaN"):
        list(blocks(source, np.float64, 100, name="X_val"))


def test_rows_and_targets_must_belong_together() -> None:
    """Another number of targets than of rows is refused."""
    with pytest.raises(ValueError, match="as many rows. Got 1000 and 999"):
        stream_rows(Recorded(), np.zeros(999), None, CPU, torch.float32)


class Stopped(Exception):
    """Something that goes wrong."""


def test_an_error_of_the_source_is_raised_with_its_place() -> None:
    """What goes wrong while rows are read ahead is raised where they are used, and tells where it came from."""

    class Broken(Recorded):
        def read(self, start: int, stop: int) -> Any:
            if self.n_read > 500:
                raise Stopped("no such disk")
            return super().read(start, stop)

    with pytest.raises(Stopped, match="no such disk") as caught:
        batches_of(rows_of(Broken()))
    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][-1] == "read"


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt, None])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_reading_ends_with_its_consumer(error: Any, after: int) -> None:
    """When training stops early, by an error, by Ctrl-C or by the clock, nothing goes on in the background."""
    source = Recorded(20_000)
    rows = rows_of(source)

    def train() -> None:
        for i, _ in enumerate(rows.epoch([0], 0, True, 10, 1)):
            if i == after:
                if error is None:
                    break
                raise error

    try:
        train()
    except (Stopped, KeyboardInterrupt):
        assert error is not None
    n_read = source.n_read
    assert n_read < 20_000 and source.n_released == 1
    time.sleep(0.02)
    assert source.n_read == n_read


@pytest.mark.skipif(sys.platform == "win32", reason="a signal interrupts no waiting there")
def test_ctrl_c_at_the_end_leaves_no_thread() -> None:
    """Pressed while the thread is waited for, Ctrl-C is heard, and the thread is gone all the same."""
    making, stopping = threading.Event(), threading.Event()

    def make() -> Iterator[int]:
        yield 0
        making.set()
        stopping.wait()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

    items = prefetch(make, 1)
    assert next(items) == 0
    making.wait()
    with pytest.raises(KeyboardInterrupt):
        stopping.set()
        items.close()
        time.sleep(5)  # where the signal came before the thread was waited for
    assert not [thread for thread in threading.enumerate() if "skbig" in thread.name]


def test_a_slow_disk_is_not_waited_for() -> None:
    """Who stops waits for one block at most, not for the whole buffer."""
    source = Recorded(20_000)
    source.delay = 0.05
    epoch = rows_of(source, buffer=0.002).epoch([0], 0, True, 10, 1)
    next(epoch)
    source.delay = 0.2
    began = time.perf_counter()
    epoch.close()
    assert time.perf_counter() - began < 1.0


def test_an_epoch_that_is_not_begun_reads_nothing() -> None:
    """Asking for an epoch starts no thread."""
    source = Recorded()
    rows_of(source).epoch([0], 0, True, 10, 1)
    assert not source.ranges


def test_reading_ahead_is_bounded() -> None:
    """No more items are made than there is room for, and items come in order."""
    made = []

    def make() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    items = prefetch(make, 3)
    for expected in range(20):
        assert next(items) == expected
        time.sleep(0.002)
        assert len(made) <= expected + 4
    assert next(items, None) is None
    assert made == list(range(20))


@pytest.mark.crossed
@pytest.mark.parametrize("n_rows", [1, 70, N_ROWS, 3 * N_ROWS])
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("edges", [None, [0, 400, 410, N_ROWS]])
@pytest.mark.parametrize("index", [None, np.r_[0:5, 402:404, 990:N_ROWS]])
def test_blocks_for_prediction(n_rows: int, is_sparse: bool, edges: Any, index: Any) -> None:
    """Chunks are the rows in their order, of the dtype that is asked for, none too large, and each read once."""
    source = Recorded(is_sparse=is_sparse, edges=edges)
    found = list(blocks(source, np.float32, n_rows, rows=index))
    kept = np.arange(N_ROWS) if index is None else index
    assert [start for start, _ in found] == list(np.cumsum([0, *(block.shape[0] for _, block in found)])[:-1])
    assert all(0 < block.shape[0] <= n_rows and block.dtype == np.float32 for _, block in found)
    joined = np.concatenate([block.toarray() if is_sparse else block for _, block in found])
    np.testing.assert_array_equal(joined, source.X[kept].astype(np.float32))
    assert source.n_read <= N_ROWS and source.n_released == 1
    for (_, stop), (start, _) in itertools.pairwise(source.ranges):
        assert start >= stop


def test_blocks_are_read_ahead_and_no_further() -> None:
    """While one block is used, the next one is read."""
    source = Recorded()
    read = blocks(source, np.float64, 100)
    for n_used in range(1, 11):
        next(read)
        deadline = time.perf_counter() + 5
        while len(source.ranges) < min(10, n_used + 1) and time.perf_counter() < deadline:
            time.sleep(0.001)
        time.sleep(0.002)
        assert len(source.ranges) == min(10, n_used + 1)
    read.close()


@pytest.mark.parametrize("seeds", [(0,), (0, 5, 2)])
@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_training_is_the_same(task: str, seeds: tuple[int, ...], tmp_path: Path) -> None:
    """Unshuffled rows train to the same bits, wherever they are read from."""
    X, y = data(task)
    np.save(tmp_path / "rows.npy", X)
    source = as_source(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert source is not None
    trained, losses = [], []
    for all_rows in (
        place_rows(X, y, weights(), CPU, torch.float64),
        stream_rows(source, y, weights(), CPU, torch.float64),
    ):
        choices = recipe(task, shuffle=False)
        members = new_members(choices, seeds)
        epochs = mini_batches(members, all_rows, choices)
        losses.append([epochs.run().loss for _ in range(3)])
        trained.append(kept(members))
    assert_close(*trained, tolerance=0)
    np.testing.assert_allclose(*losses, rtol=1e-14)  # sums of as many numbers, of other groups


def test_sparse_files_are_streamed(tmp_path: Path) -> None:
    """CSR rows on disk go through the same way."""
    source = Recorded()
    save_csr(tmp_path, sparse.csr_array(source.X))
    read = np.concatenate([dense(batch.X) for batch in batches_of(rows_of(open_csr(tmp_path)))])
    np.testing.assert_array_equal(read[np.argsort(read[:, 0])], source.X)


def test_int_files_are_converted(tmp_path: Path) -> None:
    """Integers and float64 are read in the dtype that is computed in."""
    values = np.random.RandomState(0).randint(-100, 100, size=(N_ROWS, 3))
    values[:, 0] = np.arange(N_ROWS)
    for dtype in ("int16", "float64", "int64"):
        np.save(tmp_path / "rows.npy", values.astype(dtype))
        source = as_source(np.load(tmp_path / "rows.npy", mmap_mode="r"))
        assert source is not None
        read = torch.cat([batch.X for batch in batches_of(rows_of(source, torch.float32))])
        assert read.dtype == torch.float32
        np.testing.assert_array_equal(read[read[:, 0].argsort()], values)


MEMORY = """
import re, sys
import numpy as np, torch
from scipy import sparse
from skbig.data.streaming.chunks import blocks
from skbig.data.sources.open import as_source
from skbig.data.streamed_rows import stream_rows
from skbig.data.sources.csr import open_csr

def peak():  # of this process alone: getrusage begins with that of its parent
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

def epoch(X):
    source = as_source(X)
    rows = stream_rows(source, np.zeros((len(source), 1)), None, torch.device("cpu"), torch.float32)
    for group in rows.epoch([0], 0, True, 1000, 64):
        pass
    for start, block in blocks(source, np.float32, 1000):
        pass

folder = sys.argv[1]
epoch(np.lib.format.open_memmap(folder + "/small.npy", "w+", np.float32, (100_000, 50)))
before = peak()
for columns_first in (False, True):
    path = f"{folder}/{columns_first}.npy"
    epoch(np.lib.format.open_memmap(path, "w+", np.float32, (1_200_000, 50), fortran_order=columns_first))
    print(peak() - before)
for name, dtype in (("data", np.float32), ("indices", np.int32)):
    np.lib.format.open_memmap(f"{folder}/{name}.npy", "w+", dtype, (32_000_000,))
np.save(folder + "/indptr.npy", np.arange(0, 32_000_001, 20))
epoch(open_csr([f"{folder}/{name}.npy" for name in ("data", "indices", "indptr")], n_features=100))
print(peak() - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """A file of 240 MB in any layout adds its buffers to the memory of the process, and not itself."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # The buffer is held twice; blocks, batches and what the allocator keeps come on top.
    assert max(map(float, run.stdout.split())) < 130, run.stdout
