"""How things are timed: in turn, on a fixed number of threads, and what comes of it as a table."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy
import sklearn
import torch
from threadpoolctl import threadpool_limits


@dataclass(frozen=True)
class Row:
    """One contender: the seconds of its repeats, by how much we want to be faster, and the result it came to.

    What was measured on a part of the task is multiplied by `scale`.
    """

    name: str
    seconds: list[float]
    wanted: float | None = None
    result: float | None = None
    scale: float = 1.0

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
    """

    title: str
    count: int
    unit: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    judged_by: str = "loss"
    shows_first: bool = False

    def ratio(self, row: Row) -> float:
        """Return the time of a contender over ours."""
        return row.median / self.rows[0].median

    def __str__(self) -> str:
        first = f"{'first':>12}" if self.shows_first else ""
        times = f"{'seconds':>12}{first}{'us/' + self.unit:>12}"
        head = f"  {'':{self._width}}{times}{self.judged_by:>9}{'other/ours':>12}{'wanted':>10}"
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
        times = f"{seconds:>12}{per_unit:>12.4g}"
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


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    facts = {
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": numpy.__version__,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def processor() -> str:
    """Return the name of the processor."""
    names = (line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def has_amx() -> bool:
    """Return whether the processor multiplies bfloat16 matrices in hardware tiles."""
    return any("amx_bf16" in line.split() for line in cpuinfo() if line.startswith("flags"))


def cpuinfo() -> list[str]:
    """Return what Linux says about the processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
