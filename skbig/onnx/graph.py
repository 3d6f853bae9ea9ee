"""A graph that is being written, as the converters of layers and links see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skbig._utils.extras import import_extra
from skbig.exceptions import ExportError


class Graph:
    """What the nodes of a network are added to; values are known by their names.

    A value of a network of several members has them as its first axis, of length one before the first layer with
    parameters: (M or 1, N, features). Of one member it is (N, features). Formulas look at the last two axes only.

    Parameters
    ----------
    scope, container : object
        Those that skl2onnx hands to a converter.
    n_members : int
    dtype : dtype
        In which is computed: float32 or float64.

    Examples
    --------
    >>> from skbig.onnx import Graph
    >>> graph = Graph(scope=None, container=None, n_members=3, dtype="float32")
    >>> graph.rank
    3
    """

    def __init__(self, scope: Any, container: Any, n_members: int, dtype: Any) -> None:
        self._scope, self._container = scope, container
        self.n_members, self.dtype = n_members, np.dtype(dtype)

    @property
    def rank(self) -> int:
        """How many axes a value has."""
        return 2 if self.n_members == 1 else 3

    @property
    def opset(self) -> int:
        """Which version of ONNX's operators the graph is for."""
        return int(self._container.target_opset_any_domain(""))

    def constant(self, array: Any, dtype: Any = None) -> str:
        """Add numbers, in the dtype of the graph unless another is given; texts as they are."""
        helper = import_extra("onnx.numpy_helper", "onnx", "skbig.onnx")
        array = np.asarray(array)
        if array.dtype.kind in "US":
            array = array.astype(object)
        elif array.dtype.kind != "O":
            array = np.ascontiguousarray(array, dtype=self.dtype if dtype is None else dtype).reshape(array.shape)
        name = str(self._scope.get_unique_variable_name("constant"))
        tensor = helper.from_array(array, name)
        content = [text.encode() for text in array.ravel()] if array.dtype.kind == "O" else tensor
        self._container.add_initializer(name, tensor.data_type, list(array.shape), content)
        return name

    def node(
        self, operator: str, *inputs: str, n_outputs: int = 1, output: str | None = None, **attributes: Any
    ) -> Any:
        """Add a node, and return the name of what it gives; a list of several."""
        names = [output or str(self._scope.get_unique_variable_name(operator.lower())) for _ in range(n_outputs)]
        label = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, list(inputs), names, name=label, **attributes)
        return names[0] if n_outputs == 1 else names

    def cast(self, value: str, dtype: Any) -> str:
        """Add a conversion to another dtype."""
        helper = import_extra("onnx.helper", "onnx", "skbig.onnx")
        return str(self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))

    def sum(self, value: str, axis: int, *, keepdims: bool = False) -> str:
        """Add a sum over an axis."""
        return str(self.node("ReduceSum", value, self.constant([axis], np.int64), keepdims=int(keepdims)))

    def mean(self, value: str, axis: int, n: int, *, keepdims: bool = False) -> str:
        """Add a mean over an axis of length n."""
        return str(self.node("Mul", self.sum(value, axis, keepdims=keepdims), self.constant(1.0 / n)))

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Add a change of shape, in which 0 keeps a length and -1 stands for what is left."""
        return str(self.node("Reshape", value, self.constant(shape, np.int64)))

    def side_by_side(self, values: Sequence[str]) -> str:
        """Put features side by side, those of all members where some are of one."""
        if len(values) == 1:
            return values[0]
        if self.n_members > 1:
            all_members = self.constant([self.n_members, 1, 1], np.int64)
            values = [str(self.node("Expand", value, all_members)) for value in values]
        return str(self.node("Concat", *values, axis=-1))

    def columns(self, value: str, start: int, stop: int) -> str:
        """Take some features."""
        bounds = (self.constant([number], np.int64) for number in (start, stop, -1))
        return str(self.node("Slice", value, *bounds))

    def model(self, model: Any, value: str) -> str:
        """Add the nodes of an ONNX model of one input and one output, and of the same version of the operators."""
        prefix = str(self._scope.get_unique_variable_name("model"))
        inner = import_extra("onnx.compose", "onnx", "skbig.onnx").add_prefix(model, f"{prefix}/")
        versions = {each.domain: each.version for each in inner.opset_import}
        if versions != {"": self.opset}:
            raise ExportError(f"The graph is one of opset {self.opset}, and what is put into it needs {versions}.")
        self.node("Identity", value, output=inner.graph.input[0].name)
        self._container.initializers.extend(inner.graph.initializer)
        self._container.nodes.extend(inner.graph.node)
        self._container.node_domain_version_pair_sets.add(("", self.opset))
        return str(inner.graph.output[0].name)
