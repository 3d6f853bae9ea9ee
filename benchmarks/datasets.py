"""Data sets from a folder: one sub-folder each, with a table and a ``meta.json`` that says what the columns are.

``meta.json`` has ``files`` (the first is a CSV, maybe compressed), ``target``, ``task`` ("regression", or a kind of
classification), ``numeric`` and ``categorical`` (names of columns). A column ``split`` with the values "train" and
"test" gives the official split.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    import pandas as pd

TEST_FRACTION = 0.2


@dataclass(frozen=True)
class DataSet:
    """A table with its target; `official_test` marks the test rows where the source says which they are."""

    name: str
    X: pd.DataFrame
    y: np.ndarray
    numeric: list[str]
    categorical: list[str]
    is_regression: bool
    official_test: np.ndarray | None

    def split(self, seed: int, max_train: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of training rows, at most `max_train`, and of test rows."""
        rows = np.arange(len(self.y))
        if self.official_test is not None:
            train, test = rows[~self.official_test], rows[self.official_test]
        else:
            classes = None if self.is_regression else self.y
            train, test = train_test_split(rows, test_size=TEST_FRACTION, random_state=seed, stratify=classes)
        if max_train is not None and len(train) > max_train:
            train = np.random.default_rng(seed).choice(train, max_train, replace=False)
        return train, test


def load(folder: Path) -> DataSet:
    """Read one data set."""
    import pandas as pd  # `make gpu` runs where it is not installed

    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    table = pd.read_csv(folder / meta["files"][0])
    X = table[meta["numeric"] + meta["categorical"]].copy()
    for name in meta["numeric"]:
        X[name] = X[name].astype(np.float32)
    for name in meta["categorical"]:
        X[name] = X[name].astype(object).where(X[name].notna(), "missing").astype(str)
    is_regression = meta["task"].startswith("regression")
    y = table[meta["target"]].to_numpy(dtype=float if is_regression else None)
    official = (table["split"] == "test").to_numpy() if "split" in table else None
    return DataSet(folder.name, X, y, meta["numeric"], meta["categorical"], is_regression, official)
