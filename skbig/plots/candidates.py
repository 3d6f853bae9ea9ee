"""What a search tried, and how it went: the rows of `cv_results_` as candidates, over the rungs of a halving search.

Legend of shapes: a row is one candidate at one rung; without halving there is one rung, and a row is a candidate.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from skbig.plots.values import NOT_SET, Levels, identity, shorten

MOST_GROUPS = 5


@dataclass(frozen=True, eq=False)
class Candidates:
    """The rows of a search, each with its parameters, its scores, its rung and the resources it was given."""

    params: Sequence[Mapping[str, Any]]
    mean: np.ndarray
    std: np.ndarray
    rung: np.ndarray
    resources: np.ndarray | None

    @functools.cached_property
    def names(self) -> list[str]:
        """Everything that was searched, in the order of the grids."""
        return list(dict.fromkeys(name for params in self.params for name in params))

    @functools.cached_property
    def resource(self) -> str | None:
        """The parameter that the rungs raise, which is none of the candidate's own."""
        if self.resources is None:
            return None
        given = [identity(amount) for amount in self.resources]
        names = [name for name in self.names if [identity(params.get(name)) for params in self.params] == given]
        return names[0] if names else None

    @functools.cached_property
    def paths(self) -> list[np.ndarray]:
        """The rows of each candidate, from rung to rung."""
        own = [name for name in self.names if name != self.resource]
        seen: Counter[Any] = Counter()
        paths: dict[Any, list[int]] = {}
        for row in np.argsort(self.rung, kind="stable"):
            key = tuple(identity(self.params[row].get(name, NOT_SET)) for name in own)
            again = (self.rung[row], key)
            # Two candidates may be equal: within a rung they are told apart by their order.
            paths.setdefault((key, seen[again]), []).append(int(row))
            seen[again] += 1
        return [np.array(rows) for rows in paths.values()]

    @functools.cached_property
    def last(self) -> np.ndarray:
        """The last row of each candidate."""
        return np.array([rows[-1] for rows in self.paths], dtype=int)

    @functools.cached_property
    def rows(self) -> list[int]:
        """All of them."""
        return list(range(len(self.params)))

    @functools.cached_property
    def varied(self) -> list[str]:
        """The parameters of which more than one value was tried, without the resource."""
        own = [name for name in self.names if name != self.resource]
        return [name for name in own if len(self.levels(name).values) > 1]

    def levels(self, name: str) -> Levels:
        """Return the values of a parameter; the index is that of the last rows."""
        return Levels.of([self.params[row].get(name, NOT_SET) for row in self.last])

    def best(self, rows: Iterable[int]) -> int | None:
        """Return the row of the highest score among those that went furthest, the first of equals."""
        scored = [row for row in rows if np.isfinite(self.mean[row])]
        return max(scored, key=lambda row: (self.rung[row], self.mean[row]), default=None)

    def cells(self, names: Sequence[str]) -> dict[tuple[int, ...], int | None]:
        """Return for each combination of values that was tried the row of its best, or None where all failed.

        The key is the index of each value among the levels of its parameter.
        """
        indices = zip(*(self.levels(name).index.tolist() for name in names), strict=True)
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, key in zip(self.last.tolist(), indices, strict=True):
            rows.setdefault(key, []).append(row)
        return {key: self.best(each) for key, each in rows.items()}

    def most_important(self, count: int) -> list[str]:
        """Return the parameters that the score depends on most, one after the other, the earlier of equals first.

        The score is that of the first rung, at which all candidates are given the same. It counts by its rank, so that
        a candidate that diverged or failed is just the last.
        """
        first = np.array([rows[0] for rows in self.paths], dtype=int)
        unexplained = rankdata(np.where(np.isfinite(self.mean[first]), self.mean[first], -np.inf))
        groups = {name: _groups(self.levels(name)) for name in self.varied or self.names}
        chosen: list[str] = []
        while groups and len(chosen) < count:
            name = max(groups, key=lambda name: _explained(unexplained, groups[name]))
            chosen.append(name)
            unexplained = unexplained - _means(unexplained, groups.pop(name))
        return chosen

    def lowest_shown(self, rows: Sequence[int]) -> float | None:
        """Return the score at which the scale of a picture of some rows begins, or None for the worst of them.

        A candidate that diverged must not press all others into one colour, so the lowest quarter of the scores is
        given at most three quarters of the scale.
        """
        scores = self.mean[list(rows)]
        scores = scores[np.isfinite(scores)]
        if not len(scores):
            return None
        quarter = np.quantile(scores, 0.25)
        lowest = float(quarter - 3 * (scores.max() - quarter))
        return lowest if scores.min() < lowest < scores.max() else None

    def at_edge(self) -> list[tuple[str, str]]:
        """Return the numbers of the best candidate beyond which nothing was tried: names, and "smallest" or "largest".

        Of a number with two values one is always the best, and zero is the end of most scales. Where no value repeats
        in a search over several parameters, as in one that draws them, there is no grid with an edge.
        """
        best = self.best(self.last)
        if best is None:
            return []
        found = []
        for name in self.varied:
            levels = self.levels(name)
            drawn = len(levels.values) == len(self.last) and len(self.varied) > 1
            if not levels.numeric or len(levels.values) < 3 or drawn:
                continue
            value = self.params[best][name]
            if value == levels.values[-1]:
                found.append((name, "largest"))
            elif value == levels.values[0] != 0:
                found.append((name, "smallest"))
        return found

    def n_failed(self) -> int:
        """Return how many candidates have no score where they were scored last."""
        return int((~np.isfinite(self.mean[self.last])).sum())

    def describe(self, row: int, names: Sequence[str]) -> str:
        """Return what a candidate is, in one line."""
        params = self.params[row]
        short = self.short_names()
        return ", ".join(f"{short[name]}={shorten(params[name])}" for name in names if name in params)

    def short_names(self) -> dict[str, str]:
        """Return for each parameter its shortest ending that no other has."""
        endings = {name: _endings(name) for name in self.names}
        counts = Counter(ending for each in endings.values() for ending in each)
        return {name: next(e for e in each if counts[e] == 1 or e == name) for name, each in endings.items()}


def _endings(name: str) -> list[str]:
    """Return the endings of `a__b__c`: c, b__c, and all of it."""
    parts = name.split("__")
    return ["__".join(parts[start:]) for start in reversed(range(len(parts)))]


def _groups(levels: Levels) -> np.ndarray:
    """Return a group for each candidate: its value, or the fifth that its number lies in."""
    if not levels.numeric or len(levels.values) <= MOST_GROUPS:
        return levels.index
    edges = np.quantile(levels.index, np.arange(1, MOST_GROUPS) / MOST_GROUPS)
    return np.searchsorted(edges, levels.index)


def _explained(values: np.ndarray, groups: np.ndarray) -> float:
    """Return which share of the variance groups explain, beyond what chance would: epsilon squared."""
    total = float(((values - values.mean()) ** 2).sum())
    count = len(np.unique(groups))
    if not total or count == len(values):  # groups of one explain all, by chance
        return 0.0
    within = float(((values - _means(values, groups)) ** 2).sum())
    return (total - within - (count - 1) * within / (len(values) - count)) / total


def _means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return for each value the mean of its group."""
    return np.bincount(groups, values)[groups] / np.bincount(groups)[groups]
