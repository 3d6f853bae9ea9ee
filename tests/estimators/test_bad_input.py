"""Bad input: the error says what is wrong, and the estimator and the input stay as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skbig import BigMLPClassifier, BigMLPRegressor
from tests.fitting import (
    BINARY,
    BOTH,
    MULTICLASS,
    MULTILABEL,
    VALUES,
    WORDS,
    X,
    content_of,
    fitted,
    small,
    state_of,
    target,
    trained,
    weights_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SPARSE = np.where(np.abs(X) > 0.7, X, 0.0)


def spoiled(array: np.ndarray, value: Any) -> np.ndarray:
    """Return a copy with one value replaced."""
    array = np.array(array, dtype=np.result_type(array, type(value)))
    array.flat[5] = value
    return array


def wild(form: str, **changes: int) -> Any:
    """Return sparse rows with one wrong number in one of the arrays that hold their places."""
    rows = sparse.coo_matrix(SPARSE).asformat(form)
    for name, value in changes.items():
        getattr(rows, name)[3 if name != "indptr" else -1] = value
    return rows


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "NaN": (spoiled(X, np.nan), "Input X contains NaN"),
    "infinity": (spoiled(X, np.inf), "Input X contains infinity"),
    "sparse NaN": (sparse.csr_array(spoiled(SPARSE, np.nan)), "contains NaN"),
    "missing": (pd.DataFrame(X).astype("Float64").mask(lambda X: X > 2, pd.NA), "Input X contains NaN"),
    "too large to square": (spoiled(X, 1e300), "Input X contains a value too large"),
    "too large, sparse": (sparse.csr_matrix(spoiled(SPARSE, -1e300)), "Input X contains a value too large"),
    "too large for a float32": (spoiled(X, 1e30).astype(np.float32), "Input X contains a value too large"),
    "one row": (X[0], "Expected 2D array, got 1D array"),
    "three dimensions": (X[:, :, None], "Found array with dim 3"),
    "no rows": (X[:0], "Found array with 0 sample"),
    "no features": (X[:, :0], "Found array with 0 feature"),
    "complex": (X + 1j, "Complex data not supported"),
    "times": (np.arange(240).reshape(60, 4).astype("M8[s]"), "X must hold numbers, and has the dtype datetime64"),
    "a table of times": (pd.DataFrame(np.arange(240).reshape(60, 4).astype("M8[s]")), "X must hold numbers"),
    "columns out of range": (wild("csr", indices=99), "place 99 of a row or column that has 4"),
    "negative columns": (wild("csr", indices=-1), "place -1 of a row or column that has 4"),
    "rows out of range": (wild("csc", indices=60), "place 60 of a row or column that has 60"),
    "places out of range": (wild("coo", col=4), "place 4 of a row or column that has 4"),
    "blocks out of range": (wild("bsr", indices=9), "place 9 of a row or column"),
    "rows that end too late": (wild("csr", indptr=10**6), "indptr of X must rise"),
    "words": (np.full((60, 4), "word"), "could not convert string to float"),
    "ragged": ([[1.0, 2.0], [1.0]] * 30, "inhomogeneous"),
    "another length": (X[:50], "inconsistent numbers of samples"),
    "nothing": (None, "Expected 2D array"),
}
BAD_LABELS: dict[str, tuple[Any, str]] = {
    "NaN": (spoiled(BINARY, np.nan), "Input y contains NaN"),
    "missing": (pd.Series(BINARY, dtype="Int64").mask(BINARY == 1, pd.NA), "Input y contains NaN"),
    "missing word": (spoiled(WORDS.astype(object), np.nan), "contains NaN"),
    "infinity": (spoiled(BINARY, np.inf), "Input y contains infinity"),
    "values": (VALUES, "Unknown label type: continuous"),
    "many classes": (np.c_[MULTICLASS, MULTICLASS], "Unknown label type: multiclass-multioutput"),
    "numbers and words": (spoiled(WORDS.astype(object), 3), "strings or numbers, and not both"),
    "complex": (BINARY + 1j, "Complex data not supported"),
    "three dimensions": (np.zeros((60, 2, 2)), "Found array with dim 3"),
    "none": (None, "requires y to be passed"),
    "another length": (BINARY[:50], "inconsistent numbers of samples"),
    "marks of 0 and 7": (MULTILABEL * 7, "zeros and ones"),
}
BAD_VALUES: dict[str, tuple[Any, str]] = {
    "NaN": (spoiled(VALUES, np.nan), "Input y contains NaN"),
    "infinity": (spoiled(VALUES, -np.inf), "Input y contains infinity"),
    "too large": (spoiled(VALUES, 1e300), "not finite any more"),
    "words": (WORDS, "could not convert string to float"),
    "sparse": (sparse.csr_matrix(VALUES[:, None]), "must be dense"),
    "times": (np.arange(60).astype("M8[D]"), "y must hold numbers, and has the dtype datetime64[D]"),
    "spans of time": (np.arange(60).astype("m8[D]"), "y must hold numbers, and has the dtype timedelta64[D]"),
    "a series of times": (pd.Series(np.arange(60).astype("M8[s]")), "y must hold numbers"),
    "a list of times": (list(np.arange(60).astype("M8[D]")), "y must hold numbers"),
    "complex": (VALUES + 1j, "Complex data not supported"),
    "three dimensions": (np.zeros((60, 2, 2)), "Found array with dim 3"),
    "no columns": (np.zeros((60, 0)), "Found array with 0 feature"),
    "none": (None, "requires y to be passed"),
    "another length": (VALUES[:50], "inconsistent numbers of samples"),
}
BAD_WEIGHTS: dict[str, tuple[Any, str]] = {
    "negative": (spoiled(np.ones(60), -1.0), "Negative values in data passed to `sample_weight`"),
    "all zero": (np.zeros(60), "sample_weight` are zero"),
    "NaN": (spoiled(np.ones(60), np.nan), "Input sample_weight contains NaN"),
    "infinity": (spoiled(np.ones(60), np.inf), "Input sample_weight contains infinity"),
    "too large": (np.full(60, 1e308), "sum is infinite"),
    "two columns": (np.ones((60, 2)), "Sample weights must be 1D array or scalar"),
    "another length": (np.ones(50), "sample_weight.shape == (50,), expected (60,)"),
    "words": (WORDS, "could not convert string to float"),
    "spans of time": (np.arange(60).astype("m8[D]"), "sample_weight must hold numbers"),
}
BAD = [
    *[("binary", "X", BAD_ROWS), ("regression", "X", BAD_ROWS)],
    *[("binary", "y", BAD_LABELS), ("regression", "y", BAD_VALUES)],
    *[("binary", "sample_weight", BAD_WEIGHTS), ("regression", "sample_weight", BAD_WEIGHTS)],
]
CASES = [
    pytest.param(task, {argument: value}, message, id=f"{task}, {argument}, {name}")
    for task, argument, table in BAD
    for name, (value, message) in table.items()
]


@pytest.mark.crossed
@pytest.mark.parametrize(("task", "bad", "message"), CASES)
@pytest.mark.parametrize("door", ["fit", "fit again", "warm start", "partial_fit"])
def test_bad_input_is_named_and_changes_nothing(task: str, bad: dict[str, Any], message: str, door: str) -> None:
    """The error says what is wrong; the estimator, fitted or not, and the input stay as they were."""
    model = small(task) if door == "fit" else trained(task, warm_start=door == "warm start")
    given = {"X": X, "y": target(task)} | bad
    before = state_of(model), content_of(given)
    with pytest.raises(ValueError) as error:
        model.partial_fit(**given) if door == "partial_fit" else fitted(model, **given)
    of_known_classes = ("which are not in", "should be a 1d array", "cannot be compared")
    assert any(text in str(error.value) for text in (message, *(of_known_classes if door == "partial_fit" else ())))
    assert (state_of(model), content_of(given)) == before


@BOTH
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_values_that_float32_cannot_hold(task: str, precision: str) -> None:
    """A float64 value that is infinite in float32 is an error at fit and at predict, without a warning before it."""
    model = small(task, precision=precision, device="cpu")
    before = state_of(model)
    with pytest.raises(ValueError, match=r"Input X contains infinity or a value too large for dtype\('float32'\)"):
        fitted(model, spoiled(X, 1e100), target(task))
    if task == "regression":
        with pytest.raises(ValueError, match=r"Input y contains infinity or a value too large for dtype\('float32'\)"):
            fitted(model, X, spoiled(VALUES, 1e100))
    assert state_of(model) == before
    fitted(model, X, target(task))
    with pytest.raises(ValueError, match=r"Input X contains infinity or a value too large for dtype\('float32'\)"):
        model.predict(spoiled(X, 1e100))


@BOTH
def test_large_values_that_can_be_trained_on_are(task: str) -> None:
    """Values far out of any scale are trained on as long as nothing overflows, and the loss is finite."""
    model = fitted(small(task), X * 1e50, target(task))
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(weights_of(model)).all()


@BOTH
def test_bad_rows_are_not_predicted(task: str) -> None:
    """predict refuses what fit refuses, and another number of features."""
    model = trained(task)
    before = state_of(model)
    for bad, message in (*BAD_ROWS.values(), (X[:, :3], "X has 3 features")):
        if not message.startswith(("Input X contains a value", "inconsistent")):
            with pytest.raises(ValueError) as error:
                model.predict(bad)
            assert message in str(error.value) or "features" in str(error.value)
    assert state_of(model) == before


@pytest.mark.parametrize("bad", [7, {"a": 1}, (row for row in X), X[0, 0]], ids=["int", "dict", "generator", "scalar"])
@pytest.mark.parametrize("estimator", [BigMLPClassifier, BigMLPRegressor])
def test_what_is_no_array_is_an_error(estimator: Any, bad: Any) -> None:
    """A number, a dict or a generator in place of rows or targets is an error of its type or value."""
    model = estimator()
    before = state_of(model)
    with pytest.raises((TypeError, ValueError)):
        model.fit(bad, BINARY)
    with pytest.raises((TypeError, ValueError)):
        model.fit(X, bad)
    assert state_of(model) == before


def test_a_random_state_is_not_drawn_from() -> None:
    """A call that fails before it trains leaves a RandomState as it was, however late the mistake is found."""
    random = np.random.RandomState(3)
    model = small("regression", random_state=random)
    with pytest.raises(ValueError, match="infinity or a value too large"):
        fitted(model, X.astype(np.float32), VALUES * 1e200)
    assert random.randint(2**31) == np.random.RandomState(3).randint(2**31)
