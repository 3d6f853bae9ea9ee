"""How things are timed: in turn, on a fixed number of threads, and what comes of it as a table."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from benchmarks.environment import Limits


@dataclass(frozen=True)
class Row:
    """One contender: the seconds of its repeats, by how much we want to be faster, and the result it came to.

    What was measured on a part of the task is multiplied by `scale`. Products `in_bf16` have a limit of their own.
    """

    name: str
    seconds: list[float]
    wanted: float | None = None
    result: float | None = None
    scale: float = 1.0
    in_bf16: bool = False

    @property
    def median(self) -> float:
        return self.scale * median(self.seconds)


@dataclass(frozen=True)
class Table:
    """Contenders at one task; the first row is ours.

    Attributes
    ----------
    title : str
    count, unit : int, str
        How many of what (steps, rows) one repeat went through.
    rows : list of Row
    notes : list of str
    judged_by : str
        What the results are.
    shows_first : bool
        Whether the first repeat has a column of its own.
    flops : float or None
        The floating point operations in the products of one repeat.
    limits : Limits or None
        How many of them the machine does at most in a second; with both, each row tells which share it reaches.
    """

    title: str
    count: int
    unit: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    judged_by: str = "loss"
    shows_first: bool = False
    flops: float | None = None
    limits: Limits | None = None

    def ratio(self, row: Row) -> float:
        """Return the time of a contender over ours."""
        return row.median / self.rows[0].median

    def share(self, row: Row) -> float | None:
        """Return which share of what the machine does at most a contender reaches."""
        if self.flops is None or self.limits is None:
            return None
        return self.flops / row.median / (self.limits.bf16 if row.in_bf16 else self.limits.float32)

    def __str__(self) -> str:
        first = f"{'first':>12}" if self.shows_first else ""
        times = f"{'seconds':>12}{first}{'us/' + self.unit:>12}"
        share = f"{'of most':>9}" if self.share(self.rows[0]) is not None else ""
        head = f"  {'':{self._width}}{times}{share}{self.judged_by:>9}{'other/ours':>12}{'wanted':>10}"
        lines = [self.title, head, *(self._line(row) for row in self.rows), *(f"  {note}" for note in self.notes)]
        return "\n".join(line.rstrip() for line in lines)

    def _line(self, row: Row) -> str:
        seconds = f"{'' if row.scale == 1 else '~'}{row.median:.4g}"
        if self.shows_first:
            seconds = f"{seconds:>12}{f'{row.seconds[0]:.4g}' if row.scale == 1 else '':>12}"
        result = "" if row.result is None else f"{row.result:.4f}"
        ratio = "" if row is self.rows[0] else f"{self.ratio(row):.2f}"
        wanted = "" if row.wanted is None else f">= {row.wanted:.3g}"
        verdict = "" if row.wanted is None else ("ok" if self.ratio(row) >= row.wanted else "short")
        per_unit = 1e6 * row.median / self.count
        share = self.share(row)
        times = f"{seconds:>12}{per_unit:>12.4g}{'' if share is None else f'{share:>9.1%}'}"
        return f"  {row.name:{self._width}}{times}{result:>9}{ratio:>12}{wanted:>10}  {verdict}"

    @property
    def _width(self) -> int:
        return max(22, *(len(row.name) for row in self.rows))

    def as_dict(self) -> dict[str, Any]:
        """Return everything that was measured, raw."""
        return asdict(self)


def in_turn(
    contenders: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    collect: bool = True,
    before_first: Callable[[str], object] | None = None,
    before_each: Callable[[str], object] | None = None,
) -> dict[str, tuple[list[float], Any]]:
    """Run all contenders one after the other, `repeats` times over: a slow minute of the machine is slow for all.

    Returns the seconds and the last result of each. With `collect`, garbage that others left is collected before a run.
    `before_first` gets the name of a contender before its first run, `before_each` before every run; neither is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, Any] = {}
    for i in range(repeats):
        for name, run in contenders.items():
            if i == 0 and before_first is not None:
                before_first(name)
            if collect:
                gc.collect()
            if before_each is not None:
                before_each(name)
            start = time.perf_counter()
            results[name] = run()
            seconds[name].append(time.perf_counter() - start)
    return {name: (seconds[name], results[name]) for name in contenders}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give torch, and NumPy's BLAS, so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
