"""ONNX graphs of our estimators, and of pipelines with them, predict in ONNX Runtime what the models do."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_linnerud, load_wine
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from skbig import (
    BigGridSearchCV,
    BigLinearClassifier,
    BigLinearRegressor,
    BigMLPClassifier,
    BigMLPRegressor,
    BigNetworkClassifier,
    BigNetworkRegressor,
    BigTabularClassifier,
    BigTabularRegressor,
)
from skbig.components import Loss
from skbig.exceptions import ExportError
from skbig.networks import MLP, TabularMLP
from skbig.networks.activations import ACTIVATIONS
from skbig.networks.monotonic import MONOTONIC_ACTIVATIONS
from skbig.onnx import convert_layer, to_onnx
from tests.fitting import ANY_TASK, BINARY, MANY_VALUES, MULTICLASS, VALUES, WORDS, X, fitted, trained
from tests.networks.own import Residual, ResNet

pytestmark = pytest.mark.filterwarnings("default")

skl2onnx = pytest.importorskip("skl2onnx")
runtime = pytest.importorskip("onnxruntime")

NO_MAPS: dict[str, Any] = {task: {"zipmap": False} for task in ("binary", "multiclass", "multilabel")}
NO_MAPS |= {"regression": None, "multi-output": None}
OPSETS = (15, 18, skl2onnx.__max_supported_opset__)


def run(graph: Any, **inputs: Any) -> list[Any]:
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs or {"X": X.astype(np.float32)})


def facts(graph: Any) -> dict[str, str]:
    return {each.key: each.value for each in graph.metadata_props}


def assert_same(graph: Any, estimator: Any) -> None:
    """Compare without the module's own check."""
    outputs, rows = run(graph), X.astype(np.float32).astype(float)
    if not hasattr(estimator, "classes_"):
        wanted = estimator.predict(rows).reshape(len(X), -1)
        np.testing.assert_allclose(outputs[0], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
        return
    assert outputs[0].tolist() == estimator.predict(rows).tolist()
    np.testing.assert_allclose(outputs[1], estimator.predict_proba(rows), atol=1e-5)


@ANY_TASK
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("n_members", [1, 3])
def test_every_task_in_every_version(task: str, normalization: str | None, n_members: int) -> None:
    """Graphs of every task, normalization and ensemble predict the same, from opset 15 to the newest."""
    estimator = trained(task, normalization=normalization, n_members=n_members, dropout=0.1)
    for opset in OPSETS:
        graph = to_onnx(estimator, X, target_opset=opset)
        assert {each.version for each in graph.opset_import if not each.domain} == {opset}
        assert float(facts(graph)["max_difference"]) < 1e-5
        assert_same(graph, estimator)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str) -> None:
    """Every activation has its nodes."""
    estimator = trained("multiclass", activation=activation, n_members=2, hidden_layer_sizes=(6, 5))
    for opset in OPSETS:
        assert_same(to_onnx(estimator, X, target_opset=opset), estimator)
    exact = run(to_onnx(estimator, X, dtype="float64"), X=X)[1]
    np.testing.assert_allclose(exact, estimator.predict_proba(X), atol=1e-7 if activation == "gelu" else 1e-13)


@pytest.mark.parametrize("activation", MONOTONIC_ACTIVATIONS)
def test_monotonic_networks(activation: str) -> None:
    """Weights with their signs, and activations of three kinds, have their nodes."""
    options: Any = {"activation": activation, "n_members": 2, "hidden_layer_sizes": (7, 5), "normalization": "batch"}
    estimator = trained("binary", monotonic_cst=[1, 0, -1, 0], **options)
    assert_same(to_onnx(estimator, X), estimator)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "squared_log_error", "huber", "quantile"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_links_of_regressors(loss: str, n_members: int) -> None:
    """Predictions are in the unit of y, those of an ensemble the mean after the link."""
    estimator = fitted(BigMLPRegressor((4,), loss=loss, max_iter=3, n_members=n_members), X, np.exp(MANY_VALUES))
    assert_same(to_onnx(estimator, X), estimator)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("loss", ["focal", "modified_huber", "hinge", "squared_hinge"])
def test_links_of_classifiers(task: str, n_members: int, loss: str) -> None:
    """Probabilities are the loss's own, or scores where there are none."""
    estimator = trained(task, loss=loss, n_members=n_members)
    graph = to_onnx(estimator, X)
    if "hinge" not in loss:
        assert_same(graph, estimator)
    else:
        found = run(graph)[1]
        np.testing.assert_allclose(found[:, -1], estimator.decision_function(X).reshape(len(X), -1)[:, -1], atol=1e-5)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "multi-output"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_in_float64(task: str, n_members: int) -> None:
    """From float64 rows the graph computes in float64, as the model does."""
    estimator = trained(task, n_members=n_members, normalization="batch")
    for graph in (to_onnx(estimator, X, dtype="float64"), skl2onnx.to_onnx(estimator, X, options=NO_MAPS[task])):
        found = run(graph, X=X)[-1]
        wanted = estimator.predict(X) if "output" in task or task == "regression" else estimator.predict_proba(X)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_one_class(loss: str) -> None:
    """The only class there is is sure."""
    estimator = fitted(BigMLPClassifier((4,), loss=loss, max_iter=2), X, np.full(len(X), "all"))
    label, score = run(to_onnx(estimator, X))
    assert set(label) == {"all"}
    wanted = np.ones((len(X), 1)) if loss == "log_loss" else estimator.decision_function(X)[:, None]
    np.testing.assert_allclose(score, wanted, atol=1e-5)


@pytest.mark.parametrize("labels", [WORDS, WORDS.astype(object), MULTICLASS - 3, MULTICLASS.astype(float), BINARY > 0])
def test_labels(labels: Any) -> None:
    """Texts stay texts, and numbers are whole."""
    estimator = fitted(BigMLPClassifier((4,), max_iter=3, random_state=0), X, labels)
    graph = to_onnx(estimator, X)
    assert run(graph)[0].astype(labels.dtype).tolist() == estimator.predict(X).tolist()
    assert json.loads(facts(graph)["classes"]) == estimator.classes_.tolist()


@pytest.mark.parametrize(
    "estimator",
    [
        BigLinearClassifier(max_iter=3, random_state=0),
        BigLinearRegressor(max_iter=3, fit_intercept=False, n_members=2),
        BigNetworkClassifier(MLP((4, 3), "silu"), max_iter=3),
        BigNetworkRegressor(TabularMLP((4,), n_bins=4, number_width=2), max_iter=3),
        BigNetworkClassifier(TabularMLP((4,), n_bins=4, number_width=2), max_iter=3, n_members=3),
        BigNetworkClassifier(TabularMLP((4,), number_embedding="periodic", n_passed=1), max_iter=3, n_members=3),
        BigNetworkRegressor(TabularMLP((4,), number_embedding="periodic"), max_iter=3),
    ],
    ids=lambda estimator: f"{type(estimator).__name__}-{estimator.n_members}",
)
def test_any_network(estimator: Any) -> None:
    """Linear models and networks with embeddings of numbers are converted."""
    fitted(estimator, X, WORDS if estimator._for_classes else MANY_VALUES)
    assert_same(to_onnx(estimator, X), estimator)


@pytest.mark.parametrize("n_members", [1, 3])
def test_categories(n_members: int) -> None:
    """Codes of categories are looked up, also where they are beyond what is known."""
    codes = np.random.RandomState(0).randint(0, 4, size=(len(X), 2))
    rows = np.hstack([codes, X])
    network = TabularMLP((4,), n_codes=(3, 4), max_one_hot=2, category_width=2, n_bins=4, number_width=2, n_passed=1)
    estimator = fitted(BigNetworkClassifier(network, max_iter=3, n_members=n_members), rows, WORDS)
    found = run(to_onnx(estimator, rows), X=rows.astype(np.float32))
    np.testing.assert_allclose(found[1], estimator.predict_proba(rows.astype(np.float32).astype(float)), atol=1e-5)


def test_skl2onnx_itself_converts_ours() -> None:
    """Once the module is imported, `skl2onnx.to_onnx` takes our estimators, with its options."""
    estimator = trained("multiclass", n_members=2)
    maps = run(skl2onnx.to_onnx(estimator, X[:1].astype(np.float32)))[1]
    np.testing.assert_allclose([list(each.values()) for each in maps], estimator.predict_proba(X), atol=1e-5)
    numbers = fitted(BigMLPClassifier((4,), max_iter=3, random_state=0), X, WORDS)
    found = run(skl2onnx.to_onnx(numbers, X[:1].astype(np.float32), options={"zipmap": False, "nocl": True}))[0]
    assert numbers.classes_[found].tolist() == numbers.predict(X).tolist()
    options = {"zipmap": False, "raw_scores": True}
    for task in ("multiclass", "binary", "multilabel"):
        estimator = trained(task, n_members=2)
        found = run(skl2onnx.to_onnx(estimator, X[:1].astype(np.float32), options=options))[1]
        wanted = estimator.decision_function(X)
        np.testing.assert_allclose(found[:, -1], wanted if wanted.ndim == 1 else wanted[:, -1], atol=1e-4)


def test_a_subclass_is_converted() -> None:
    """A user's subclass is registered where it is met."""

    class Mine(BigMLPClassifier):
        pass

    estimator = fitted(make_pipeline(StandardScaler(), Mine((4,), max_iter=3, random_state=0)), X, WORDS)
    assert_same(to_onnx(estimator, X), estimator)


def test_layers_of_ones_own() -> None:
    """A layer without a function is refused by name, and converted with one."""
    estimator = fitted(BigNetworkClassifier(ResNet(width=3), max_iter=3, n_members=2), X, WORDS)
    with pytest.raises(ExportError, match="The layer Residual cannot become nodes of ONNX: nobody has said how"):
        to_onnx(estimator, X)

    @convert_layer.register
    def residual(layer: Residual, graph: Any, X: str, arrays: Any) -> str:
        inner = graph.node("Tanh", graph.node("MatMul", X, graph.constant(arrays["inner"])))
        return graph.node("Add", X, graph.node("MatMul", inner, graph.constant(arrays["outer"])))

    assert_same(to_onnx(estimator, X), estimator)


# Twelve pipelines as people have them.


def mlp(**parameters: Any) -> BigMLPClassifier:
    return BigMLPClassifier((16,), max_iter=15, random_state=0, **parameters)


def values(**parameters: Any) -> BigMLPRegressor:
    return BigMLPRegressor((16,), max_iter=15, random_state=0, **parameters)


def houses() -> tuple[pd.DataFrame, np.ndarray]:
    """A table with numbers, whole numbers, texts, and what is missing."""
    random = np.random.RandomState(0)
    table = pd.DataFrame(
        {
            "area": random.uniform(30, 200, 300),
            "rooms": random.randint(1, 7, 300),
            "age": np.where(random.uniform(size=300) < 0.1, np.nan, random.uniform(0, 100, 300)),
            "town": random.choice(["Bonn", "Köln", "Ulm"], 300),
            "heating": random.choice(["gas", "oil", "heat pump"], 300),
        }
    )
    return table, table["area"].to_numpy() * 3 + (table["town"] == "Köln") * 100 + random.normal(size=300)


def of_columns(last: Any, scale: Any = None) -> Pipeline:
    numbers = make_pipeline(SimpleImputer(strategy="median"), scale or StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(
        ColumnTransformer([("numbers", numbers, ["area", "rooms", "age"]), ("texts", texts, ["town", "heating"])]), last
    )


TABLE, PRICE = houses()
CHEAP = np.array(["cheap", "dear"])[(PRICE > 350).astype(int)]
IRIS, WINE, DIGITS, CANCER = (f(return_X_y=True) for f in (load_iris, load_wine, load_digits, load_breast_cancer))
DIGITS = (DIGITS[0][:400], DIGITS[1][:400])
PIPELINES: dict[str, tuple[Any, Any, Any]] = {
    "scaled classes": (make_pipeline(StandardScaler(), mlp(normalization="batch")), *WINE),
    "principal components": (make_pipeline(MinMaxScaler(), PCA(20, random_state=0), mlp(activation="gelu")), *DIGITS),
    "selected, two classes": (make_pipeline(RobustScaler(), SelectKBest(k=8), mlp(n_members=3)), *CANCER),
    "polynomials": (
        make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), values(loss="huber")),
        *load_diabetes(return_X_y=True),
    ),
    "several outputs": (make_pipeline(StandardScaler(), values()), *load_linnerud(return_X_y=True)),
    "union": (
        make_pipeline(
            StandardScaler(), FeatureUnion([("all", RobustScaler()), ("few", PCA(3, random_state=0))]), mlp()
        ),
        *CANCER,
    ),
    "bins": (make_pipeline(KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform"), mlp()), X, WORDS),
    "columns, texts as classes": (of_columns(mlp()), TABLE, CHEAP),
    "columns, numbers": (of_columns(values(n_members=2, activation="silu"), MinMaxScaler()), TABLE, PRICE),
    "ordinal codes": (
        make_pipeline(
            make_column_transformer(
                (OrdinalEncoder(), make_column_selector(dtype_exclude="number")),
                (SimpleImputer(), make_column_selector(dtype_include="number")),
            ),
            StandardScaler(),
            values(loss="poisson"),
        ),
        TABLE,
        PRICE.clip(1),
    ),
    "embedded numbers": (
        make_pipeline(
            MinMaxScaler(),
            BigNetworkClassifier(TabularMLP((16,), n_bins=8, number_width=4), max_iter=15, random_state=0, n_members=2),
        ),
        *WINE,
    ),
    "searched": (
        make_pipeline(Normalizer(), BigGridSearchCV(mlp(), {"alpha": [1e-4, 1e-2]}, cv=2)),
        *IRIS,
    ),
    "searched as a whole": (
        GridSearchCV(
            make_pipeline(StandardScaler(), TruncatedSVD(3), mlp()), {"bigmlpclassifier__alpha": [1e-3]}, cv=2
        ),
        *IRIS,
    ),
    "voting": (
        VotingClassifier(
            [("net", make_pipeline(StandardScaler(), mlp())), ("linear", LogisticRegression(max_iter=500))],
            voting="soft",
            flatten_transform=False,
        ),
        *WINE,
    ),
    "voting numbers": (
        VotingRegressor([("net", values()), ("linear", LinearRegression())]),
        *load_diabetes(return_X_y=True),
    ),
    "stacked": (
        make_pipeline(StandardScaler(), StackingClassifier([("net", mlp())], LogisticRegression(), cv=2)),
        *IRIS,
    ),
    "bagged": (make_pipeline(StandardScaler(), BaggingClassifier(mlp(), 3, random_state=0)), *IRIS),
    "each class": (make_pipeline(StandardScaler(), OneVsRestClassifier(mlp())), *IRIS),
    "each output": (make_pipeline(StandardScaler(), MultiOutputRegressor(values())), *load_linnerud(return_X_y=True)),
    "calibrated": (CalibratedClassifierCV(mlp(), cv=2), *CANCER),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines(name: str) -> None:
    """Whole pipelines are converted, and run with an input for each column where there are texts."""
    model, rows, y = PIPELINES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows, y)
    graph = to_onnx(model, rows)
    assert float(facts(graph)["max_difference"]) < 1e-5
    inputs = [each.name for each in graph.graph.input]
    assert inputs == (list(TABLE) if rows is TABLE else ["X"])


def test_columns_keep_their_names() -> None:
    """Inputs are called as the columns are, blanks and all, also those that no step reads."""
    names = {"area": "living area", "age": "living_area", "rooms": "2 rooms", "town": "größe", "heating": "unused"}
    table = TABLE.rename(columns=names)
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = [("numbers", numbers, ["living area", "living_area", "2 rooms"]), ("texts", texts, ["größe"])]
    model = fitted(make_pipeline(ColumnTransformer(columns), values()), table, PRICE)
    assert [each.name for each in to_onnx(model, table).graph.input] == list(table)
    tabular = fitted(BigTabularRegressor("fast", max_iter=2), table, PRICE)
    assert [each.name for each in to_onnx(tabular, table).graph.input] == list(table)


def test_a_column_called_as_an_output_is_named() -> None:
    """Inputs and outputs of a graph have different names: which column is in the way is said."""
    table = TABLE[["area", "age"]].rename(columns={"age": "label"})
    regressor, classifier = (kind("fast", max_iter=2) for kind in (BigTabularRegressor, BigTabularClassifier))
    graph = to_onnx(fitted(regressor, table, PRICE), table)
    assert [each.name for each in graph.graph.input] == ["area", "label"]
    with pytest.raises(ExportError, match="A column is called 'label', and so is an output of the graph"):
        to_onnx(fitted(classifier, table, CHEAP), table)


def test_a_wrong_conversion_is_refused() -> None:
    """What skl2onnx converts wrongly, a calibrated pipeline, is an error and not a file."""
    model = CalibratedClassifierCV(make_pipeline(StandardScaler(), mlp()), cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(*CANCER)
    with pytest.raises(
        ExportError, match="The graph predicts something else than CalibratedClassifierCV.predict_proba"
    ):
        to_onnx(model, CANCER[0])


def test_a_date_in_seconds_is_refused() -> None:
    """Numbers that float32 cannot tell apart are noticed, and the cause is said."""
    rows = np.column_stack([X, 1.7e9 + np.arange(len(X))])
    model = fitted(make_pipeline(StandardScaler(), values()), rows, VALUES)
    with pytest.raises(ExportError, match="do not fit into float32"):
        to_onnx(model, rows)
    graph = to_onnx(model, rows, dtype="float64")
    assert float(facts(graph)["max_difference"]) < 1e-12
    np.testing.assert_allclose(run(graph, X=rows)[0].ravel(), model.predict(rows), rtol=1e-9)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_int8_is_small_and_its_loss_is_told(task: str, tmp_path: Path) -> None:
    """Weights of 8 bits take about a quarter, and what they cost is in the file."""
    of_classes = task == "multiclass"
    rows, y = DIGITS if of_classes else load_diabetes(return_X_y=True)
    kind = BigMLPClassifier if of_classes else BigMLPRegressor
    model = fitted(make_pipeline(StandardScaler(), kind((256, 256), max_iter=8, random_state=0)), rows, y)
    sizes = {}
    for quantize in (None, "int8"):
        graph = to_onnx(model, rows, tmp_path / "model.onnx", quantize=quantize, y=y, max_loss=0.05)
        sizes[quantize] = (tmp_path / "model.onnx").stat().st_size
    assert sizes["int8"] < 0.3 * sizes[None]
    assert abs(float(facts(graph)["quantization_loss"])) < 0.05
    assert "quantization_loss" not in facts(to_onnx(model, rows))
    found = run(graph, X=rows.astype(np.float32))[0].ravel()
    if of_classes:
        assert np.mean(found == model.predict(rows)) > 0.95
    with pytest.raises(ExportError, match="more than max_loss=0"):
        to_onnx(fitted(values(), *load_diabetes(return_X_y=True)), load_diabetes().data, quantize="int8", max_loss=0.0)


def test_a_file_is_written_whole_or_not(tmp_path: Path) -> None:
    """A file is only there when the graph has passed its check."""
    path = tmp_path / "model.onnx"
    graph = to_onnx(trained("binary"), X, path)
    assert path.read_bytes() == graph.SerializeToString()
    with pytest.raises(ExportError):
        to_onnx(trained("binary", loss=Softsign()), X, tmp_path / "other.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


@dataclass(frozen=True)
class Softsign(Loss):
    """A user's loss with probabilities of its own."""

    for_classes = True
    probabilistic = True

    def per_row(self, raw: Any, y: Any) -> Any:
        return (self.probabilities(raw, False) - y).square().sum(-1)

    def probabilities(self, raw: Any, multiclass: bool) -> Any:
        return (torch.nn.functional.softsign(raw) + 1) / 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"quantize": "int4"}, ValueError, "'quantize' parameter of to_onnx must be 'int8' or None. Got 'int4'"),
        ({"max_loss": -1}, ValueError, "'max_loss' parameter of to_onnx must be a float of at least 0"),
        (
            {"dtype": "float16"},
            ValueError,
            "'dtype' parameter of to_onnx must be 'float32' or 'float64'",
        ),
        ({"dtype": "float64", "quantize": "int8"}, ValueError, "quantize='int8' takes a graph with dtype='float32'"),
        ({"target_opset": 9}, ValueError, "'target_opset' parameter of to_onnx must be an int from 15 to"),
        ({"X": X[:0]}, ValueError, "X must be a table of one row or more"),
        ({"X": X[0]}, ValueError, "X must be a table of one row or more"),
        ({"model": BigMLPClassifier()}, NotFittedError, "not fitted"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """What is asked for must be there."""
    with pytest.raises(error, match=message):
        to_onnx(**({"model": trained("binary"), "X": X} | arguments))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither skl2onnx nor the quantizer writes to the terminal."""
    for n_members in (1, 3):
        to_onnx(trained("multiclass", n_members=n_members), X, quantize="int8", max_loss=1.0)
    assert capfd.readouterr() == ("", "")
