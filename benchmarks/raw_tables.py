"""How accurate on tables as they are, beside boosted trees: ``python -m benchmarks.raw_tables --data FOLDER``.

All get the same table, numbers, categories and missing values, the same split and the same seed, and their default
parameters. An error is the share of wrong classes, the root of the mean squared error over the standard deviation of
the test target, or the Poisson deviance; the coverage is that of intervals for 90%. With ``--choose`` no test row is
read: a fifth of the training rows takes their place. Every choice that the presets hold was made so.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, mean_poisson_deviance
from sklearn.model_selection import train_test_split

from benchmarks.datasets import DataSet, load
from benchmarks.timing import threads
from skbig import BigTabularClassifier, BigTabularRegressor

NAMES = ("adult", "bike_sharing", "california_housing_sklearn", "covertype_116k_8f", "diamonds", "letter", "fremtpl2")
METHODS = ("skbig", "skbig fast", "skbig best", "hgb", "lightgbm")
DEFAULT_METHODS = ("skbig", "skbig fast", "hgb", *(["lightgbm"] if find_spec("lightgbm") else []))


@dataclass(frozen=True)
class Table:
    """A table, its target, the weight of each row, and by what it is judged: error, rmse or poisson."""

    name: str
    X: pd.DataFrame
    y: np.ndarray
    weight: np.ndarray | None
    measure: str
    data: DataSet

    def rows(self, seed: int, max_train: int, choose: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return which rows are trained on, and which are judged."""
        train, test = self.data.split(seed, max_train)
        if not choose:
            return train, test
        classes = self.y[train] if self.measure == "error" else None
        return tuple(train_test_split(train, test_size=0.2, random_state=seed, stratify=classes))


def table_of(folder: Path, name: str) -> Table:
    """Read a table as it is; "fremtpl2" is the frequency of claims, with the exposure as weight."""
    data = load(folder / ("fremtpl2_freq" if name == "fremtpl2" else name))
    X = data.X.copy()
    for column in data.categorical:
        X[column] = X[column].mask(X[column] == "missing").astype("category")
    if name != "fremtpl2":
        return Table(name, X, data.y, None, "rmse" if data.is_regression else "error", data)
    exposure = pd.read_csv(folder / "fremtpl2_freq" / "data.csv.gz")["Exposure"].to_numpy(float).clip(0, 1)
    return Table(name, X, data.y.clip(max=4) / exposure, exposure, "poisson", data)


def model_of(method: str, measure: str, seed: int, **changes: Any) -> Any:
    """Return an estimator at its defaults."""
    more: dict[str, Any] = {"random_state": seed, **changes}
    if measure == "poisson":
        more["objective" if method == "lightgbm" else "loss"] = "poisson"
    if method == "lightgbm":
        import lightgbm

        trees = lightgbm.LGBMClassifier if measure == "error" else lightgbm.LGBMRegressor
        return trees(verbose=-1, n_jobs=torch.get_num_threads(), **more)
    if method == "hgb":
        boosting = HistGradientBoostingClassifier if measure == "error" else HistGradientBoostingRegressor
        return boosting(categorical_features="from_dtype", **more)
    preset = method.partition(" ")[2] or "default"
    return (BigTabularClassifier if measure == "error" else BigTabularRegressor)(preset, **more)


def judged(model: Any, table: Table, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Fit, and return seconds and errors."""
    X, X_test = table.X.iloc[train], table.X.iloc[test]
    weights = {} if table.weight is None else {"sample_weight": table.weight[train]}
    start = time.perf_counter()
    model.fit(X, table.y[train], **weights)
    found = {"seconds": time.perf_counter() - start}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = model.predict(X_test)
    truth = table.y[test]
    if table.measure == "error":
        proba, classes = model.predict_proba(X_test), model.classes_
        found |= {"error": float(np.mean(predicted != truth)), "log_loss": log_loss(truth, proba, labels=classes)}
        return found | {"calibration": calibration_error(proba, classes, truth)}
    if table.measure == "poisson":
        assert table.weight is not None
        return found | {"error": mean_poisson_deviance(truth, predicted, sample_weight=table.weight[test])}
    found["error"] = float(np.sqrt(np.mean((predicted - truth) ** 2)) / truth.std())
    if isinstance(model, BigTabularRegressor):
        low, high = model.predict_interval(X_test, coverage=0.9)
        found["coverage"] = float(np.mean((low <= truth) & (truth <= high)))
    return found


def calibration_error(probabilities: np.ndarray, classes: np.ndarray, truth: np.ndarray, n_bins: int = 15) -> float:
    """Return the expected calibration error of the predicted class, over bins of equal width."""
    sure, right = probabilities.max(axis=1), classes[probabilities.argmax(axis=1)] == truth
    bins = (sure * n_bins).astype(int).clip(0, n_bins - 1)
    gaps = [abs(sure[bins == b].mean() - right[bins == b].mean()) * np.mean(bins == b) for b in np.unique(bins)]
    return float(np.sum(gaps))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line per table and method, as they come."""
    given = parser().parse_args(arguments)
    columns = f"{'error':>9}{'spread':>9}{'log loss':>10}{'calib.':>10}{'coverage':>10}{'seconds':>9}"
    print(f"{'table':28}{'method':14}{columns}", flush=True)
    with threads(given.threads):
        for name in given.only:
            table = table_of(given.data, name)
            for method in given.methods:
                found = []
                for seed in range(given.seeds):
                    rows = table.rows(seed, given.max_train, given.choose)
                    changes = given.set if method.startswith("skbig") else {}
                    found.append(judged(model_of(method, table.measure, seed, **changes), table, *rows))
                print(line(name, method, found), flush=True)


def line(name: str, method: str, found: list[dict[str, float]]) -> str:
    """Return a line of the printed table: means over the seeds."""
    mean = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
    spread = float(np.std([each["error"] for each in found]))
    shown = [f"{mean[key]:>10.4f}" if key in mean else " " * 10 for key in ("log_loss", "calibration", "coverage")]
    return f"{name:28}{method:14}{mean['error']:>9.4f}{spread:>9.4f}{''.join(shown)}{mean['seconds']:>9.1f}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.raw_tables", description=__doc__.splitlines()[0])
    made.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="with a sub-folder for each data set")
    made.add_argument("--only", nargs="+", default=NAMES, metavar="NAME", help=f"default: {' '.join(NAMES)}")
    made.add_argument("--methods", nargs="+", default=DEFAULT_METHODS, choices=METHODS)
    made.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    made.add_argument("--max-train", type=int, default=20_000, help="most training rows (default: %(default)s)")
    made.add_argument("--threads", type=int, default=2, help="for torch and for NumPy's BLAS (default: %(default)s)")
    made.add_argument("--choose", action="store_true", help="judge on training rows, and read no test row")
    made.add_argument("--set", type=json.loads, default={}, metavar="JSON", help="parameters of ours")
    return made


if __name__ == "__main__":
    main()
