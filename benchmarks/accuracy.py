"""How accurate, beside scikit-learn's: ``python -m benchmarks.accuracy --data FOLDER``.

Both get the same settings, the same split and the same seed. An error is the share of wrong classes, or the root of the
mean squared error; a ratio below 1 means that ours is smaller. "no worse" means that the mean of the differences, seed
by seed, is at most two of its standard errors above zero.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.datasets import DataSet, load
from benchmarks.environment import begin_again_without_hobbles
from benchmarks.peers import not_converged
from benchmarks.timing import threads
from skbig import BigMLPClassifier, BigMLPRegressor

NAMES = ("adult", "letter", "california_housing_sklearn", "bike_sharing")
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "(256, 256), early stopping": {"hidden_layer_sizes": (256, 256), "early_stopping": True},
}


@dataclass(frozen=True)
class Result:
    """Errors and seconds of one model, an entry per seed."""

    errors: np.ndarray
    seconds: np.ndarray

    def __str__(self) -> str:
        spread = self.errors.std(ddof=1) if len(self.errors) > 1 else 0.0
        return f"{self.errors.mean():.4g} ± {spread:.2g}"


def compare(data: DataSet, settings: dict[str, Any], seeds: range, max_train: int | None) -> tuple[Result, Result]:
    """Return scikit-learn's result and ours."""
    theirs, ours = [], []
    for seed in seeds:
        split = data.split(seed, max_train)
        their_class, our_class = (
            (MLPRegressor, BigMLPRegressor) if data.is_regression else (MLPClassifier, BigMLPClassifier)
        )
        theirs.append(evaluate(their_class(random_state=seed, **settings), data, *split))
        # scikit-learn's early stopping watches the estimator's own score, so ours has to.
        ours.append(evaluate(our_class(random_state=seed, scoring=None, **settings), data, *split))
    return Result(*np.array(theirs).T), Result(*np.array(ours).T)


def evaluate(network: Any, data: DataSet, train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Fit on the training rows; return the error on the test rows, and the seconds of the fit."""
    model = pipeline(network, data)
    start = time.perf_counter()
    with not_converged():
        model.fit(data.X.iloc[train], data.y[train])
    seconds = time.perf_counter() - start
    predicted = model.predict(data.X.iloc[test])
    if data.is_regression:
        return float(np.sqrt(np.mean((predicted - data.y[test]) ** 2))), seconds
    return float(np.mean(predicted != data.y[test])), seconds


def pipeline(network: Any, data: DataSet) -> Any:
    """Scale numbers, and the target of a regression; give each category a column."""
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    columns = [("numeric", StandardScaler(), data.numeric), ("categorical", categories, data.categorical)]
    model = make_pipeline(ColumnTransformer(columns), network)
    return TransformedTargetRegressor(model, transformer=StandardScaler()) if data.is_regression else model


def verdict(theirs: Result, ours: Result) -> str:
    """Say whether ours is no worse, as far as so many seeds can tell."""
    difference = ours.errors - theirs.errors
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return "no worse" if difference.mean() <= 2 * error else "worse"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line per data set and setting, as they come."""
    given = parser().parse_args(arguments)
    columns = f"{'data set':28}{'settings':28}{'error':>6}{'scikit-learn':>20}{'skbig':>20}{'ratio':>8}{'seconds':>16}"
    print(f"{columns}   {given.seeds} seeds", flush=True)
    with threads(given.threads):
        for name in given.only:
            data = load(given.data / name)
            for words, settings in SETTINGS.items():
                theirs, ours = compare(data, settings, range(given.seeds), given.max_train)
                print(line(data, words, theirs, ours), flush=True)


def line(data: DataSet, words: str, theirs: Result, ours: Result) -> str:
    """Return a line of the table."""
    error = "RMSE" if data.is_regression else "wrong"
    ratio = ours.errors.mean() / theirs.errors.mean()
    seconds = f"{theirs.seconds.mean():.1f} / {ours.seconds.mean():.1f}"
    figures = f"{theirs!s:>20}{ours!s:>20}{ratio:>8.3f}{seconds:>16}"
    return f"{data.name:28}{words:28}{error:>6}{figures}   {verdict(theirs, ours)}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.splitlines()[0])
    made.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="with a sub-folder for each data set")
    made.add_argument("--only", nargs="+", default=NAMES, metavar="NAME", help=f"default: {' '.join(NAMES)}")
    made.add_argument("--seeds", type=int, default=5, help="how many (default: %(default)s)")
    made.add_argument("--max-train", type=int, default=20_000, help="most training rows (default: %(default)s)")
    made.add_argument("--threads", type=int, default=2, help="for torch and for NumPy's BLAS (default: %(default)s)")
    return made


if __name__ == "__main__":
    begin_again_without_hobbles("benchmarks.accuracy")
    main()
