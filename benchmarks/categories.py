"""A table with categories: sparse rows as `OneHotEncoder` gives them, beside dense ones and scikit-learn's network."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.datasets import load
from benchmarks.options import Options
from benchmarks.pairs import Pair, PairSection, timed_pair
from benchmarks.peers import NEVER, not_converged
from skbig import BigGridSearchCV, BigMLPClassifier

N_ROWS = 10_000
N_NUMBERS = 6
CATEGORIES = (9, 16, 7, 15, 6, 5, 2, 42)
"""How many values the categorical columns of adult have."""

Table = tuple[pd.DataFrame, np.ndarray, list[str], list[str]]


@cache
def table(folder: Path | None, n_rows: int) -> Table:
    """Return rows of adult, or made ones of its shape, with the names of numbers and of categories."""
    if folder is not None:
        data = load(folder / "adult")
        rows = data.split(seed=0, max_train=n_rows)[0]
        return data.X.iloc[rows], data.y[rows], data.numeric, data.categorical
    rng = np.random.default_rng(0)
    numbers = {f"number{i}": rng.standard_normal(n_rows).astype(np.float32) for i in range(N_NUMBERS)}
    codes = {f"word{i}": (rng.random(n_rows) ** 2 * count).astype(int) for i, count in enumerate(CATEGORIES)}
    effect = sum(numbers.values()) + sum(np.sin(1.7 * code + i) for i, code in enumerate(codes.values()))
    words = {name: np.char.add("value ", code.astype(str)).astype(object) for name, code in codes.items()}
    y = (effect + rng.logistic(size=n_rows) > 0).astype(int)
    return pd.DataFrame(numbers | words), y, [*numbers], [*words]


def pipeline(network: Any, numbers: list[str], words: list[str], sparse: bool) -> Pipeline:
    """Return the natural pipeline of a table: numbers scaled, a column for each category."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=sparse, dtype=np.float32)
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), numbers), ("words", encoder, words)], sparse_threshold=float(sparse)
    )
    return Pipeline([("columns", columns), ("network", network)])


def network(kind: Any, options: Options, **settings: Any) -> Any:
    shared = {"max_iter": 1 if options.quick else 5, "tol": 0.0, "n_iter_no_change": NEVER, "random_state": 0}
    return kind(**shared | settings)


def rows_of(options: Options) -> Table:
    return table(options.data, 200 if options.quick else N_ROWS)


def fit(kind: Any, sparse: bool, options: Options) -> float:
    """Fit a pipeline; return the loss of its network."""
    X, y, numbers, words = rows_of(options)
    with not_converged():
        fitted = pipeline(network(kind, options), numbers, words, sparse).fit(X, y)
    return float(fitted[-1].loss_)


def beside_sklearn(options: Options) -> Pair:
    """Time the pipeline with sparse rows, beside the same with scikit-learn's network."""
    ours, theirs = partial(fit, BigMLPClassifier, True, options), partial(fit, MLPClassifier, True, options)
    return timed_pair("sparse", ours, theirs, "MLPClassifier", options, wanted=1.2)


def beside_dense(options: Options) -> Pair:
    """Time the pipeline with sparse rows, beside the same with dense ones."""
    ours, dense = partial(fit, BigMLPClassifier, True, options), partial(fit, BigMLPClassifier, False, options)
    return timed_pair("sparse-or-dense", ours, dense, "dense rows", options)


def search(sparse: bool, options: Options) -> None:
    X, y, numbers, words = rows_of(options)
    grid = {"network__alpha": [1e-5, 1e-4] if options.quick else np.logspace(-6, -3, 8).tolist()}
    made = pipeline(network(BigMLPClassifier, options), numbers, words, sparse)
    with not_converged():
        BigGridSearchCV(made, grid, cv=2 if options.quick else 3, refit=False).fit(X, y)


def searched(options: Options) -> Pair:
    """Time a search whose networks are given sparse rows, beside one with dense rows."""
    return timed_pair("search", partial(search, True, options), partial(search, False, options), "dense rows", options)


SECTIONS = {
    "categories": PairSection(
        f"StandardScaler and OneHotEncoder, {N_ROWS:,} rows like adult, (100,), 5 epochs",
        {"sparse": beside_sklearn, "sparse-or-dense": beside_dense, "search": searched},
    )
}
