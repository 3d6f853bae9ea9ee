"""Gradients that a step puts side by side: a program computes them right into the tensor they are gathered in.

Legend: M members, P parameters of one member.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from skbig.engine.line import Line, Value
from skbig.engine.program import VIEWS, Program

_aten = torch.ops.aten


def gather_gradients(program: Program, result: Tensor) -> None:
    """Turn ``cat([view(mm(...)), ...])`` into ``mm(..., out=slice)``: one pass over the gradients less.

    What others read, too, or change, is copied there when the `cat` would do so.
    """
    makers = {made: line for line in program.lines for made in line.made()}
    n_readers = program.n_readers(result)
    cats = _gathering_cats(program, makers)
    within_others = {source for sources in cats.values() for source in sources}
    for line, sources in cats.items():
        joined = line.results[0]
        if joined is None or joined in within_others or not _all_plain(sources, makers):
            continue
        joined.tensor, joined.constant = torch.empty_like(joined.tensor), True
        program.buffers.append(joined)
        alone = [_origin(p, makers).anew and _is_read_once(p, makers, n_readers) for p in line.arguments[0]]
        _write_into(program, joined, sources, alone, line, makers)
        program.lines.remove(line)


def _gathering_cats(program: Program, makers: dict[Value, Line]) -> dict[Line, list[Value]]:
    """Return the lines that may put gradients side by side, and of each what it puts there."""
    cats = [line for line in program.lines if line.operation is _aten.cat.default]
    sources = {line: [_origin(part, makers) for part in line.arguments[0]] for line in cats}
    forms = {line: [id(value.tensor) for value in [*line.made(), *parts]] for line, parts in sources.items()}
    stay = [line for line in cats if program.turned.isdisjoint(forms[line])]
    return {line: sources[line] for line in stay if _is_gathered(line, sources[line])}


def _write_into(
    program: Program, buffer: Value, sources: list[Value], alone: list[bool], cat: Line, makers: dict[Value, Line]
) -> None:
    start = 0
    for source, is_alone in zip(sources, alone, strict=True):
        shape, size = source.tensor.shape, source.tensor.numel() // len(buffer.tensor)
        place = program.constant(buffer.tensor.narrow(2, start, size).view(shape))
        program.gradients.add(place)
        maker = makers[source]
        if not is_alone:
            program.lines.insert(program.lines.index(cat), Line(_aten.copy_.default, (place, source), {}, [None]))
        elif maker.operation in _COPIES:
            maker.operation, maker.arguments = _aten.copy_.default, (place, maker.arguments[0])
            maker.keywords, source.tensor, source.constant = {}, place.tensor, True
        elif maker.operation in _WITH_OUT:
            maker.operation = _WITH_OUT[maker.operation]
            maker.keywords = {**maker.keywords, "out": place}
            source.tensor, source.constant = place.tensor, True
        else:
            copy = Line(_aten.copy_.default, (place, source), {}, [None])
            program.lines.insert(program.lines.index(maker) + 1, copy)
        start += size


def _origin(value: Value, makers: dict[Value, Line]) -> Value:
    while value in makers and makers[value].operation in VIEWS:
        value = makers[value].arguments[0]
    return value


def _is_read_once(value: Value, makers: dict[Value, Line], n_readers: Counter[Value]) -> bool:
    """Whether nobody else reads a value, nor what it is a view of."""
    if n_readers[value] > 1:
        return False
    is_view = value in makers and makers[value].operation in VIEWS
    return not is_view or _is_read_once(makers[value].arguments[0], makers, n_readers)


def _is_gathered(cat: Line, sources: list[Value]) -> bool:
    """Whether a `cat` puts gradients (M, 1, P) of one dtype side by side, each of all members."""
    joined = cat.made()[0].tensor
    if joined.dim() != 3 or joined.shape[1] != 1 or cat.arguments[1:] not in ((-1,), (2,)):
        return False
    alike = all(source.tensor.dtype == joined.dtype for source in sources)
    return alike and (len(joined) == 1 or all(len(source.tensor) == len(joined) for source in sources))


def _all_plain(sources: list[Value], makers: dict[Value, Line]) -> bool:
    """Whether each part is made by its own line, into memory of its own."""
    own = len(set(sources)) == len(sources)
    return own and all(s in makers and s.tensor.is_contiguous() and not makers[s].changes_input for s in sources)


_COPIES = (_aten.clone.default, _aten._to_copy.default)
_WITH_OUT = {
    _aten.mm.default: _aten.mm.out,
    _aten.bmm.default: _aten.bmm.out,
    _aten.sum.dim_IntList: _aten.sum.IntList_out,
}
