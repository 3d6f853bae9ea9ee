"""A fitted model as a function that torch differentiates: from the inputs of a row to what it predicts.

Legend: N rows, C columns of X, E inputs, Z features of the network, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from skbig.estimators.base import NetworkEstimator, device_for_prediction
from skbig.estimators.exits import fitted_network, rows_as_read
from skbig.explain.one_layer import OneLayer, one_layer
from skbig.explain.outputs import Outputs, chosen_outputs
from skbig.explain.soft_columns import SoftColumns
from skbig.explain.tracing import Traced, begun, dense, times, traced, values_of
from skbig.inference.fitted_network import FittedNetwork
from skbig.inference.torch_layers import LayerModule
from skbig.inference.torch_module import Mean, Pooled, torch_module
from skbig.networks.columns import Columns
from skbig.tables.encoding import TableEncoding


class Function(nn.Module):
    """The model as a function of inputs: (R, E) -> (R, K).

    Parameters
    ----------
    network : nn.Module
    matrix, shift : sparse (E, Z) or ndarray (Z,), ndarray (Z,)
        How the network's rows come about: ``inputs @ matrix + shift``, or ``inputs * matrix + shift``.
    outputs : Outputs
    """

    matrix: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, matrix: Any, shift: np.ndarray, outputs: Outputs) -> None:
        super().__init__()
        self.network, self.outputs = network, outputs
        self.dtype = next(iter(network.parameters())).dtype
        self.scales = matrix.ndim == 1
        for name, values in (("matrix", matrix if self.scales else matrix.toarray()), ("shift", shift)):
            self.register_buffer(name, torch.from_numpy(np.array(values)))

    def forward(self, E: Tensor) -> Tensor:
        Z = torch.addcmul(self.shift, E, self.matrix) if self.scales else E @ self.matrix + self.shift
        return self.outputs.of(self.network(Z.to(self.dtype))).to(E.dtype)


@dataclass
class Differentiable:
    """A fitted model that can be explained.

    Attributes
    ----------
    fitted : FittedNetwork
    outputs : Outputs
    device : torch.device
    follow : callable
        From rows as the user has them to `Traced` columns as the network reads them, with inputs in the same order.
    used : ndarray (E,)
        Which of the inputs the network reads.
    matrix, shift : sparse (E, Z) or ndarray (Z,), ndarray (Z,)
        What it reads of them: ``inputs @ matrix + shift``, or ``inputs * matrix + shift``.
    n_columns : int
        Columns of X.
    sources : ndarray (E,)
        Of each input the column of X that it comes from.
    own : ndarray (E,) of bool
        Whether an input is the number in its column.
    zeros : ndarray (E,), or None where they are not known
        The inputs of the row of zeros of the network.
    """

    fitted: FittedNetwork
    outputs: Outputs
    device: torch.device
    follow: Callable[[Any], Traced]
    used: np.ndarray
    matrix: Any
    shift: np.ndarray
    n_columns: int
    sources: np.ndarray
    own: np.ndarray
    zeros: np.ndarray | None

    @property
    def dtype(self) -> torch.dtype:
        """In what is computed before the network: MPS has no float64."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    @cached_property
    def function(self) -> Function:
        """The model as a function that torch differentiates."""
        module = torch_module(self.fitted)
        if self.fitted.encodes:
            _soften(module.raw)
        function = Function(module.raw if self.outputs.raw else module, self.matrix, self.shift, self.outputs)
        function = function.requires_grad_(False).to(self.device)
        return function.float() if self.device.type == "mps" else function

    @cached_property
    def one_layer(self) -> OneLayer | None:
        """The model in closed form, where it has one."""
        return one_layer(self.fitted, self.outputs, self.matrix, self.shift, self.dtype, self.device)

    def inputs(self, X: Any) -> Tensor:
        """Return the inputs of rows (N, E)."""
        return self.inputs_of(self.follow(X))

    def inputs_of(self, columns: Traced) -> Tensor:
        """Return the inputs of rows that have been followed."""
        values = values_of([columns.inputs[i] for i in self.used])
        return torch.tensor(values, dtype=self.dtype, device=self.device)

    def by_column(self, values: np.ndarray) -> np.ndarray:
        """Add up what the inputs of each column have: (N, E, ...) -> (N, C, ...)."""
        if np.array_equal(self.sources, np.arange(self.n_columns)):
            return values
        result = np.zeros((self.n_columns, len(values), *values.shape[2:]))
        np.add.at(result, self.sources, np.moveaxis(values, 1, 0))
        return np.moveaxis(result, 0, 1)


def differentiable(estimator: Any, X: Any, response_method: str, target: Any) -> tuple[Differentiable, Tensor]:
    """Return a fitted estimator or Pipeline as a function, and the inputs of some rows (N, E)."""
    whole = getattr(estimator, "best_estimator_", estimator)
    network = whole.steps[-1][1] if isinstance(whole, Pipeline) else whole
    if not isinstance(network, NetworkEstimator):
        raise TypeError(
            "The 'estimator' to explain must be a fitted estimator of this package, or a Pipeline that ends with one. "
            f"Got {estimator!r:.200} instead."
        )
    network._check_fitted()

    def follow(X: Any) -> Traced:
        return _read_by_network(network, _through_steps(whole, X))

    columns, fitted = follow(X), fitted_network(network)
    used, matrix = columns.in_use()
    inputs = [columns.inputs[i] for i in used]
    model = Differentiable(
        fitted,
        chosen_outputs(fitted, response_method, target),
        device_for_prediction(network.device, network._dtype),
        follow,
        used,
        matrix,
        columns.shift,
        n_columns=X.shape[1],
        sources=np.array([each.source for each in inputs]),
        own=np.array([each.own for each in inputs]),
        zeros=_zeros(network, matrix, columns.shift),
    )
    return model, model.inputs_of(columns)


def _through_steps(model: Any, X: Any) -> Traced:
    columns = begun(X)
    if isinstance(model, Pipeline):
        for _, step in model.steps[:-1]:
            columns = traced(step, columns)
    return columns


def _read_by_network(network: Any, columns: Traced) -> Traced:
    """Let the network's estimator check rows, and follow what it makes of them itself."""
    X, encoding = columns.X, getattr(network, "encoding_", None)
    if len(getattr(network, "input_shape_", ())) > 1:
        X = X.reshape(len(X), *network.input_shape_)
    rows = rows_as_read(network, X)
    if isinstance(encoding, TableEncoding):
        return columns.replaced(*_spread_codes(rows, encoding))
    if encoding is not None:  # sparse rows, scaled
        columns = columns.mapped(columns.X, 1 / encoding.largest, np.zeros(rows.shape[1]))
    used, matrix = columns.in_use()
    inputs, shift = values_of([columns.inputs[i] for i in used]), columns.shift
    exact = 1e-5 * (times(np.abs(inputs), abs(matrix)) + np.abs(shift))  # rows may be float32
    if not (np.abs(times(inputs, matrix) + shift - dense(rows)) <= exact).all():
        raise ValueError(
            "A step before the network does something else than its kind of step is known for. Pass the last step of "
            "the Pipeline, and the rows that it reads, ``pipeline[:-1].transform(X)``."
        )
    return columns


def _spread_codes(rows: np.ndarray, encoding: TableEncoding) -> tuple[np.ndarray, list[int]]:
    """Return encoded rows with zeros and ones in the place of each code, and the column that each comes from."""
    n_codes, sources = encoding.layout.n_codes, encoding.sources()
    spread = [(rows[:, [i]] == np.arange(n)).astype(float) for i, n in enumerate(n_codes)]
    of_codes = np.repeat(sources[: len(n_codes)], n_codes).tolist() if n_codes else []
    return np.hstack([*spread, rows[:, len(n_codes) :]]), [*map(int, of_codes), *sources[len(n_codes) :]]


def _soften(raw: nn.Module) -> None:
    """Let each member of a network for tables read shares of categories."""
    for member in raw.members if isinstance(raw, Mean | Pooled) else [raw]:
        assert isinstance(member, nn.Sequential)
        front = member[0]
        if isinstance(front, LayerModule) and isinstance(front.layer, Columns):
            member[0] = SoftColumns(front.layer, dict(front.tensors.items()))


def _zeros(network: Any, matrix: Any, shift: np.ndarray) -> np.ndarray | None:
    """Return inputs of which the network reads zeros, where each of its features is one scaled input.

    Of a table the inputs are medians, and of categories the code of what is not known.
    """
    if isinstance(encoding := getattr(network, "encoding_", None), TableEncoding):
        layout = encoding.layout
        codes = [np.eye(1, n)[0] for n in layout.n_codes]
        numbers = np.full(layout.n_numbers, 0.5 if encoding.bins else 0.0)
        return np.concatenate([*codes, numbers, np.zeros(layout.n_flags)])
    return -shift / matrix if matrix.ndim == 1 else None
