"""Tables of every kind are read alike, and what cannot be read is named."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from skbig.tables.cells import CATEGORY, NUMBER, Levels
from skbig.tables.reading import as_table

COLUMNS: dict[str, list[Any]] = {
    "number": [1.5, None, -2.0, 4.0],
    "count": [1, 2, 2, 0],
    "flag": [True, False, True, True],
    "word": ["red", None, "blue", "red"],
    "size": ["S", "M", None, "M"],
}
KINDS = [NUMBER, NUMBER, NUMBER, CATEGORY, CATEGORY]


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).astype({"size": "category"})


def pandas_nullable() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).convert_dtypes().astype({"size": "category"})


def pandas_arrow() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow").astype({"size": "category"})


def pandas_objects() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).astype(object)


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(COLUMNS).with_columns(pl.col("size").cast(pl.Categorical))


def polars_enum() -> pl.DataFrame:
    return pl.DataFrame(COLUMNS).with_columns(pl.col("size").cast(pl.Enum(["L", "M", "S"])))


def arrow_table() -> pa.Table:
    table = pa.table(COLUMNS)
    return table.set_column(4, "size", table.column("size").dictionary_encode())


def arrow_chunks() -> pa.Table:
    table = arrow_table()
    return pa.concat_tables([table.slice(0, 1), table.slice(1)])


def numpy_objects() -> np.ndarray:
    return pandas_objects().to_numpy()


def lists() -> list[list[Any]]:
    return numpy_objects().tolist()


HOLDERS = [
    *(pandas_frame, pandas_nullable, pandas_arrow, pandas_objects),
    *(polars_frame, polars_enum, arrow_table, arrow_chunks, numpy_objects, lists),
]


def words(levels: Levels) -> list[Any]:
    """Return a column of categories as cells again."""
    return [None if code < 0 else levels.levels[code] for code in levels.codes.tolist()]


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_holder_is_read_alike(holder: Callable[[], Any]) -> None:
    """Kinds, numbers and categories do not depend on what holds them."""
    table = as_table(holder())
    assert (table.n_rows, table.n_columns) == (4, 5)
    assert table.names in (list(COLUMNS), None)
    assert [table.kind(i) for i in range(5)] == KINDS
    for i, name in enumerate(COLUMNS):
        if KINDS[i] == NUMBER:
            expected = np.array([np.nan if cell is None else cell for cell in COLUMNS[name]], dtype=float)
            np.testing.assert_array_equal(table.numbers(i), expected)
        assert words(table.categories(i)) == COLUMNS[name]


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_word_among_numbers_is_named(holder: Callable[[], Any]) -> None:
    """The error says which column, which row and which value."""
    table = as_table(holder())
    where = "column 'word'" if table.names else "column 3"
    with pytest.raises(ValueError, match=f"The {where} of X must hold numbers. Got 'red' in row 0"):
        table.numbers(3)


MOMENT = datetime.datetime(2020, 2, 29, 12)


@pytest.mark.parametrize(
    "held",
    [
        pd.DataFrame({"when": [MOMENT]}),
        pd.DataFrame({"when": [MOMENT - MOMENT]}),
        pd.DataFrame({"when": pd.period_range("2020-01", periods=1, freq="M")}),
        pd.DataFrame({"when": [MOMENT.date()]}, dtype=object),
        pl.DataFrame({"when": [MOMENT]}),
        pa.table({"when": [MOMENT.date()]}),
    ],
    ids=["pandas", "duration", "period", "objects", "polars", "arrow"],
)
def test_dates_are_refused_with_advice(held: Any) -> None:
    """What a date means a user has to say."""
    with pytest.raises(ValueError, match=r"The column 'when' of X .*the year, the month, the day of the week"):
        as_table(held).kind(0)


def test_dates_of_an_array_are_refused() -> None:
    """An array of dates has no names of columns."""
    with pytest.raises(ValueError, match="column 0 of X has the type datetime64"):
        as_table(np.array([["2020-02-29"]], dtype="datetime64[D]")).kind(0)


def test_texts_are_refused_with_advice() -> None:
    """Sentences are no categories."""
    reviews = [f"This is the {i}th review of a thing that I bought." for i in range(20)]
    with pytest.raises(ValueError, match=r"column 'review' of X holds texts, 'This is the 0th .*TfidfVectorizer"):
        as_table(pd.DataFrame({"review": reviews})).kind(0)


def test_what_is_neither_number_nor_category_is_named() -> None:
    """The error says the type and the row."""
    with pytest.raises(TypeError, match=r"column 'x' of X holds a list in row 1"):
        as_table(pd.DataFrame({"x": ["a", [1, 2]]})).kind(0)


def test_decimals_are_numbers() -> None:
    """What Python calls a number is one."""
    cells = [decimal.Decimal("1.5"), None]
    for held in (pd.DataFrame({"x": cells}), pa.table({"x": cells}), pl.DataFrame({"x": cells})):
        assert as_table(held).kind(0) == NUMBER
        np.testing.assert_array_equal(as_table(held).numbers(0), [1.5, np.nan])


@pytest.mark.parametrize("X", [np.zeros(3), np.zeros((1, 2, 3)), 5.0], ids=["one", "three", "none"])
def test_a_table_has_two_dimensions(X: Any) -> None:
    """Anything else is refused, in scikit-learn's words."""
    with pytest.raises(ValueError, match=r"(?s)Expected 2D array, got .*Reshape your data"):
        as_table(X)
