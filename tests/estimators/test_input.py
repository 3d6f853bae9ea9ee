"""Input: the containers and numbers that are taken, and what is said of those that are not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
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
    fitted,
    small,
    state_of,
    target,
    trained,
    weights_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = ["a", "b", "c", "d"]
INTEGERS = np.round(X * 3).astype(np.int64)
SPARSE = np.where(np.abs(X) > 0.7, X, 0.0)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def content(value: Any) -> str:
    """Return what is the same when the numbers are, whatever a container has noted down beside them."""
    if isinstance(value, dict):
        return "; ".join(map(content, value.values()))
    if sparse.issparse(value):
        return str(joblib.hash(value))
    return repr(value if isinstance(value, list) else np.asarray(value).tolist())


def with_long_indices(X: Any) -> Any:
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def with_doubled_entries(X: np.ndarray) -> Any:
    """Return a CSR matrix in which each value is the sum of two entries, out of order."""
    rows, columns = np.nonzero(X)
    entries = np.r_[X[rows, columns] * 0.25, X[rows, columns] * 0.75]
    order = np.argsort(np.r_[rows, rows], kind="stable")[::1]
    starts = np.r_[0, np.cumsum(2 * np.bincount(rows, minlength=len(X)))]
    return sparse.csr_matrix((entries[order], np.r_[columns, columns][order][::1], starts), shape=X.shape)


# Each container with the plain float64 array that it stands for.
MIXED = {"a": X[:, 0], "b": X[:, 1] > 0, "c": INTEGERS[:, 2], "d": X[:, 3].astype(np.float32)}
CONTAINERS: dict[str, tuple[Any, np.ndarray]] = {
    "pandas, mixed": (pd.DataFrame(MIXED), np.column_stack(list(MIXED.values()))),
    "polars, mixed": (pl.DataFrame(MIXED), np.column_stack(list(MIXED.values()))),
    "list": (X.tolist(), X),
    "Fortran order": (np.asfortranarray(X), X),
    "strided": (np.repeat(X, 2, axis=1)[:, ::2], X),
    "backwards": (X[::-1].copy()[::-1], X),
    "big-endian": (X.astype(">f8"), X),
    "long double": (X.astype(np.longdouble), X),
    "object": (X.astype(object), X),
    "read-only": (read_only(X), X),
    "int64": (INTEGERS, INTEGERS.astype(float)),
    "int8": (INTEGERS.astype(np.int8), INTEGERS.astype(float)),
    "uint8": (np.abs(INTEGERS).astype(np.uint8), np.abs(INTEGERS).astype(float)),
    "bool": (X > 0, (X > 0).astype(float)),
    "pandas": (pd.DataFrame(X, columns=NAMES), X),
    "pandas, Float64": (pd.DataFrame(X, columns=NAMES).astype("Float64"), X),
    "pandas, Int64": (pd.DataFrame(INTEGERS, columns=NAMES).astype("Int64"), INTEGERS.astype(float)),
    "pandas, boolean": (pd.DataFrame(X > 0, columns=NAMES).astype("boolean"), (X > 0).astype(float)),
    "pandas, numbered columns": (pd.DataFrame(X), X),
    "polars": (pl.DataFrame(X, schema=NAMES), X),
    "polars, Int64": (pl.DataFrame(INTEGERS, schema=NAMES), INTEGERS.astype(float)),
}
SPARSE_CONTAINERS: dict[str, Any] = {
    "csr_array": sparse.csr_array(SPARSE),
    "csr_matrix": sparse.csr_matrix(SPARSE),
    "csc_array": sparse.csc_array(SPARSE),
    "csc_matrix": sparse.csc_matrix(SPARSE),
    "csr, int64 indices": with_long_indices(sparse.csr_array(SPARSE)),
    "csc, int64 indices": with_long_indices(sparse.csc_matrix(SPARSE)),
    "coo_array": sparse.coo_array(SPARSE),
    "lil_matrix": sparse.lil_matrix(SPARSE),
    "csr, doubled entries": with_doubled_entries(SPARSE),
    "pandas": pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(SPARSE)),
}


@BOTH
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_the_array_in_it(task: str, name: str) -> None:
    """Whatever holds the numbers, the fit and the predictions are those of the plain array."""
    rows, plain = CONTAINERS[name]
    before = content(rows)
    model = fitted(small(task, batch_size=20), rows, target(task))
    reference = fitted(small(task, batch_size=20), plain, target(task))
    assert weights_of(model).tobytes() == weights_of(reference).tobytes()
    assert np.array_equal(model.predict(rows), reference.predict(plain))
    assert content(rows) == before


@BOTH
@pytest.mark.parametrize("name", SPARSE_CONTAINERS)
@pytest.mark.parametrize("changes", [{}, {"early_stopping": True}, {"n_members": 2}, {"optimizer": "lbfgs"}])
def test_sparse_rows_are_dense_rows(task: str, name: str, changes: dict[str, Any]) -> None:
    """A sparse matrix of any kind gives the fit of its dense form, and stays as it is."""
    rows = SPARSE_CONTAINERS[name]
    before = content(rows)
    model = fitted(small(task, **changes), rows, target(task))
    reference = fitted(small(task, **changes), SPARSE, target(task))
    np.testing.assert_allclose(weights_of(model), weights_of(reference), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(model.predict(rows), reference.predict(SPARSE), rtol=1e-7)
    np.testing.assert_allclose(model.predict(rows), model.predict(SPARSE), rtol=1e-9)
    assert content(rows) == before


@BOTH
def test_a_memory_map_is_read_in_place(task: str, tmp_path: Path) -> None:
    """Rows and targets in read-only memory maps are trained on and predicted, and the files stay as they are."""
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", target(task))
    bytes_before = (tmp_path / "X.npy").read_bytes()
    rows, y = (np.load(tmp_path / name, mmap_mode="r") for name in ("X.npy", "y.npy"))
    model = fitted(small(task, batch_size=20, augmentation="gaussian_noise"), rows, y, sample_weight=np.ones(60))
    model.partial_fit(rows, y)
    plain = fitted(small(task, batch_size=20, augmentation="gaussian_noise"), X, target(task), np.ones(60))
    plain.partial_fit(X, target(task))
    assert np.array_equal(model.predict(rows), plain.predict(X))
    assert (tmp_path / "X.npy").read_bytes() == bytes_before


@pytest.mark.parametrize(
    ("dtype", "precision", "trained_in"),
    [
        (np.float64, "auto", np.float64),
        (np.float32, "auto", np.float32),
        (np.float16, "auto", np.float64),
        (np.int32, "auto", np.float64),
        (np.float64, "float32", np.float32),
        (np.float32, "float64", np.float64),
        (np.float64, "bf16", np.float32),
    ],
)
@BOTH
def test_numbers_stay_as_precise_as_asked(task: str, dtype: Any, precision: str, trained_in: Any) -> None:
    """Weights, predictions and probabilities have the precision of X, or the one asked for."""
    model = fitted(small(task, precision=precision, device="cpu"), (X * 2).astype(dtype), target(task))
    assert {array.dtype for array in (*model.coefs_, *model.intercepts_)} == {np.dtype(trained_in)}
    for rows in (X, X.astype(np.float32), sparse.csr_array(SPARSE.astype(np.float32))):
        output = model.predict_proba(rows) if task == "binary" else model.predict(rows)
        assert output.dtype == trained_in


@pytest.mark.parametrize(
    "y",
    [
        WORDS.tolist(),
        WORDS.astype(object),
        pd.Series(WORDS),
        pd.Series(WORDS, dtype="category"),
        pd.Series(WORDS, dtype="string"),
        pl.Series(WORDS),
        pl.Series(WORDS, dtype=pl.Categorical),
    ],
    ids=["list", "object", "Series", "category", "string", "polars", "polars, Categorical"],
)
def test_words_come_in_any_container(y: Any) -> None:
    """Labels are the same labels in a list, a Series or a categorical column."""
    model = fitted(small("multiclass"), X, y)
    assert model.classes_.tolist() == ["low", "mid", "top"]
    assert set(model.predict(X)) <= {"low", "mid", "top"}
    assert weights_of(model).tobytes() == weights_of(trained("multiclass")).tobytes()
    assert 0 <= model.score(X, y) <= 1


@pytest.mark.parametrize(
    ("task", "y"),
    [
        ("binary", pd.Series(BINARY, dtype="Int64")),
        ("binary", pd.Series(BINARY, dtype="boolean")),
        ("binary", pl.Series(BINARY)),
        ("regression", pd.Series(VALUES, dtype="Float64")),
        ("regression", VALUES.astype(np.longdouble)),
        ("regression", VALUES.astype(object)),
        ("regression", VALUES.tolist()),
        ("multilabel", pd.DataFrame(MULTILABEL, columns=["u", "v", "w"])),
        ("multilabel", sparse.csr_matrix(MULTILABEL)),
        ("multilabel", sparse.csc_array(MULTILABEL)),
        ("multilabel", MULTILABEL.tolist()),
        ("multilabel", MULTILABEL.astype(bool)),
        ("multi-output", pl.DataFrame(target("multi-output"), schema=["u", "v"])),
    ],
)
def test_targets_come_in_any_container(task: str, y: Any) -> None:
    """Nullable, sparse and data frame targets give the fit of the plain array."""
    model = fitted(small(task), X, y)
    assert weights_of(model).tobytes() == weights_of(trained(task)).tobytes()
    assert np.array_equal(model.predict(X), trained(task).predict(X))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@BOTH
def test_feature_names_are_kept_and_checked(task: str, kind: str) -> None:
    """Columns in another order or with other names are refused; an array without names is warned about."""

    def frame(names: list[str]) -> Any:
        return pd.DataFrame(X, columns=names) if kind == "pandas" else pl.DataFrame(X, schema=names)

    model = fitted(small(task), frame(NAMES), target(task))
    assert model.feature_names_in_.tolist() == NAMES
    model.predict(frame(NAMES))
    for wrong in (["b", "a", "c", "d"], ["a", "b", "c", "e"]):
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(frame(wrong))
        with pytest.raises(ValueError, match="feature names should match"):
            model.partial_fit(frame(wrong), target(task))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    assert not hasattr(fitted(model, X, target(task)), "feature_names_in_")


def spoiled(array: np.ndarray, value: Any) -> np.ndarray:
    """Return a copy with one value replaced."""
    array = np.array(array, dtype=np.result_type(array, type(value)))
    array.flat[5] = value
    return array


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


@pytest.mark.parametrize(("task", "bad", "message"), CASES)
@pytest.mark.parametrize("door", ["fit", "fit again", "warm start", "partial_fit"])
def test_bad_input_is_named_and_changes_nothing(task: str, bad: dict[str, Any], message: str, door: str) -> None:
    """The error says what is wrong; the estimator, fitted or not, and the input stay as they were."""
    model = small(task) if door == "fit" else trained(task, warm_start=door == "warm start")
    given = {"X": X, "y": target(task)} | bad
    before = state_of(model), content(given)
    with pytest.raises(ValueError) as error:
        model.partial_fit(**given) if door == "partial_fit" else fitted(model, **given)
    of_known_classes = ("which are not in", "should be a 1d array", "cannot be compared")
    assert any(text in str(error.value) for text in (message, *(of_known_classes if door == "partial_fit" else ())))
    assert (state_of(model), content(given)) == before


@pytest.mark.parametrize("door", ["fit", "fit again", "warm start"])
def test_one_class_is_not_enough(door: str) -> None:
    """A fit to one class is refused; where rows of weight zero had the other one, too."""
    model = small("binary") if door == "fit" else trained("binary", warm_start=door == "warm start")
    before = state_of(model)
    with pytest.raises(ValueError, match=r"number of classes has to be greater than one; got 1 class: \[1\]"):
        fitted(model, X, np.ones(60, dtype=int))
    with pytest.raises(ValueError, match=r"number of classes has to be greater than one; got 1 class: \[0\]"):
        fitted(model, X, BINARY, 1 - BINARY)
    assert state_of(model) == before


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
    model = fitted(small(task), X * 1e100, target(task))
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


@BOTH
def test_one_weight_for_all_rows(task: str) -> None:
    """A number as sample_weight is the weight of every row."""
    number = fitted(small(task), X, target(task), 3)
    rows = fitted(small(task), X, target(task), np.full(60, 3.0))
    assert weights_of(number).tobytes() == weights_of(rows).tobytes()


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


def test_a_column_of_labels_is_taken_with_a_warning() -> None:
    """Labels as a column are taken as scikit-learn takes them: with a warning."""
    with pytest.warns(UserWarning, match="A column-vector y was passed"), warnings.catch_warnings():
        model = fitted(small("binary"), X, BINARY[:, None])
    assert weights_of(model).tobytes() == weights_of(trained("binary")).tobytes()
