"""Columns of Parquet and Arrow data sets as an X and a y.

Legend: N rows of the whole set, R rows of one read, F features.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from threading import get_ident
from typing import Any

import numpy as np

from skbig.data.sources.arrow_files import ArrowShard, Cursor, ParquetShard, Shard
from skbig.data.sources.base import Source, check_shape

READ_BYTES = 2**20
OPEN_BYTES = 2**29
"""The most memory of the pieces that are read side by side, roughly."""

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc"}
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class ColumnsSource(Source):
    """Some columns of a data set as rows (N, F). A piece of a file is decoded from its begin on.

    Parameters
    ----------
    shards : sequence of Shard
        The files, in their order.
    features : sequence of str
    dtype : numpy.dtype
    """

    in_order = True

    def __init__(self, shards: Sequence[Shard], features: Sequence[str], dtype: np.dtype[Any]) -> None:
        self._shards, self._features = list(shards), list(features)
        self._pieces = [(shard, i) for shard in shards for i in range(len(shard.sizes))]
        self.edges = np.cumsum([0, *(size for shard in shards for size in shard.sizes)])
        self.shape, self.dtype = check_shape((int(self.edges[-1]), len(features))), dtype
        self.feature_names = np.array(features, dtype=object)
        largest = max(shard.open_bytes(self._features) for shard in shards)
        self.most_open = int(np.clip(OPEN_BYTES // largest, 1, super().most_open))
        self._cursors: dict[tuple[int, int], Cursor] = {}  # of each thread its own

    def read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        self.read_into(start, out)
        return out

    def read_into(self, start: int, out: np.ndarray) -> None:
        assert self.edges is not None
        while len(out):
            piece = int(np.searchsorted(self.edges, start, side="right")) - 1
            n_rows = min(len(out), int(self.edges[piece + 1]) - start)
            with np.errstate(over="ignore", invalid="ignore"):
                self._cursor(piece, start - int(self.edges[piece])).read_into(out[:n_rows])
            if start + n_rows == self.edges[piece + 1]:
                self._cursors.pop((get_ident(), piece)).close()
            start, out = start + n_rows, out[n_rows:]

    def release(self) -> None:
        for key in self._own():
            self._cursors.pop(key).close()

    def __reduce__(self) -> Any:
        return type(self), (self._shards, self._features, self.dtype)

    def _cursor(self, piece: int, place: int) -> Cursor:
        """Go on where the piece was left, if that is not too far already."""
        key = get_ident(), piece
        cursor = self._cursors.pop(key, None)
        if cursor is None or cursor.place > place:
            if cursor is not None:
                cursor.close()
            cursor = self._opened(piece)
        self._cursors[key] = cursor  # the latest is the last
        cursor.skip(place - cursor.place)
        return cursor

    def _own(self) -> list[tuple[int, int]]:
        """The pieces that this thread reads: others may read the same set meanwhile, at places of their own."""
        return [key for key in list(self._cursors) if key[0] == get_ident()]

    def _opened(self, piece: int) -> Cursor:
        while len(own := self._own()) >= self.most_open:
            self._cursors.pop(own[0]).close()
        shard, number = self._pieces[piece]
        n_rows = int(np.clip(READ_BYTES / self.row_bytes, 64, 2**16))
        return Cursor(shard.batches(number, self._features, n_rows), shard, self._features)


def open_parquet(
    paths: Paths, features: Sequence[str] | None = None, target: str | Sequence[str] | None = None
) -> tuple[ColumnsSource, np.ndarray | None]:
    """Open a Parquet or Arrow data set as an X that is read while training, and a y in memory.

    X goes into `fit`, `partial_fit`, `predict`, `predict_proba` and `score`, and is never loaded whole. Missing values
    become NaN, which estimators refuse with the row and the column.

    Rows are shuffled by reading several row groups side by side. Row groups of many columns take much memory while they
    are read; when rows are sorted (by their labels, say), groups of some 10 to 100 thousand rows are shuffled best:
    ``pyarrow.parquet.write_table(table, path, row_group_size=50_000)``.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files, a folder (also one with folders such as ``year=2024``), or a pattern such as ``"part-*.parquet"``. Names
        end in ``.parquet``, ``.pq``, ``.arrow``, ``.feather`` or ``.ipc``; other names are read as Parquet.
    features : sequence of str or None, default=None
        The columns of X: integers, floats or booleans. None: all but the target.
    target : str, sequence of str or None, default=None
        The column of y, or the columns; strings are allowed.

    Returns
    -------
    X : ColumnsSource
        With `shape`, `dtype` (float32 where that holds all columns exactly, else float64), `feature_names` and row
        slicing: ``X[start:stop]`` is an array.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs), or None
        None without `target`.

    Raises
    ------
    ValueError
        When a file is damaged, a column does not exist or holds no numbers, or the target has missing values.

    Examples
    --------
    >>> import numpy as np, pyarrow, pyarrow.parquet, tempfile
    >>> from skbig.data import open_parquet
    >>> folder = tempfile.mkdtemp()
    >>> table = pyarrow.table({"a": np.arange(4.0), "b": np.arange(4), "kind": ["x", "y", "x", "y"]})
    >>> pyarrow.parquet.write_table(table, folder + "/part-0.parquet")
    >>> X, y = open_parquet(folder, target="kind")
    >>> X.shape, X.feature_names.tolist(), y.tolist()
    ((4, 2), ['a', 'b'], ['x', 'y', 'x', 'y'])
    >>> X[1:3]
    array([[1., 1.],
           [2., 2.]])
    """
    dataset = _dataset(paths)
    targets = [] if target is None else [target] if isinstance(target, str) else list(target)
    names = [name for name in dataset.schema.names if name not in targets] if features is None else list(features)
    for name in targets:
        _type_of(dataset.schema, name)
    types = [_feature_type(dataset.schema, name) for name in names]
    shards = _shards(dataset, names)
    types += [shard.schema.field(name).type for shard in shards for name in shard.held(names)]
    X = ColumnsSource(shards, names, _dtype(types))
    if not targets:
        return X, None
    columns = [_target(dataset, shards, name) for name in targets]
    return X, columns[0] if isinstance(target, str) else np.stack(columns, axis=1)


def _dataset(paths: Paths) -> Any:
    """Let pyarrow find the files and the folders' meaning."""
    try:
        import pyarrow
        import pyarrow.dataset
    except ImportError:
        raise ImportError("open_parquet needs pyarrow. Install it with: pip install 'skbig[parquet]'") from None
    found = _found(paths)
    folders = "hive" if isinstance(found, str) and os.path.isdir(found) else None
    try:
        return pyarrow.dataset.dataset(found, format=_format(found), partitioning=folders)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{paths!r} cannot be read as a data set; is a file damaged or cut off? {error}") from error


def _found(paths: Paths) -> str | list[str]:
    if not isinstance(paths, str | os.PathLike):
        return [os.fspath(path) for path in paths]
    path = os.fspath(paths)
    if os.path.exists(path) or not glob.has_magic(path):
        return path
    if not (matches := sorted(glob.glob(path, recursive=True))):
        raise FileNotFoundError(f"There is no file that matches {path!r}.")
    return matches


def _format(found: str | list[str]) -> str:
    """Return the format of the first file whose name tells one."""
    files = [found] if isinstance(found, str) else found
    for file in files:
        inside = (name for _, _, names in os.walk(file) for name in sorted(names))
        for name in (file, *inside) if os.path.isdir(file) else (file,):
            if (suffix := os.path.splitext(name)[1].lower()) in SUFFIXES:
                return SUFFIXES[suffix]
    return "parquet"


def _shards(dataset: Any, features: Sequence[str]) -> list[Shard]:
    """Open every file, and see that it holds the features."""
    import pyarrow
    from pyarrow.dataset import get_partition_keys

    kind = ParquetShard if dataset.format.default_extname == "parquet" else ArrowShard
    shards: list[Shard] = []
    for fragment in dataset.get_fragments():
        try:
            shard = kind(fragment.path, get_partition_keys(fragment.partition_expression))
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(f"The file {fragment.path} is damaged or cut off: {error}") from error
        for name in shard.held(features):
            _feature_type(shard.schema, name, f"The file {fragment.path}")
        shards.append(shard)
    return shards


def _type_of(schema: Any, name: str, owner: str = "The data set") -> Any:
    if schema.get_field_index(name) < 0:
        raise ValueError(f"{owner} has no column {name!r}, or has it twice. It has {schema.names}.")
    return schema.field(name).type


def _feature_type(schema: Any, name: str, owner: str = "The data set") -> Any:
    from pyarrow.types import is_boolean, is_floating, is_integer

    kind = _type_of(schema, name, owner)
    if is_floating(kind) or is_integer(kind) or is_boolean(kind):
        return kind
    raise ValueError(
        f"The column {name!r} has the type {kind}, and features must be integers, floats or booleans. Leave it out of "
        "`features`, or encode it (OrdinalEncoder, OneHotEncoder) when the data set is written."
    )


def _dtype(types: Sequence[Any]) -> np.dtype[Any]:
    """Return the smaller float dtype that holds all columns; a float, since a missing value is NaN."""
    return np.result_type(np.float32, *(kind.to_pandas_dtype() for kind in types))


def _typed(dataset: Any, shards: Sequence[Shard], name: str) -> Any:
    """Return the data set with one column, of a type that holds it in every file; else that of the first file is."""
    import pyarrow
    import pyarrow.dataset

    fields = [dataset.schema.field(name), *(shard.schema.field(name) for shard in shards if name in shard.schema.names)]
    if all(field.type == fields[0].type for field in fields):
        return dataset
    try:
        common = pyarrow.unify_schemas([pyarrow.schema([field]) for field in fields], promote_options="permissive")
    except pyarrow.ArrowException as error:
        types = sorted({str(field.type) for field in fields})
        raise ValueError(f"The target {name!r} has types in the files that have nothing in common: {types}.") from error
    fragments = list(dataset.get_fragments())
    return pyarrow.dataset.FileSystemDataset(fragments, common, dataset.format, dataset.filesystem)


def _target(dataset: Any, shards: Sequence[Shard], name: str) -> np.ndarray:
    import pyarrow
    from pyarrow.types import is_decimal, is_dictionary

    column = _typed(dataset, shards, name).to_table(columns=[name]).column(0)
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise ValueError(f"The target {name!r} has no value in row {row}.")
    if is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_decimal(column.type):
        column = column.cast(pyarrow.float64())
    return column.to_numpy()
