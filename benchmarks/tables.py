"""What each setting of the guide "Tables: what to set" gains: ``python -m benchmarks.tables``.

Each step adds one setting to those before it; what begins with "or" takes the place of the last one for that line only.
A score is R² of a regression, where more is better, or the log loss of a classification, where less is, on a quarter of
the rows that was held out. The settings were chosen within the other three quarters.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
)

from benchmarks.environment import begin_again_without_hobbles
from benchmarks.timing import threads
from skbig import BigMLPClassifier, BigMLPRegressor

N_ROWS = 3000

numbers = make_column_selector(dtype_include="number")
words = make_column_selector(dtype_exclude="number")


@dataclass(frozen=True)
class Set:
    """A table with its target."""

    X: pd.DataFrame
    y: np.ndarray
    is_regression: bool
    is_skewed: bool = False
    """Whether the target is positive, and its logarithm is more alike everywhere."""

    @property
    def has_words(self) -> bool:
        return bool(words(self.X))


def flats(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return flats and their rents: numbers of every scale, some missing, and categories, one of many values."""
    rng = np.random.default_rng(seed)
    area = rng.lognormal(4.2, 0.4, N_ROWS)
    year = rng.integers(1890, 2024, N_ROWS).astype(float)
    district = rng.zipf(1.6, N_ROWS) % 40
    heating = rng.choice(["gas", "district", "oil", "pump"], N_ROWS, p=[0.5, 0.3, 0.15, 0.05])
    floor = rng.poisson(2.0, N_ROWS)
    noise_level = rng.gamma(2.0, 10.0, N_ROWS)
    wealth = rng.normal(0, 0.35, 40)[district]
    appeal = 0.006 * np.maximum(0, 1950 - year) + 0.012 * np.maximum(0, year - 1990)
    lift = 0.08 * floor * np.where(year > 1970, 1, -1)
    warmth = pd.Series(heating).map({"gas": 0.0, "district": 0.05, "oil": -0.15, "pump": 0.2}).to_numpy()
    rent = np.exp(
        0.8 * np.log(area) + wealth + appeal + lift + warmth - 0.01 * noise_level + rng.normal(0, 0.12, N_ROWS) + 3
    )
    year[rng.random(N_ROWS) < 0.1] = np.nan
    columns = {
        "area": area,
        "year": year,
        "floor": floor,
        "noise": noise_level,
        "visits": rng.lognormal(6, 2, N_ROWS),  # it says nothing
        "district": np.char.add("district ", district.astype(str)).astype(object),
        "heating": heating.astype(object),
    }
    return pd.DataFrame(columns), rent


def sets() -> dict[str, Callable[[], Set]]:
    """Return what is measured, by its name."""

    def rents() -> Set:
        X, y = flats()
        return Set(X, y, True, is_skewed=True)

    def dear() -> Set:
        X, y = flats()
        return Set(X, (y > np.quantile(y, 0.8)).astype(int), False)

    def bundled(load: Callable[..., Any], is_regression: bool) -> Set:
        X, y = load(return_X_y=True, as_frame=True, **{"scaled": False} if is_regression else {})
        return Set(X, y.to_numpy(), is_regression)

    return {
        "rents": rents,
        "dear flats": dear,
        "diabetes": lambda: bundled(load_diabetes, True),
        "breast cancer": lambda: bundled(load_breast_cancer, False),
    }


@dataclass(frozen=True)
class Step:
    """What is set so far: how the columns and the target are prepared, and the parameters of the network."""

    numbers: Any
    words: Any
    target: Any
    network: dict[str, Any]

    def model(self, is_regression: bool, seed: int) -> Any:
        """Return the pipeline."""
        columns: ColumnTransformer = make_column_transformer((self.numbers, numbers), (self.words, words))
        settings = {"random_state": seed, "device": "cpu", **self.network}
        network = (BigMLPRegressor if is_regression else BigMLPClassifier)(**settings)
        model = make_pipeline(clone(columns), network)
        if not is_regression or self.target is None:
            return model
        return TransformedTargetRegressor(model, transformer=clone(self.target))


FILLED = SimpleImputer(strategy="median", add_indicator=True)
CODES = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
COLUMNS = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10, sparse_output=False)
SCALED = make_pipeline(FILLED, StandardScaler())
RANKS = make_pipeline(
    QuantileTransformer(n_quantiles=200, output_distribution="normal"),
    SimpleImputer(strategy="median", add_indicator=True),
)
LOGARITHM = make_pipeline(FunctionTransformer(np.log1p, np.expm1, check_inverse=False), StandardScaler())
STOPPED = {"early_stopping": True, "n_iter_no_change": 20}
ANNEALED = {"schedule": "cosine", "learning_rate": 0.01, "max_iter": 50, "early_stopping": True, "n_iter_no_change": 50}


def steps(data: Set) -> dict[str, Step]:
    """Return the steps that change anything for a table, each with one more setting than that before."""
    target = LOGARITHM if data.is_skewed else StandardScaler()
    found = {
        "as it comes": Step(FILLED, CODES, None, {}),
        "numbers scaled": Step(SCALED, CODES, None, {}),
        "or numbers by their ranks": Step(RANKS, CODES, None, {}),
        "a column a category": Step(SCALED, COLUMNS, None, {}),
        "target scaled": Step(SCALED, COLUMNS, StandardScaler(), {}),
        "or target by its logarithm": Step(SCALED, COLUMNS, LOGARITHM, {}),
        "early stopping": Step(SCALED, COLUMNS, target, STOPPED),
        "cosine": Step(SCALED, COLUMNS, target, ANNEALED),
        "8 members": Step(SCALED, COLUMNS, target, ANNEALED | {"n_members": 8}),
    }
    return {name: step for name, step in found.items() if _applies(name, data)}


def _applies(name: str, data: Set) -> bool:
    if "target" in name:
        return data.is_regression
    return name != "a column a category" or data.has_words


def score(step: Step, data: Set, seed: int) -> float:
    """Fit on three quarters of the rows; return the score on the last."""
    X_train, X_test, y_train, y_test = train_test_split(
        data.X, data.y, random_state=seed, stratify=None if data.is_regression else data.y
    )
    model = step.model(data.is_regression, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X_train, y_train)
    if data.is_regression:
        return float(r2_score(y_test, model.predict(X_test)))
    return float(log_loss(y_test, model.predict_proba(X_test)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line per step, and the means over the seeds with their standard errors."""
    given = parser().parse_args(arguments)
    with threads(given.threads):
        for name in given.only:
            data = sets()[name]()
            kind = "R²" if data.is_regression else "log loss"
            print(f"{name}: {len(data.X)} rows, {data.X.shape[1]} columns, {kind}, {given.seeds} seeds", flush=True)
            for setting, step in steps(data).items():
                scores = np.array([score(step, data, seed) for seed in range(given.seeds)])
                error = scores.std(ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else 0.0
                print(f"  {setting:28}{scores.mean():8.3f} ± {error:.3f}", flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__.splitlines()[0])
    made.add_argument("--only", nargs="+", choices=[*sets()], default=[*sets()], metavar="NAME", help="some tables")
    made.add_argument("--seeds", type=int, default=10, help="how many splits (default: %(default)s)")
    made.add_argument("--threads", type=int, default=2, help="for torch and for NumPy's BLAS (default: %(default)s)")
    return made


if __name__ == "__main__":
    begin_again_without_hobbles("benchmarks.tables")
    main()
