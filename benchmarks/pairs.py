"""Rows of one figure each: ours, that of a peer, their ratio, and what is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.options import Options
from benchmarks.timing import in_turn

SECONDS_A_ROW = 2.0
MAX_REPEATS = 200
WORSE_LOSS = 1e-3
"""By which share of the peer's, or of one, ours may be above it and count as no worse."""

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}


@dataclass(frozen=True)
class Pair:
    """One row: seconds of ours and of a peer.

    Attributes
    ----------
    name : str
    ours : list of float
        Seconds of the repeats, or, of what is no time, the figures.
    peer : list of float
        Those of the peer; empty where ours is held to a number alone.
    peer_name : str
    wanted : float or None
        How many times longer than ours the peer should take.
    limit : float or None
        What ours may be at most, whatever others are.
    losses : tuple of float, or None
        Where ours and the peer came to: no better time counts at a worse loss.
    note : str
    is_time : bool
        Whether the figures are seconds.
    """

    name: str
    ours: list[float]
    peer: list[float] = field(default_factory=list)
    peer_name: str = ""
    wanted: float | None = None
    limit: float | None = None
    losses: tuple[float, float] | None = None
    note: str = ""
    is_time: bool = True

    @property
    def ratio(self) -> float | None:
        """The peer's over ours."""
        return median(self.peer) / median(self.ours) if self.peer else None

    @property
    def is_met(self) -> bool | None:
        """Whether the row is as it should be; None where nothing is wanted."""
        if self.wanted is None and self.limit is None:
            return None
        fast = self.wanted is None or (self.ratio is not None and self.ratio >= self.wanted)
        small = self.limit is None or median(self.ours) <= self.limit
        return fast and small and self.is_no_worse

    @property
    def is_no_worse(self) -> bool:
        if self.losses is None:
            return True
        ours, peer = self.losses
        return ours <= peer + WORSE_LOSS * max(1.0, peer)

    def cells(self) -> tuple[str, ...]:
        """Return the row in words, one for each column."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        bounds = [] if self.wanted is None else [f">= {self.wanted:.3g}"]
        bounds += [] if self.limit is None else [f"<= {self._word(self.limit)}"]
        verdict = {None: "", True: "ok", False: "short"}[self.is_met]
        worse = "" if self.losses is None else f"loss {self.losses[0]:.4g} / {self.losses[1]:.4g}"
        peer = self._word(median(self.peer)) if self.peer else ""
        notes = ", ".join(filter(None, (worse, self.note)))
        return self.name, self._word(median(self.ours)), peer, self.peer_name, ratio, " ".join(bounds), verdict, notes

    def _word(self, figure: float) -> str:
        if not self.is_time:
            return f"{figure:.3g}"
        unit = "s" if figure >= 1 else "ms" if figure >= 1e-3 else "us"
        return f"{UNITS[unit] * figure:.3g} {unit}"


@dataclass(frozen=True)
class PairTable:
    """Rows of one kind."""

    title: str
    rows: list[Pair]

    def __str__(self) -> str:
        head = ("", "ours", "peer", "", "peer/ours", "wanted", "", "")
        cells = [head, *(row.cells() for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        right = {1, 2, 4, 5}
        lines = [
            "  ".join(
                cell.rjust(width) if column in right else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        return "\n".join([self.title, *(f"  {line}".rstrip() for line in lines)])

    def as_dict(self) -> dict[str, Any]:
        """Return everything that was measured, raw."""
        return {"title": self.title, "rows": [asdict(row) for row in self.rows]}


MakeRow = Callable[[Options], Pair]


@dataclass(frozen=True)
class PairSection:
    """Rows that are measured one by one, and can be asked for one by one: ``--only section/row``."""

    title: str
    rows: dict[str, MakeRow]

    def measure(self, options: Options, names: list[str] | None = None) -> PairTable:
        return PairTable(self.title, [self.rows[name](options) for name in names or self.rows])


def timed_pair(
    name: str,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    peer_name: str,
    options: Options,
    *,
    wanted: float | None = None,
    n_units: int = 1,
    n_peer_units: int | None = None,
    compares_losses: bool = False,
    note: str = "",
) -> Pair:
    """Time two ways of doing something, in turn, after each has been run once.

    Short ones are repeated for about two seconds. Seconds are those of one of `n_units`, of which the peer's run may
    have another number. What a run returns is its loss where losses are compared.
    """
    start = perf_counter()
    ours(), peer()
    once = perf_counter() - start
    repeats = 1 if options.quick else max(options.repeats, min(MAX_REPEATS, math.ceil(SECONDS_A_ROW / once)))
    timed = in_turn({"ours": ours, "peer": peer}, repeats, collect=once > 0.1)
    (our_seconds, our_loss), (peer_seconds, peer_loss) = timed["ours"], timed["peer"]
    return Pair(
        name,
        [seconds / n_units for seconds in our_seconds],
        [seconds / (n_peer_units or n_units) for seconds in peer_seconds],
        peer_name,
        wanted,
        losses=(float(our_loss), float(peer_loss)) if compares_losses else None,
        note=note,
    )
