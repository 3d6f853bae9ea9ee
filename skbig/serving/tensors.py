"""Named tensors as the two protocols speak of them, and values turned into them.

A tensor of text has NumPy's object dtype and holds `str`; a missing number is NaN, a missing text None.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skbig.serving.errors import RequestError

# The datatypes of the Open Inference Protocol.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(bool),
    **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that a model takes or gives.

    Parameters
    ----------
    name : str
    datatype : str
        Of the Open Inference Protocol: "FP64", "INT64", "BOOL", "BYTES" for text, and so on.
    shape : tuple of int
        The first dim counts rows; -1 is any number.

    Examples
    --------
    >>> from skbig.serving import TensorSpec
    >>> TensorSpec("X", "FP64", (-1, 4))
    TensorSpec(name='X', datatype='FP64', shape=(-1, 4))
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, array: np.ndarray) -> TensorSpec:
        """Describe an array of which the number of rows may differ."""
        return cls(name, datatype_of(array), (-1, *array.shape[1:]))


def datatype_of(array: np.ndarray) -> str:
    """Return the datatype of an array; what is no number is text."""
    return _NAMES.get(array.dtype.newbyteorder("="), "BYTES")


def as_tensor(value: Any, spec: TensorSpec) -> np.ndarray:
    """Return a value of JSON, or an array, as the tensor that a model takes.

    Raises
    ------
    RequestError
        When it is of another kind or shape.
    """
    array = _as_array(value, spec)
    return _shaped(_CONVERSIONS[DTYPES[spec.datatype].kind](array, spec), spec)


def _as_array(value: Any, spec: TensorSpec) -> np.ndarray:
    name, is_text = spec.name, spec.datatype == "BYTES"
    try:
        array = np.asarray(value, dtype=object if is_text else None)  # among texts, a number must not become one
    except (ValueError, OverflowError, RecursionError):  # rows of different lengths, or too many dims
        array = np.empty(0, dtype=object)
    if array.dtype.kind == "U" and not is_text:
        array = np.asarray(value, dtype=object)  # NumPy has made texts of the numbers among them
    if array.size == 0 or (array.dtype == object and any(isinstance(item, list) for item in array.flat)):
        raise RequestError(f"{name!r} must be a list of at least one row, and its rows must have equal lengths.")
    return array


def _as_floats(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    dtype = DTYPES[spec.datatype]
    if array.dtype == object and all(item is None or _is_number(item) for item in array.flat):
        with _refusing(spec, "floats"):
            array = array.astype(np.float64)  # None becomes NaN
    if array.dtype.kind not in "fiub":
        raise _unfit(array, spec, "numbers")
    with np.errstate(over="ignore"):
        converted = array.astype(dtype, copy=False)
    if np.isinf(converted).any() and not np.isinf(array).any():
        raise RequestError(f"A value of {spec.name!r} is too large for {spec.datatype}.")
    return converted


def _as_integers(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    dtype = DTYPES[spec.datatype]
    if array.dtype.kind not in "fiub":
        raise _unfit(array, spec, "whole numbers")
    bounds = np.iinfo(dtype)
    if array.dtype.kind == "f":
        fits = np.isfinite(array) & (array == np.trunc(array)) & (np.abs(array) <= 2.0**53)
        if not fits.all():
            raise _unfit(array, spec, "whole numbers")
        array = array.astype(np.int64)
    if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
        raise RequestError(f"A value of {spec.name!r} lies outside {spec.datatype}.")
    return array.astype(dtype, copy=False)


def _as_truths(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    if array.dtype.kind != "b":
        raise _unfit(array, spec, "true or false")
    return array


def _as_texts(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    texts = np.empty(array.size, dtype=object)
    texts[:] = [_as_text(item, spec) for item in array.flat]
    return texts.reshape(array.shape)


def _as_text(item: Any, spec: TensorSpec) -> str | None:
    if item is None or isinstance(item, str):
        return item
    if isinstance(item, dict) and item.keys() == {"b64"} and isinstance(item["b64"], str):
        try:
            item = base64.b64decode(item["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise RequestError(f"A value of {spec.name!r} is not in base64.") from None
    if isinstance(item, bytes):
        try:
            return item.decode()
        except UnicodeDecodeError:
            raise RequestError(f"A text of {spec.name!r} is not in UTF-8.") from None
    raise RequestError(f"The values of {spec.name!r} must be text. Got {_shown(item)} instead.")


_CONVERSIONS: dict[str, Callable[[np.ndarray, TensorSpec], np.ndarray]] = {
    "f": _as_floats,
    "i": _as_integers,
    "u": _as_integers,
    "b": _as_truths,
    "O": _as_texts,
}


def _shaped(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Return the array in the shape of the model's input: one column may have a dim of its own, or none."""
    wanted = spec.shape
    if len(wanted) == 2 and wanted[1] == 1 and array.ndim == 1:
        array = array[:, np.newaxis]
    elif len(wanted) == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    fits = array.ndim == len(wanted) and all(n in (-1, m) for n, m in zip(wanted, array.shape, strict=True))
    if not fits:
        shape = ", ".join("rows" if not i else str(n) for i, n in enumerate(wanted) if not i or n != -1)
        raise RequestError(f"{spec.name!r} must have the shape ({shape}). Got {array.shape} instead.")
    return array


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float)


def _unfit(array: np.ndarray, spec: TensorSpec, wanted: str) -> RequestError:
    strange = next((item for item in array.flat if not _is_number(item)), array.flat[0])
    return RequestError(f"The values of {spec.name!r} must be {wanted}. Got {_shown(strange)} instead.")


def _shown(item: Any) -> str:
    text = repr(item.item() if isinstance(item, np.generic) else item)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _refusing:
    """Turn an error of NumPy's while it converts into one of the request."""

    def __init__(self, spec: TensorSpec, wanted: str) -> None:
        self._spec, self._wanted = spec, wanted

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError | OverflowError):
            raise RequestError(f"The values of {self._spec.name!r} must be {self._wanted}.") from None


def tensors_of(values: dict[str, Any], specs: tuple[TensorSpec, ...]) -> dict[str, np.ndarray]:
    """Return the tensors of a model's inputs, from values by name.

    One value of another name stands for the only input, or, as a table, for all inputs of one column each, in order.

    Raises
    ------
    RequestError
        When one is missing, unknown, of another kind or shape, or has another number of rows.
    """
    wanted = {spec.name for spec in specs}
    if len(values) == 1 and not wanted & values.keys():
        (only,) = values.values()
        values = {specs[0].name: only} if len(specs) == 1 else _columns(only, specs)
    missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
    if missing or unknown:
        problem = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is none of them"
        names = ", ".join(repr(spec.name) for spec in specs[:20])
        raise RequestError(f"The inputs of this model are {names}{', ...' if len(specs) > 20 else ''}; {problem}.")
    tensors = {spec.name: as_tensor(values[spec.name], spec) for spec in specs}
    lengths = {len(tensor) for tensor in tensors.values()}
    if len(lengths) > 1:
        raise RequestError(f"All inputs must have the same number of rows. Got {sorted(lengths)}.")
    return tensors


def _columns(table: Any, specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    """Return the columns of a table, given as rows."""
    if isinstance(table, np.ndarray) and table.ndim == 2 and table.shape[1] == len(specs):
        return {spec.name: table[:, i] for i, spec in enumerate(specs)}
    rows = table if isinstance(table, list) else []
    if not rows or not all(isinstance(row, list) and len(row) == len(specs) for row in rows):
        raise RequestError(f"Each row must be a list of {len(specs)} values, or the columns must be given by name.")
    return {spec.name: list(column) for spec, column in zip(specs, zip(*rows, strict=True), strict=True)}


def plain_values(array: np.ndarray) -> list[Any]:
    """Return the rows of an array as JSON has them: a number that is not finite is null, what is no number is text."""
    if datatype_of(array) == "BYTES":
        return _nested(array, [None if item is None else str(item) for item in array.flat])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _nested(array, [item if np.isfinite(item) else None for item in array.astype(float).flat])
    values: list[Any] = array.tolist()
    return values


def flat_values(array: np.ndarray) -> list[Any]:
    """Return the values of an array, one after the other, as JSON has them."""
    return plain_values(array.reshape(-1))


def _nested(array: np.ndarray, values: list[Any]) -> list[Any]:
    nested = np.empty(len(values), dtype=object)
    nested[:] = values
    result: list[Any] = nested.reshape(array.shape).tolist()
    return result
