"""Tables whose columns have types of their own: pandas, polars, Arrow.

Legend: N rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skbig.tables.cells import (
    CATEGORY,
    NUMBER,
    Levels,
    dates_refused,
    factorized,
    kind_of_objects,
    objects_as_numbers,
    plain,
)
from skbig.tables.table import Table


class PandasTable(Table):
    """A DataFrame of pandas."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        names = list(frame.columns)
        self.names = names if all(isinstance(name, str) for name in names) else None
        self.n_rows, self.n_columns = frame.shape

    def kind(self, column: int) -> str:
        from pandas.api import types

        dtype = self._frame.dtypes.iloc[column]
        if type(dtype).__name__ == "CategoricalDtype":
            return CATEGORY
        if types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype) or dtype.name[:6] == "period":
            raise dates_refused(self.name(column), dtype)
        if types.is_bool_dtype(dtype) or (types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype)):
            return NUMBER
        return kind_of_objects(self._frame.iloc[:, column].to_numpy(dtype=object), self.name(column))

    def numbers(self, column: int) -> np.ndarray:
        from pandas.api import types

        series = self._frame.iloc[:, column]
        if not types.is_numeric_dtype(series.dtype):  # which bool is
            return objects_as_numbers(series.to_numpy(dtype=object), self.name(column))
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))

    def categories(self, column: int) -> Levels:
        import pandas

        series = self._frame.iloc[:, column]
        if isinstance(series.dtype, pandas.CategoricalDtype):
            return Levels(series.cat.codes.to_numpy(dtype=np.int64), list(map(plain, series.cat.categories)))
        codes, levels = pandas.factorize(series, use_na_sentinel=True)
        return Levels(codes.astype(np.int64), list(map(plain, levels)))


class PolarsTable(Table):
    """A DataFrame of polars."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names = list(frame.columns)
        self.n_rows, self.n_columns = frame.shape

    def kind(self, column: int) -> str:
        series = self._frame.to_series(column)
        dtype = series.dtype
        if dtype.is_temporal():
            raise dates_refused(self.name(column), dtype)
        if dtype.is_numeric() or str(dtype) == "Boolean":
            return NUMBER
        if str(dtype).startswith(("Categorical", "Enum")):
            return CATEGORY
        return kind_of_objects(series.to_numpy(), self.name(column))

    def numbers(self, column: int) -> np.ndarray:
        import polars

        series = self._frame.to_series(column)
        if not (series.dtype.is_numeric() or series.dtype == polars.Boolean):
            return objects_as_numbers(np.array(series.to_list(), dtype=object), self.name(column))
        return np.asarray(series.cast(polars.Float64).to_numpy())

    def categories(self, column: int) -> Levels:
        import polars

        series = self._frame.to_series(column)
        if series.dtype.is_numeric() or series.dtype in (polars.Boolean, polars.Object):
            return factorized(series.to_numpy())
        series = series.cast(polars.String)
        levels = series.drop_nulls().unique().sort()
        codes = series.cast(polars.Enum(levels)).to_physical().cast(polars.Int64).fill_null(-1)
        return Levels(codes.to_numpy(), levels.to_list())


class ArrowTable(Table):
    """A Table of pyarrow."""

    def __init__(self, table: Any) -> None:
        import pyarrow

        self._table = table if isinstance(table, pyarrow.Table) else pyarrow.Table.from_batches([table])
        self.names = list(table.schema.names)
        self.n_rows, self.n_columns = self._table.shape

    def kind(self, column: int) -> str:
        from pyarrow import types

        dtype = self._table.schema.field(column).type
        if types.is_temporal(dtype):
            raise dates_refused(self.name(column), dtype)
        if types.is_boolean(dtype) or _holds_numbers(dtype):
            return NUMBER
        if types.is_dictionary(dtype):
            return CATEGORY
        return kind_of_objects(self._table.column(column).to_numpy(), self.name(column))

    def numbers(self, column: int) -> np.ndarray:
        import pyarrow

        values = self._table.column(column)
        if pyarrow.types.is_boolean(values.type):
            values = values.cast(pyarrow.int8())
        if not _holds_numbers(values.type):
            return objects_as_numbers(np.array(values.to_pylist(), dtype=object), self.name(column))
        return np.asarray(values.cast(pyarrow.float64()).to_numpy(), dtype=np.float64)

    def categories(self, column: int) -> Levels:
        import pyarrow

        values = self._table.column(column)
        if not pyarrow.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        whole = values.unify_dictionaries().combine_chunks()
        chunk = whole if isinstance(whole, pyarrow.DictionaryArray) else whole.chunk(0)
        codes = chunk.indices.cast(pyarrow.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        levels, missing = chunk.dictionary.to_pylist(), None
        if missing in levels:  # a dictionary may hold a null of its own
            codes = np.where(codes == levels.index(None), -1, codes)
        return Levels(codes, levels)


def _holds_numbers(dtype: Any) -> bool:
    from pyarrow import types

    return bool(types.is_floating(dtype) or types.is_integer(dtype) or types.is_decimal(dtype))
