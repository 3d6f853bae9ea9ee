"""What a fitted network consists of: its layers, their shapes and parameters, and the memory it takes.

Legend: M members.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skbig.inference.fitted_network import FittedNetwork
from skbig.inference.torch_module import UserModule, member_module
from skbig.networks.columns import Columns
from skbig.networks.layer import Layer
from skbig.networks.modules.layer import ModuleLayer
from skbig.networks.modules.network import ModuleNetwork

LEFT_OUT = ("n_in", "n_out", "gain")
"""Fields of layers that a summary says otherwise, or that only first weights depend on."""


@dataclass(frozen=True)
class LayerSummary:
    """A line of a summary.

    Attributes
    ----------
    name : str
        Of the layer: its number, within embeddings of columns their name; of a module its name in it.
    kind : str
        Its class, with what is not as by default.
    output : tuple of int
        The shape of what it makes of a row; empty where that is not known.
    tensors : dict of tuple of int
        Shapes of its parameters and running statistics by their names, in one member.
    n_parameters, n_trained : int
        Numbers in its parameters, and those of them that training changes.
    n_statistics : int
        Numbers in its running statistics.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    tensors: dict[str, tuple[int, ...]]
    n_parameters: int
    n_trained: int
    n_statistics: int = 0


@dataclass(frozen=True, repr=False)
class NetworkSummary:
    """What `summary()` of a fitted estimator returns; as a text it is a table.

    Attributes
    ----------
    title : str
    layers : list of LayerSummary
    n_members : int
    dtype : str
        Of the weights.
    input : tuple of int
        The shape of a row as the network reads it.
    n_parameters, n_trained : int
        Numbers in the parameters of a member, and those of them that training changes.
    weights_nbytes : int
        Parameters and running statistics of all members, in bytes.
    kept_nbytes : int
        What is kept besides, so that training can go on: the state of the optimizer, and best weights.
    row_nbytes : int
        What all layers of all members hold for a row while it is predicted, at most.
    """

    title: str
    layers: list[LayerSummary]
    n_members: int
    dtype: str
    input: tuple[int, ...]
    weights_nbytes: int
    kept_nbytes: int
    row_nbytes: int

    @property
    def n_parameters(self) -> int:
        return sum(layer.n_parameters for layer in self.layers)

    @property
    def n_trained(self) -> int:
        return sum(layer.n_trained for layer in self.layers)

    def __str__(self) -> str:
        itemsize = np.dtype(self.dtype).itemsize
        rows = [
            ("layer", "", "output", "parameters", "memory", "shapes"),
            ("", "input", _shape(self.input), "", "", ""),
        ]
        rows += [
            (
                layer.name,
                textwrap.shorten(layer.kind, 60, placeholder=" ...)"),
                _shape(layer.output),
                f"{layer.n_parameters:,}",
                _size((layer.n_parameters + layer.n_statistics) * itemsize * self.n_members),
                textwrap.shorten(
                    ", ".join(f"{name} {_by(shape)}" for name, shape in layer.tensors.items()), 60, placeholder=" ..."
                ),
            )
            for layer in self.layers
        ]
        return "\n".join([self.title, "", *_table(rows), "", *self._totals()])

    __repr__ = __str__

    def _totals(self) -> Iterator[str]:
        frozen = self.n_parameters - self.n_trained
        of_members = f" in each of {self.n_members} members" if self.n_members > 1 else ""
        yield f"parameters: {self.n_parameters:,}{of_members}, {self.dtype}" + (
            f"; {frozen:,} frozen" if frozen else ""
        )
        kept = f", and {_size(self.kept_nbytes)} to train on" if self.kept_nbytes else ""
        yield f"memory: weights {_size(self.weights_nbytes)}{kept}; a row takes {_size(self.row_nbytes)}"


def network_summary(fitted: FittedNetwork, title: str, kept: Any) -> NetworkSummary:
    """Return what a fitted network consists of; `kept` holds the arrays that training goes on from."""
    network, dtype = fitted.network, fitted.dtype
    lines: Iterator[LayerSummary]
    if isinstance(network.network, ModuleNetwork):
        (layer,) = network.layers
        assert isinstance(layer, ModuleLayer)
        lines, shape = _lines_of_module(fitted, layer), layer.row_shape
    else:
        lines, shape = _lines(fitted), (network.n_features,)
    return NetworkSummary(
        title=title,
        layers=list(lines),
        n_members=fitted.n_members,
        dtype=dtype.name,
        input=shape,
        weights_nbytes=sum(array.nbytes for array in fitted.arrays.values()),
        kept_nbytes=_nbytes(kept),
        row_nbytes=network.n_units * dtype.itemsize * fitted.n_members,
    )


def _lines(fitted: FittedNetwork) -> Iterator[LayerSummary]:
    for i, layer in enumerate(fitted.network.layers):
        if isinstance(layer, Columns):
            for name, part in layer.parts:
                yield _line(f"{i}.{name}", part)
            if layer.n_left:
                yield LayerSummary(f"{i}", "passed on", (layer.n_left,), {}, 0, 0)
        else:
            yield _line(str(i), layer)


def _line(name: str, layer: Layer) -> LayerSummary:
    parameters = {own: each.shape for own, each in layer.parameters().items()}
    statistics = {own: array.shape for own, array in layer.statistics().items()}
    n_trained, n_statistics = (sum(map(math.prod, shapes.values())) for shapes in (parameters, statistics))
    return LayerSummary(
        name, _described(layer), (layer.n_units,), parameters | statistics, n_trained, n_trained, n_statistics
    )


def _described(layer: Layer) -> str:
    """Return the class of a layer, and the fields that are not as by default."""
    if not dataclasses.is_dataclass(layer):
        return type(layer).__name__
    values = [
        f"{field.name}={getattr(layer, field.name)!r}"
        for field in dataclasses.fields(layer)
        if field.name not in LEFT_OUT and field.default is not dataclasses.MISSING
        if getattr(layer, field.name) is not field.default and getattr(layer, field.name) != field.default
    ]
    return type(layer).__name__ + (f"({', '.join(values)})" if values else "")


def _lines_of_module(fitted: FittedNetwork, layer: ModuleLayer) -> Iterator[LayerSummary]:
    """Yield the parts of a user's module that hold tensors or have no parts of their own, in their order."""
    user = member_module(fitted, 0)
    assert isinstance(user, UserModule)
    outputs, known = _outputs(user, fitted, layer), set[int]()
    for name, part in user.module.named_modules():
        own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        new = {key: tensor for key, tensor in own if id(tensor) not in known}
        known |= {id(tensor) for tensor in new.values()}
        if not own and next(part.children(), None) is not None:
            continue
        full = {key: layer.first_names.get(f"{name}.{key}".lstrip("."), f"{name}.{key}".lstrip(".")) for key in new}
        sizes = {key: (tensor.numel(), isinstance(tensor, nn.Parameter)) for key, tensor in new.items()}
        yield LayerSummary(
            name or type(part).__name__,
            repr(part) if next(part.children(), None) is None else type(part).__name__,
            outputs.get(name, ()),
            {key: tuple(tensor.shape) for key, tensor in new.items()},
            sum(n for n, is_parameter in sizes.values() if is_parameter),
            sum(sizes[key][0] for key in new if full[key] in layer.declared),
            sum(n for n, is_parameter in sizes.values() if not is_parameter),
        )


def _outputs(user: UserModule, fitted: FittedNetwork, layer: ModuleLayer) -> dict[str, tuple[int, ...]]:
    """Return what each part makes of a row, by a pass of two rows of zeros."""
    network = fitted.network.network
    assert isinstance(network, ModuleNetwork)
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str, result: Any) -> None:
        if isinstance(result, Tensor):
            found[name] = tuple(result.shape[1:])

    for name, part in user.module.named_modules():
        part.register_forward_hook(lambda part, given, result, name=name: note(name, result))
    rows = np.zeros((2, *layer.row_shape), dtype=network.row_dtype or fitted.dtype)
    with torch.no_grad():
        user.eval()(torch.from_numpy(rows))
    return found


def _nbytes(kept: Any) -> int:
    """Return the bytes of all arrays in nested lists and dicts."""
    if isinstance(kept, np.ndarray):
        return kept.nbytes
    if isinstance(kept, dict):
        return sum(map(_nbytes, kept.values()))
    return sum(map(_nbytes, kept)) if isinstance(kept, list | tuple) else 0


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Put cells under each other: numbers to the right, a line below the heads."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for i, row in enumerate(rows):
        cells = [
            cell.rjust(width) if place in (3, 4) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
        if i == 0:
            yield "-" * len("  ".join(cells))


def _shape(shape: tuple[int, ...]) -> str:
    return f"(n, {', '.join(map(str, shape))})" if shape else ""


def _by(shape: tuple[int, ...]) -> str:
    """Return a shape in a word, without the axis of rows that biases have."""
    return "x".join(map(str, shape[1:] if len(shape) > 1 and shape[0] == 1 else shape)) or "1"


def _size(n_bytes: int) -> str:
    """Return a size in its unit."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log2(n_bytes) // 10), len(units) - 1) if n_bytes else 0
    return f"{n_bytes / 2 ** (10 * power):.{1 if power else 0}f} {units[power]}"
