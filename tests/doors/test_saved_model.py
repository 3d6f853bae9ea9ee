"""SavedModels of TensorFlow predict what the models do, after they are loaded by TensorFlow alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, OrdinalEncoder, StandardScaler

from skbig import BigMLPClassifier, BigMLPRegressor, BigNetworkRegressor, BigTabularClassifier, BigTabularRegressor
from skbig.exceptions import ExportError
from skbig.networks import TabularMLP
from skbig.networks.activations import ACTIVATIONS
from tests.fitting import ANY_TASK, MANY_VALUES, VALUES, WORDS, X, fitted, trained

pytestmark = pytest.mark.filterwarnings("default")

tf = pytest.importorskip("tensorflow")
pytest.importorskip("skl2onnx")
pytest.importorskip("onnxruntime")

from skbig.onnx import to_saved_model  # noqa: E402

RANDOM = np.random.RandomState(0)
TABLE = pd.DataFrame(
    {
        "living area": RANDOM.lognormal(4, 0.5, 200),
        "age": np.where(RANDOM.uniform(size=200) < 0.1, np.nan, RANDOM.uniform(0, 100, 200)),
        "town": RANDOM.choice(["Bonn", "Köln", "Ulm"], 200),
        "class": RANDOM.randint(0, 3, 200),
    }
)
PRICE = TABLE["living area"].to_numpy() * 3 + (TABLE["town"] == "Köln") * 100
INPUTS = {"living area": "living_area", "class": "class_"}


def served(folder: Path, rows: dict[str, Any]) -> dict[str, np.ndarray]:
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return {name: value.numpy() for name, value in serve(**rows).items()}


def numbers(rows: np.ndarray = X) -> dict[str, Any]:
    return {"X": tf.constant(rows.astype(np.float32))}


def columns(table: pd.DataFrame, **kinds: Any) -> dict[str, Any]:
    """Return a table as the signature takes it."""
    return {
        INPUTS.get(name, name): tf.constant(
            table[[name]].fillna("").to_numpy(dtype=object)
            if name == "town"
            else table[[name]].to_numpy(kinds.get(name, np.float32))
        )
        for name in table
    }


@ANY_TASK
@pytest.mark.parametrize("n_members", [1, 3])
def test_every_task(task: str, n_members: int, tmp_path: Path) -> None:
    """Labels and probabilities, or numbers, of one member and of several, are ours to 1e-5."""
    model = trained(task, n_members=n_members, normalization="batch")
    assert to_saved_model(model, tmp_path / "m" / "1") == tmp_path / "m" / "1"
    found = served(tmp_path / "m" / "1", numbers())
    if task == "regression" or "output" in task:
        np.testing.assert_allclose(
            found["variable"].reshape(len(X), -1), model.predict(X).reshape(len(X), -1), 1e-5, 1e-5
        )
    else:
        assert found["label"].tolist() == model.predict(X).tolist()
        np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, tmp_path: Path) -> None:
    """Every activation has its operations."""
    model = fitted(BigMLPRegressor((6,), activation=activation, normalization="layer", max_iter=3), X, MANY_VALUES)
    to_saved_model(model, tmp_path, X)
    np.testing.assert_allclose(served(tmp_path, numbers())["variable"], model.predict(X), rtol=1e-4, atol=1e-5)


def test_a_pipeline_of_columns(tmp_path: Path) -> None:
    """Steps before the network, for texts and for missing numbers, are in it; texts are labels."""
    transformer = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["living area", "age"]),
            ("town", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["town"]),
            ("class", OrdinalEncoder(), ["class"]),
        ]
    )
    y = np.where(PRICE > 250, "dear", "cheap")
    model = fitted(make_pipeline(transformer, BigMLPClassifier((8,), max_iter=5, random_state=0)), TABLE, y)
    to_saved_model(model, tmp_path, TABLE)
    found = served(tmp_path, columns(TABLE, **{"class": np.int64}))
    assert [text.decode() for text in found["label"]] == model.predict(TABLE).tolist()
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(TABLE), atol=1e-5)


@pytest.mark.parametrize("embedding", ["auto", "periodic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_raw_tables(embedding: str, dtype: str, tmp_path: Path) -> None:
    """Raw columns are read, with what is missing and what was never seen."""
    model = fitted(BigTabularRegressor("fast", max_iter=3, number_embedding=embedding, random_state=0), TABLE, PRICE)
    to_saved_model(model, tmp_path, TABLE, dtype=dtype)
    strange = TABLE.assign(town=["Paris", None] * 100, age=np.nan, **{"class": 99})
    kinds = {name: dtype for name in TABLE}
    for table in (TABLE, strange):
        found = served(tmp_path, columns(table, **kinds))["variable"].ravel()
        np.testing.assert_allclose(found, model.predict(table), rtol=1e-12 if dtype == "float64" else 2e-5)


@pytest.mark.parametrize(
    "before",
    [Normalizer("l1"), Normalizer("l2"), MinMaxScaler(clip=True), SelectKBest(f_regression, k=2)],
    ids=repr,
)
def test_steps_before_it(before: Any, tmp_path: Path) -> None:
    """Operators of classical steps do what the steps do."""
    model = fitted(make_pipeline(before, BigMLPRegressor((4,), max_iter=3)), X, VALUES)
    to_saved_model(model, tmp_path, X)
    far = np.vstack([3 * X, np.zeros((1, X.shape[1]))])
    found = served(tmp_path, numbers(far))["variable"].ravel()
    np.testing.assert_allclose(found, model.predict(far), rtol=1e-4, atol=1e-5)


def test_linear_models_beside_it(tmp_path: Path) -> None:
    """Linear models of scikit-learn vote along with networks."""
    votes = VotingRegressor([("net", BigMLPRegressor((4,), max_iter=3)), ("line", LinearRegression())])
    to_saved_model(fitted(votes, X, VALUES), tmp_path / "1", X)
    found = served(tmp_path / "1", numbers())["variable"].ravel()
    np.testing.assert_allclose(found, votes.predict(X), rtol=1e-4, atol=1e-5)
    soft = [("net", BigMLPClassifier((4,), max_iter=3)), ("line", LogisticRegression())]
    classes = fitted(VotingClassifier(soft, voting="soft", flatten_transform=False), X, WORDS)
    to_saved_model(classes, tmp_path / "2", X)
    found = served(tmp_path / "2", numbers())["probabilities"]
    np.testing.assert_allclose(found, classes.predict_proba(X), atol=1e-5)


def test_embeddings_of_one_s_own_network(tmp_path: Path) -> None:
    """Networks of layers are written, for several members."""
    model = fitted(BigNetworkRegressor(TabularMLP((5,), n_bins=4), max_iter=3, n_members=2), X, VALUES)
    to_saved_model(model, tmp_path, X)
    np.testing.assert_allclose(served(tmp_path, numbers())["variable"].ravel(), model.predict(X), rtol=1e-4, atol=1e-5)


def test_tensorflow_alone_reads_it(tmp_path: Path) -> None:
    """Another program without skbig gets the same numbers; large weights lie in their files."""
    rows, y = load_wine(return_X_y=True)
    model = fitted(make_pipeline(StandardScaler(), BigMLPClassifier((64, 64), max_iter=5, random_state=0)), rows, y)
    to_saved_model(model, tmp_path / "wine" / "1", rows)
    np.save(tmp_path / "rows.npy", rows.astype(np.float32))
    program = f"""
import sys
import numpy as np
import tensorflow as tf
serve = tf.saved_model.load({str(tmp_path / "wine" / "1")!r}).signatures["serving_default"]
found = serve(X=tf.constant(np.load({str(tmp_path / "rows.npy")!r})))["probabilities"].numpy()
assert "skbig" not in sys.modules
np.save({str(tmp_path / "found.npy")!r}, found)
"""
    subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, timeout=300)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model.predict_proba(rows), atol=1e-5)
    assert any((tmp_path / "wine" / "1" / "variables").iterdir())


def test_modules_of_one_s_own(tmp_path: Path) -> None:
    """A module of linear layers and normalizations goes by torch's exporter into TensorFlow."""
    pytest.importorskip("onnxscript")
    from torch import nn

    from skbig import BigModuleRegressor

    network = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2))
    model = fitted(BigModuleRegressor(network, max_iter=3), X, MANY_VALUES)
    to_saved_model(model, tmp_path, X)
    np.testing.assert_allclose(served(tmp_path, numbers())["variable"], model.predict(X), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    """An operator that is not known is named, and nothing is left behind; a folder that holds something is left."""
    votes = VotingRegressor([("net", BigMLPRegressor((4,), max_iter=3)), ("near", KNeighborsRegressor())])
    fitted(votes, X, VALUES)
    with pytest.raises(ExportError, match="of the graph has no equal in TensorFlow"):
        to_saved_model(votes, tmp_path / "1", X)
    assert not list(tmp_path.iterdir())
    (tmp_path / "note").write_text("here")
    with pytest.raises(FileExistsError, match="a new folder for each version"):
        to_saved_model(trained("binary"), tmp_path, X)
    assert [each.name for each in tmp_path.iterdir()] == ["note"]
    table = fitted(BigTabularClassifier("fast", max_iter=2), TABLE, WORDS[np.arange(200) % 60])
    with pytest.raises(ValueError, match="to_saved_model needs X"):
        to_saved_model(table, tmp_path / "2")
    with pytest.raises(NotFittedError):
        to_saved_model(BigMLPRegressor(), tmp_path / "2")


def test_tensorflow_is_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without TensorFlow the error says how to install it."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r'pip install "skbig\[saved-model\]"'):
        to_saved_model(trained("binary"), tmp_path, X)
