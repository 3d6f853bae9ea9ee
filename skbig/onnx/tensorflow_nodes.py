"""Nodes of ONNX as operations of TensorFlow.

A function for each operator has the module `tensorflow`, the inputs and the attributes of a node, and returns what it
gives. What is constant comes as a NumPy array, so that shapes and axes are known when the graph is made.

Legend: N rows, F features, C classes or categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skbig.exceptions import ExportError

Operation = Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]
NO_END = 2**31 - 1
"""What stands for the end of an axis, wherever it is."""


def static(tf: Any, value: Any) -> np.ndarray:
    """Return a constant of a graph as an array.

    Raises
    ------
    ExportError
        When it depends on the rows.
    """
    known = value if isinstance(value, np.ndarray) else tf.get_static_value(value)
    if known is None:
        raise ExportError("A shape or an axis in the graph depends on the rows, which TensorFlow is not told here.")
    return np.asarray(known)


def _axes(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> list[int] | None:
    """Return axes, which newer operators have as an input."""
    if len(inputs) > 1 and inputs[1] is not None:
        return [int(axis) for axis in static(tf, inputs[1]).ravel()]
    given = attributes.get("axes")
    return None if given is None else [int(axis) for axis in given]


def _reduced(name: str) -> Operation:
    def reduce(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        keeps = bool(attributes.get("keepdims", 1))
        return getattr(tf, name)(inputs[0], axis=_axes(tf, inputs, attributes), keepdims=keeps)

    return reduce


def _named(name: str) -> Operation:
    """Return an operation of all inputs that TensorFlow has under a dotted name."""

    def apply(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        function = tf
        for part in name.split("."):
            function = getattr(function, part)
        return function(*inputs)

    return apply


def _folded(name: str) -> Operation:
    """Return an operation of two values that is applied to as many as there are."""
    two = _named(name)

    def fold(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        result = tf.convert_to_tensor(inputs[0])
        for each in inputs[1:]:
            result = two(tf, (result, each), attributes)
        return result

    return fold


def _cast(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    from onnx.helper import tensor_dtype_to_np_dtype

    value, to = tf.convert_to_tensor(inputs[0]), np.dtype(tensor_dtype_to_np_dtype(attributes["to"]))
    if to.kind == "O":
        return tf.as_string(value)
    if value.dtype == tf.string:
        return tf.strings.to_number(value, tf.as_dtype(to))
    return tf.cast(value, tf.as_dtype(to))


def _reshape(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value, shape = inputs[0], static(tf, inputs[1]).tolist()
    own = tf.shape(value)
    keeps = not attributes.get("allowzero", 0)
    return tf.reshape(value, [own[i] if size == 0 and keeps else size for i, size in enumerate(shape)])


def _expand(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    shape = tf.broadcast_dynamic_shape(tf.shape(inputs[0]), tf.cast(inputs[1], tf.int32))
    return tf.broadcast_to(inputs[0], shape)


def _slice(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value = tf.convert_to_tensor(inputs[0])
    starts, ends = (static(tf, each).ravel().tolist() for each in inputs[1:3])
    axes = static(tf, inputs[3]).ravel().tolist() if len(inputs) > 3 else range(len(starts))
    steps = static(tf, inputs[4]).ravel().tolist() if len(inputs) > 4 else [1] * len(starts)
    parts = [slice(None)] * value.shape.rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        parts[axis] = slice(start, None if abs(end) >= NO_END else end, step)
    return value[tuple(parts)]


def _squeeze(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return tf.squeeze(inputs[0], axis=_axes(tf, inputs, attributes))


def _unsqueeze(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value, axes = tf.convert_to_tensor(inputs[0]), _axes(tf, inputs, attributes) or []
    rank = value.shape.rank + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        value = tf.expand_dims(value, axis)
    return value


def _flatten(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    axis, shape = int(attributes.get("axis", 1)), tf.shape(inputs[0])
    return tf.reshape(inputs[0], [tf.reduce_prod(shape[:axis]), tf.reduce_prod(shape[axis:])])


def _argmax(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    axis = int(attributes.get("axis", 0))
    index = tf.argmax(inputs[0], axis=axis, output_type=tf.int64)
    return tf.expand_dims(index, axis) if attributes.get("keepdims", 1) else index


def _clip(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value, low, high = [*inputs, None, None][:3]
    value = value if low is None else tf.maximum(value, low)
    return value if high is None else tf.minimum(value, high)


def _gemm(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    turned = {f"transpose_{name}": bool(attributes.get(key, 0)) for name, key in (("a", "transA"), ("b", "transB"))}
    product = tf.matmul(inputs[0], inputs[1], **turned) * attributes.get("alpha", 1.0)
    return product if len(inputs) < 3 else product + attributes.get("beta", 1.0) * inputs[2]


def _layer_norm(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value = tf.convert_to_tensor(inputs[0])
    axes = list(range(int(attributes.get("axis", -1)) % value.shape.rank, value.shape.rank))
    centred = value - tf.reduce_mean(value, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    result = centred / tf.sqrt(variance + attributes.get("epsilon", 1e-5)) * inputs[1]
    return result if len(inputs) < 3 else result + inputs[2]


def _gelu(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return tf.nn.gelu(inputs[0], approximate=_text(attributes.get("approximate", b"none")) == "tanh")


def _elu(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value = inputs[0]
    return tf.where(value > 0, value, attributes.get("alpha", 1.0) * tf.math.expm1(tf.minimum(value, 0)))


def _selu(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return attributes["gamma"] * _elu(tf, inputs, attributes)


# Operators of ONNX for classical machine learning.


def _scaler(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value = tf.cast(inputs[0], tf.float32)
    return (value - np.float32(attributes["offset"])) * np.float32(attributes["scale"])


def _imputer(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    kind = "float" if "imputed_value_floats" in attributes else "int64"
    value, replaced = tf.convert_to_tensor(inputs[0]), attributes[f"replaced_value_{kind}"]
    filled = np.asarray(attributes[f"imputed_value_{kind}s"], dtype=value.dtype.as_numpy_dtype)
    is_missing = tf.math.is_nan(value) if replaced != replaced else tf.equal(value, replaced)
    return tf.where(is_missing, filled, value)


def _normalizer(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value, norm = tf.cast(inputs[0], tf.float32), _text(attributes.get("norm", b"MAX"))
    length = {
        "MAX": lambda: tf.reduce_max(tf.abs(value), -1, keepdims=True),
        "L1": lambda: tf.reduce_sum(tf.abs(value), -1, keepdims=True),
        "L2": lambda: tf.sqrt(tf.reduce_sum(value * value, -1, keepdims=True)),
    }[norm]()
    return value / tf.where(tf.equal(length, 0), tf.ones_like(length), length)


def _one_hot(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value = tf.convert_to_tensor(inputs[0])
    if "cats_strings" in attributes:
        known = np.array(attributes["cats_strings"], dtype=object)
    else:
        value, known = tf.cast(value, tf.int64), np.asarray(attributes["cats_int64s"], dtype=np.int64)
    return tf.cast(tf.equal(tf.expand_dims(value, -1), known), tf.float32)


def _extract(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    value, index = tf.convert_to_tensor(inputs[0]), tf.reshape(inputs[1], [-1])
    return tf.gather(value if value.shape.rank > 1 else tf.expand_dims(value, 0), index, axis=-1)


def _encode_labels(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Look up each value: a text in the hash table that the model holds, a number by bisection."""
    keys, values, default = label_table(attributes)
    value = tf.convert_to_tensor(inputs[0])
    if "table" in attributes:
        place = attributes["table"].lookup(value)
    else:
        place = _places(tf, value, np.array(keys, dtype=value.dtype.as_numpy_dtype))
    return tf.gather(tf.constant([*values, default]), place)


DEFAULTS = {"int64": -1, "string": b"_Unused", "float": -0.0}


def label_table(attributes: Mapping[str, Any]) -> tuple[list[Any], list[Any], Any]:
    """Return the keys and the values of a look-up, and what stands for what is no key."""
    (keys,) = (value for name, value in attributes.items() if name.startswith("keys_"))
    ((kind, values),) = ((name[7:-1], value) for name, value in attributes.items() if name.startswith("values_"))
    return list(keys), list(values), attributes.get(f"default_{kind}", DEFAULTS[kind])


def text_table(tf: Any, keys: Sequence[bytes]) -> Any:
    """Return a hash table of the places of texts, and their number for any other."""
    places = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.range(len(keys), dtype=tf.int64))
    return tf.lookup.StaticHashTable(places, len(keys))


def _places(tf: Any, value: Any, keys: np.ndarray) -> Any:
    """Return the place of each number among keys, and their number where it is none of them."""
    order = np.argsort(keys, kind="stable")
    place = tf.minimum(tf.searchsorted(keys[order], tf.reshape(value, [-1]), out_type=tf.int64), len(keys) - 1)
    place = tf.reshape(place, tf.shape(value))
    found = tf.equal(tf.gather(keys[order], place), value)
    return tf.where(found, tf.gather(order.astype(np.int64), place), np.int64(len(keys)))


def _linear(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any], n_outputs: int) -> Any:
    value = tf.cast(inputs[0], tf.float32)
    weight = np.asarray(attributes["coefficients"], dtype=np.float32).reshape(n_outputs, -1)
    scores = tf.matmul(value, weight, transpose_b=True)
    scores += np.asarray(attributes.get("intercepts", np.zeros(n_outputs)), dtype=np.float32)
    transform = _text(attributes.get("post_transform", b"NONE"))
    if transform not in ("NONE", "SOFTMAX", "LOGISTIC"):
        raise ExportError(f"A linear model with post_transform={transform!r} cannot become a node of TensorFlow.")
    return {"NONE": tf.identity, "SOFTMAX": tf.nn.softmax, "LOGISTIC": tf.sigmoid}[transform](scores)


def _linear_regressor(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return _linear(tf, inputs, attributes, int(attributes.get("targets", 1)))


def _linear_classifier(tf: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    labels = next(attributes[name] for name in ("classlabels_strings", "classlabels_ints") if name in attributes)
    scores = _linear(tf, inputs, attributes, len(np.ravel(attributes.get("intercepts", labels))))
    if scores.shape[-1] != len(labels):
        raise ExportError("A linear classifier with one score for two classes cannot become a node of TensorFlow.")
    return tf.gather(tf.constant(labels), tf.argmax(scores, -1)), scores


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


OPERATIONS: dict[tuple[str, str], Operation] = {
    **{
        ("", ours): _named(theirs)
        for ours, theirs in {
            "Abs": "abs",
            "And": "logical_and",
            "Ceil": "math.ceil",
            "Cos": "cos",
            "Div": "divide",
            "Equal": "equal",
            "Erf": "math.erf",
            "Exp": "exp",
            "Floor": "floor",
            "Greater": "greater",
            "GreaterOrEqual": "greater_equal",
            "Identity": "identity",
            "IsNaN": "math.is_nan",
            "Less": "less",
            "LessOrEqual": "less_equal",
            "Log": "math.log",
            "MatMul": "matmul",
            "Neg": "negative",
            "Not": "logical_not",
            "Or": "logical_or",
            "Pow": "pow",
            "Reciprocal": "math.reciprocal",
            "Relu": "nn.relu",
            "Sigmoid": "sigmoid",
            "Sign": "sign",
            "Sin": "sin",
            "Softplus": "math.softplus",
            "Sqrt": "sqrt",
            "Sub": "subtract",
            "Tanh": "tanh",
            "Where": "where",
        }.items()
    },
    **{("", ours): _folded(theirs) for ours, theirs in (("Max", "maximum"), ("Min", "minimum"))},
    **{("", ours): _folded(theirs) for ours, theirs in (("Add", "add"), ("Mul", "multiply"), ("Sum", "add"))},
    **{("", f"Reduce{what}"): _reduced(f"reduce_{what.lower()}") for what in ("Sum", "Mean", "Prod", "Max", "Min")},
    ("", "ArgMax"): _argmax,
    ("", "Cast"): _cast,
    ("", "Clip"): _clip,
    ("", "Concat"): lambda tf, inputs, attributes: tf.concat(list(inputs), attributes["axis"]),
    ("", "Constant"): lambda tf, inputs, attributes: attributes["value"],
    ("", "Elu"): _elu,
    ("", "Expand"): _expand,
    ("", "Flatten"): _flatten,
    ("", "Gather"): lambda tf, inputs, attributes: tf.gather(*inputs, axis=attributes.get("axis", 0)),
    ("", "Gelu"): _gelu,
    ("", "Gemm"): _gemm,
    ("", "LayerNormalization"): _layer_norm,
    ("", "LeakyRelu"): lambda tf, inputs, attributes: tf.nn.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    ("", "Reshape"): _reshape,
    ("", "Selu"): _selu,
    ("", "Shape"): lambda tf, inputs, attributes: tf.shape(inputs[0], out_type=tf.int64),
    ("", "Slice"): _slice,
    ("", "Softmax"): lambda tf, inputs, attributes: tf.nn.softmax(inputs[0], attributes.get("axis", -1)),
    ("", "Squeeze"): _squeeze,
    ("", "Transpose"): lambda tf, inputs, attributes: tf.transpose(inputs[0], attributes.get("perm")),
    ("", "Unsqueeze"): _unsqueeze,
    ("ai.onnx.ml", "ArrayFeatureExtractor"): _extract,
    ("ai.onnx.ml", "Imputer"): _imputer,
    ("ai.onnx.ml", "LabelEncoder"): _encode_labels,
    ("ai.onnx.ml", "LinearClassifier"): _linear_classifier,
    ("ai.onnx.ml", "LinearRegressor"): _linear_regressor,
    ("ai.onnx.ml", "Normalizer"): _normalizer,
    ("ai.onnx.ml", "OneHotEncoder"): _one_hot,
    ("ai.onnx.ml", "Scaler"): _scaler,
}
"""By domain and name, in which versions from 15 on say the same."""
