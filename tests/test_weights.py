"""Weights go into a file that safetensors reads alone, and come back to the same model."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import skbig
from skbig import (
    BigLinearClassifier,
    BigLinearRegressor,
    BigMLPClassifier,
    BigMLPRegressor,
    BigNetworkRegressor,
    load_weights,
    save_weights,
)
from skbig.components import SGD
from skbig.exceptions import ModelFileError
from skbig.networks import MLP
from tests.fitting import ANY_TASK, BINARY, VALUES, WORDS, X, fitted, small, state_of, target, trained, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def cubed(raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (raw - y).abs().pow(3)


MODELS: dict[str, Callable[[], Any]] = {
    "binary": lambda: trained("binary"),
    "words": lambda: fitted(small("multiclass"), X, WORDS),
    "labels as objects": lambda: fitted(small("multiclass"), X, WORDS.astype(object)),
    "labels that are bools": lambda: fitted(small("binary"), X, BINARY == 1),
    "multilabel": lambda: trained("multilabel"),
    "regression": lambda: trained("regression"),
    "one column": lambda: fitted(small("regression"), X, VALUES[:, np.newaxis]),
    "multi-output": lambda: trained("multi-output"),
    "batch norm": lambda: trained("multiclass", normalization="batch", hidden_layer_sizes=(5, 3)),
    "layer norm": lambda: trained("regression", normalization="layer", activation="gelu"),
    "ensemble": lambda: trained("multiclass", n_members=3, normalization="batch"),
    "no hidden layer": lambda: trained("regression", hidden_layer_sizes=()),
    "float32": lambda: fitted(small("regression"), X.astype(np.float32), VALUES),
    "link": lambda: fitted(small("regression", loss="poisson"), X, np.abs(VALUES)),
    "loss of one's own": lambda: fitted(small("regression", loss=cubed), X, VALUES),
    "named features": lambda: fitted(small("regression"), pd.DataFrame(X, columns=list("abcd")), VALUES),
    "linear classifier": lambda: fitted(BigLinearClassifier(max_iter=3), X, WORDS),
    "linear regressor": lambda: fitted(BigLinearRegressor(max_iter=3), X, VALUES),
    "network": lambda: fitted(BigNetworkRegressor(MLP((3,)), max_iter=3), X, VALUES),
}


def outputs_of(model: Any) -> list[np.ndarray]:
    rows = pd.DataFrame(X, columns=list("abcd")) if hasattr(model, "feature_names_in_") else X
    names = ("predict", "predict_proba", "decision_function")
    return [getattr(model, name)(rows) for name in names if hasattr(model, name)]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_by_its_weights(name: str, tmp_path: Path) -> None:
    """An unfitted estimator of the same parameters predicts the same bits, and has the same attributes."""
    model = MODELS[name]()
    loaded = load_weights(clone(model), save_weights(model, tmp_path / "weights.safetensors"))
    for found, expected in zip(outputs_of(loaded), outputs_of(model), strict=True):
        assert found.dtype == expected.dtype
        assert (found == expected).all()
    assert vars(loaded).keys() == vars(model).keys()
    assert (loaded.n_iter_, loaded.t_, loaded.loss_curve_) == (model.n_iter_, model.t_, model.loss_curve_)
    fitted(loaded.set_params(warm_start=True), *_training_rows(model))


def _training_rows(model: Any) -> tuple[Any, Any]:
    rows = pd.DataFrame(X, columns=list("abcd")) if hasattr(model, "feature_names_in_") else X
    return rows, np.abs(model.predict(rows)) if not hasattr(model, "classes_") else _labels(model, rows)


def _labels(model: Any, rows: Any) -> Any:
    """Labels with every class among them."""
    predicted = model.predict(rows)
    if predicted.ndim == 1:
        predicted[: len(model.classes_)] = model.classes_
    return predicted


@ANY_TASK
def test_training_goes_on_from_the_weights(task: str, tmp_path: Path) -> None:
    """partial_fit goes on from where the model was: plain descent, which has no state, comes to the same weights."""
    descent = SGD(momentum=0.0, nesterov=False)
    model = trained(task, optimizer=descent, batch_size="full", hidden_layer_sizes=(5, 3))
    loaded = load_weights(clone(model), save_weights(model, tmp_path / "weights.safetensors"))
    for each in (model, loaded):
        each.partial_fit(X, target(task))
    assert (weights_of(loaded) == weights_of(model)).all()
    assert loaded.loss_curve_ == model.loss_curve_


def test_the_library_alone_reads_the_file(tmp_path: Path) -> None:
    """Tensors have the names of the network and the public shapes, and the metadata are readable."""
    model = trained("multiclass", normalization="batch")
    path = save_weights(model, tmp_path / "weights.safetensors")
    tensors = load_file(path)
    assert (tensors["weight0"] == model.coefs_[0]).all()
    assert (tensors["bias1"][0] == model.intercepts_[1]).all()
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        assert (file.get_tensor("weight1").numpy() == model.coefs_[1]).all()
    assert (metadata["estimator"], metadata["skbig"]) == ("BigMLPClassifier", skbig.__version__)
    assert json.loads(metadata["classes"])["labels"] == model.classes_.tolist()
    assert json.loads(metadata["parameters"])["normalization"] == "'batch'"
    assert [*tmp_path.iterdir()] == [path]
    assert stat.S_ISREG(path.stat().st_mode)


def test_a_fitted_model_takes_other_weights(tmp_path: Path) -> None:
    """What was fitted before is replaced as a whole, names of features too."""
    path = save_weights(trained("regression"), tmp_path / "weights.safetensors")
    named = MODELS["named features"]()
    loaded = load_weights(named, path)
    assert loaded is named
    assert not hasattr(loaded, "feature_names_in_")
    assert (loaded.predict(X) == trained("regression").predict(X)).all()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: BigMLPRegressor((4,)), "whose estimator is BigMLPClassifier, and not BigMLPRegressor"),
        (lambda: BigMLPClassifier((5,)), r"whose network is MLP\(.*\(4,\).*, and not MLP\(.*\(5,\)"),
        (lambda: BigMLPClassifier((4,), activation="tanh"), "whose network is MLP.*relu.*, and not MLP.*tanh"),
        (lambda: BigMLPClassifier((4,), loss="hinge"), r"whose loss is LogLoss\(.*, and not Hinge\("),
        (lambda: BigMLPClassifier((4,), n_members=2), "whose n_members is 1, and not 2"),
    ],
)
def test_another_model_is_left_as_it_is(model: Any, message: str, tmp_path: Path) -> None:
    """A model that asks for another network is told what differs, and does not change."""
    path = save_weights(trained("binary"), tmp_path / "weights.safetensors")
    other = model()
    before = state_of(other)
    with pytest.raises(ModelFileError, match=message):
        load_weights(other, path)
    assert state_of(other) == before


def rewritten(path: Path, tensors: dict[str, Any] | None = None, **metadata: str | None) -> Path:
    """Write the file again with some tensors or metadata changed, or left out."""
    with safe_open(path, framework="numpy") as file:
        found = {**file.metadata(), **metadata}
    arrays = {**load_file(path), **(tensors or {})}
    kept = {name: value for name, value in found.items() if value is not None}
    save_file({name: value for name, value in arrays.items() if value is not None}, path, kept)
    return path


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"metadata": {name: None}}
            for name in ("format", "estimator", "network", "loss", "classes", "loss_curve", "t")
        ),
        *({"metadata": {"n_features_in": value}} for value in ("5", "-1", "0", "x", "4.0")),
        *({"metadata": {"classes": value}} for value in ("{}", "[]", "null", '{"dtype": "V3", "labels": [0, 1]}')),
        {"metadata": {"classes": '{"dtype": "<i8", "labels": [1, 0], "multilabel": false}'}},
        {"metadata": {"classes": '{"dtype": "<i8", "labels": [0, 1, 2], "multilabel": false}'}},
        {"metadata": {"classes": "[" * 10_000}},
        {"metadata": {"loss_curve": '["x"]'}},
        {"metadata": {"feature_names_in": '["a"]'}},
        {"tensors": {"weight0": None}},
        {"tensors": {"more": np.zeros(3)}},
        {"tensors": {"weight0": np.zeros((4, 5))}},
        {"tensors": {"weight0": np.zeros((4, 4), dtype=np.float32)}},
        {"tensors": {"weight0": np.zeros((4, 4), dtype=np.int64)}},
        {"tensors": {"weight0": np.full((4, 4), np.nan)}},
    ],
    ids=str,
)
def test_a_file_that_is_not_right_changes_nothing(change: dict[str, Any], tmp_path: Path) -> None:
    """Metadata or tensors that do not fit are an error, and the model stays unfitted."""
    path = save_weights(trained("binary"), tmp_path / "weights.safetensors")
    rewritten(path, change.get("tensors"), **change.get("metadata", {}))
    model = small("binary")
    before = state_of(model)
    with pytest.raises(ModelFileError):
        load_weights(model, path)
    assert state_of(model) == before


def test_what_is_no_weights_file_is_named(tmp_path: Path) -> None:
    """A file that is missing, cut, or of another kind, is an error that names it."""
    path = save_weights(trained("binary"), tmp_path / "weights.safetensors")
    content = path.read_bytes()
    for broken in (b"", b"x" * 100, content[:-1], content[:20]):
        path.write_bytes(broken)
        with pytest.raises(ModelFileError, match="cannot be read as a safetensors file"):
            load_weights(small("binary"), path)
    save_file({"weight0": np.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="are not those of save_weights"):
        load_weights(small("binary"), path)
    with pytest.raises(FileNotFoundError):
        load_weights(small("binary"), tmp_path / "gone")


def test_only_fitted_models_of_this_package_are_saved(tmp_path: Path) -> None:
    """A pipeline, and a model without weights, are errors that say so, and write nothing."""
    with pytest.raises(TypeError, match="of a Pipeline its last step"):
        save_weights(make_pipeline(trained("binary")), tmp_path / "weights.safetensors")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not fitted"):
        save_weights(small("binary"), tmp_path / "weights.safetensors")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_a_standardized_target_keeps_its_unit(loss: str, tmp_path: Path) -> None:
    """A regressor that has standardized its target predicts in the unit of y again, and goes on in it."""
    X = np.random.RandomState(0).normal(size=(60, 2))
    y = 1000 + 50 * X[:, 0]
    parameters = {"loss": loss, "standardize_target": True, "learning_rate": 0.05, "max_iter": 40, "tol": 0.0}
    model = BigMLPRegressor((4,), **parameters, schedule="cosine", random_state=0).fit(X, y)
    again = load_weights(BigMLPRegressor((4,), **parameters), save_weights(model, tmp_path / "weights"))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.target_mean_, model.target_mean_)
    assert abs(again.partial_fit(X, y).predict(X).mean() - 1000) < 50
