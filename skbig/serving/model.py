"""What the server needs of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from skbig.serving.tensors import TensorSpec


@runtime_checkable
class ServedModel(Protocol):
    """What the server needs of a model.

    Whatever has these attributes can be served: `create_app` takes it as it is. An estimator of scikit-learn's kind,
    and a session of ONNX Runtime, are made one without being asked.

    Attributes
    ----------
    platform : str
        What it runs on, for the metadata.
    inputs, outputs : tuple of TensorSpec
        The first dim of all of them counts rows.
    classes : list or None
        The labels that the columns of "predict_proba" stand for; None of what is no classifier.

    Examples
    --------
    >>> from starlette.applications import Starlette
    >>> from skbig.serving import ServedModel, TensorSpec, create_app
    >>> class Doubling:
    ...     platform = "python"
    ...     inputs = (TensorSpec("X", "FP64", (-1, 2)),)
    ...     outputs = (TensorSpec("predict", "FP64", (-1, 2)),)
    ...     classes = None
    ...     def run(self, inputs, outputs):
    ...         return {"predict": 2 * inputs["X"]}
    >>> isinstance(Doubling(), ServedModel)
    True
    >>> isinstance(create_app({"doubling": Doubling()}), Starlette)
    True
    """

    @property
    def platform(self) -> str: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def classes(self) -> list[Any] | None: ...

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the outputs that are asked for, from all inputs; never called by two threads at a time."""
        ...
