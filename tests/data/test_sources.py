"""Whatever rows are read from, they are the rows that were written, and only those that were asked for."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
import zarr
from scipy import sparse

from skbig.data import open_csr, save_csr
from skbig.data.sources.base import Source
from skbig.data.sources.open import as_source
from skbig.data.streaming.chunks import cut

N_ROWS, N_FEATURES = 300, 7
NUMBERS = ("float32", "float64", "float16", "int64", "int8", "uint16", "bool", ">f4")


def numbers(dtype: str = "float32") -> np.ndarray:
    values = np.random.RandomState(0).normal(size=(N_ROWS, N_FEATURES)) * 20
    values[np.random.RandomState(1).uniform(size=values.shape) < 0.4] = 0
    return values.astype(np.float64 if "f" in dtype else int).astype(dtype)


def mapped(folder: Path, values: np.ndarray, mode: Any = "r", name: str = "rows.npy") -> np.memmap:
    np.save(folder / name, values)
    return np.load(folder / name, mmap_mode=mode)


def raw(folder: Path, values: np.ndarray) -> np.memmap:
    (folder / "raw.bin").write_bytes(b"head" * 3 + values.tobytes())
    return np.memmap(folder / "raw.bin", values.dtype, "r", offset=12, shape=values.shape)


def changed_in_memory(folder: Path, values: np.ndarray) -> np.memmap:
    """A map whose changes are not in the file."""
    array = mapped(folder, np.zeros_like(values), "c")
    array[...] = values
    return array


def changed_in_the_file(folder: Path, values: np.ndarray) -> np.memmap:
    array = mapped(folder, np.zeros_like(values), "r+")
    array[...] = values
    return array


def deleted(folder: Path, values: np.ndarray) -> np.memmap:
    array = mapped(folder, values)
    os.remove(folder / "rows.npy")
    return array


def replaced(folder: Path, values: np.ndarray) -> np.memmap:
    """A map of a file whose name another one has taken."""
    array = mapped(folder, values)
    np.save(folder / "other.npy", np.ones_like(values))
    os.replace(folder / "other.npy", folder / "rows.npy")
    return array


def hdf5(folder: Path, values: np.ndarray, **options: Any) -> Any:
    return h5py.File(folder / "rows.h5", "w").create_dataset("X", data=values, **options)


def zarr_array(folder: Path, values: np.ndarray, **options: Any) -> Any:
    array = zarr.create_array(folder / "rows.zarr", shape=values.shape, dtype=values.dtype, **options)
    array[...] = values
    return array


def mapped_csr(folder: Path, values: np.ndarray) -> Any:
    rows = sparse.csr_array(values)
    data, indices = mapped(folder, rows.data, name="data.npy"), mapped(folder, rows.indices, name="indices.npy")
    return sparse.csr_array((data, indices, rows.indptr), shape=values.shape)


def csr_files(folder: Path, values: np.ndarray) -> Any:
    save_csr(folder / "csr", sparse.csr_matrix(values))
    return open_csr(folder / "csr")


KINDS: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "memory map": mapped,
    "a file with a head": raw,
    "columns": lambda folder, values: mapped(folder, np.asfortranarray(values)),
    "a transposed view": lambda folder, values: mapped(folder, np.ascontiguousarray(values.T)).T,
    "some rows": lambda folder, values: mapped(folder, np.concatenate([values[:9] + values[:9], values]))[9:],
    "some columns": lambda folder, values: mapped(folder, np.hstack([values, values[:, ::-1]]))[:, :N_FEATURES],
    "every second row": lambda folder, values: mapped(folder, np.repeat(values, 2, axis=0))[::2],
    "rows from the end": lambda folder, values: mapped(folder, values[::-1])[::-1],
    "a view that is a plain array": lambda folder, values: np.asarray(mapped(folder, values)),
    "writable": lambda folder, values: mapped(folder, values, "r+"),
    "changed in memory": changed_in_memory,
    "changed in the file": changed_in_the_file,
    "deleted": deleted,
    "replaced": replaced,
    "hdf5": hdf5,
    "hdf5 in chunks": lambda folder, values: hdf5(folder, values, chunks=(40, 3), compression="gzip"),
    "zarr": lambda folder, values: zarr_array(folder, values, chunks=(40, N_FEATURES)),
    "zarr in shards": lambda folder, values: zarr_array(folder, values, chunks=(20, 7), shards=(100, 7)),
    "dask": lambda folder, values: dask.array.from_array(hdf5(folder, values), chunks=((90, 10, 200), 4)),
    "csr of memory maps": mapped_csr,
    "csr in files": csr_files,
}
EACH = pytest.mark.parametrize("kind", KINDS)


def dense(rows: Any) -> np.ndarray:
    return rows.toarray() if sparse.issparse(rows) else rows


def opened(kind: str, folder: Path, values: np.ndarray) -> Source:
    source = as_source(KINDS[kind](folder, values))
    assert source is not None
    return source


@pytest.mark.crossed
@EACH
@pytest.mark.parametrize("dtype", NUMBERS)
def test_rows_are_those_that_were_written(kind: str, dtype: str, tmp_path: Path) -> None:
    """A source has the shape and the dtype of what lies there, and any range of its rows."""
    values = numbers(dtype)
    if "zarr" in kind and dtype == ">f4":
        pytest.skip("has a byte order of its own")
    if "csr" in kind and dtype in ("float16", ">f4"):
        pytest.skip("SciPy has no such rows")
    source = opened(kind, tmp_path, values)
    assert source.shape == values.shape and len(source) == N_ROWS
    assert source.dtype.newbyteorder("=") == values.dtype.newbyteorder("=")
    for start, stop in [(0, 1), (17, 103), (N_ROWS - 1, N_ROWS), (0, N_ROWS), (50, 50)]:
        source.will_read(start, stop)
        read = source.read(start, stop)
        np.testing.assert_array_equal(dense(read), values[start:stop])
        assert read.dtype == source.dtype
    np.testing.assert_array_equal(dense(source[-10:]), values[-10:])
    source.release()
    np.testing.assert_array_equal(dense(source[:3]), values[:3])


@pytest.mark.crossed
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "csr" not in kind])
@pytest.mark.parametrize("dtype", ["float64", "int64", "bool", "float32"])
def test_rows_are_converted_as_they_are_read(kind: str, dtype: str, tmp_path: Path) -> None:
    """Rows are read into arrays of the dtype that is computed in, which may be a part of a larger one."""
    values = numbers(dtype)
    source = opened(kind, tmp_path, values)
    for wanted in (np.float32, np.float64):
        out = np.full((100, N_FEATURES), 7, wanted)
        source.read_into(30, out[20:80])
        np.testing.assert_array_equal(out[20:80], values[30:90].astype(wanted))
        np.testing.assert_array_equal(out[:20], 7)


def test_a_copy_is_no_window_into_the_file(tmp_path: Path) -> None:
    """What was read may be written to, and the file stays."""
    array = mapped(tmp_path, numbers(), "r+")
    source = as_source(array)
    assert source is not None
    source.read(0, 10)[...] = 5
    np.testing.assert_array_equal(array, numbers())


@pytest.mark.parametrize(
    "X",
    [
        numbers(),
        numbers().tolist(),
        np.array(7.0),
        np.float64(3),
        np.ma.masked_array(numbers()),
        pd.DataFrame(numbers()),
        pd.DataFrame(numbers())[0],
        pl.DataFrame(numbers()),
        pl.Series(numbers()[0]),
        torch.zeros(3, 2),
        sparse.csr_array(numbers()),
        sparse.coo_array(numbers()),
        None,
        "rows.npy",
    ],
    ids=lambda X: type(X).__name__,
)
def test_what_is_in_memory_is_no_source(X: Any) -> None:
    """Arrays, frames, lists and sparse matrices in memory are left to the usual way."""
    assert as_source(X) is None


def test_copies_of_a_map_are_in_memory(tmp_path: Path) -> None:
    """Rows picked from a memory map, and results, are in memory; so is a map that is no set of rows."""
    array = mapped(tmp_path, numbers())
    for X in (
        array[[3, 1]],
        array[array[:, 0] > 0],
        array + 1,
        array.copy(),
        array[:, 0],
        array[:0],
        array.astype(str),
    ):
        assert as_source(X) is None
    assert as_source(array.view("S4")) is None


def test_a_source_is_a_source() -> None:
    """What can be read already is taken as it is."""
    source = as_source(Slices())
    assert source is not None and as_source(source) is source


class Slices:
    """Has a shape, a dtype and row slicing, and nothing else."""

    def __init__(self, shape: tuple[int, ...] = (10_000, 3), dtype: Any = "float32", chunks: Any = None) -> None:
        self.shape, self.dtype, self.read = shape, np.dtype(dtype), []
        if chunks is not None:
            self.chunks = chunks

    def __getitem__(self, key: Any) -> np.ndarray:
        assert isinstance(key, slice) and key.step is None
        self.read.append((key.start, key.stop))
        rows = np.arange(key.start, min(key.stop, self.shape[0]))
        return np.tile(rows[:, None], self.shape[1]).astype(self.dtype)


@pytest.mark.parametrize(("chunks", "edges"), [((1000, 3), 1000), (((4000, 1, 5999), (3,)), [0, 4000, 4001, 10_000])])
def test_chunks_are_read_whole(chunks: Any, edges: Any) -> None:
    """A range ends where a chunk ends, so that no chunk is read twice."""
    source = as_source(Slices(chunks=chunks))
    assert source is not None
    for n_rows in (1, 300, 2500, 10_000, 20_000):
        found = cut(source, n_rows).edges
        allowed = np.append(np.arange(0, 10_000, edges), 10_000) if isinstance(edges, int) else edges
        assert found[0] == 0 and found[-1] == 10_000 and (np.diff(found) > 0).all() and set(found) <= set(allowed)
        assert (np.diff(found)[:-1] >= n_rows).all()


@pytest.mark.parametrize(
    ("chunks", "n_parts"),
    [((10_000, 1), 10), ((4000, 3), 10), (((7001, 1, 2998), (3,)), 11), ((900, 3), 12)],
)
def test_chunks_that_are_too_large_are_cut(chunks: Any, n_parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block is no larger than memory allows, also where a chunk is, as with columns that are stored one by one."""
    monkeypatch.setattr("skbig.data.streaming.chunks.MAX_BYTES", 1000 * 3 * 4)
    source = as_source(Slices(chunks=chunks))
    assert source is not None
    found = cut(source, 300).edges
    assert len(found) == n_parts + 1 and found[0] == 0 and found[-1] == 10_000
    assert np.diff(found).min() > 0 and np.diff(found).max() <= 1000
    assert np.diff(cut(source, 2500).edges).max() <= 2500  # what is asked for, there is memory for


@pytest.mark.parametrize(
    "view", [np.s_[:], np.s_[:, 1:], np.s_[5:90], np.s_[:, ::2], np.s_[::3], np.s_[:, ::-1]], ids=str
)
def test_a_file_of_columns_becomes_shorter(view: Any, tmp_path: Path) -> None:
    """Columns are read from the file: what is not there any more is an error, and does not end the process."""
    values = np.random.RandomState(0).normal(size=(100, 2000))
    X = mapped(tmp_path, np.asfortranarray(values))[view]
    source = as_source(X)
    assert source is not None
    np.testing.assert_array_equal(source[10:20], values[view][10:20])
    os.truncate(tmp_path / "rows.npy", 10_000)
    with pytest.raises(ValueError, match=r"rows\.npy (has become|is) shorter"):
        source[20:30]


def test_columns_are_read_in_long_runs(tmp_path: Path) -> None:
    """Where a file holds column after column, a range has many rows."""
    values = np.zeros((100_000, 2), np.float32)
    by_rows, by_columns = (as_source(mapped(tmp_path, array)) for array in (values, np.asfortranarray(values)))
    assert len(cut(by_rows, 100)) == 1000 and len(cut(by_columns, 100)) < 10


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (Slices((10,)), None),
        (Slices((10, 2, 2)), r"Expected 2D array, got 3D array instead"),
        (Slices((0, 3)), r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required"),
        (Slices((3, 0)), r"Found array with 0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"),
        (Slices(dtype="complex64"), "must hold real numbers .* Its dtype is complex64"),
        (Slices(dtype="S3"), "must hold real numbers"),
        (
            dask.array.from_array(numbers(), chunks=50)[dask.array.from_array(numbers()[:, 0], chunks=50) > 0],
            "chunk_sizes",
        ),
    ],
)
def test_what_cannot_be_learned_from(X: Any, message: str | None) -> None:
    """What is no table of numbers is refused before it is read; a column is left to the usual way."""
    if message is None:
        assert as_source(X) is None
        return
    with pytest.raises(ValueError, match=message):
        as_source(X)


def test_an_array_with_fewer_rows_than_it_says() -> None:
    """An array that gives another number of rows than it was asked for is refused."""
    array = Slices()
    source = as_source(array)
    array.shape = (100, 3)
    assert source is not None
    with pytest.raises(ValueError, match=r"X\[50:150\] of Slices has the shape \(50, 3\), and X has .*\(10000, 3\)"):
        source.read(50, 150)


@pytest.mark.parametrize("kind", ["memory map", "columns", "csr of memory maps"])
def test_a_map_of_a_file_that_became_shorter(kind: str, tmp_path: Path) -> None:
    """A file that was cut off after it was mapped is refused before a row is read, which would kill the process."""
    array = KINDS[kind](tmp_path, numbers())
    path = tmp_path / ("data.npy" if "csr" in kind else "rows.npy")
    os.truncate(path, os.path.getsize(path) - 10)
    with pytest.raises(ValueError, match=rf"{path.name} is shorter than its header says: \d+ bytes"):
        as_source(array)


def test_a_file_that_becomes_shorter_meanwhile(tmp_path: Path) -> None:
    """A file that is cut off while it is read ends in an error, and not the process."""
    source = opened("memory map", tmp_path, numbers())
    os.truncate(tmp_path / "rows.npy", 1000)
    source.read(0, 10)
    with pytest.raises(ValueError, match=r"rows.npy has become shorter: it has no byte 2928"):
        source.read(100, 200)


def test_the_end_of_a_longer_file_is_not_missed(tmp_path: Path) -> None:
    """A file may be cut off behind the rows that are wanted."""
    array = mapped(tmp_path, numbers())[:100]
    os.truncate(tmp_path / "rows.npy", os.path.getsize(tmp_path / "rows.npy") - 10)
    source = as_source(array)
    assert source is not None
    np.testing.assert_array_equal(source.read(0, 100), numbers()[:100])


@pytest.mark.parametrize("name", ["data.npy", "indices.npy", "indptr.npy"])
def test_csr_files_that_are_damaged(name: str, tmp_path: Path) -> None:
    """A file of sparse rows that is cut off, or missing, is named."""
    save_csr(tmp_path, sparse.csr_array(numbers()))
    os.truncate(tmp_path / name, os.path.getsize(tmp_path / name) - 10)
    with pytest.raises(ValueError, match=f"{name} is shorter than its header says"):
        open_csr(tmp_path)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=name):
        open_csr(tmp_path)
    os.remove(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=name):
        open_csr(tmp_path)


def test_csr_files_that_do_not_belong_together(tmp_path: Path) -> None:
    """Rows outside the values and columns outside the features are refused; SciPy would read past its memory."""
    save_csr(tmp_path, sparse.csr_array(numbers()))
    paths = [tmp_path / name for name in ("data.npy", "indices.npy", "indptr.npy")]
    with pytest.raises(ValueError, match="three files .* Got 2 paths"):
        open_csr(paths[:2])
    np.save(tmp_path / "short.npy", np.load(paths[0])[:-5])
    with pytest.raises(ValueError, match="indptr must rise from 0 to the number of stored values"):
        open_csr([tmp_path / "short.npy", *paths[1:]])
    np.save(tmp_path / "falling.npy", np.load(paths[2])[::-1])
    with pytest.raises(ValueError, match=r"indptr must rise .* not in order"):
        open_csr([*paths[:2], tmp_path / "falling.npy"])
    narrow = open_csr(tmp_path, n_features=N_FEATURES - 1)
    row = int(np.flatnonzero(numbers()[:, -1])[0])
    with pytest.raises(ValueError, match=f"Row {row} of X has the column number 6; X has 6"):
        narrow.read(0, N_ROWS)


def test_the_number_of_sparse_features(tmp_path: Path) -> None:
    """It is kept beside the arrays, since the last columns may be empty; without it, it is found."""
    values = numbers()
    values[:, -2:] = 0
    save_csr(tmp_path, sparse.csr_array(values))
    assert open_csr(str(tmp_path)).shape == values.shape
    assert open_csr(tmp_path, n_features=50).shape == (N_ROWS, 50)
    os.remove(tmp_path / "shape.npy")
    assert open_csr(tmp_path).shape == (N_ROWS, N_FEATURES - 2)


def test_empty_sparse_rows(tmp_path: Path) -> None:
    """Rows of zeros only can be read."""
    save_csr(tmp_path, sparse.csr_array((4, 3)))
    assert open_csr(tmp_path).read(1, 3).toarray().tolist() == [[0, 0, 0]] * 2


def test_csr_files_travel_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pickled is where the rows lie, wherever the process that opens them stands."""
    monkeypatch.chdir(tmp_path)
    save_csr("here", sparse.csr_array(numbers()))
    pickled = pickle.dumps(open_csr("here"))
    assert len(pickled) < 2000
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(pickled)[:].toarray(), numbers())
    with pytest.raises(TypeError, match="open_csr"):
        pickle.dumps(as_source(mapped_csr(tmp_path, numbers())))
    shutil.rmtree(tmp_path / "here")


@pytest.mark.parametrize("key", [3, [1, 2], slice(0, 10, 2), (slice(0, 2), 0), np.array([True] * N_ROWS)])
def test_rows_are_sliced_and_nothing_else(key: Any, tmp_path: Path) -> None:
    """Other ways to index would read the whole file without saying so."""
    with pytest.raises(TypeError, match=r"by slices of rows, as X\[start:stop\]"):
        opened("csr in files", tmp_path, numbers())[key]
