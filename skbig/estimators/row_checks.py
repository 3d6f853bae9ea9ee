"""Rows, targets and weights are checked, by scikit-learn's own checks where it has them; features are noted."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d, validate_data

from skbig._utils.sparse import check_positions
from skbig._utils.user_warning import warn_user
from skbig.data.array_rows import ArrayRows, is_large
from skbig.data.sources.array import check_open
from skbig.data.sources.base import Source, check_shape
from skbig.data.sources.memmap import mapping_of
from skbig.data.sources.open import as_source
from skbig.data.streaming.lazy_rows import LOADED_BYTES, LazyRows
from skbig.data.streaming.reader import largest_of, whole_numbers
from skbig.estimators.sklearn_compat import check_y

_ACCEPTED: dict[str, Any] = {"accept_sparse": ["csr", "csc"], "order": "C"}

WHOLE: list[Any] = [np.uint8, np.int8, np.int16, np.int32, np.int64, np.bool_]
"""Dtypes of whole numbers that torch has, too."""

NARROW: list[Any] = [*WHOLE, np.uint16, np.uint32, np.uint64, np.float16]
"""Dtypes that large arrays keep in memory: rows are converted when they are read."""


FEW = 4096
"""Of so many numbers it is known as soon whether each is finite as whether their sum is."""


def check_training_rows(
    estimator: BaseEstimator, X: Any, y: Any, dtypes: list[Any], *, reset: bool, numeric: bool
) -> Any:
    """Return checked X (dense, CSR, or a selection of rows that are read later) and y, and note the features."""
    plain = _need_no_check(estimator, X, dtypes, reset=reset) and _is_target(y, len(X))
    if plain and _largest(X) <= largest_of(X.dtype):  # of a NaN that is not so
        note_features(estimator, X, reset=reset)
        return X, y
    _check_kind(X, "X")
    if numeric or sparse.issparse(y):
        _check_kind(y, "y")
    elsewhere = _read_elsewhere(estimator, X, dtypes, reset=reset, to_train=True)
    if elsewhere is not None:
        return elsewhere, check_targets_of(estimator, elsewhere, y, numeric=numeric)
    options = {"multi_output": True, "y_numeric": numeric, "dtype": dtypes, "reset": reset, **_accepted(estimator)}
    narrow = _is_narrow(estimator, X)
    with _quiet_casts():
        X, y = validate_data(estimator, X, y, **options | ({"dtype": X.dtype} if narrow else {}))
    if narrow:  # each value has a finite square in the dtype that is trained in
        return ArrayRows(X, np.dtype(dtypes[0])), y
    _check_magnitude(X, "X")
    return _in_lines(estimator, X, reset=reset), y


def check_targets_of(estimator: BaseEstimator, rows: Any, y: Any, *, numeric: bool) -> Any:
    """Return checked targets of rows that are checked already."""
    if _is_target(y, rows.shape[0]):
        return y
    if numeric or sparse.issparse(y):
        _check_kind(y, "y")
    check_given(estimator, y)
    y = check_y(y, multi_output=True, y_numeric=numeric, estimator=estimator)
    check_consistent_length(rows, y)
    return y


def check_given(estimator: BaseEstimator, y: Any) -> None:
    """Refuse to train without targets, in scikit-learn's words."""
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")


def _need_no_check(estimator: Any, X: Any, dtypes: list[Any], *, reset: bool) -> bool:
    """Whether scikit-learn's checks would have nothing to do, nor to say of finite X: they take longer than a step.

    So it is with numbers that are computed with as they are, in a matrix whose columns have no names.
    """
    plain = type(X) is np.ndarray and X.ndim == 2 and X.size > 0 and X.dtype in dtypes and X.flags.c_contiguous
    if not plain or takes_any_shape(estimator) or mapping_of(X) is not None:
        return False
    return reset or (X.shape[1] == estimator.n_features_in_ and not hasattr(estimator, "feature_names_in_"))


def _is_target(y: Any, n_rows: int) -> bool:
    """Whether they would have nothing to do with y, and nothing to say of it."""
    plain = type(y) is np.ndarray and y.ndim in (1, 2) and y.size > 0 and len(y) == n_rows and y.dtype.kind in "iubf"
    return plain and (y.dtype.kind != "f" or _all_finite(y))


def _all_finite(values: np.ndarray) -> bool:
    if values.size <= FEW:
        return bool(np.isfinite(values).all())
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def note_features(estimator: Any, X: Any, *, reset: bool) -> None:
    """Note how many features rows without names of their columns have."""
    if reset:
        estimator.n_features_in_ = X.shape[1]
        vars(estimator).pop("feature_names_in_", None)


def _is_narrow(estimator: Any, X: Any) -> bool:
    """Whether X is a large array of a dtype that is converted to one that it must not become as a whole."""
    large = isinstance(X, np.ndarray) and X.ndim == 2 and is_large(X)
    return large and X.dtype in NARROW and not takes_any_shape(estimator)


def check_validation_rows(estimator: BaseEstimator, X: Any, dtype: Any, name: str = "X_val") -> Any:
    """Return checked X_val (dense, or CSR) with the features known from training."""
    _check_kind(X, name)
    elsewhere = _read_elsewhere(estimator, X, [dtype], reset=False, name=name, to_train=True)
    if elsewhere is not None:
        return elsewhere
    options = {"input_name": name, "estimator": estimator, **_accepted(estimator)}
    with _quiet_casts():
        checked = _as_dtype(check_array(X, dtype=_readable_as(dtype), **options), dtype, name)
    validate_data(estimator, X, reset=False, skip_check_array=True)  # the names and the number of the features
    _check_magnitude(checked, name)
    return _in_lines(estimator, checked, name)


def check_rows(estimator: BaseEstimator, X: Any, dtype: Any, *, finite: bool = True) -> Any:
    """Return checked X (dense, CSR, or a selection) with the features known from training.

    Whether numbers are finite may be left to who reads dense ones.
    """
    if _need_no_check(estimator, X, [dtype], reset=False) and _all_finite(X):
        return X
    _check_kind(X, "X")
    elsewhere = _read_elsewhere(estimator, X, [dtype], reset=False)
    if elsewhere is not None:
        return elsewhere
    with _quiet_casts():
        if finite and _is_narrow(estimator, X):
            return ArrayRows(validate_data(estimator, X, dtype=X.dtype, reset=False, **_ACCEPTED), np.dtype(dtype))
        leave_out = {} if finite or sparse.issparse(X) else {"ensure_all_finite": False}
        options = {"dtype": _readable_as(dtype), "reset": False, **leave_out, **_accepted(estimator)}
        return _in_lines(estimator, _as_dtype(validate_data(estimator, X, **options), dtype, "X"))


def check_training_table(estimator: BaseEstimator, X: Any, y: Any, *, reset: bool, numeric: bool) -> tuple[Any, Any]:
    """Return a table whose cells may be anything, (sparse rows and rows elsewhere as they are), and checked y.

    With `reset` the features are noted, else they are compared.
    """
    X = check_table(estimator, X, reset=reset)
    check_given(estimator, y)
    if numeric or sparse.issparse(y):
        _check_kind(y, "y")
    y = check_y(y, multi_output=True, y_numeric=numeric, estimator=estimator)
    check_consistent_length(X, y)
    return X, y


def check_table(estimator: BaseEstimator, X: Any, *, reset: bool, name: str = "X") -> Any:
    """Return X, in which cells may be missing or words: a table, an array, CSR, or a source of rows elsewhere.

    With `reset` the features are noted, else their number is compared; the names of a table are left to who reads it.
    """
    source = None if _is_frame(X) else as_source(X)
    if source is not None:
        _check_features(estimator, source, reset=reset)
        return source
    if not _is_frame(X):
        described = {"input_name": name, "estimator": estimator}
        if sparse.issparse(X):
            check_positions(X, name)
            checked = check_array(X, dtype=[np.float32, np.float64], **described, **_ACCEPTED)
        else:
            checked = check_array(X, dtype=None, ensure_all_finite=False, **described)
        validate_data(estimator, X, reset=reset, skip_check_array=True)  # the number of the features
        return sparse.csr_array(checked) if sparse.issparse(checked) else checked
    check_shape(X.shape)
    if reset or not hasattr(estimator, "feature_names_in_"):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    return X


def _is_frame(X: Any) -> bool:
    """Whether X has columns of several types, and shows no memory as one array."""
    return hasattr(X, "__dataframe__") or type(X).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow")


def check_targets(y: Any, name: str) -> Any:
    """Return checked numbers to predict."""
    _check_kind(y, name)
    y = check_array(y, ensure_2d=False, dtype="numeric", input_name=name)
    return column_or_1d(y) if y.ndim == 2 and y.shape[1] == 1 else y


def _check_kind(values: Any, name: str) -> None:
    """Refuse times, which NumPy would turn into numbers of a unit that nobody has chosen, and wild sparse arrays."""
    if sparse.issparse(values):
        check_positions(values, name)
        return
    check_open(values)
    times = [dtype for dtype in _dtypes_of(values) if getattr(dtype, "kind", "") in ("m", "M")]
    if times:
        raise ValueError(
            f"{name} must hold numbers, and has the dtype {times[0]}. Turn times into numbers in a unit of your own: "
            f"({name} - start) / np.timedelta64(1, 'D') counts days."
        )


def _dtypes_of(values: Any) -> list[Any]:
    """Return the dtypes of a table's columns, of an array, or of the first item of a list."""
    if hasattr(values, "dtypes"):
        return list(np.atleast_1d(values.dtypes))
    while isinstance(values, list | tuple) and len(values):
        values = values[0]
    return [getattr(values, "dtype", None)]


def _read_elsewhere(estimator: BaseEstimator, X: Any, dtypes: list[Any], *, reset: bool, **described: Any) -> Any:
    """Return rows that are not in memory: read, if they are few, else as a selection; None for what is in memory."""
    source = as_source(X, any_shape=takes_any_shape(estimator))
    if source is None:
        _check_can_be_loaded(X)
        return None
    kept = source.dtype in dtypes and (source.dtype.kind == "f" or not source.is_sparse)
    selection = LazyRows(source, np.dtype(source.dtype if kept else dtypes[0]), **described)
    if selection.n_bytes <= LOADED_BYTES and (isinstance(X, np.ndarray) or sparse.issparse(X)):
        return None  # a small memory map is an array as any other
    _check_features(estimator, source, reset=reset)
    if takes_any_shape(estimator):
        _check_row_shape(estimator, source.row_shape, described.get("name", "X"), reset=reset)
    return loaded_if_small(selection)


def loaded_if_small(selection: LazyRows) -> Any:
    """Return rows in memory, if they are few, else as they are."""
    return selection.load() if selection.n_bytes <= LOADED_BYTES else selection


def _check_features(estimator: BaseEstimator, source: Source, *, reset: bool) -> None:
    """Note, or compare, the number and the names of the features."""
    names, known = source.feature_names, getattr(estimator, "feature_names_in_", None)
    if reset or names is None or known is None:
        validate_data(estimator, np.empty((1, *source.row_shape)), reset=reset, skip_check_array=True)
    elif list(names) != list(known):
        raise ValueError(
            "The feature names should match those that were passed during fit. Fitted with "
            f"{list(known)[:10]}, got {list(names)[:10]}."
        )
    if not reset and names is not None and known is None:
        name = type(estimator).__name__
        warn_user(f"X has feature names, but {name} was fitted without feature names")
    if reset and names is not None:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)


def check_validation_labels(y: Any, name: str = "y_val") -> Any:
    """Return checked class labels, or a multilabel indicator, of validation rows."""
    if sparse.issparse(y):
        check_positions(y, name)
    y = check_array(y, accept_sparse="csr", ensure_2d=False, dtype=None, input_name=name)
    y = y.toarray() if sparse.issparse(y) else y
    return y if y.ndim == 2 and y.shape[1] > 1 else column_or_1d(y)


def _quiet_casts() -> Any:
    """Leave a value that is too large for float32 to scikit-learn's error, without NumPy's warning before it."""
    return np.errstate(over="ignore")


def _check_magnitude(X: Any, name: str) -> None:
    """Raise ValueError when a square would overflow, as those of gradients do that are as large as X."""
    values = X.data if sparse.issparse(X) else X
    if values.dtype.kind != "f":
        return
    largest = _largest(values)
    if largest > largest_of(values.dtype):
        raise ValueError(
            f"Input {name} contains a value too large to train on in {values.dtype!r}: {largest:g}, whose square is "
            "infinite. Scale the features (StandardScaler)."
        )


def _largest(values: np.ndarray) -> float:
    """Return the largest number without its sign; NaN where there is one."""
    return max(values.max(initial=0), -values.min(initial=0))


def takes_any_shape(estimator: Any) -> bool:
    """Whether its rows may have several axes, and hold whole numbers."""
    return bool(getattr(estimator, "_takes_any_shape", False))


def _accepted(estimator: Any) -> dict[str, Any]:
    return {**_ACCEPTED, "allow_nd": takes_any_shape(estimator)}


def _in_lines(estimator: Any, X: Any, name: str = "X", *, reset: bool = False) -> Any:
    """Return checked rows as CSR, or each in a line, (N, F); note the shape of a row, or compare it."""
    if not sparse.issparse(X):
        return lines(estimator, X, name, reset=reset)
    if takes_any_shape(estimator):
        _check_row_shape(estimator, X.shape[1:], name, reset=reset)
    return sparse.csr_array(X)


def lines(estimator: Any, X: Any, name: str = "X", *, reset: bool = False) -> Any:
    """Return rows of an array or a tensor each in a line, (N, F); note the shape of a row, or compare it."""
    if takes_any_shape(estimator):
        _check_row_shape(estimator, X.shape[1:], name, reset=reset)
    return X.reshape(len(X), -1)


def _check_row_shape(estimator: Any, shape: tuple[int, ...], name: str, *, reset: bool) -> None:
    if reset:
        estimator.input_shape_ = tuple(map(int, shape))
    elif tuple(shape) != estimator.input_shape_:
        raise ValueError(
            f"{name} has rows of shape {tuple(shape)}, but {type(estimator).__name__} is expecting rows of shape "
            f"{estimator.input_shape_} as input."
        )


def _readable_as(dtype: Any) -> Any:
    """In which dtypes values may come that are to be of another one: whole numbers are compared, and not cut off."""
    return dtype if np.dtype(dtype).kind == "f" else [dtype, *WHOLE, np.float64]


def _as_dtype(X: Any, dtype: Any, name: str) -> Any:
    return X if X.dtype == dtype or sparse.issparse(X) else whole_numbers(X, dtype, name)


def _check_can_be_loaded(X: Any) -> None:
    """Refuse a memory map that would have to be read whole because its rows do not lie one after another."""
    if isinstance(X, np.memmap) and X.ndim > 2 and X.nbytes > LOADED_BYTES and not X.flags.c_contiguous:
        raise ValueError(
            f"X, a memory map of shape {X.shape}, must hold its rows one after another to be read from where it lies. "
            "Write it in C order, and slice its first axis only."
        )


def check_weight(sample_weight: Any, n_rows: int, name: str = "sample_weight") -> np.ndarray | None:
    """Return checked weights as float64, or None.

    Raises
    ------
    ValueError
        When there is not one finite, non-negative weight per row, or all are zero.
    """
    if sample_weight is None:
        return None
    _check_kind(sample_weight, name)
    if np.isscalar(sample_weight):
        sample_weight = np.full(n_rows, sample_weight)
    weight = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name=name)
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D array for `{name}`.")
    if len(weight) != n_rows:
        raise ValueError(f"{name}.shape == {weight.shape}, expected {(n_rows,)}!")
    if (weight < 0).any():
        row = int(np.flatnonzero(weight < 0)[0])
        raise ValueError(f"Negative values in data passed to `{name}`: row {row} has the weight {weight[row]}.")
    if not weight.any():
        raise ValueError(f"All values of `{name}` are zero. Sample weights must contain at least one non-zero number.")
    with np.errstate(over="ignore"):
        if not np.isfinite(weight.sum()):
            raise ValueError(f"The values of `{name}` are too large: their sum is infinite.")
    return weight
