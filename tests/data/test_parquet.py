"""Columns of Parquet and Arrow files are an X that is read piece by piece, and a y."""

from __future__ import annotations

import decimal
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
import torch

from skbig.data import open_parquet, streamed_rows
from skbig.data.sources import parquet
from skbig.data.sources.arrow_files import ParquetShard
from skbig.data.sources.open import as_source
from skbig.data.sources.parquet import ColumnsSource
from skbig.data.streamed_rows import stream_rows
from skbig.data.streaming.chunks import blocks
from tests.small import CPU

N_ROWS = 500
KINDS = ("parquet", "arrow", "feather")


def table(n_rows: int = N_ROWS, first: int = 0) -> pa.Table:
    random = np.random.RandomState(first)
    columns = {
        "number": np.arange(first, first + n_rows, dtype=np.float32),
        "half": random.normal(size=n_rows).astype(np.float16),
        "small": random.randint(-100, 100, size=n_rows).astype(np.int8),
        "flag": random.uniform(size=n_rows) < 0.5,
        "label": np.array(["rain", "snow", "sun"])[random.randint(3, size=n_rows)],
    }
    return pa.table(columns)


FEATURES = ["number", "half", "small", "flag"]


def values(rows: pa.Table, names: Any = FEATURES) -> np.ndarray:
    return np.stack([rows.column(name).to_numpy().astype(float) for name in names], axis=1)


def write(rows: pa.Table, path: Path, piece: int = 70) -> Path:
    """Write a file whose pieces have 70 rows."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(rows, path, row_group_size=piece)
    elif path.suffix == ".feather":
        pa.feather.write_feather(rows, path, chunksize=piece)
    else:
        with pa.ipc.new_file(path, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=piece)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_features_and_target(kind: str, tmp_path: Path) -> None:
    """X holds all columns but the target's, and y the target's."""
    path = write(table(), tmp_path / f"rows.{kind}")
    X, y = open_parquet(path, target="label")
    assert X.shape == (N_ROWS, 4) and X.feature_names.tolist() == FEATURES and as_source(X) is X
    np.testing.assert_array_equal(X[:], values(table()))
    assert y is not None and y.tolist() == table().column("label").to_pylist()


@pytest.mark.parametrize("kind", KINDS)
def test_any_rows_can_be_read_in_any_order(kind: str, tmp_path: Path) -> None:
    """A range is the same whatever was read before, within pieces and across them, and before it as well as after."""
    X, _ = open_parquet(write(table(), tmp_path / f"rows.{kind}"), FEATURES)
    expected, random = values(table()), np.random.RandomState(0)
    for _ in range(60):
        start, stop = np.sort(random.randint(N_ROWS + 1, size=2))
        np.testing.assert_array_equal(X.read(start, stop), expected[start:stop])
        if random.uniform() < 0.1:
            X.release()
    out = np.empty((30, 4), np.float64)
    X.read_into(60, out)
    np.testing.assert_array_equal(out, expected[60:90])


def files(folder: Path, kind: str) -> list[Path]:
    """Write a set in three files, of which one is empty."""
    parts = (table(100), table(0), table(150, first=100))
    return [write(part, folder / f"part-{i}.{kind}") for i, part in enumerate(parts)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["list", "folder", "pattern", "string"])
def test_several_files_are_one_set(kind: str, way: str, tmp_path: Path) -> None:
    """A list of files, a folder and a pattern are read one file after the other."""
    paths = files(tmp_path, kind)
    (tmp_path / "_SUCCESS").touch()
    given = {
        "list": paths,
        "folder": tmp_path,
        "pattern": tmp_path / f"part-*.{kind}",
        "string": str(tmp_path / f"*.{kind}"),
    }[way]
    X, y = open_parquet(given, FEATURES, target="label")
    expected = pa.concat_tables([table(100), table(150, first=100)])
    np.testing.assert_array_equal(X[:], values(expected))
    assert y is not None and y.tolist() == expected.column("label").to_pylist()


def test_the_order_of_a_list_is_kept(tmp_path: Path) -> None:
    """X and y follow the files in the order in which they are given."""
    one, _, other = files(tmp_path, "parquet")
    X, y = open_parquet([other, one], ["number"], target="number")
    assert y is not None
    np.testing.assert_array_equal(X[:][:, 0], y)
    assert y.tolist() == [*range(100, 250), *range(100)]


def test_folders_tell_columns(tmp_path: Path) -> None:
    """A folder such as ``year=2024`` is a column, for X and for y."""
    for year in (2023, 2024):
        for label in ("a", "b"):
            folder = tmp_path / f"year={year}" / f"kind={label}"
            folder.mkdir(parents=True)
            write(table(40, first=year), folder / "part.parquet")
    X, y = open_parquet(tmp_path, ["year", "number"], target="kind")
    assert X[:][:, 0].tolist() == [2023.0] * 80 + [2024.0] * 80
    assert X[80:120][:, 1].tolist() == list(range(2024, 2064))
    assert y is not None and y.tolist() == (["a"] * 40 + ["b"] * 40) * 2
    alone, _ = open_parquet(tmp_path / "year=2023" / "kind=a" / "part.parquet", target="label")
    assert alone.feature_names.tolist() == FEATURES


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["float32", "int8", "uint16", "bool", "float16"], "float32"),
        (["bool"], "float32"),
        (["float32", "float64"], "float64"),
        (["int32"], "float64"),
        (["float32", "int64"], "float64"),
    ],
)
def test_the_dtype_holds_every_column(types: list[str], expected: str, tmp_path: Path) -> None:
    """Numbers keep their values: float32 where that is enough, else float64."""
    columns = {f"{i}": np.array([0, 1, 1, 0]).astype(dtype) for i, dtype in enumerate(types)}
    X, y = open_parquet(write(pa.table(columns), tmp_path / "rows.parquet"))
    assert X.dtype == X[:].dtype == expected and y is None
    np.testing.assert_array_equal(X[:], np.stack(list(columns.values()), axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_files_may_have_other_types(kind: str, tmp_path: Path) -> None:
    """Where a column has integers in the first file and fractions in the next, neither X nor y is rounded."""
    whole, third = np.arange(4), np.arange(4) / 3
    for number, (x, label) in enumerate([(whole.astype(np.int16), whole), (third, whole), (third, third)]):
        columns = {"x": x, "y": label, "other": [number] if number else ["word"]}
        rows = pa.table({name: np.resize(column, 4) for name, column in columns.items()})
        write(rows.select(["y", "other", "x"]) if number else rows, tmp_path / f"{number}.{kind}")
    X, y = open_parquet(tmp_path, ["x"], target="y")
    assert X.dtype == np.float64 and y is not None
    np.testing.assert_array_equal(X[:][:, 0], np.concatenate([whole, third, third]))
    np.testing.assert_array_equal(y, np.concatenate([whole, whole, third]))
    with pytest.raises(ValueError, match=r"target 'other' has types .* nothing in common: \['int64', 'string'\]"):
        open_parquet(tmp_path, ["x"], target="other")


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("column", ["float", "int", "bool"])
def test_missing_values_are_named(column: str, kind: str, tmp_path: Path) -> None:
    """A missing value is NaN, which is refused with its row and column."""
    types = {"float": pa.float32(), "int": pa.int64(), "bool": pa.bool_()}
    rows = {name: [1, 0] * 100 for name in types}
    rows[column][137] = None  # type: ignore[call-overload]
    made = pa.table({name: pa.array(rows[name], pa.int8()).cast(dtype) for name, dtype in types.items()})
    X, _ = open_parquet(write(made, tmp_path / f"rows.{kind}"))
    assert np.isnan(X[137:138]).sum() == 1 and np.isfinite(X[:137]).all() and np.isfinite(X[138:]).all()
    with pytest.raises(ValueError, match=f"contains NaN. It is in row 137, column {list(types).index(column)}"):
        list(blocks(X, np.dtype(np.float32), 50))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b"]),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array([1, 2], pa.timestamp("s")),
        pa.array([[1], [2]]),
        pa.nulls(2),
    ],
    ids=lambda column: str(column.type),
)
def test_features_are_numbers(column: Any, tmp_path: Path) -> None:
    """A column that holds no numbers is named, with what to do about it."""
    path = write(pa.table({"fine": [1.0, 2.0], "other": column}), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"column 'other' has the type .* Leave it out of `features`, or encode it"):
        open_parquet(path)
    X, _ = open_parquet(path, ["fine"])
    assert X[:].tolist() == [[1], [2]]


def test_columns_that_do_not_exist(tmp_path: Path) -> None:
    """A column that is missing, in the set or in one of its files, is named."""
    path = write(table(), tmp_path / "one.parquet")
    for choices in ({"features": ["number", "length"]}, {"target": "length"}, {"target": ["label", "length"]}):
        with pytest.raises(ValueError, match="data set has no column 'length'"):
            open_parquet(path, **choices)
    write(table().drop_columns(["half"]), tmp_path / "two.parquet")
    with pytest.raises(ValueError, match=r"two.parquet has no column 'half'"):
        open_parquet(tmp_path, FEATURES)
    write(table().set_column(1, "half", table().column("label")), tmp_path / "two.parquet")
    with pytest.raises(ValueError, match=r"column 'half' has the type string"):
        open_parquet(tmp_path, FEATURES)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["b", "a"]), ["b", "a"]),
        (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
        (pa.array([3, 1]), [3, 1]),
        (pa.array([True, False]), [True, False]),
        (pa.array([decimal.Decimal("1.5"), decimal.Decimal("2.5")]), [1.5, 2.5]),
    ],
    ids=lambda column: str(getattr(column, "type", "")),
)
def test_targets_of_every_kind(column: Any, expected: list[Any], tmp_path: Path) -> None:
    """A target may be numbers or strings."""
    path = write(pa.table({"x": [1.0, 2.0], "y": column}), tmp_path / "rows.parquet")
    X, y = open_parquet(path, target="y")
    assert X.shape == (2, 1) and isinstance(y, np.ndarray) and y.tolist() == expected


def test_several_targets(tmp_path: Path) -> None:
    """Several targets are columns of y, and no features."""
    path = write(table().drop_columns(["label"]), tmp_path / "rows.parquet")
    X, y = open_parquet(path, target=["small", "number"])
    assert X.feature_names.tolist() == ["half", "flag"]
    np.testing.assert_array_equal(y, values(table(), ["small", "number"]))


def test_targets_without_a_value(tmp_path: Path) -> None:
    """A missing target is named with its row."""
    path = write(pa.table({"x": np.zeros(100), "y": ["a"] * 83 + [None] * 17}), tmp_path / "rows.parquet", piece=30)
    with pytest.raises(ValueError, match="target 'y' has no value in row 83"):
        open_parquet(path, target="y")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_named(kind: str, tmp_path: Path) -> None:
    """A file that is cut off, or is something else, is refused when it is opened, and so is one that does not exist."""
    paths = files(tmp_path, kind)
    os.truncate(paths[2], os.path.getsize(paths[2]) - 20)
    with pytest.raises(ValueError, match=f"part-2.{kind}.* damaged or cut off"):
        open_parquet(paths, FEATURES)
    with pytest.raises(ValueError, match=f"part-2.{kind}.* damaged or cut off"):
        open_parquet(paths[2])
    paths[2].write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="damaged or cut off"):
        open_parquet(paths[2])
    with pytest.raises(FileNotFoundError, match=rf"none.{kind}"):
        open_parquet(tmp_path / f"none.{kind}")
    with pytest.raises(FileNotFoundError, match=r"no file that matches .*none-\*"):
        open_parquet(tmp_path / f"none-*.{kind}")


def test_a_set_without_rows(tmp_path: Path) -> None:
    """Files without a row are refused in scikit-learn's words."""
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        open_parquet(write(table(0), tmp_path / "rows.parquet"), FEATURES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_travels_by_its_names(kind: str, tmp_path: Path) -> None:
    """What is pickled is where the rows lie, also while they are read."""
    X, _ = open_parquet(write(table(), tmp_path / f"rows.{kind}"), FEATURES)
    X.read(10, 20)
    copy = pickle.loads(pickle.dumps(X))
    np.testing.assert_array_equal(copy[:], X[:])
    assert copy.feature_names.tolist() == FEATURES


def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return a list that is told of each piece that is opened."""
    pieces: list[tuple[str, int]] = []
    batches = ParquetShard.batches

    def recorded(shard: ParquetShard, piece: int, *arguments: Any) -> Any:
        pieces.append((shard.path, piece))
        return batches(shard, piece, *arguments)

    monkeypatch.setattr(ParquetShard, "batches", recorded)
    return pieces


def epoch(X: ColumnsSource, batch_size: int = 20, **options: Any) -> np.ndarray:
    rows = stream_rows(X, np.zeros(len(X)), None, CPU, torch.float32, **options)
    groups = rows.epoch([3], 1, True, batch_size, 4)
    return torch.cat([batch.X for group in groups for batch in group]).numpy()


@pytest.mark.parametrize("most_open", [1, 3, 12])
def test_row_groups_are_decoded_once(most_open: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch reads every row once, decodes every row group once, and has no more of them open than allowed."""
    monkeypatch.setattr(streamed_rows, "MIN_BUFFER_BYTES", 100)
    monkeypatch.setattr(streamed_rows, "CHUNK_BYTES", (64, 64))
    paths = [write(table(100, first=100 * i), tmp_path / f"{i}.parquet", piece=40) for i in range(5)]
    X, _ = open_parquet(paths, FEATURES)
    X.most_open = most_open
    pieces = opened(monkeypatch)
    read = epoch(X, buffer=0.02)
    assert len(pieces) == len(set(pieces)) == 15
    assert len(X._cursors) == 0
    expected = np.concatenate([values(table(100, first=100 * i)) for i in range(5)])
    np.testing.assert_array_equal(read[read[:, 0].argsort()], expected.astype(np.float32))


def test_an_epoch_that_ends_early_closes_its_files(tmp_path: Path) -> None:
    """Files are open as long as they are read."""
    X, _ = open_parquet(write(table(), tmp_path / "rows.parquet"), FEATURES)
    read = stream_rows(X, np.zeros(60), None, CPU, torch.float32, rows=np.arange(60)).epoch([0], 0, True, 5, 1)
    next(read)
    read.close()
    assert not X._cursors


def test_sorted_row_groups_are_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With rows sorted by ten labels in large row groups, batches hold about as many of each."""
    monkeypatch.setattr(streamed_rows, "MIN_BUFFER_BYTES", 100)
    monkeypatch.setattr(streamed_rows, "CHUNK_BYTES", (400, 100))
    n_rows = 20_000
    rows = pa.table({"number": np.arange(n_rows, dtype=np.float32)})
    X, _ = open_parquet(write(rows, tmp_path / "rows.parquet", piece=2000))
    labels = epoch(X, batch_size=200)[:, 0].astype(int) // 2000
    counts = np.stack([np.bincount(batch, minlength=10) for batch in labels.reshape(-1, 200)])
    assert counts.std() < 1.5 * np.sqrt(200 * 0.1 * 0.9)


def test_few_wide_row_groups_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The more memory a row group takes while it is read, the fewer are read side by side."""
    monkeypatch.setattr(parquet, "OPEN_BYTES", 2**20)
    most_open = []
    for n_columns in (2, 20, 80):
        columns = {f"{i}": np.random.RandomState(i).normal(size=1000) for i in range(n_columns)}
        most_open.append(open_parquet(write(pa.table(columns), tmp_path / "rows.parquet", 1000))[0].most_open)
    assert most_open[0] == 12 > most_open[1] > most_open[2] == 1


def test_pyarrow_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow, the error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'skbig\[parquet\]'"):
        open_parquet("rows.parquet")
