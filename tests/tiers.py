"""Two tiers of one suite: the everyday tests, and the thorough ones, which ask the same laws of more cases."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import pytest

Value = tuple[str, type, Hashable]


def mark_thorough(items: Sequence[pytest.Item]) -> None:
    """Mark the cases of crossed tests as thorough, but for as few as have each value of each argument."""
    seen: dict[str, set[Value]] = defaultdict(set)
    for item in sorted(items, key=_by_chance):
        if isinstance(item, pytest.Function) and _is_crossed(item):
            test = seen[item.nodeid.partition("[")[0]]
            values = {_value(name, value) for name, value in item.callspec.params.items()}
            if values <= test:
                item.add_marker("thorough")
            test |= values


def _is_crossed(test: pytest.Function) -> bool:
    return test.get_closest_marker("crossed") is not None and test.get_closest_marker("thorough") is None


def _by_chance(item: pytest.Item) -> int:
    """Return what is the same in each run and mixes the values, so that no one of them stands beside all others."""
    return zlib.crc32(item.nodeid.encode())


def _value(name: str, value: Any) -> Value:
    """Return what is the same for the same value; a check of scikit-learn's is bound to each estimator it is for."""
    if isinstance(value, partial):
        return name, partial, (value.func, repr(value.keywords))
    return name, type(value), value if isinstance(value, Hashable) and _has_hash(value) else id(value)


def _has_hash(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:  # a tuple of lists
        return False
    return True
