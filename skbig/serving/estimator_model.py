"""An estimator of scikit-learn's kind, or a Pipeline, as the server wants it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from skbig.estimators.base import NetworkEstimator
from skbig.exceptions import ExportError, ModelFileError
from skbig.serving.columns import known_values, reads_documents
from skbig.serving.predictor import predictor
from skbig.serving.tensors import DTYPES, TensorSpec

METHODS = ("predict", "predict_proba", "transform")


class EstimatorModel:
    """A fitted estimator or Pipeline, whose outputs are its methods.

    It takes one tensor "X". If it was fitted with a data frame, or reads columns of text among others, it takes one
    tensor for each column.
    """

    platform = "sklearn"

    def __init__(self, estimator: Any) -> None:
        methods = [name for name in METHODS if hasattr(estimator, name)]
        if not methods:
            raise ModelFileError(f"{type(estimator).__name__} has none of the methods {', '.join(METHODS)}.")
        self._estimator = _quickest(estimator)
        self._examples = known_values(estimator)
        self._columns = _column_names(estimator, self._examples)
        self._frame_type = _data_frame() if hasattr(estimator, "feature_names_in_") else None
        self.inputs = self._input_specs(estimator)
        self.classes = _classes_of(estimator)
        self.outputs = self._probed(methods)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the outputs that are asked for."""
        X = self._rows(inputs)
        methods = dict.fromkeys(name.partition(".")[0] for name in outputs)
        found = {name: value for method in methods for name, value in _results(self._estimator, method, X)}
        return {name: found[name] for name in outputs}

    def _rows(self, inputs: Mapping[str, np.ndarray]) -> Any:
        if not self._columns:
            return inputs["X"]
        columns = [inputs[name][:, 0] for name in self._columns]
        if self._frame_type is not None:
            return self._frame_type(dict(zip(self._columns, columns, strict=True)), copy=False)
        table = np.empty((len(columns[0]), len(columns)), dtype=object)
        for i, column in enumerate(columns):
            table[:, i] = column
        return table

    def _input_specs(self, estimator: Any) -> tuple[TensorSpec, ...]:
        if self._columns:
            kinds = ["BYTES" if isinstance(self._examples.get(i), str) else "FP64" for i in range(len(self._columns))]
            return tuple(TensorSpec(name, kind, (-1, 1)) for name, kind in zip(self._columns, kinds, strict=True))
        if reads_documents(estimator):
            return (TensorSpec("X", "BYTES", (-1,)),)
        return (TensorSpec("X", "FP64", (-1, getattr(estimator, "n_features_in_", -1))),)

    def _probed(self, methods: list[str]) -> tuple[TensorSpec, ...]:
        """Run two rows through the model: what comes out is what it gives, and the first request finds it warm."""
        try:
            X = self._rows({spec.name: self._example(i, spec) for i, spec in enumerate(self.inputs)})
            found = [item for method in methods for item in _results(self._estimator, method, X)]
        except Exception:  # an unfitted model, or one that wants other rows than these
            return tuple(self._declared(method) for method in methods)
        return tuple(TensorSpec.of(name, value) for name, value in found)

    def _example(self, index: int, spec: TensorSpec) -> np.ndarray:
        shape = (2, *(max(n, 1) for n in spec.shape[1:]))
        example = np.full(shape, "" if spec.datatype == "BYTES" else 0, dtype=DTYPES[spec.datatype])
        if self._columns:
            example[:] = self._examples.get(index, example.flat[0])
        elif example.ndim == 2:
            for column, value in self._examples.items():
                example[:, column] = value
        return example

    def _declared(self, method: str) -> TensorSpec:
        """Describe what a method gives by what the estimator says of itself."""
        if method == "predict_proba" and self.classes is not None:
            return TensorSpec(method, "FP64", (-1, len(self.classes)))
        if method == "predict":
            labels = np.asarray([0.0] if self.classes is None else self.classes)
            return TensorSpec.of(method, labels)
        return TensorSpec(method, "FP64", (-1, -1))


def _quickest(estimator: Any) -> Any:
    """Return what answers as an estimator does, and a single row sooner, where there is such a thing."""
    last = estimator.steps[-1][1] if type(estimator) is Pipeline else estimator
    if not isinstance(last, NetworkEstimator) or hasattr(estimator, "transform"):
        return estimator
    try:
        quick = predictor(estimator)
    except (NotFittedError, ExportError):  # it answers with its own error, or is no network of rows of numbers
        return estimator
    return quick if quick.is_quick else estimator


def _column_names(estimator: Any, examples: Mapping[int, Any]) -> list[str]:
    named = getattr(estimator, "feature_names_in_", None)
    if named is not None:
        return [str(name) for name in named]
    has_text = any(isinstance(value, str) for value in examples.values())
    return [f"x{i}" for i in range(estimator.n_features_in_)] if has_text else []


def _results(estimator: Any, method: str, X: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what a method gives, as arrays: several where it gives one for each output."""
    result = getattr(estimator, method)(X)
    if isinstance(result, list):
        for i, part in enumerate(result):
            yield f"{method}.{i}", np.asarray(part)
    else:
        yield method, np.asarray(result.toarray() if hasattr(result, "toarray") else result)


def _classes_of(estimator: Any) -> list[Any] | None:
    classes = getattr(estimator, "classes_", None)
    return list(classes.tolist()) if isinstance(classes, np.ndarray) else None


def _data_frame() -> Any:
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ModelFileError(
            "This model was fitted with a data frame, so it is served with pandas: pip install pandas"
        ) from error
    return DataFrame
