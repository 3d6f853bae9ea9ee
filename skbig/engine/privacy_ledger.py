"""What private training has spent, and how much noise a budget asks for: by the library ``dp-accounting``.

Its guarantee: with the rows of a training and without any single one of them, the probability of an outcome is the same
up to a factor of ``exp(epsilon)`` and a remainder `delta`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from skbig._utils.extras import import_extra

PRECISION = 1e-3
"""By what part less than its budget a training may spend whose noise is computed."""


class Spent(NamedTuple):
    """Steps of one kind.

    Attributes
    ----------
    noise_multiplier : float
        Zero where no noise was added.
    sample_rate : float
        The probability with which a row is read in a step.
    n_steps : int
        All members' steps.
    """

    noise_multiplier: float
    sample_rate: float
    n_steps: int


def together(spent: Sequence[Spent]) -> tuple[Spent, ...]:
    """Return the same with steps of one kind in one place."""
    counts: dict[tuple[float, float], int] = {}
    for each in spent:
        counts[each[:2]] = counts.get(each[:2], 0) + each.n_steps
    return tuple(Spent(*kind, n) for kind, n in counts.items() if n)


def epsilon_of(spent: Sequence[Spent], delta: float, accountant: str = "pld") -> float:
    """Return what all steps on the same rows have spent.

    Raises
    ------
    ImportError
        Without ``dp-accounting``.
    """
    return _epsilon(together(spent), delta, accountant)


@lru_cache(maxsize=256)
def _epsilon(spent: tuple[Spent, ...], delta: float, accountant: str) -> float:
    if any(each.noise_multiplier == 0 for each in spent):
        return math.inf
    if not spent:
        return 0.0
    library = accounting()
    account = library.pld.PLDAccountant() if accountant == "pld" else library.rdp.RdpAccountant()
    for each in spent:
        account.compose(_event(library, each), each.n_steps)
    return float(account.get_epsilon(delta))


def _event(library: Any, spent: Spent) -> Any:
    gaussian = library.GaussianDpEvent(spent.noise_multiplier)
    return gaussian if spent.sample_rate == 1.0 else library.PoissonSampledDpEvent(spent.sample_rate, gaussian)


@lru_cache(maxsize=256)
def noise_multiplier_for(
    target_epsilon: float, delta: float, sample_rate: float, n_steps: int, accountant: str = "pld"
) -> float:
    """Return the least noise with which so many steps spend no more than `target_epsilon`, up to `PRECISION`."""

    def by(accountant: str) -> Callable[[float], float]:
        return lambda noise: epsilon_of([Spent(noise, sample_rate, n_steps)], delta, accountant)

    first = _solved(by("rdp"), target_epsilon, 1.0)  # a bound that is quick to compute
    return first if accountant == "rdp" else _solved(by("pld"), target_epsilon, first)


def _solved(epsilon: Callable[[float], float], target: float, noise: float) -> float:
    """Return noise with which a falling function comes to the target, or up to `PRECISION` below it."""
    low, high = 0.0, math.inf  # where too much is spent, and where no more than the target
    for _ in range(60):
        spent = epsilon(noise)
        if target * (1 - PRECISION) <= spent <= target:
            return noise
        low, high = (noise, high) if spent > target else (low, noise)
        step = (spent / (target * (1 - PRECISION / 2))) ** 0.8 if 0 < spent < math.inf else 2.0
        noise = noise * min(8.0, max(0.125, step))
        if not low < noise < high:
            noise = (low + high) / 2 if high < math.inf else 2 * low
    raise ValueError(
        f"No noise spends about {target:g}: a training may spend too little, or too much. Change target_epsilon."
    )


def accounting() -> Any:
    """Return the library that adds up; with an ImportError that says how to get it, where it is not installed."""
    names = ("dp_accounting.pld", "dp_accounting.rdp", "dp_accounting")
    return [import_extra(name, "privacy", "What adds up epsilon") for name in names][-1]
