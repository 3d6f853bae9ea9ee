"""Random rows, targets and weights, of every kind that a user may hand over, and of some that nobody can learn from.

Legend: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse


def mapped(folder: Path, X: np.ndarray) -> np.ndarray:
    np.save(folder / "rows.npy", X)
    mapping: np.ndarray = np.load(folder / "rows.npy", mmap_mode="r")
    return mapping


def frozen(X: np.ndarray) -> np.ndarray:
    X = X.copy()
    X.flags.writeable = False
    return X


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def spoiled(X: np.ndarray) -> np.ndarray:
        X = X.copy()
        X[len(X) // 2, 0] = value
        return X

    return spoiled


def wild(X: np.ndarray, place: int) -> Any:
    rows = sparse.csr_array(X)
    rows.indices[-1] = place
    return rows


ROWS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "columns": np.asfortranarray,
    "every other": lambda X: np.repeat(X, 2, axis=0)[::2],
    "backwards": lambda X: X[::-1],
    "read only": frozen,
    "list": lambda X: X.tolist(),
    "table": lambda X: pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])]),
    "int8": lambda X: (X * 10).astype(np.int8),
    "uint64": lambda X: np.abs(X * 10).astype(np.uint64),
    "bool": lambda X: X > 0,
    "csr": lambda X: sparse.csr_array(np.where(X > 0, X, 0)),
    "csc": lambda X: sparse.csc_matrix(np.where(X > 0, X, 0)),
    "coo": lambda X: sparse.coo_array(np.where(X > 0, X, 0)),
    "constant": np.zeros_like,
    "large": lambda X: X * 1e12,
    "tiny": lambda X: X * 1e-300,
}
BAD_ROWS: dict[str, Callable[[np.ndarray], Any]] = {
    "NaN": with_value(np.nan),
    "infinity": with_value(-np.inf),
    "too large": with_value(1e300),
    "one row": lambda X: X[0],
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "three dims": lambda X: X[:, :, None],
    "words": lambda X: X.astype(str),
    "objects": lambda X: np.full(X.shape, None),
    "complex": lambda X: X + 1j,
    "times": lambda X: X.astype("M8[s]"),
    "wild": lambda X: wild(X, 99),
    "negative place": lambda X: wild(X, -1),
    "nothing": lambda X: None,
    "shorter": lambda X: X[:-1],
}
LABELS: dict[str, Callable[[np.ndarray], Any]] = {
    "two": lambda s: (s > 0).astype(int),
    "three": lambda s: np.digitize(s, [-0.5, 0.5]),
    "words": lambda s: np.array(["no", "yes"])[(s > 0).astype(int)],
    "objects": lambda s: np.array(["no", "so", "yes"], dtype=object)[np.digitize(s, [-0.5, 0.5])],
    "bool": lambda s: s > 0,
    "floats": lambda s: np.where(s > 0, 1.0, -1.0),
    "one": lambda s: np.ones(len(s), dtype=int),
    "a rare one": lambda s: np.r_[7, (s[1:] > 0).astype(int)],
    "list": lambda s: (s > 0).tolist(),
    "column": lambda s: (s > 0).astype(int)[:, None],
    "marks": lambda s: np.c_[s > 0, s > 0.5, s < 0.2].astype(int),
    "sparse marks": lambda s: sparse.csr_array(np.c_[s > 0, s < 0.2].astype(int)),
    "each its own": lambda s: np.arange(len(s)),
}
VALUES: dict[str, Callable[[np.ndarray], Any]] = {
    "numbers": lambda s: s,
    "positive": lambda s: np.exp(s),
    "counts": lambda s: np.abs(s * 3).astype(int),
    "float32": lambda s: s.astype(np.float32),
    "two outputs": lambda s: np.c_[s, np.exp(s)],
    "column": lambda s: s[:, None],
    "list": lambda s: s.tolist(),
    "constant": np.zeros_like,
    "far": lambda s: s * 1e3 + 1e6,
    "huge": lambda s: s * 1e200,
}
BAD_TARGETS: dict[str, Callable[[np.ndarray], Any]] = {
    "NaN": lambda s: np.where(s > 0, s, np.nan),
    "infinity": lambda s: np.where(s > 0, s, np.inf),
    "times": lambda s: s.astype("m8[s]"),
    "complex": lambda s: s + 1j,
    "nothing": lambda s: None,
    "shorter": lambda s: s[:-1],
    "none at all": lambda s: s[:0],
    "three dims": lambda s: s[:, None, None],
    "mixed": lambda s: np.array([1, "a"] * len(s), dtype=object)[: len(s)],
}
WEIGHTS: dict[str, Callable[[int], Any]] = {
    "none": lambda n: None,
    "some": lambda n: np.linspace(0.5, 2, n),
    "some zero": lambda n: np.arange(n) % 3.0,
    "one counts": lambda n: np.r_[1.0, np.zeros(n - 1)],
    "list": lambda n: [1] * n,
    "tiny": lambda n: np.full(n, 1e-300),
    "huge": lambda n: np.full(n, 1e300),
    "negative": lambda n: np.full(n, -1.0),
    "NaN": lambda n: np.full(n, np.nan),
    "shorter": lambda n: np.ones(n - 1),
}


def pick(table: dict[str, Any], rng: np.random.Generator) -> Any:
    return table[list(table)[rng.integers(len(table))]]


def rows_for(for_classes: bool, rng: np.random.Generator) -> dict[str, Any]:
    """Return X, y and sample_weight: most of them good, each in one of its kinds."""
    n_rows = int(rng.choice([1, 2, 5, 20, 40], p=[0.03, 0.04, 0.08, 0.35, 0.5]))
    X = rng.normal(size=(n_rows, int(rng.integers(1, 5))))
    signal = X.sum(axis=1)
    bad_rows, bad_targets, weighted = rng.random(3) < (0.06, 0.06, 0.3)
    targets = BAD_TARGETS if bad_targets else LABELS if for_classes else VALUES
    return {
        "X": pick(BAD_ROWS if bad_rows else ROWS, rng)(X),
        "y": pick(targets, rng)(signal),
        "sample_weight": pick(WEIGHTS, rng)(n_rows) if weighted else None,
    }
