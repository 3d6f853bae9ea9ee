"""Input: the containers and numbers that are taken, and what is said of those that are not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from tests.fitting import (
    BINARY,
    BOTH,
    MULTILABEL,
    VALUES,
    WORDS,
    X,
    content_of,
    fitted,
    small,
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


@pytest.mark.crossed
@BOTH
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_the_array_in_it(task: str, name: str) -> None:
    """Whatever holds the numbers, the fit and the predictions are those of the plain array."""
    rows, plain = CONTAINERS[name]
    before = content_of(rows)
    model = fitted(small(task, batch_size=20), rows, target(task))
    reference = fitted(small(task, batch_size=20), plain, target(task))
    assert weights_of(model).tobytes() == weights_of(reference).tobytes()
    assert np.array_equal(model.predict(rows), reference.predict(plain))
    assert content_of(rows) == before


@pytest.mark.crossed
@BOTH
@pytest.mark.parametrize("name", SPARSE_CONTAINERS)
@pytest.mark.parametrize("changes", [{}, {"early_stopping": True}, {"n_members": 2}, {"optimizer": "lbfgs"}])
@pytest.mark.parametrize("large", [False, True])
def test_sparse_rows_are_dense_rows(
    task: str, name: str, changes: dict[str, Any], large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse matrix of any kind and size gives the fit of its dense form, and stays as it is."""
    rows = SPARSE_CONTAINERS[name]
    if large:
        monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    before = content_of(rows)
    model = fitted(small(task, **changes), rows, target(task))
    reference = fitted(small(task, **changes), SPARSE, target(task))
    np.testing.assert_allclose(weights_of(model), weights_of(reference), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(model.predict(rows), reference.predict(SPARSE), rtol=1e-7)
    np.testing.assert_allclose(model.predict(rows), model.predict(SPARSE), rtol=1e-9)
    assert content_of(rows) == before


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


def test_a_column_of_labels_is_taken_with_a_warning() -> None:
    """Labels as a column are taken as scikit-learn takes them: with a warning."""
    with pytest.warns(UserWarning, match="A column-vector y was passed"), warnings.catch_warnings():
        model = fitted(small("binary"), X, BINARY[:, None])
    assert weights_of(model).tobytes() == weights_of(trained("binary")).tobytes()


@BOTH
def test_one_weight_for_all_rows(task: str) -> None:
    """A number as sample_weight is the weight of every row."""
    number = fitted(small(task), X, target(task), 3)
    rows = fitted(small(task), X, target(task), np.full(60, 3.0))
    assert weights_of(number).tobytes() == weights_of(rows).tobytes()
