"""Tensors of a device are rows where they are: nothing of them comes to the host, and the numbers are those of arrays.

`test_tensors.py` runs these in a process of their own, since the device is made for all of it.
"""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor, nn

from skbig import (
    BigGridSearchCV,
    BigLinearClassifier,
    BigLinearRegressor,
    BigMLPClassifier,
    BigMLPRegressor,
    BigModuleClassifier,
    BigModuleRegressor,
    BigNetworkClassifier,
    BigNetworkRegressor,
    BigTabularClassifier,
)
from skbig.components import DPSGD, Loss, Quantile
from skbig.estimators import base, choices, preparation, validation
from skbig.networks import MLP
from skbig.search.fit_task import FitTask
from tests.pretended_card import CARD, choose, on_card, watched

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS, N_FEATURES = 200, 5
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
SIGNAL = X @ RANDOM.normal(size=(N_FEATURES, 3)).astype(np.float32)
WEIGHT = RANDOM.uniform(0.5, 2.0, N_ROWS)
WEIGHT[::7] = 0
TARGETS: dict[str, np.ndarray] = {
    "binary": (SIGNAL[:, 0] > 0).astype(np.int64),
    "booleans": SIGNAL[:, 0] > 0,
    "multiclass": SIGNAL.argmax(1).astype(np.int32) * 10 - 7,
    "classes that are floats": SIGNAL.argmax(1).astype(np.float64),
    "multilabel": (SIGNAL > 0.3).astype(np.int64),
    "regression": SIGNAL[:, 0],
    "multi-output": SIGNAL[:, :2].astype(np.float64),
    "counts": RANDOM.poisson(2.0, N_ROWS),
}
FEW = 150
"""Numbers that may come back at once: the weights of a small network, scores, losses, classes; and of no rows."""

SETTINGS: dict[str, Any] = {"max_iter": 1, "random_state": 0, "batch_size": 100}
SMALL = SETTINGS | {"hidden_layer_sizes": (4,)}


class Cut(nn.Module):
    """A small network that a user has written."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_features, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.layer(X).clamp(-5, 5)


class Table(nn.Module):
    """A network that takes whole numbers."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.table = nn.Embedding(8, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.table(X).sum(1)


class OwnLoss(Loss):
    """The squared error, which looks at targets with NumPy."""

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return (raw - y).square().sum(-1)

    def check_targets(self, y: np.ndarray) -> None:
        assert isinstance(y, np.ndarray)


MODELS: dict[str, tuple[Any, str]] = {
    **{
        f"mlp, {task}": (
            (BigMLPRegressor if task in ("regression", "multi-output", "counts") else BigMLPClassifier)(**SMALL),
            task,
        )
        for task in TARGETS
    },
    "an ensemble of classifiers": (BigMLPClassifier(n_members=3, **SMALL), "multiclass"),
    "an ensemble of two classes": (BigMLPClassifier(n_members=3, **SMALL), "binary"),
    "an ensemble of regressors": (BigMLPRegressor(n_members=3, **SMALL), "multi-output"),
    "quasi-Newton": (BigMLPClassifier(optimizer="lbfgs", **{**SMALL, "batch_size": "auto"}), "multiclass"),
    "early stopping of classes": (BigMLPClassifier(early_stopping=True, **SMALL), "multiclass"),
    "early stopping of values": (BigMLPRegressor(early_stopping=True, **SMALL), "regression"),
    "early stopping by a name": (BigMLPRegressor(early_stopping=True, scoring="r2", **SMALL), "regression"),
    "standardized": (BigMLPRegressor(standardize_target=True, **SMALL), "multi-output"),
    "class weights": (BigMLPClassifier(class_weight="balanced", **SMALL), "multiclass"),
    "counts": (BigMLPRegressor(loss="poisson", **SMALL), "counts"),
    "deviations": (BigMLPRegressor(loss="gaussian_nll", **SMALL), "regression"),
    "a hinge": (BigMLPClassifier(loss="hinge", **SMALL), "multiclass"),
    "in double precision": (BigMLPRegressor(precision="float64", **SMALL), "regression"),
    "linear classes": (BigLinearClassifier(**SETTINGS), "multiclass"),
    "linear values": (BigLinearRegressor(**SETTINGS), "regression"),
    "a network of classes": (BigNetworkClassifier(MLP((4,)), **SETTINGS), "binary"),
    "a network of values": (BigNetworkRegressor(MLP((4,)), **SETTINGS), "regression"),
    "a module of classes": (BigModuleClassifier(Cut, **SETTINGS), "multiclass"),
    "a module of values": (BigModuleRegressor(Cut, **SETTINGS), "regression"),
}
HELD_OUT = {"early_stopping": True, "max_iter": 2}


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pretended card be the device of device='auto', where the usual scores are computed as on any card."""
    for module in (choices, base):
        monkeypatch.setattr(module, "choose_device", choose(module.choose_device))
    real = validation.device_scores
    cuda = torch.device("cuda")
    monkeypatch.setattr(validation, "device_scores", lambda metrics, targets, device: real(metrics, targets, cuda))


@pytest.fixture
def dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch array API dispatch on, for what asks whether predictions are to be tensors."""
    monkeypatch.setattr("skbig.estimators.tensors.get_config", lambda: {"array_api_dispatch": True})


def answers(model: Any, rows: Any) -> dict[str, Any]:
    """Return all that a model says of rows."""
    names = ("predict", "predict_proba", "predict_log_proba", "decision_function")
    found = {name: getattr(model, name)(rows) for name in names if hasattr(model, name)}
    if len(found) == 1 and (model.n_members > 1 or model.loss == "gaussian_nll"):
        found["mean"], found["std"] = model.predict(rows, return_std=True)
    return found


def assert_alike(model: Any, expected: Any, n_digits: int | None = None) -> None:
    """Compare what two models say of rows in an array: to the bit, or to some digits."""
    assert model.device_ == expected.device_ == "card:0"
    ours, theirs = answers(model, X), answers(expected, X)
    for name in theirs:
        assert_same(ours[name], theirs[name], name, n_digits)


def assert_same(ours: np.ndarray, theirs: np.ndarray, name: str, n_digits: int | None) -> None:
    """Compare two arrays, to the bit or to some digits."""
    if n_digits is None:
        np.testing.assert_array_equal(ours, theirs, err_msg=name, strict=True)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=10**-n_digits, atol=10**-n_digits, err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_rows_stay_where_they_are(name: str, dispatch: None) -> None:
    """Of rows and targets nothing goes to the host, or from it; the model is that of the arrays, to the bit."""
    model, task = MODELS[name]
    rows, y = on_card(X), on_card(TARGETS[task])
    with watched() as traffic:
        fitted = clone(model).fit(rows, y)
    labels = N_ROWS if name == "class weights" else 0  # they are counted on the host, where sums are exact
    assert traffic.most_returned() <= max(FEW, labels), traffic.returned
    assert traffic.most_sent() <= N_ROWS * model.n_members  # the order of the rows
    with watched() as traffic:
        found = answers(fitted, rows)
    assert traffic.most_returned() <= 2 and traffic.most_sent() <= FEW
    expected = clone(model).fit(X, TARGETS[task])
    n_digits = 5 if name == "standardized" else None  # a mean is summed in another order
    for method, array in answers(expected, X).items():
        assert isinstance(array, np.ndarray) and found[method].device == CARD
        assert_same(found[method].memory.numpy(), array, method, n_digits)
    if hasattr(expected, "classes_"):
        np.testing.assert_array_equal(fitted.classes_, expected.classes_, strict=True)
    np.testing.assert_array_equal(rows.memory, X)


@pytest.mark.parametrize("name", MODELS)
def test_on_a_cpu_a_tensor_is_an_array(name: str, dispatch: None) -> None:
    """Whatever is trained there by a tensor is what an array's numbers train, to the bit, and predicts tensors."""
    model, y = clone(MODELS[name][0]).set_params(device="cpu"), TARGETS[MODELS[name][1]]
    rows = torch.from_numpy(X)
    found = answers(clone(model).fit(rows, torch.from_numpy(y), torch.from_numpy(WEIGHT)), rows)
    for method, expected in answers(model.fit(X, y, WEIGHT), X).items():
        assert isinstance(found[method], Tensor) and found[method].device.type == "cpu"
        np.testing.assert_array_equal(found[method].numpy(), expected, err_msg=method, strict=True)


WEIGHTED = ("mlp, binary", "mlp, multilabel", "mlp, multi-output", "class weights", "standardized", "quasi-Newton")


@pytest.mark.parametrize("name", [*WEIGHTED, "an ensemble of classifiers", "a module of values"])
def test_weights_and_validation_rows_stay(name: str) -> None:
    """So do weights, of which some are zero, and validation rows; the model is that of the arrays."""
    model, task = MODELS[name]
    arrays = X, TARGETS[task], WEIGHT
    held = dict(zip(("X_val", "y_val", "sample_weight_val"), (each[:160] for each in arrays), strict=True))
    there = {argument: on_card(array) for argument, array in held.items()}
    given = [on_card(array) for array in arrays]
    with watched() as traffic:
        fitted = clone(model).fit(*given, **there)
    labels = N_ROWS if name == "class weights" else 0
    assert traffic.most_returned() <= max(FEW, labels), traffic.returned
    assert_alike(fitted, clone(model).fit(*arrays, **held), 5)


def test_predictions_are_arrays_without_dispatch() -> None:
    """The rows stay all the same: predictions alone come to the host."""
    model = BigMLPClassifier(**SMALL).fit(X, TARGETS["multiclass"])
    with watched() as traffic:
        found = answers(model, on_card(X))
    assert traffic.returned.count((N_ROWS, N_FEATURES)) == 0 and traffic.most_sent() <= FEW
    for method, expected in answers(model, X).items():
        np.testing.assert_array_equal(found[method], expected, strict=True)


def test_scores() -> None:
    """Rows, targets and weights of a device are scored as arrays are."""
    labels, values = TARGETS["multiclass"], SIGNAL[:, 0]
    models = (
        (BigMLPClassifier(**SMALL), labels),
        (BigMLPRegressor(**SMALL), values),
        (BigMLPRegressor(loss=Quantile([0.1, 0.9]), **SMALL), values),
    )
    for model, y in models:
        given = X, y, WEIGHT
        model.fit(X, y)
        assert model.score(*map(on_card, given)) == model.score(*given)


def test_words_are_in_arrays(dispatch: None) -> None:
    """Of classes that have no numbers a tensor cannot tell; their probabilities are a tensor."""
    words = np.array(["low", "mid", "top"])[SIGNAL.argmax(1)]
    with watched() as traffic:
        model = BigMLPClassifier(early_stopping=True, **SMALL).fit(on_card(X), words)
    assert (N_ROWS, N_FEATURES) not in traffic.returned + traffic.sent
    assert_alike(model, BigMLPClassifier(early_stopping=True, **SMALL).fit(X, words))
    assert isinstance(model.predict(on_card(X)), np.ndarray)
    assert model.predict_proba(on_card(X)).device == CARD


FORMS: dict[str, Callable[[np.ndarray], tuple[Tensor, Any]]] = {
    "in columns": lambda X: (on_card(np.asfortranarray(X)), X),
    "every other row": lambda X: (on_card(X)[::2], X[::2]),
    "turned": lambda X: (on_card(np.ascontiguousarray(X.T)).T, X),
    "one row many times": lambda X: (on_card(X[:1]).expand(N_ROWS, -1), np.repeat(X[:1], N_ROWS, axis=0)),
    "with a gradient": lambda X: (on_card(X).requires_grad_(), X),
    "a parameter": lambda X: (nn.Parameter(on_card(X)), X),
    "float64": lambda X: (on_card(X.astype(np.float64)), X.astype(np.float64)),
    "float16": lambda X: (on_card(X.astype(np.float16)), X.astype(np.float16)),
    "bfloat16": lambda X: (
        on_card(torch.from_numpy(X).bfloat16()),
        torch.from_numpy(X).bfloat16().float().numpy(),
    ),
    "int64": lambda X: (on_card((X * 3).astype(np.int64)), (X * 3).astype(np.int64)),
    "uint8": lambda X: (on_card((X > 0).astype(np.uint8)), (X > 0).astype(np.uint8)),
    "bool": lambda X: (on_card(X > 0), X > 0),
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_its_form(form: str) -> None:
    """A tensor gives the bits of the array that it holds, stays as it is, and never goes to the host."""
    rows, array = FORMS[form](X)
    needs_grad, y = rows.requires_grad, SIGNAL[: len(rows), 0]
    with watched() as traffic:
        model = BigMLPRegressor(**SMALL).fit(rows, y, X_val=rows, y_val=y)
        found = model.predict(rows)
    expected = BigMLPRegressor(**SMALL).fit(array, y, X_val=array, y_val=y)
    assert traffic.most_returned() <= len(y) and (len(y), N_FEATURES) not in traffic.sent
    assert_alike(model, expected)
    np.testing.assert_array_equal(found, expected.predict(array))
    assert rows.requires_grad == needs_grad and getattr(rows, "grad", None) is None


def test_tensors_of_inference_mode() -> None:
    """What was made in inference mode is trained on, although torch saves nothing of it for a gradient."""
    with torch.inference_mode():
        rows, y = on_card(X) * 1, on_card(SIGNAL[:, 0]) * 1
        labels, weight = on_card(TARGETS["multilabel"].astype(float)) * 1, on_card(WEIGHT) * 1
    assert rows.is_inference() and labels.is_inference()
    assert_alike(BigMLPRegressor(**SMALL).fit(rows, y), BigMLPRegressor(**SMALL).fit(X, SIGNAL[:, 0]))
    model = BigMLPClassifier(precision="float64", **SMALL)
    fitted = clone(model).fit(rows, labels, weight, X_val=rows, y_val=labels)
    assert_alike(fitted, model.fit(X, TARGETS["multilabel"], WEIGHT), 5)


Y = TARGETS["binary"]
MIXTURES: dict[str, Callable[[], tuple[Any, ...]]] = {
    "targets in an array": lambda: (on_card(X), Y, on_card(WEIGHT)),
    "targets in a list": lambda: (on_card(X), Y.tolist(), WEIGHT.tolist()),
    "targets on the host": lambda: (on_card(X), torch.from_numpy(Y), torch.from_numpy(WEIGHT)),
    "weights in an array": lambda: (on_card(X), on_card(Y), WEIGHT),
    "targets and weights of every other number": lambda: (
        on_card(X),
        on_card(np.repeat(Y, 2))[::2],
        on_card(np.repeat(WEIGHT, 2))[::2],
    ),
    "rows in an array": lambda: (X, on_card(Y), on_card(WEIGHT)),
    "rows on the host": lambda: (torch.from_numpy(X), on_card(Y), on_card(WEIGHT)),
    "rows in a list": lambda: (X.tolist(), on_card(Y), on_card(WEIGHT)),
    "a column": lambda: (on_card(X), on_card(Y[:, None]), on_card(WEIGHT.astype(np.float32))),
}


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_mixtures(name: str) -> None:
    """Rows, targets and weights may each be where they like."""
    model = BigMLPClassifier(**SMALL | HELD_OUT).fit(*MIXTURES[name]())
    weight = WEIGHT.astype(np.float32) if name == "a column" else WEIGHT
    assert_alike(model, BigMLPClassifier(**SMALL | HELD_OUT).fit(X, Y, weight), 5)


def test_an_estimator_of_the_host_gets_one_copy() -> None:
    """A tensor of another device goes to that of the estimator, and predictions go back to the tensor's."""
    model = BigMLPClassifier(device="cpu", **SMALL)
    with watched() as traffic:
        model.fit(on_card(X), on_card(Y))
    assert traffic.returned.count(X.shape) == 1
    expected = BigMLPClassifier(device="cpu", **SMALL).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_large_rows_are_held_out_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are many are not copied to be trained on: their numbers tell which they are."""
    monkeypatch.setattr("skbig.data.tensor_rows.COPIED_BYTES", 0)
    seen: list[Any] = []
    real = preparation.placed
    monkeypatch.setattr(preparation, "placed", lambda *args, **options: seen.append(real(*args, **options)) or seen[-1])
    for task, kind in (("multiclass", BigMLPClassifier), ("regression", BigMLPRegressor)):
        y = TARGETS[task]
        rows = on_card(X)
        for members in (1, 2):
            settings = SMALL | HELD_OUT | {"n_members": members}
            model = kind(**settings).fit(rows, on_card(y), on_card(WEIGHT))
            assert seen[-1].X.memory.data_ptr() == rows.memory.data_ptr() and seen[-1].index is not None
            assert_alike(model, kind(**settings).fit(X, y, WEIGHT), 5)


@pytest.mark.parametrize("kind", [BigMLPClassifier, BigMLPRegressor])
def test_trainings_that_go_on(kind: Any) -> None:
    """`partial_fit` and ``warm_start`` take tensors at any call, after arrays and before them."""
    y = TARGETS["multiclass" if kind is BigMLPClassifier else "regression"]
    first = {"classes": np.unique(y)} if kind is BigMLPClassifier else {}
    ours, theirs = kind(**SMALL), kind(**SMALL)
    for turn, part in enumerate((slice(0, 100), slice(100, 200), slice(50, 150))):
        options = first if turn == 0 else {}
        take = on_card if turn != 1 else np.asarray
        with watched() as traffic:
            ours.partial_fit(take(X[part]), take(y[part]), **options)
        assert traffic.most_returned() <= FEW
        theirs.partial_fit(X[part], y[part], **options)
    assert_alike(ours, theirs)
    ours, theirs = (kind(warm_start=True, **SMALL).fit(X, y) for _ in range(2))
    assert_alike(ours.fit(on_card(X), on_card(y)), theirs.fit(X, y))


WRONG: dict[str, tuple[Callable[[], tuple[Any, Any, Any]], str]] = {
    "NaN": (lambda: (_with(X, np.nan), Y, None), "Input X contains NaN"),
    "infinity": (lambda: (_with(X, np.inf), Y, None), "Input X contains infinity"),
    "a large number": (lambda: (_with(X, 1e30), Y, None), "too large to train on"),
    "too large for float32": (lambda: (_with(X.astype(np.float64), -1e300), Y, None), "too large for dtype"),
    "no rows": (lambda: (X[:0], Y[:0], None), "0 sample"),
    "one axis": (lambda: (X[:, 0], Y, None), "Expected 2D array"),
    "three axes": (lambda: (X[:, :, None], Y, None), "dim 3"),
    "complex numbers": (lambda: (X.astype(np.complex64), Y, None), "Complex data not supported"),
    "no targets": (lambda: (X, None, None), "the target y is None"),
    "fewer targets": (lambda: (X, Y[:-1], None), "inconsistent numbers of samples"),
    "targets that are NaN": (lambda: (X, _with(Y.astype(float), np.nan), None), "Input y contains NaN"),
    "targets of three axes": (lambda: (X, Y[:, None, None], None), "dim 3"),
    "fractions": (lambda: (X, SIGNAL[:, 0], None), "continuous"),
    "labels that are none": (lambda: (X, TARGETS["multilabel"] * 2, None), "multiclass-multioutput|multilabel"),
    "negative weights": (lambda: (X, Y, -WEIGHT), "Negative values in data passed to `sample_weight`"),
    "weights of zero": (lambda: (X, Y, WEIGHT * 0), "All values of `sample_weight` are zero"),
    "weights that are NaN": (lambda: (X, Y, _with(WEIGHT, np.nan)), "sample_weight contains NaN"),
    "fewer weights": (lambda: (X, Y, WEIGHT[:-1]), r"sample_weight.shape == \(199,\)"),
    "weights of two axes": (lambda: (X, Y, WEIGHT[:, None]), "Sample weights must be 1D"),
}


def _with(values: np.ndarray, one: float) -> np.ndarray:
    changed = values.copy()
    changed[(7,) + (2,) * (values.ndim - 1)] = one
    return changed


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_those_of_arrays(name: str) -> None:
    """What is wrong is said in the words that an array gets, and the estimator stays as it was."""
    make, match = WRONG[name]
    arrays = make()
    model = BigMLPClassifier(**SMALL)
    with pytest.raises(ValueError, match=match) as theirs:
        clone(model).fit(*arrays)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=match) as ours:
        model.fit(*(None if each is None else on_card(each) for each in arrays))
    assert str(ours.value) == str(theirs.value) and vars(model) == before


def test_what_a_device_does_not_check_is_checked_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a dtype that torch has for little else are read as an array, with all that belongs to them."""
    monkeypatch.setattr("skbig.data.array_rows.COPIED_BYTES", 0)
    rows = (np.abs(X) * 10).astype(np.uint16)
    given = rows, Y, WEIGHT
    held = {"X_val": rows, "y_val": Y, "sample_weight_val": WEIGHT}
    there = {name: on_card(values) for name, values in held.items()}
    model = BigMLPClassifier(**SMALL).fit(*map(on_card, given), **there)
    assert_alike(model, BigMLPClassifier(**SMALL).fit(*given, **held), 5)


def test_classes_in_a_tensor() -> None:
    """So may be those that `partial_fit` is told; a label that is none of them is named."""
    classes = on_card(np.unique(TARGETS["multiclass"]))
    model = BigMLPClassifier(**SMALL).partial_fit(on_card(X), on_card(TARGETS["multiclass"]), classes)
    with pytest.raises(ValueError, match=r"y has the classes \[5\], which are not in `classes_`"):
        model.partial_fit(on_card(X), on_card(TARGETS["multiclass"] * 0 + 5))
    with pytest.raises(ValueError, match="the same classes as in the previous call"):
        model.set_params(warm_start=True).fit(on_card(X), on_card(Y))


@pytest.mark.parametrize("dtype", [np.uint16, np.float16, np.uint64, ">i4"])
def test_labels_of_any_dtype(dtype: Any, dispatch: None, tmp_path: Path) -> None:
    """Predictions are tensors of the dtype of the labels, also by a model whose arrays are read where they lie."""
    y = TARGETS["multiclass"].astype(np.int64) + 10
    model = BigMLPClassifier(**SMALL).fit(X, y.astype(dtype))
    joblib.dump(model, tmp_path / "model")
    for each in (model, joblib.load(tmp_path / "model", mmap_mode="r")):
        found = each.predict(on_card(X))
        assert found.device == CARD
        np.testing.assert_array_equal(found.memory.numpy(), each.predict(X))
    values = BigMLPRegressor(standardize_target=True, **SMALL).fit(X, y)
    joblib.dump(values, tmp_path / "values")
    read = joblib.load(tmp_path / "values", mmap_mode="r")
    np.testing.assert_array_equal(read.predict(on_card(X)).memory.numpy(), values.predict(X))
    read.set_params(warm_start=True).fit(on_card(X), on_card(y))


def test_private_rows() -> None:
    """Rows that are drawn by chance are drawn from a tensor."""
    settings = SMALL | {"privacy": DPSGD(noise_multiplier=1.0, delta=1e-3)}
    with watched() as traffic:
        model = BigMLPClassifier(**settings).fit(on_card(X), on_card(Y))
    assert traffic.most_returned() <= FEW
    assert_alike(model, BigMLPClassifier(**settings).fit(X, Y))


def test_errors_of_rows_to_predict() -> None:
    """So are those of rows to predict, and of validation rows, whose arguments are named."""
    model = BigMLPRegressor(**SMALL).fit(X, SIGNAL[:, 0])
    for wrong in (_with(X, np.nan), _with(X, -np.inf), _with(X.astype(np.float64), 1e300), X[:, :3], X[:0], X[0]):
        with pytest.raises(ValueError, match=r".") as theirs:
            model.predict(wrong)
        with pytest.raises(ValueError, match=r".") as ours:
            model.predict(on_card(wrong))
        assert str(ours.value) == str(theirs.value)
    with pytest.raises(ValueError, match="Input X_val contains NaN"):
        model.fit(X, SIGNAL[:, 0], X_val=on_card(_with(X, np.nan)), y_val=SIGNAL[:, 0])
    sets, values = {"own": on_card(_with(X, np.nan))}, {"own": on_card(SIGNAL[:, 0])}
    with pytest.raises(ValueError, match=r"Input X_val\['own'\] contains NaN"):
        model.fit(on_card(X), SIGNAL[:, 0], X_val=sets, y_val=values)
    with pytest.raises(ValueError, match="out of the valid range of the loss 'poisson'"):
        BigMLPRegressor(loss="poisson", **SMALL).fit(on_card(X), on_card(SIGNAL[:, 0]))


def test_names_of_columns_are_missed() -> None:
    """A tensor has none: the warning is the array's."""
    import pandas as pd

    model = BigMLPRegressor(**SMALL).fit(pd.DataFrame(X, columns=list("abcde")), SIGNAL[:, 0])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(on_card(X))


def test_several_sets_of_validation_rows() -> None:
    """Lists and dicts of tensors are sets where they are."""
    y = SIGNAL[:, 0]
    sets = {"near": (X[:50], y[:50]), "far": (X[50:140] * 2, y[50:140])}
    expected = BigMLPRegressor(**SMALL).fit(
        X, y, X_val={name: rows for name, (rows, _) in sets.items()}, y_val={name: v for name, (_, v) in sets.items()}
    )
    with watched() as traffic:
        model = BigMLPRegressor(**SMALL).fit(
            on_card(X),
            on_card(y),
            X_val={name: on_card(rows) for name, (rows, _) in sets.items()},
            y_val={name: on_card(values) for name, (_, values) in sets.items()},
        )
    assert traffic.most_returned() <= FEW
    assert model.validation_curves_ == expected.validation_curves_


def test_a_scorer_gets_arrays() -> None:
    """One of a user's own sees rows and targets as arrays, and so does a loss that looks at targets."""
    seen: list[Any] = []

    def scorer(estimator: Any, rows: Any, y: Any, sample_weight: Any = None) -> float:
        seen.extend((rows, y, sample_weight))
        return float(-np.abs(estimator.predict(rows) - y).mean())

    for scoring in (scorer, "neg_mean_absolute_error"):
        settings = SMALL | HELD_OUT | {"scoring": scoring, "loss": OwnLoss()}
        y = SIGNAL[:, 0]
        model = BigMLPRegressor(**settings).fit(on_card(X), on_card(y), on_card(WEIGHT))
        expected = BigMLPRegressor(**settings).fit(X, y, WEIGHT)
        np.testing.assert_allclose(model.validation_scores_, expected.validation_scores_, rtol=1e-5)
    assert {type(each) for each in seen} == {np.ndarray}


class Witness:
    """A callback that writes down what it is given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def setup(self, estimator: Any, context: Any) -> None: ...

    def teardown(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any, y: Any, metadata: Any) -> None:
        self.given.extend((X, y, metadata["sample_weight"]))

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> None:
        if fitted_estimator is not None:
            fitted_estimator.predict_proba(X)


def test_callbacks_get_arrays() -> None:
    """They see what they see of a fit to arrays."""
    pytest.importorskip("sklearn.callback")
    witness = Witness()
    model = BigMLPClassifier(**SMALL).set_callbacks(witness).fit(on_card(X), on_card(Y), on_card(WEIGHT))
    assert {type(each) for each in witness.given} == {np.ndarray}
    assert_alike(model, BigMLPClassifier(**SMALL).fit(X, Y, WEIGHT), 5)


def test_whole_numbers_of_a_module() -> None:
    """A network that takes whole numbers takes those of a tensor, and refuses others in one sentence."""
    codes = RANDOM.randint(8, size=(N_ROWS, N_FEATURES))
    settings = SETTINGS | {"module": Table}
    expected = BigModuleRegressor(**settings).fit(codes, SIGNAL[:, 0])
    with watched() as traffic:
        model = BigModuleRegressor(**settings).fit(on_card(codes), on_card(SIGNAL[:, 0]))
        found = [model.predict(on_card(codes.astype(dtype))) for dtype in (np.int64, np.uint8)]
    assert codes.shape not in traffic.sent + traffic.returned
    for each in (*found, model.predict(on_card(codes.astype(np.float32)))):
        np.testing.assert_array_equal(each, expected.predict(codes))
    with pytest.raises(ValueError, match="must hold whole numbers"):
        model.predict(on_card(codes + 0.5))
    warm = BigModuleRegressor(warm_start=True, **settings).fit(on_card(codes), SIGNAL[:, 0])
    np.testing.assert_array_equal(
        warm.fit(on_card(codes.astype(np.float32)), SIGNAL[:, 0]).predict(codes),
        BigModuleRegressor(warm_start=True, **settings)
        .fit(codes, SIGNAL[:, 0])
        .fit(codes.astype(np.float32), SIGNAL[:, 0])
        .predict(codes),
    )


def test_rows_of_several_axes() -> None:
    """Images are rows, too, where a module takes them; one of another shape is refused."""
    images = RANDOM.normal(size=(N_ROWS, 3, 4, 4)).astype(np.float32)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    settings = SETTINGS | {"module": module}
    with watched() as traffic:
        model = BigModuleClassifier(**settings).fit(on_card(images), on_card(Y))
    assert traffic.most_returned() <= 10 * FEW and images.shape not in traffic.returned + traffic.sent
    expected = BigModuleClassifier(**settings).fit(images, Y)
    np.testing.assert_array_equal(model.predict_proba(on_card(images)), expected.predict_proba(images))
    assert model.input_shape_ == expected.input_shape_ and model.n_features_in_ == expected.n_features_in_
    with pytest.raises(ValueError, match=r"rows of shape \(3, 2, 8\)"):
        model.predict(on_card(images.reshape(N_ROWS, 3, 2, 8)))


def test_tables_are_encoded_on_the_host() -> None:
    """An estimator that encodes its table with NumPy takes tensors of a device all the same."""
    settings: dict[str, Any] = {"preset": "fast", "max_iter": 1, "random_state": 0}
    model = BigTabularClassifier(**settings).fit(on_card(X), on_card(Y))
    expected = BigTabularClassifier(**settings).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(on_card(X)), expected.predict_proba(X))


def test_a_checkpoint_of_arrays_goes_on_with_tensors(tmp_path: Path) -> None:
    """They hold the same rows, so the fit is the same one; other rows are refused."""
    settings = SMALL | {"checkpoint_dir": tmp_path}
    BigMLPClassifier(**settings).fit(X, Y, WEIGHT)
    model = BigMLPClassifier(**settings).fit(on_card(X), on_card(Y), on_card(WEIGHT))
    assert_alike(model, BigMLPClassifier(**SMALL).fit(X, Y, WEIGHT))
    with pytest.raises(ValueError, match="X"):
        BigMLPClassifier(**settings).fit(on_card(X + 1), on_card(Y), on_card(WEIGHT))


@pytest.mark.parametrize("options", [{}, HELD_OUT, {"n_members": 2}], ids=["plain", "held out", "an ensemble"])
def test_a_model_keeps_no_rows(options: dict[str, Any]) -> None:
    """After a fit, and after a prediction, rows are let go; what is pickled holds no tensor."""
    rows, y, weight = on_card(X.copy()), on_card(Y.copy()), on_card(WEIGHT.copy())
    alive = [weakref.ref(each.memory) for each in (rows, y, weight)]
    model = BigMLPClassifier(**SMALL | options).fit(rows, y, weight, X_val=rows, y_val=y)
    expected = model.predict_proba(rows)
    del rows, y, weight
    gc.collect()
    assert not any(reference() is not None for reference in alive)
    text = pickle.dumps(model)
    assert b"CardTensor" not in text
    np.testing.assert_array_equal(pickle.loads(text).predict_proba(X), expected)
    assert clone(model).get_params() == model.get_params()


def test_threads() -> None:
    """Several threads fit and predict by the same tensor."""
    rows, y = on_card(X), on_card(Y)
    expected = BigMLPClassifier(**SMALL).fit(rows, y).predict_proba(rows)

    def task(_: int) -> np.ndarray:
        return BigMLPClassifier(**SMALL).fit(rows, y).predict_proba(rows)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(task, range(8)):
            np.testing.assert_array_equal(found, expected)


def test_a_search_is_of_arrays() -> None:
    """A search cuts folds and stacks fits on the host, and finds what it finds in arrays."""
    grid = {"alpha": [1e-4, 1e-2]}
    search = BigGridSearchCV(BigMLPClassifier(**SMALL), grid, cv=2).fit(on_card(X), Y)
    expected = BigGridSearchCV(BigMLPClassifier(**SMALL), grid, cv=2).fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])


@pytest.mark.parametrize("devices", [["card:0"], ["cpu", "card:0"]], ids=str)
def test_stacks_of_a_search_take_turns(devices: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacks are trained on one device after another, as on several cards, and find what they find on a CPU."""
    model = BigMLPClassifier(**SMALL | {"device": "cpu", "precision": "float64", "learning_rate": 0.03, "max_iter": 4})
    grid = {"alpha": [1e-4, 1e-2], "learning_rate": [1e-3, 3e-2]}
    expected = BigGridSearchCV(model, grid, cv=3).fit(X, TARGETS["multiclass"])
    used = []
    prepare = FitTask.prepare

    def noted(task: FitTask, cache: Any, device: str | None = None, *args: Any) -> None:
        used.append(device)
        prepare(task, cache, device, *args)

    monkeypatch.setattr(FitTask, "prepare", noted)
    monkeypatch.setattr("skbig.search.work_queue.devices_of", lambda tasks: devices)
    monkeypatch.setattr("skbig.search.work_queue.side_by_side", lambda tasks, n_threads: len(devices))
    search = BigGridSearchCV(model, grid, cv=3).fit(X, TARGETS["multiclass"])
    assert set(used) == set(devices)
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_allclose(search.cv_results_[name], expected.cv_results_[name], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "most"), [({}, 2), ({"n_members": 3}, 2), (HELD_OUT, 3), (HELD_OUT | {"scoring": "loss"}, 3)], ids=str
)
@pytest.mark.parametrize("batch_size", [100, 10])
def test_few_numbers_come_back_of_an_epoch(options: dict[str, Any], most: int, batch_size: int) -> None:
    """However many steps an epoch has, the host waits for its losses, whether all is finite, and for one score."""
    returned = []
    for max_iter in (2, 6):
        settings = SMALL | options | {"max_iter": max_iter, "n_iter_no_change": 10, "batch_size": batch_size}
        with watched() as traffic:
            BigMLPClassifier(**settings).fit(on_card(X), on_card(TARGETS["multiclass"]))
        returned.append(len(traffic.returned))
    assert returned[1] - returned[0] == 4 * most
