"""A fitted model as a SavedModel of TensorFlow: its ONNX graph, node by node, in TensorFlow's operations."""

from __future__ import annotations

import itertools
import keyword
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skbig._utils.extras import import_extra
from skbig.estimators.types import Table
from skbig.exceptions import ExportError
from skbig.onnx.check import check_results
from skbig.onnx.export import to_onnx
from skbig.onnx.feeds import feeds_of
from skbig.onnx.messages import logging_only
from skbig.onnx.tensorflow_nodes import OPERATIONS, label_table, text_table

SIGNATURE = "serving_default"
MIN_VARIABLE = 256
"""Constants of so many numbers are variables, which lie in files of their own."""


def to_saved_model(
    model: BaseEstimator, folder: str | os.PathLike[str], X: Table | None = None, *, dtype: str = "float32"
) -> Path:
    """Write a fitted model, or a whole Pipeline, as a SavedModel for TensorFlow Serving; it must predict the same.

    Its nodes are those of :func:`to_onnx`. It is loaded again, and run on rows.

    Parameters
    ----------
    model : estimator
        Fitted; what `to_onnx` takes.
    folder : path
        Where it is written, as a whole or not at all. TensorFlow Serving looks for ``models/NAME/VERSION``, where the
        version is a number.
    X : array-like or DataFrame of shape (n_samples, n_features), default=None
        Rows as the model reads them, on which it is tried. A table whose columns have types must be given; for numbers
        alone None takes 100 rows from a standard normal distribution.
    dtype : {'float32', 'float64'}, default='float32'
        Of the numbers in the inputs, and in what is computed.

    Returns
    -------
    folder : Path
        The signature "serving_default" has the inputs of the graph, "X" or the names of the columns, in which all but
        letters and digits are underscores, and its outputs: "label" and "probabilities", or "variable".

    Raises
    ------
    skbig.exceptions.ExportError
        When a part of the model has no equal in ONNX or here, or when what is written predicts something else than the
        model, by more than 1e-5.
    FileExistsError
        When the folder is there and holds something.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.onnx import to_saved_model
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((8,), optimizer="lbfgs", random_state=0).fit(X, y)
    >>> to_saved_model(model, "models/iris/1", X).name
    '1'
    """
    tf = import_extra("tensorflow", "saved-model", "skbig.onnx.to_saved_model")
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already. TensorFlow Serving wants a new folder for each version.")
    model = getattr(model, "best_estimator_", model)
    check_is_fitted(model)
    rows = _rows_for(model) if X is None else X
    graph = to_onnx(model, rows, dtype=dtype)
    feeds = feeds_of(model, rows, dtype)
    unfinished = folder.with_name(f".{folder.name[:200]}.{uuid.uuid4().hex[:12]}")
    try:
        with logging_only("tensorflow", _is_warning):
            _save(tf, graph, feeds.inputs, unfinished)
            check_results(_run(tf, unfinished, graph, feeds.inputs), model, feeds)
        if folder.is_dir():
            folder.rmdir()
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _rows_for(model: Any) -> np.ndarray:
    if hasattr(model, "feature_names_in_") or not hasattr(model, "n_features_in_"):
        raise ValueError("to_saved_model needs X, some rows as the model reads them: its columns have names or types.")
    return np.random.RandomState(0).normal(size=(100, model.n_features_in_))


def _save(tf: Any, graph: Any, inputs: dict[str, np.ndarray], folder: Path) -> None:
    helper = import_extra("onnx.numpy_helper", "onnx", "skbig.onnx")
    constants = {tensor.name: _plain(helper.to_array(tensor)) for tensor in graph.graph.initializer}
    module = tf.Module()
    module.weights = {
        name: tf.Variable(array, trainable=False, name="weight")
        for name, array in constants.items()
        if array.dtype.kind == "f" and array.size >= MIN_VARIABLE
    }
    module.tables = {
        node.output[0]: text_table(tf, label_table(attributes)[0])
        for node, attributes in ((node, _attributes(node)) for node in graph.graph.node)
        if "keys_strings" in attributes
    }
    places = identifiers(inputs)

    def predict(**columns: Any) -> dict[str, Any]:
        values = {**constants, **module.weights} | {name: columns[place] for name, place in places.items()}
        return _computed(tf, graph, values, module.tables)

    specs = {
        places[name]: tf.TensorSpec([None, *array.shape[1:]], _type(tf, array), name=places[name])
        for name, array in inputs.items()
    }
    concrete = tf.function(predict, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: concrete})


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Return what inputs are called in a signature, which has names of letters, digits and underscores alone.

    Examples
    --------
    >>> identifiers(["X", "living area", "living_area", "Größe", "class"])
    {'X': 'X', 'living area': 'living_area', 'living_area': 'living_area_2', 'Größe': 'Gr__e', 'class': 'class_'}
    """
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        plain = f"x{plain}" if not plain[:1].isalpha() else plain
        plain = f"{plain}_" if keyword.iskeyword(plain) or plain == "self" else plain
        numbered = (plain if i == 1 else f"{plain}_{i}" for i in itertools.count(1))
        found[name] = next(each for each in numbered if each not in found.values())
    return found


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(object) if array.dtype.kind in "US" else array


def _type(tf: Any, array: np.ndarray) -> Any:
    return tf.string if array.dtype.kind in "OUS" else tf.as_dtype(array.dtype)


def _computed(tf: Any, graph: Any, values: dict[str, Any], tables: dict[str, Any]) -> dict[str, Any]:
    """Compute the nodes of a graph in their order, and return its outputs."""
    for node in graph.graph.node:
        operation = OPERATIONS.get((node.domain, node.op_type))
        if operation is None:
            raise ExportError(
                f"The operator {node.op_type} of the graph has no equal in TensorFlow here. Serve the ONNX file, or "
                "put the step that needs it before the model."
            )
        attributes = _attributes(node)
        if node.output[0] in tables:
            attributes["table"] = tables[node.output[0]]
        results = operation(tf, [values[name] if name else None for name in node.input], attributes)
        many = results if isinstance(results, tuple) else (results,)
        values.update(zip(node.output, many, strict=False))
    return {each.name: tf.convert_to_tensor(values[each.name]) for each in graph.graph.output}


def _attributes(node: Any) -> dict[str, Any]:
    helper = import_extra("onnx.helper", "onnx", "skbig.onnx")
    to_array = import_extra("onnx.numpy_helper", "onnx", "skbig.onnx").to_array
    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {name: _plain(to_array(value)) if hasattr(value, "data_type") else value for name, value in values.items()}


def _run(tf: Any, folder: Path, graph: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Load what was written, and return its outputs in their order."""
    serve = tf.saved_model.load(str(folder)).signatures[SIGNATURE]
    places = identifiers(inputs)
    results = serve(**{places[name]: tf.constant(array, _type(tf, array)) for name, array in inputs.items()})
    return [_texts(results[each.name].numpy()) for each in graph.graph.output]


def _texts(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "O":
        return array
    return np.array([text.decode() for text in array.ravel()], dtype=object).reshape(array.shape)


def _is_warning(record: logging.LogRecord) -> bool:
    """Whether a record is more than where TensorFlow writes."""
    return record.levelno >= logging.WARNING
