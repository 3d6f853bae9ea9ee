"""Large arrays are read where they are: an index tells which rows are trained on, and batches are converted."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import is_classifier
from torch import nn

from skbig import (
    BigGridSearchCV,
    BigLinearClassifier,
    BigMLPClassifier,
    BigMLPRegressor,
    BigModuleClassifier,
    BigTabularClassifier,
    BigTabularRegressor,
)
from skbig.data.array_rows import ArrayRows
from skbig.data.rank_rows import RankRows, RankSlice
from skbig.data.rows import place_rows
from tests.fitting import fitted

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.RandomState(0)
N_ROWS, N_FEATURES = 150, 5
X = RANDOM.normal(size=(N_ROWS, N_FEATURES))
CLASSES = (X[:, :3] + RANDOM.normal(size=(N_ROWS, 3))).argmax(axis=1)
VALUES = X[:, 0] + RANDOM.normal(size=N_ROWS)
WEIGHT = RANDOM.randint(0, 3, size=N_ROWS).astype(float)
CSR = sparse.csr_array(np.where(X > 0, X, 0))
WIDE = sparse.csr_array((CSR.data, CSR.indices, CSR.indptr), shape=(N_ROWS, 1200))

SMALL: dict[str, Any] = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, "device": "cpu"}
EARLY: dict[str, Any] = {**SMALL, "early_stopping": True}
MODELS: dict[str, Callable[[], Any]] = {
    "classifier": lambda: BigMLPClassifier(**EARLY),
    "ensemble": lambda: BigMLPRegressor(**EARLY, n_members=3),
    "in order": lambda: BigMLPRegressor(**EARLY, shuffle=False, batch_size=7),
    "lbfgs": lambda: BigMLPRegressor(**EARLY, optimizer="lbfgs"),
    "no early stopping": lambda: BigMLPClassifier(**SMALL),
    "class of no weight": lambda: BigMLPClassifier(**EARLY, class_weight={0: 0, 1: 1, 2: 1}),
    "linear": lambda: BigLinearClassifier(max_iter=3, random_state=0, early_stopping=True),
    "module": lambda: BigModuleClassifier(
        nn.Linear,
        module__in_features=N_FEATURES,
        module__out_features=3,
        max_iter=3,
        early_stopping=True,
        random_state=0,
    ),
    "table of classes": lambda: BigTabularClassifier("fast", max_iter=2, early_stopping=True, random_state=0),
    "table of numbers": lambda: BigTabularRegressor("fast", max_iter=2, early_stopping=True, random_state=0),
    "search": lambda: BigGridSearchCV(BigMLPClassifier(**EARLY), {"alpha": [0.1, 1.0], "learning_rate": [0.1]}, cv=2),
    "search of weights": lambda: BigGridSearchCV(
        BigMLPClassifier(**EARLY), {"class_weight": [None, {0: 0, 1: 1, 2: 1}]}, cv=2
    ),
}


def learnt(model: Any, X: Any, weight: np.ndarray | None) -> list[bytes]:
    """Return all numbers of a fit, to the bit."""
    y = CLASSES if is_classifier(model) else VALUES
    fitted(model, X, y, **({} if weight is None else {"sample_weight": weight}))
    best = getattr(model, "best_estimator_", model)
    arrays = [*best._network_arrays().values(), np.array(best.loss_curve_), np.array(best.validation_scores_ or [])]
    arrays.append(np.asarray(getattr(best, "feature_importances_", 0)))
    if best is not model:
        arrays.append(model.cv_results_["mean_test_score"])
    return [array.tobytes() for array in arrays]


@pytest.mark.crossed
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_an_index_trains_as_a_copy(monkeypatch: pytest.MonkeyPatch, name: str, weighted: bool) -> None:
    """Whatever is trained on rows that are pointed at learns the same, to the bit, as on a copy of these rows."""
    weight = WEIGHT if weighted else None
    copied = learnt(MODELS[name](), X, weight)
    monkeypatch.setattr("skbig.data.array_rows.COPIED_BYTES", 0)
    assert learnt(MODELS[name](), X, weight) == copied


def test_ranks_read_the_rows_that_are_meant() -> None:
    """Of each batch a rank has its part of the rows that the index tells, also once they are on a device."""
    index, cpu = np.flatnonzero(WEIGHT), torch.device("cpu")
    y, weight = VALUES[index][:, None], WEIGHT[index]
    copied, pointed = (
        place_rows(rows, y, weight, cpu, torch.float64) for rows in (X[index], ArrayRows(X, X.dtype, index))
    )
    assert pointed.X.data_ptr() == X.ctypes.data
    read = [
        [batch for steps in RankRows(rows, RankSlice(1, 3)).epoch([0, 1], 1, True, 20, 2) for batch in steps]
        for rows in (copied, pointed)
    ]
    for one, other in zip(*read, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
    assert torch.equal(pointed.features(slice(3, 9)), copied.features(slice(3, 9)))
    assert pointed.to(torch.device("meta")).X.shape == copied.X.shape


@pytest.mark.parametrize("rows", [CSR, WIDE], ids=["made dense", "sparse"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_sparse_rows_are_pointed_at(monkeypatch: pytest.MonkeyPatch, rows: Any, n_members: int) -> None:
    """The same of sparse rows, be they few enough to be made dense or not."""
    model = BigMLPClassifier(**EARLY, n_members=n_members)
    copied = learnt(model, rows, WEIGHT)
    monkeypatch.setattr("skbig.data.array_rows.COPIED_BYTES", 0)
    assert learnt(model, rows, WEIGHT) == copied


@pytest.mark.parametrize("changes", [{}, {"early_stopping": True}], ids=["weights of zero", "early stopping"])
def test_rows_are_not_copied(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    """A fit takes memory for the rows it validates by, a tenth, and for some batches; not for those it trains on."""
    monkeypatch.setattr("skbig.data.rows.GATHERED_BYTES", 2**18)
    rows = np.random.RandomState(1).normal(size=(5000, 1000)).astype(np.float32)
    weight = None if changes else np.arange(5000) % 2
    model = BigMLPRegressor(**{**SMALL, "max_iter": 1}, **changes)
    fitted(model, rows[:100], rows[:100, 0])
    tracemalloc.start()
    try:
        fitted(model, rows, rows[:, 0], sample_weight=weight)
        assert tracemalloc.get_traced_memory()[1] < 0.2 * rows.nbytes
    finally:
        tracemalloc.stop()


WHOLE = RANDOM.randint(0, 2, size=(N_ROWS, N_FEATURES)) * np.array([1, 3, 5, 90, 7])
CONVERTED = ["classifier", "ensemble", "lbfgs", "no early stopping", "linear", "module", "table of classes", "search"]
DTYPES = pytest.mark.parametrize(
    "dtype", [np.int32, np.uint8, np.uint16, np.uint32, np.uint64, np.int64, np.bool_, np.float16]
)


@pytest.mark.crossed
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", [*CONVERTED, "search of weights"])
def test_numbers_are_converted_in_batches(monkeypatch: pytest.MonkeyPatch, name: str, weighted: bool) -> None:
    """Whole numbers train as they do when all are made floats, to the bit."""
    weight = WEIGHT if weighted else None
    copied = learnt(MODELS[name](), WHOLE.astype(np.int32), weight)
    monkeypatch.setattr("skbig.data.array_rows.COPIED_BYTES", 0)
    assert learnt(MODELS[name](), WHOLE.astype(np.int32), weight) == copied


@DTYPES
@pytest.mark.parametrize("precision", ["auto", "float32"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_numbers_of_any_dtype_predict_the_same(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, precision: str, n_members: int
) -> None:
    """Of each dtype that is converted in blocks, fits and predictions are those of a converted array, to the bit."""
    rows = WHOLE.astype(dtype)
    model = BigMLPRegressor(**SMALL, precision=precision, n_members=n_members)
    copied, predicted = learnt(model, rows, None), model.predict(rows).tobytes()
    monkeypatch.setattr("skbig.data.array_rows.COPIED_BYTES", 0)
    monkeypatch.setattr("skbig.estimators.prediction.PREDICT_BYTES", 2**8)
    assert model.predict(rows).tobytes() == predicted
    assert learnt(model, rows, None) == copied
    if dtype == np.float16:
        rows[3, 2] = np.nan
        for call in (model.predict, lambda X: model.fit(X, VALUES)):
            with pytest.raises(ValueError, match="Input X contains NaN"):
                call(rows)


def test_whole_numbers_are_not_made_floats_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a fit nor a prediction takes memory for more than some batches, or a block, of them."""
    monkeypatch.setattr("skbig.data.rows.GATHERED_BYTES", 2**18)
    rows = np.random.RandomState(1).randint(0, 2, size=(5000, 1000), dtype=np.int32)
    model = fitted(BigMLPRegressor(**{**SMALL, "max_iter": 1}), rows[:100], rows[:100, 0])
    tracemalloc.start()
    try:
        for call in (lambda: fitted(model, rows, rows[:, 0].astype(float)), lambda: model.predict(rows)):
            call()
            assert tracemalloc.get_traced_memory()[1] < 0.3 * rows.nbytes
    finally:
        tracemalloc.stop()
