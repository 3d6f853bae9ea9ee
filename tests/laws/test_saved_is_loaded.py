"""A model that was saved and loaded is the model: it predicts the same and goes on the same, to the last bit."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.components import LBFGS, Plateau
from skbig.estimators.mlp import LISTS
from tests.small import data, optimizers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS: list[dict[str, Any]] = [{"optimizer": optimizer} for optimizer in (*optimizers(), LBFGS(history_size=3))]
SETTINGS += [
    {"hidden_layer_sizes": ()},
    {"hidden_layer_sizes": (6, 5), "normalization": "batch"},
    {"normalization": "batch", "optimizer": "lbfgs"},
    {"normalization": "layer", "dropout": 0.3},
    {"dropout": 0.3, "optimizer": "lbfgs"},
    {"augmentation": "mixup", "clipping": "norm"},
    {"schedule": Plateau(factor=0.5, patience=0), "tol": 10.0},
    {"schedule": Plateau(factor=0.5, patience=0), "tol": 10.0, "optimizer": "sgd", "n_members": 2},
    {"penalty": "l1", "alpha": 1.0},
    {"n_members": 3},
    {"n_members": 2, "normalization": "batch", "dropout": 0.2},
    {"n_members": 2, "optimizer": "lbfgs"},
]
SOME = [SETTINGS[3], *SETTINGS[-12:]]
each_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)
some_settings = pytest.mark.parametrize("settings", SOME, ids=str)


def through_pickle(model: Any, folder: Path) -> Any:
    return pickle.loads(pickle.dumps(model))


def through_joblib(model: Any, folder: Path) -> Any:
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib")


def through_a_compressed_file(model: Any, folder: Path) -> Any:
    joblib.dump(model, folder / "model.joblib.gz", compress=3)
    return joblib.load(folder / "model.joblib.gz")


def through_a_map(model: Any, folder: Path) -> Any:
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", mmap_mode="r")


ways = pytest.mark.parametrize("saved", [through_pickle, through_joblib, through_a_compressed_file, through_a_map])


def classifier(**settings: Any) -> BigMLPClassifier:
    common = {
        "hidden_layer_sizes": (6,),
        "activation": "tanh",
        "learning_rate": 0.02,
        "max_iter": 3,
        "n_iter_no_change": 99,
    }
    if not getattr(settings.get("optimizer"), "full_batch", settings.get("optimizer") == "lbfgs"):
        common["batch_size"] = 20
    return BigMLPClassifier(random_state=7, **common | settings)


def fitted(**settings: Any) -> BigMLPClassifier:
    return classifier(**settings).fit(*data("multiclass"))


def assert_identical(actual: Any, expected: Any) -> None:
    """Every fitted attribute is the same, public or not."""
    assert vars(actual).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        if name.endswith("_") or name.startswith("_"):
            assert_same_bits(getattr(actual, name), value, name)


def assert_same_bits(actual: Any, expected: Any, name: str) -> None:
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert_same_bits(actual[key], value, f"{name}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), name
        for i, value in enumerate(expected):
            assert_same_bits(actual[i], value, f"{name}[{i}]")
    else:
        np.testing.assert_array_equal(actual, expected, err_msg=name, strict=isinstance(expected, np.ndarray))


@pytest.mark.crossed
@ways
@some_settings
def test_predictions(settings: dict[str, Any], saved: Callable[..., Any], tmp_path: Path) -> None:
    """A loaded classifier gives the same probabilities and has the same attributes."""
    X, _ = data("multiclass")
    model = fitted(**settings)
    loaded = saved(model, tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X), strict=True)
    assert_identical(loaded, model)


def test_predictions_of_a_regressor(tmp_path: Path) -> None:
    """A loaded regressor gives the same predictions, and the same disagreement of its members."""
    X, y = data("multi-output")
    model = BigMLPRegressor((6,), n_members=3, random_state=0, max_iter=3).fit(X, y)
    for saved in (through_pickle, through_joblib, through_a_map):
        for one, other in zip(
            saved(model, tmp_path).predict(X, return_std=True), model.predict(X, return_std=True), strict=True
        ):
            np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.crossed
@pytest.mark.parametrize("saved", [through_pickle, through_a_map])
@each_setting
def test_going_on_with_partial_fit(settings: dict[str, Any], saved: Callable[..., Any], tmp_path: Path) -> None:
    """A loaded model takes the steps that it would have taken without the detour."""
    X, y = data("multiclass")
    model = fitted(**settings)
    loaded = saved(model, tmp_path)
    for _ in range(2):
        model.partial_fit(X[:30], y[:30])
        loaded.partial_fit(X[:30], y[:30])
    assert_identical(loaded, model)


@each_setting
def test_going_on_with_warm_start(settings: dict[str, Any], tmp_path: Path) -> None:
    """Three epochs, saved, loaded, and four epochs are seven epochs where the rate does not depend on their number."""
    X, y = data("multiclass")
    held = {"X_val": X[:20], "y_val": y[:20]}
    first = classifier(warm_start=True, **settings).fit(X, y, **held)
    model = through_pickle(first, tmp_path).set_params(max_iter=4).fit(X, y, **held)
    whole = classifier(**settings).set_params(max_iter=7).fit(X, y, **held)
    for name in (
        *LISTS,
        "loss_curve_",
        "learning_rates_",
        "validation_scores_",
        "t_",
    ):
        assert_same_bits(getattr(model, name), getattr(whole, name), name)


def test_early_stopping_goes_on_across_partial_fits(tmp_path: Path) -> None:
    """The best weights and the patience that is left are saved as well."""
    X, y = data("multiclass")
    held = {"X_val": -X, "y_val": y}  # learning soon makes this worse
    settings = {"early_stopping": True, "n_iter_no_change": 3, "learning_rate": 0.1}
    model, reloaded = classifier(**settings), classifier(**settings)
    classes = np.unique(y)
    for _ in range(8):
        model.partial_fit(X, y, classes, **held)
        reloaded = through_pickle(reloaded, tmp_path).partial_fit(X, y, classes, **held)
        assert_identical(reloaded, model)
    assert 4 <= len(model.validation_scores_) < 8


def test_a_map_is_only_read(tmp_path: Path) -> None:
    """Weights that are mapped from a file stay in the file, which predicting and training leave as it was."""
    X, y = data("multiclass")
    loaded = through_a_map(fitted(normalization="batch"), tmp_path)
    before = (tmp_path / "model.joblib").read_bytes()
    assert all(isinstance(coef, np.memmap) and not coef.flags.writeable for coef in loaded.coefs_)
    loaded.predict(X)
    loaded.partial_fit(X, y)
    assert (tmp_path / "model.joblib").read_bytes() == before


@each_setting
def test_no_torch_object_is_saved(settings: dict[str, Any]) -> None:
    """What is saved names nothing of torch, so it does not ask for the version or the device that it was made with."""
    X, y = data("multiclass")
    model = classifier(early_stopping=True, **settings).fit(X, y, X_val=X[:20], y_val=y[:20])
    words = [word for _, word, _ in pickletools.genops(pickle.dumps(model)) if isinstance(word, str)]
    assert any(word.startswith("numpy") for word in words)
    assert not [word for word in words if word.split(".")[0].split(" ")[0] == "torch"]


@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "lbfgs"}, {"early_stopping": True}, {"normalization": "batch"}], ids=str
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_training_data_is_saved(settings: dict[str, Any], dtype: type) -> None:
    """A saved model holds no row that it was trained or validated on, and is as large for many rows as for a few."""
    random = np.random.RandomState(0)
    X = random.normal(size=(2000, 20)).astype(dtype)
    y = random.randint(0, 3, size=2000)
    saved = pickle.dumps(classifier(max_iter=1, **settings).fit(X, y, sample_weight=random.uniform(1, 2, 2000)))
    few = pickle.dumps(classifier(max_iter=1, **settings).fit(X[:200], y[:200]))
    assert len(saved) < len(few) + 200
    for row in X[:: len(X) // 50]:
        assert row[:4].tobytes() not in saved and row[:4].astype(np.float64).tobytes() not in saved


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_model_of_a_gpu_predicts_without_one() -> None:
    """A model that asks for a GPU predicts on the CPU of a machine that has none; only training needs it."""
    X, y = data("multiclass")
    model = fitted()
    expected = model.predict_proba(X)
    loaded = pickle.loads(pickle.dumps(model.set_params(device="cuda")))
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    with pytest.raises(ValueError, match="cuda"):
        loaded.partial_fit(X, y)
