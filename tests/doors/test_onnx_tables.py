"""Estimators of tables become graphs that read raw columns: texts, numbers, what is missing, what was never seen."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.ensemble import VotingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigGridSearchCV, BigTabularClassifier, BigTabularRegressor
from skbig.exceptions import ExportError
from skbig.onnx import to_onnx

pytestmark = pytest.mark.filterwarnings("default")

skl2onnx = pytest.importorskip("skl2onnx")
runtime = pytest.importorskip("onnxruntime")

N_ROWS = 300
RANDOM = np.random.RandomState(0)
TABLE = pd.DataFrame(
    {
        "area": RANDOM.lognormal(4, 0.5, N_ROWS),
        "age": np.where(RANDOM.uniform(size=N_ROWS) < 0.1, np.nan, RANDOM.randint(0, 100, N_ROWS)),
        "town": RANDOM.choice(np.array(["Bonn", "Köln", "Ulm", None], dtype=object), N_ROWS),
        "street": RANDOM.choice([f"street {i}" for i in range(30)], N_ROWS),
        "zone": pd.Categorical(RANDOM.choice([3, 5, 9], N_ROWS)),
        "grade": pd.Categorical(RANDOM.choice([0.25, 0.5, 2.0], N_ROWS)),
        "lift": RANDOM.uniform(size=N_ROWS) < 0.5,
        "floor": pd.array(RANDOM.choice(np.array([None, 1, 2, 3], dtype=object), N_ROWS), dtype="Int64"),
        "same": np.ones(N_ROWS),
    }
)
PRICE = TABLE["area"].to_numpy() * 3 + (TABLE["town"] == "Köln") * 100
CLASS = np.array(["cheap", "fair", "dear"])[np.digitize(PRICE, np.quantile(PRICE, [0.4, 0.8]))]


def fitted(kind: Any, X: Any, y: Any, **parameters: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind("fast", max_iter=3, random_state=0, **parameters).fit(X, y)


def regressor(X: Any = TABLE, **parameters: Any) -> Any:
    return fitted(BigTabularRegressor, X, PRICE, **parameters)


def run(graph: Any, columns: dict[str, Any]) -> list[Any]:
    return runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, columns)


def columns_of(table: pd.DataFrame, graph: Any) -> dict[str, np.ndarray]:
    """Return a table as a client would send it, by the types that the graph names."""
    dtypes = {1: np.float32, 11: np.float64, 7: np.int64}
    columns = {}
    for each in graph.graph.input:
        cells, kind = table[each.name].to_numpy(dtype=object), each.type.tensor_type.elem_type
        empty = "" if kind == 8 else np.nan
        known = np.array([empty if pd.isna(cell) else cell for cell in cells], dtype=object)
        columns[each.name] = (known if kind == 8 else known.astype(dtypes[kind]))[:, None]
    return columns


def assert_same(graph: Any, model: Any, table: pd.DataFrame, rtol: float = 2e-5) -> None:
    """Compare without the module's own check."""
    found = run(graph, columns_of(table, graph))
    if hasattr(model, "classes_"):
        assert found[0].tolist() == model.predict(table).tolist()
        np.testing.assert_allclose(found[1], model.predict_proba(table), atol=1e-5)
    else:
        np.testing.assert_allclose(found[0].ravel(), model.predict(table), rtol=rtol)


@pytest.mark.parametrize("embedding", ["auto", "periodic", None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_raw_tables(embedding: str | None, dtype: str) -> None:
    """Every kind of column, embedding, and an ensemble; in float64 to the last digits."""
    for kind, y in ((BigTabularClassifier, CLASS), (BigTabularRegressor, PRICE)):
        model = fitted(kind, TABLE, y, number_embedding=embedding)
        graph = to_onnx(model, TABLE, dtype=dtype)
        assert [each.name for each in graph.graph.input] == list(TABLE)
        assert_same(graph, model, TABLE, 1e-12 if dtype == "float64" else 2e-5)


def test_what_was_never_seen() -> None:
    """Unknown categories, missing values where none were, numbers beyond the bounds: as the model takes them."""
    model = regressor()
    graph = to_onnx(model, TABLE.head(50))
    strange = TABLE.copy()
    strange["town"] = ["Paris", None, "", "Bonn"] * (N_ROWS // 4)
    strange["street"] = [None, "nowhere"] * (N_ROWS // 2)
    strange["zone"] = [4, 9, 300] * (N_ROWS // 3)
    strange["grade"] = [0.25, np.nan, 0.3] * (N_ROWS // 3)
    strange["area"] = [np.nan, -1e6, 1e6] * (N_ROWS // 3)
    strange["floor"] = [np.nan, 99.0] * (N_ROWS // 2)
    strange["same"] = [np.nan, 7.0] * (N_ROWS // 2)
    strange["town"] = strange["town"].where(strange["town"] != "", None)  # a graph's "" is what is missing
    assert_same(graph, model, strange)


@pytest.mark.parametrize("opset", [15, 18, skl2onnx.__max_supported_opset__])
def test_every_version(opset: int) -> None:
    """Graphs of tables are written for old runtimes, too."""
    graph = to_onnx(regressor(), TABLE, target_opset=opset)
    assert {each.version for each in graph.opset_import if not each.domain} == {opset}


def test_skl2onnx_itself_reads_a_frame() -> None:
    """By skl2onnx's own function the columns are float64, and so is what is computed."""
    table = TABLE[["area", "age", "street"]]
    model = regressor(table)
    found = run(skl2onnx.to_onnx(model, table), {name: table[[name]].to_numpy() for name in table})
    np.testing.assert_allclose(found[0].ravel(), model.predict(table), rtol=1e-12)


def test_whatever_holds_the_table() -> None:
    """polars, Arrow, arrays of objects and of numbers; the order of columns does not matter where they have names."""
    plain = TABLE[["area", "age", "town", "street"]]
    wanted = run(to_onnx(regressor(plain), plain), columns_of(plain, to_onnx(regressor(plain), plain)))[0]
    for table in (pl.from_pandas(plain), pa.Table.from_pandas(plain), plain[plain.columns[::-1]]):
        graph = to_onnx(regressor(plain), table)
        np.testing.assert_array_equal(run(graph, columns_of(plain, graph))[0], wanted)
    cells = plain.to_numpy(dtype=object)
    assert [each.name for each in to_onnx(regressor(cells), cells).graph.input] == ["x0", "x1", "x2", "x3"]
    numbers = plain[["area", "age"]].to_numpy()
    assert [each.name for each in to_onnx(regressor(numbers), numbers).graph.input] == ["X"]


def test_levels_of_several_types() -> None:
    """Levels that are texts and numbers are texts to the graph; where these coincide, it is refused."""
    mixed = TABLE[["area"]].assign(code=np.array(["a", 1, 2.5, None], dtype=object)[np.arange(N_ROWS) % 4])
    model = regressor(mixed)
    assert_same(to_onnx(model, mixed), model, mixed)
    clash = TABLE[["area"]].assign(code=np.array(["1", 1], dtype=object)[np.arange(N_ROWS) % 2])
    with pytest.raises(ExportError, match="has '1' as a text and as a number"):
        to_onnx(regressor(clash), clash)


def test_numbers_beyond_float32() -> None:
    """Dates in seconds and long identifiers are noticed, and kept in float64."""
    table = TABLE[["area"]].assign(when=1.7e9 + np.arange(N_ROWS), user=10**15 + np.arange(N_ROWS) % 4)
    model = regressor(table, categorical_features=["user"])
    with pytest.raises(ExportError, match=r"export with dtype='float64'"):
        to_onnx(model, table)
    assert_same(to_onnx(model, table, dtype="float64"), model, table, 1e-12)


def test_sparse_rows() -> None:
    """A model of sparse rows becomes a graph of dense ones."""
    rows = sparse.random(100, 20, 0.2, random_state=0, format="csr")
    model = fitted(BigTabularRegressor, rows, np.ravel(rows.sum(axis=1)))
    found = run(to_onnx(model, rows.toarray()), {"X": rows.toarray().astype(np.float32)})[0]
    np.testing.assert_allclose(found.ravel(), model.predict(rows), rtol=1e-4, atol=1e-5)


def test_around_it() -> None:
    """Within a Pipeline, a search and a vote a table is read just so."""
    plain = TABLE[["area", "age", "town"]]
    numbers = plain[["area", "age"]].fillna(0.0)
    base = BigTabularRegressor("fast", max_iter=3, random_state=0)
    models = [
        (make_pipeline(StandardScaler(), base), numbers.to_numpy()),
        (make_pipeline(base), plain),
        (BigGridSearchCV(base, {"learning_rate": [0.01, 0.001]}, cv=2), plain),
        (VotingRegressor([("one", base), ("other", base)]), plain),
    ]
    for model, rows in models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(rows, PRICE)
        graph = to_onnx(model, rows)
        assert [each.name for each in graph.graph.input] == (["X"] if rows is not plain else list(plain))


def test_int8() -> None:
    """The products of a table's network are quantized, and what it costs is in the file."""
    facts = {
        each.key: each.value for each in to_onnx(regressor(), TABLE, quantize="int8", max_loss=0.05).metadata_props
    }
    assert abs(float(facts["quantization_loss"])) < 0.05
