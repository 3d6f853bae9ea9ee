"""Predictions: classes, probabilities, values and their spread, in the shape and with the labels of y."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp, softmax
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.estimators import prediction
from skbig.estimators.prediction import DEVICE_BYTES, MIN_BLOCK_ROWS, PREDICT_BYTES, block_rows
from tests.fitting import ANY_TASK, BINARY, MULTICLASS, VALUES, X, fitted, small, target, trained, weights_of
from tests.live_bytes import most_bytes

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CLASS_TASK = pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])


@CLASS_TASK
def test_the_ways_to_predict_a_class_agree(task: str) -> None:
    """Classes, probabilities, their logarithms, decision values and the score tell the same story."""
    model = trained(task)
    probability, decision, predicted = model.predict_proba(X), model.decision_function(X), model.predict(X)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(probability))
    links = {
        "binary": np.transpose([expit(-decision), expit(decision)]),
        "multiclass": softmax(np.atleast_2d(decision), axis=-1),
        "multilabel": expit(decision),
    }
    np.testing.assert_allclose(probability, links[task])
    expected = (probability > 0.5).astype(int) if task == "multilabel" else model.classes_[probability.argmax(axis=1)]
    assert np.array_equal(predicted, expected)
    assert model.score(X, target(task)) == accuracy_score(target(task), predicted)


@CLASS_TASK
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("loss", ["log_loss", "focal"])
def test_logarithms_of_probabilities_are_finite(task: str, n_members: int, loss: str) -> None:
    """Of rows that the network is sure of, they are as large as the raw prediction, and those of no row are -inf."""
    model = trained(task, n_members=n_members, loss=loss)
    sure, logs = X * 1e5, model.predict_log_proba(X * 1e5)
    assert np.isfinite(logs).all() and logs.min() < -1000 and (logs <= 0).all()
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)), rtol=1e-9)
    smallest = np.finfo(float).tiny  # below it a probability cannot follow
    np.testing.assert_allclose(np.log(model.predict_proba(sure)), logs.clip(np.log(smallest)), rtol=1e-9, atol=1e-12)
    if n_members == 1 and task != "multilabel":
        raw = model.decision_function(sure)
        raw = np.c_[np.zeros(60), raw] if task == "binary" else raw
        np.testing.assert_allclose(logs, raw - logsumexp(raw, axis=1, keepdims=True), rtol=1e-9)


def test_a_loss_with_its_own_probabilities_keeps_them() -> None:
    """Of a loss whose probabilities are no softmax the logarithm is theirs, and -inf where they are zero."""
    model = trained("binary", loss="modified_huber")
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(model.predict_log_proba(X * 1e3), np.log(model.predict_proba(X * 1e3)))


@pytest.mark.parametrize("task", ["regression", "multi-output"])
def test_a_regressor_predicts_in_the_shape_of_its_targets(task: str) -> None:
    """Predictions have the shape of y, one column being no column, and the score is R squared."""
    y, model = target(task), trained(task)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) == pytest.approx(r2_score(y, model.predict(X)))
    assert fitted(small(task), X, y.reshape(len(y), -1)[:, :1]).predict(X).shape == (len(X),)


@pytest.mark.parametrize(
    "labels",
    [["no", "yes"], [False, True], [-1, 1], [3.0, 7.0], [np.int8(4), np.int8(5)], ["a", "bcd"]],
    ids=["words", "bools", "signs", "floats", "int8", "lengths"],
)
def test_labels_come_back_as_they_are(labels: list[Any]) -> None:
    """Whatever two labels are called, the network is the same and predictions are made of those labels."""
    y = np.array(labels)[BINARY]
    model = fitted(small("binary"), X, y)
    assert model.classes_.tolist() == labels
    assert model.predict(X).dtype == y.dtype
    assert set(model.predict(X)) <= set(y)
    assert weights_of(model).tobytes() == weights_of(trained("binary")).tobytes()


def test_classes_are_sorted() -> None:
    """The columns of probabilities are in the order of classes_, which is sorted."""
    shuffled = np.array(["top", "low", "mid"])[MULTICLASS]
    model = fitted(small("multiclass"), X, shuffled)
    assert model.classes_.tolist() == ["low", "mid", "top"]
    assert np.array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(axis=1)])


@pytest.mark.parametrize("task", ["regression", "multi-output"])
def test_an_ensemble_tells_how_much_its_members_differ(task: str) -> None:
    """The prediction is the mean over the members, and return_std adds their standard deviation."""
    model = trained(task, n_members=3)
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0][:, None], 0)
    members = hidden @ model.coefs_[1] + model.intercepts_[1][:, None]
    mean, deviation = model.predict(X, return_std=True)
    shape = target(task).shape
    np.testing.assert_allclose(mean, members.mean(axis=0).reshape(shape))
    np.testing.assert_allclose(deviation, members.std(axis=0).reshape(shape))
    assert np.array_equal(model.predict(X), mean)
    with pytest.raises(ValueError, match="return_std=True needs an ensemble"):
        trained(task).predict(X, return_std=True)


@CLASS_TASK
def test_an_ensemble_averages_probabilities(task: str) -> None:
    """coefs_ have a leading members axis, and probabilities are means over it."""
    model = trained(task, n_members=3)
    n_outputs = 1 if task == "binary" else 3
    assert [coef.shape for coef in model.coefs_] == [(3, 4, 4), (3, 4, n_outputs)]
    assert [bias.shape for bias in model.intercepts_] == [(3, 4), (3, n_outputs)]
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0][:, None], 0)
    raw = hidden @ model.coefs_[1] + model.intercepts_[1][:, None]
    expected = softmax(raw, axis=2) if task == "multiclass" else expit(raw)
    columns = slice(1, None) if task == "binary" else slice(None)
    np.testing.assert_allclose(model.predict_proba(X)[:, columns], expected.mean(axis=0))
    chosen = model.predict_proba(X)
    expected = (chosen > 0.5).astype(int) if task == "multilabel" else model.classes_[chosen.argmax(axis=1)]
    assert np.array_equal(model.predict(X), expected)


@ANY_TASK
def test_nothing_is_predicted_before_fit(task: str) -> None:
    """Predicting with an unfitted estimator is scikit-learn's NotFittedError."""
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(small(task), method):
            with pytest.raises(NotFittedError):
                getattr(small(task), method)(X)


def test_a_loss_without_probabilities_offers_none() -> None:
    """With a hinge loss predict_proba is not there, and predict is."""
    model = trained("multiclass", loss="hinge")
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "predict_log_proba")
    assert np.array_equal(model.predict(X), model.decision_function(X).argmax(axis=1))
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba(X)


def test_one_row_is_enough_for_a_regressor() -> None:
    """A regressor fits and predicts one row."""
    model = fitted(small("regression"), X[:1], VALUES[:1])
    assert model.predict(X[:1]).shape == (1,)


CLASS_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def _many_outputs(task: str, n_members: int) -> Any:
    """Return a model of 300 classes, labels or numbers, whose raw predictions are far larger than its rows."""
    kind = BigMLPRegressor if task == "regression" else BigMLPClassifier
    rows = np.random.RandomState(0).normal(size=(300, 4)).astype(np.float32)
    y = {"multiclass": np.arange(300), "multilabel": np.eye(300, dtype=int), "regression": np.eye(300)}[task]
    model = kind((4,), n_members=n_members, max_iter=1, random_state=0, device="cpu")
    return fitted(model, rows, y)


@pytest.mark.crossed
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_predictions_need_their_own_memory_and_that_of_a_block(task: str, n_members: int) -> None:
    """Whatever is predicted, of one member or several, raw predictions of all rows are never there at once."""
    model = _many_outputs(task, n_members)
    rows = np.random.RandomState(1).normal(size=(6000, 4)).astype(np.float32)
    for method in CLASS_METHODS if task != "regression" else ("predict",):
        result = getattr(model, method)(rows).nbytes
        more = most_bytes(lambda method=method: getattr(model, method)(rows)) - result
        assert more < 6 * PREDICT_BYTES < rows.shape[0] * 300 * 4, method


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "multi-output"])
def test_blocks_predict_the_same_bits(monkeypatch: pytest.MonkeyPatch, task: str, n_members: int) -> None:
    """What is made of raw predictions block by block is what is made of all of them."""
    model = trained(task, n_members=n_members)
    rows = np.random.RandomState(1).normal(size=(1500, 4)).astype(np.float32)
    methods = CLASS_METHODS if hasattr(model, "classes_") else ("predict",)
    monkeypatch.setattr("skbig.estimators.prediction.PREDICT_BYTES", 2**12)
    raw, targets = model._raw(rows), model._class_targets() if hasattr(model, "classes_") else model._fitted_targets()
    for method in methods:
        logs = method == "predict_log_proba"
        of_logs = model._log_probabilities(raw, targets, model._loss).numpy() if logs else None
        whole = of_logs if logs else model._answer(method, targets, raw.numpy())
        blocks = getattr(model, method)(rows)
        assert blocks.dtype == whole.dtype and blocks.shape == whole.shape
        assert blocks.tobytes() == whole.tobytes(), method


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_blocks_are_halved_when_memory_runs_out(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit at once is predicted in smaller blocks, to the same bits; the smallest must fit."""
    model, rows = trained(task), np.random.RandomState(1).normal(size=(1500, 4))
    expected, forward, asked = model.predict(rows), prediction.forward, []
    limit = 300

    def limited(network: Any, parameters: Any, statistics: Any, block: Any) -> Any:
        asked.append(block.shape[-2])
        if asked[-1] > limit:
            raise torch.OutOfMemoryError("no")
        return forward(network, parameters, statistics, block)

    monkeypatch.setattr(prediction, "forward", limited)
    assert model.predict(rows).tobytes() == expected.tobytes()
    assert asked == [1500, 750, 375, *[256] * 5, 220]
    limit = MIN_BLOCK_ROWS - 1
    with pytest.raises(torch.OutOfMemoryError):
        model.predict(rows)


@pytest.mark.parametrize(("free", "n_bytes"), [(2**40, DEVICE_BYTES), (2**27, 2**24), (0, 0)])
def test_blocks_of_a_card_are_sized_by_its_free_memory(
    free: int, n_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block's activations take at most an eighth of what is free."""
    like: Any = SimpleNamespace(device=torch.device("cuda"), element_size=lambda: 4)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    assert block_rows(like, 100) == max(MIN_BLOCK_ROWS, n_bytes // 400 // 64 * 64)
