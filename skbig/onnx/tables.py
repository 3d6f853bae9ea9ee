"""What a table of raw columns becomes, as nodes: codes of categories, places of numbers, flags of missing ones.

All is computed in float64, as the estimator does, and handed to the network in the dtype of the graph.

Legend: N rows, C columns of numbers, K knots of a column, S segments between them, F features, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from skbig.exceptions import ExportError
from skbig.onnx.graph import Graph
from skbig.tables.categories import Categories
from skbig.tables.encoding import TableEncoding
from skbig.tables.numbers import CLIP, Numbers
from skbig.tables.sparse_columns import SparseEncoding

EXACT = 2**53
"""Whole numbers below are exact in float64."""


@dataclass(frozen=True)
class Input:
    """An input of a graph.

    Attributes
    ----------
    name : str
        Of the value.
    label : str
        What the user called it.
    kind : {'text', 'whole', 'bool', 'float32', 'float64'}
        What it holds.
    width : int
        How many columns.
    """

    name: str
    label: str
    kind: str
    width: int


def encoded_table(graph: Graph, encoding: TableEncoding | SparseEncoding, inputs: Sequence[Input]) -> str:
    """Add what an estimator makes of the columns of a table: (N, F), in the dtype of the graph."""
    if isinstance(encoding, SparseEncoding):
        columns = InputColumns(graph, inputs, None, len(encoding.largest))
        numbers = columns.numbers(range(len(encoding.largest)))
        return graph.cast(graph.node("Div", numbers, graph.constant(encoding.largest, np.float64)), graph.dtype)
    columns = InputColumns(graph, inputs, encoding.names, encoding.n_columns)
    categories, numbers_, flags = encoding.parts
    features = [graph.cast(_codes(graph, levels, *columns.one(place)), graph.dtype) for place, levels in categories]
    if numbers_:
        values = columns.numbers([place for place, _ in numbers_])
        make = _placed if encoding.bins else _scaled
        features.append(graph.cast(make(graph, values, [column for _, column in numbers_]), graph.dtype))
    if flags:
        missing = graph.node("IsNaN", columns.numbers([place for place, _ in flags]))
        features.append(graph.cast(missing, graph.dtype))
    return features[0] if len(features) == 1 else str(graph.node("Concat", *features, axis=-1))


class InputColumns:
    """The columns of a table among the inputs of a graph: by their names, if each has an input of its own."""

    def __init__(self, graph: Graph, inputs: Sequence[Input], names: Sequence[str] | None, n_columns: int) -> None:
        self._graph, self._inputs = graph, inputs
        labels = [each.label for each in inputs]
        if names is not None and sorted(labels) == sorted(names):
            self._places = [(inputs[labels.index(name)], 0) for name in names]
        else:
            self._places = [(each, i) for each in inputs for i in range(each.width)]
        if len(self._places) != n_columns:
            raise ExportError(f"The graph has {len(self._places)} columns in its inputs, and the model {n_columns}.")

    def one(self, place: int) -> tuple[str, str]:
        """Return a column, (N, 1), and what it holds."""
        source, at = self._places[place]
        if source.width == 1:
            return source.name, source.kind
        return str(self._graph.node("Gather", source.name, self._graph.constant([at], np.int64), axis=1)), source.kind

    def numbers(self, places: Sequence[int]) -> str:
        """Return some columns side by side as numbers, (N, C)."""
        graph = self._graph
        if len(self._inputs) == 1:
            chosen = graph.node("Gather", self._inputs[0].name, graph.constant(list(places), np.int64), axis=1)
            return graph.cast(chosen, np.float64)
        columns = [graph.cast(self.one(place)[0], np.float64) for place in places]
        return columns[0] if len(columns) == 1 else str(graph.node("Concat", *columns, axis=1))


# Numbers.


def _filled(graph: Graph, values: str, columns: Sequence[Numbers]) -> str:
    fill = graph.constant([column.fill for column in columns], np.float64)
    return str(graph.node("Where", graph.node("IsNaN", values), fill, values))


def _scaled(graph: Graph, values: str, columns: Sequence[Numbers]) -> str:
    """Add ``z / sqrt(1 + (z / 3)^2)`` of the scaled numbers z."""
    centre, scale = (
        graph.constant([getattr(column, name) for column in columns], np.float64) for name in ("centre", "scale")
    )
    z = graph.node("Div", graph.node("Sub", _filled(graph, values, columns), centre), scale)
    share = graph.node("Div", z, graph.constant(CLIP, np.float64))
    square = graph.node("Add", graph.node("Mul", share, share), graph.constant(1.0, np.float64))
    return str(graph.node("Div", z, graph.node("Sqrt", square)))


def _placed(graph: Graph, values: str, columns: Sequence[Numbers]) -> str:
    """Add the place of each number among the knots of its column: linear between two of them."""

    def of_segments(lists: Sequence[np.ndarray]) -> str:
        """Return a number for each segment, those of one column after those of another."""
        padded = np.zeros((len(lists), size))
        for row, numbers in zip(padded, lists, strict=True):
            row[: len(numbers)] = numbers
        return graph.constant(padded.ravel(), np.float64)

    size = 2 ** max(math.ceil(math.log2(max(len(column.knots) - 1, 1))) for column in columns)
    first, last = (graph.constant([column.knots[end] for column in columns], np.float64) for end in (0, -1))
    value = graph.node("Min", graph.node("Max", _filled(graph, values, columns), first), last)
    segment = _segments(graph, value, columns, size)
    knots = of_segments([column.knots[: max(len(column.knots) - 1, 1)] for column in columns])
    places = of_segments([column.places[: max(len(column.places) - 1, 1)] for column in columns])
    slopes = of_segments([np.diff(column.places) / np.diff(column.knots) for column in columns])
    begin, knot, slope = (graph.node("Gather", table, segment, axis=0) for table in (places, knots, slopes))
    return str(graph.node("Add", begin, graph.node("Mul", slope, graph.node("Sub", value, knot))))


def _segments(graph: Graph, value: str, columns: Sequence[Numbers], size: int) -> str:
    """Add a bisection: the segment of each number among those of all columns, of which each has `size`, (N, C)."""
    begins = np.full((len(columns), size), np.inf)
    for row, column in zip(begins, columns, strict=True):
        row[1 : len(column.knots) - 1] = column.knots[1:-1]
    table = graph.constant(begins.ravel(), np.float64)
    segment, step = graph.constant(np.arange(len(columns)) * size, np.int64), size // 2
    while step:
        further = graph.node("Add", segment, graph.constant(step, np.int64))
        reached = graph.node("LessOrEqual", graph.node("Gather", table, further, axis=0), value)
        segment, step = graph.node("Where", reached, further, segment), step // 2
    return segment


# Categories.


def _codes(graph: Graph, column: Categories, values: str, kind: str) -> str:
    """Add the code of each level, and 0 for one that is not known: (N, 1) of int64."""
    codes = {level: code for code, level in enumerate(column.levels, 1)}
    missing = codes.pop(None, 0)
    if kind == "text":
        return _looked_up(graph, values, {"": missing} | _by_text(codes), "strings")
    numbers: dict[Any, int] = {level: code for level, code in codes.items() if isinstance(level, Real)}
    if kind in ("whole", "bool"):
        whole = {int(level): code for level, code in numbers.items() if _is_whole(level)}
        return _looked_up(graph, graph.cast(values, np.int64), whole)
    unknown = graph.node("IsNaN", values)
    if all(_is_whole(level) and abs(level) < EXACT for level in numbers):
        found = _codes_of_whole(graph, graph.cast(values, np.float64), unknown, numbers)
    else:
        found = _codes_of_real(graph, values, kind, numbers)
    return str(graph.node("Where", unknown, graph.constant(missing, np.int64), found))


def _is_whole(level: Any) -> bool:
    return float(level).is_integer()


def _by_text(codes: dict[Any, int]) -> dict[str, int]:
    texts = {str(level): code for level, code in codes.items()}
    if len(texts) < len(codes):
        twice = next(level for level, code in codes.items() if texts[str(level)] != code)
        raise ExportError(
            f"A column of categories has {str(twice)!r} as a text and as a number: a graph has texts only."
        )
    return texts


def _looked_up(graph: Graph, values: str, codes: dict[Any, int], keys: str = "int64s") -> str:
    if not codes:
        return str(graph.node("Mul", values, graph.constant(0, np.int64)))
    table: dict[str, Any] = {f"keys_{keys}": list(codes), "values_int64s": list(codes.values()), "default_int64": 0}
    return str(graph.node("LabelEncoder", values, op_domain="ai.onnx.ml", op_version=2, **table))


def _codes_of_whole(graph: Graph, values: str, unknown: str, codes: dict[Any, int]) -> str:
    """Look up numbers as whole ones; the others have no code."""
    bounds = (graph.constant(end, np.float64) for end in (-EXACT, EXACT))
    within = graph.node("Where", unknown, graph.constant(0.0, np.float64), values)
    within = graph.node("Clip", within, *bounds)
    found = _looked_up(graph, graph.cast(within, np.int64), {int(level): code for level, code in codes.items()})
    is_whole = graph.node("Equal", graph.node("Floor", within), within)
    return str(graph.node("Where", is_whole, found, graph.constant(0, np.int64)))


def _codes_of_real(graph: Graph, values: str, kind: str, codes: dict[Any, int]) -> str:
    """Compare numbers with each level: (N, L)."""
    levels = np.array(list(codes), dtype=kind)
    if len(np.unique(levels)) < len(levels):
        raise ExportError(f"Numbers that are categories cannot be told apart in {kind}. Export with dtype='float64'.")
    hit = graph.cast(graph.node("Equal", values, graph.constant(levels, kind)), np.float64)
    code = graph.node("Mul", hit, graph.constant(list(codes.values()), np.float64))
    return graph.cast(graph.sum(code, -1, keepdims=True), np.int64)
