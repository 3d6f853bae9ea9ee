"""Files that hold rows in pieces: the row groups of a Parquet file, the record batches of an Arrow file.

Legend: R rows of a batch, F features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np


class Shard(ABC):
    """One file.

    Parameters
    ----------
    path : str
    constants : mapping
        Values of the columns that the file's folder tells (``year=2024/part-0.parquet``) and the file does not hold.

    Attributes
    ----------
    schema : pyarrow.Schema
    sizes : list of int
        Rows of each piece.
    """

    schema: Any
    sizes: list[int]

    def __init__(self, path: str, constants: Mapping[str, Any]) -> None:
        self.path, self.constants = path, dict(constants)
        self._look()

    @abstractmethod
    def _look(self) -> None:
        """Set the schema and the sizes, without reading rows."""

    @abstractmethod
    def batches(self, piece: int, columns: Sequence[str], n_rows: int) -> Iterator[Any]:
        """Yield the record batches of a piece, with these columns, of about `n_rows` rows."""

    @abstractmethod
    def open_bytes(self, columns: Sequence[str]) -> int:
        """About how much memory a piece takes that is being read."""

    def held(self, columns: Sequence[str]) -> list[str]:
        """The columns that must be read from the file."""
        return [name for name in columns if name not in self.constants]


class ParquetShard(Shard):
    """A Parquet file, of which a row group is a piece."""

    def _look(self) -> None:
        import pyarrow.parquet

        self._metadata = pyarrow.parquet.read_metadata(self.path)
        self.schema = self._metadata.schema.to_arrow_schema()
        self.sizes = [self._metadata.row_group(i).num_rows for i in range(self._metadata.num_row_groups)]

    def batches(self, piece: int, columns: Sequence[str], n_rows: int) -> Iterator[Any]:
        import pyarrow.parquet

        # A small buffer per column, where by default all of a row group is fetched before its first row is decoded.
        options = {"metadata": self._metadata, "buffer_size": 2**16, "pre_buffer": False}
        with pyarrow.parquet.ParquetFile(self.path, **options) as file:
            yield from file.iter_batches(n_rows, [piece], self.held(columns), use_threads=False)

    def open_bytes(self, columns: Sequence[str]) -> int:
        """A column that is being read holds a few pages, and twice its dictionary, which may have a megabyte."""
        held = set(self.held(columns))
        chunks = [group.column(i) for group in self._some_groups() for i in range(group.num_columns)]
        return 1 + sum(
            min(2 * chunk.total_uncompressed_size, 2**21 + 2**19 if chunk.has_dictionary_page else 2**18)
            for chunk in chunks
            if chunk.path_in_schema in held
        )

    def _some_groups(self) -> list[Any]:
        return [self._metadata.row_group(0)] if self.sizes else []


class ArrowShard(Shard):
    """An Arrow file (Feather, version 2), of which a record batch is a piece."""

    def _look(self) -> None:
        with _arrow_file(self.path) as reader:
            self.schema = reader.schema
        with _arrow_file(self.path, [0]) as reader:  # one column is enough to know the sizes
            self.sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]

    def batches(self, piece: int, columns: Sequence[str], n_rows: int) -> Iterator[Any]:
        held = self.held(columns)
        with _arrow_file(self.path, [self.schema.get_field_index(name) for name in held]) as reader:
            yield reader.get_batch(piece)

    def open_bytes(self, columns: Sequence[str]) -> int:
        return 1 + 8 * len(columns) * max(self.sizes, default=0)


@contextmanager
def _arrow_file(path: str, fields: Sequence[int] = ()) -> Iterator[Any]:
    """Open a file to read some of its fields, or all."""
    import pyarrow

    options = pyarrow.ipc.IpcReadOptions(included_fields=list(fields), use_threads=False)
    with pyarrow.OSFile(path) as file, pyarrow.ipc.open_file(file, options=options) as reader:
        yield reader


class Cursor:
    """A place in a piece, from which rows are read on.

    Parameters
    ----------
    batches : iterator of record batches
    shard : Shard
    columns : sequence of str
    """

    def __init__(self, batches: Iterator[Any], shard: Shard, columns: Sequence[str]) -> None:
        self._batches, self._shard, self._columns = batches, shard, columns
        self._batch: Any = None
        self._taken = 0
        self.place = 0

    def skip(self, n_rows: int) -> None:
        while n_rows:
            n_rows -= self._next(n_rows)[2]

    def read_into(self, out: np.ndarray) -> None:
        """Write the next rows into `out` (R, F); a value that is missing becomes NaN."""
        filled = 0
        while filled < len(out):
            batch, first, n_rows = self._next(len(out) - filled)
            part = out[filled : filled + n_rows]
            for j, name in enumerate(self._columns):
                part[:, j] = self._values(batch, name, first, n_rows)
            filled += n_rows

    def close(self) -> None:
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def _next(self, n_rows: int) -> tuple[Any, int, int]:
        """Go on by at most `n_rows`; return the batch, where its new rows begin, and how many they are."""
        while self._batch is None or self._taken == self._batch.num_rows:
            self._batch, self._taken = next(self._batches, None), 0
            if self._batch is None:
                raise ValueError(f"The file {self._shard.path} has fewer rows than it says.")
        first, n_rows = self._taken, min(n_rows, self._batch.num_rows - self._taken)
        self._taken += n_rows
        self.place += n_rows
        return self._batch, first, n_rows

    def _values(self, batch: Any, name: str, first: int, n_rows: int) -> Any:
        if name in self._shard.constants:
            value = self._shard.constants[name]
            return np.nan if value is None else value
        column = batch.column(name).slice(first, n_rows)
        if column.null_count and str(column.type) == "bool":
            column = column.cast("float32")  # as NumPy has it, a missing boolean is an object
        return column.to_numpy(zero_copy_only=False)
