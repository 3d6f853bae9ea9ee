"""Small data, where people try it first: whole fits, what a fit and an epoch cost beside their steps, and L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks.options import Options
from benchmarks.pairs import MakeRow, Pair, PairSection, timed_pair
from benchmarks.peers import NEVER, Task, make_rows, not_converged
from skbig import BigMLPClassifier, BigMLPRegressor

Rows = tuple[np.ndarray, np.ndarray]

SETS: dict[str, Callable[..., Any]] = {
    "iris": load_iris,
    "diabetes": load_diabetes,
    "wine": load_wine,
    "breast-cancer": load_breast_cancer,
    "digits": load_digits,
}
EPOCHS = (1, 10, 200)
FIXED = 1e-3
AN_EPOCH = 50e-6
LBFGS_ROWS = (200, 500, 1000, 2000)


@cache
def rows_of(name: str) -> Rows:
    """Return a set of scikit-learn's, its features and the target of a regression standardised."""
    X, y = SETS[name](return_X_y=True)
    y = (y - y.mean()) / y.std() if name == "diabetes" else y
    return StandardScaler().fit_transform(X), y


def classes(name: str) -> tuple[Any, Any]:
    """Return ours and scikit-learn's for a set."""
    return (BigMLPRegressor, MLPRegressor) if name == "diabetes" else (BigMLPClassifier, MLPClassifier)


def fit(make: Callable[[], Any], X: np.ndarray, y: np.ndarray, n_epochs: int | None = None) -> float:
    """Fit a new model, make sure that it ran so many epochs where that is said, and return its loss."""
    with not_converged():
        model = make().fit(X, y)
    if n_epochs not in (None, model.n_iter_):
        raise RuntimeError(f"{type(model).__name__} ran {model.n_iter_} epochs of {n_epochs}.")
    return float(model.loss_)


def epochs_of_set(name: str, n_epochs: int, options: Options) -> Pair:
    """Time so many epochs on a set, with the defaults of both but for what would end them early."""
    X, y = rows_of(name)
    ours, theirs = classes(name)
    n_run = min(2, n_epochs) if options.quick else n_epochs
    settings: dict[str, Any] = {"max_iter": n_run, "tol": 0.0, "n_iter_no_change": NEVER, "random_state": 0}
    return timed_pair(
        f"{name}-{n_epochs}",
        partial(fit, partial(ours, device="cpu", **settings), X, y, n_run),
        partial(fit, partial(theirs, **settings), X, y, n_run),
        theirs.__name__,
        options,
        wanted=1.0,
    )


def lbfgs(name: str, rows: Callable[[], Rows], kinds: tuple[Any, Any], wanted: float, options: Options) -> Pair:
    """Time fits by L-BFGS, which have to come to no worse a loss."""
    X, y = rows()
    ours, theirs = kinds
    settings: dict[str, Any] = {"max_iter": 3 if options.quick else 200, "random_state": 0}
    return timed_pair(
        name,
        partial(fit, partial(ours, optimizer="lbfgs", device="cpu", **settings), X, y),
        partial(fit, partial(theirs, solver="lbfgs", **settings), X, y),
        theirs.__name__,
        options,
        wanted=wanted,
        compares_losses=True,
    )


def made(n_rows: int) -> Rows:
    X, y = make_rows(Task(20, (), 1, n_rows=n_rows, n_epochs=1, n_classes=3))
    return X.astype(float), y


# What is left of a fit, and of an epoch, without the steps.


def seconds_of(hidden: tuple[int, ...], n_steps: int, n_epochs: int) -> float:
    """Return the time of a fit of epochs of so many steps, of 150 rows each."""
    task = Task(4, hidden, 150, n_rows=150 * n_steps, n_epochs=n_epochs, n_classes=3)
    X, y = _cached_rows(replace(task, n_epochs=1))
    settings: dict[str, Any] = {"hidden_layer_sizes": hidden, "batch_size": 150, "max_iter": n_epochs, "tol": 0.0}
    start = perf_counter()
    fit(partial(BigMLPClassifier, **settings, n_iter_no_change=NEVER, random_state=0, device="cpu"), X, y)
    return perf_counter() - start


_cached_rows = cache(make_rows)


def beside_the_steps(hidden: tuple[int, ...], options: Options) -> tuple[list[float], list[float]]:
    """Return the seconds of a fit, and those of an epoch, that no step accounts for, repeat by repeat.

    A fit of E epochs of S steps takes fixed + E * (epoch + S * step) seconds: four fits tell the three, each taken some
    times in a row, as by cross-validation.
    """
    few, many, n_steps, in_a_row = (2, 4, 3, 1) if options.quick else (3, 203, 100, 7)
    fits = {"one": (1, 1), "many": (1, many), "wide": (n_steps, 1), "wider": (n_steps, few)}
    for n, n_epochs in fits.values():
        seconds_of(hidden, n, n_epochs)
    fixed, epoch = [], []
    for _ in range(1 if options.quick else max(9, options.repeats)):
        took = {name: median(seconds_of(hidden, *sizes) for _ in range(in_a_row)) for name, sizes in fits.items()}
        narrow = (took["many"] - took["one"]) / (many - 1)
        wide = (took["wider"] - took["wide"]) / (few - 1)
        step = (wide - narrow) / (n_steps - 1)
        fixed.append(took["one"] - narrow)
        epoch.append(narrow - step)
    return fixed, epoch


def fixed_cost(hidden: tuple[int, ...], options: Options) -> Pair:
    """Measure what a fit costs beside its epochs, when one of the same form came before."""
    seconds = beside_the_steps(hidden, options)[0]
    return Pair(f"fit-{_widths(hidden)}", seconds, limit=FIXED, note=_spread(seconds))


def epoch_cost(hidden: tuple[int, ...], options: Options) -> Pair:
    """Measure what an epoch costs beside its steps."""
    seconds = beside_the_steps(hidden, options)[1]
    return Pair(f"epoch-{_widths(hidden)}", seconds, limit=AN_EPOCH, note=_spread(seconds))


def _spread(seconds: list[float]) -> str:
    low, high = np.quantile(seconds, [0.25, 0.75])
    return f"middle half of {len(seconds)}: {1e6 * low:.0f} to {1e6 * high:.0f} us, median {1e6 * median(seconds):.0f}"


def _widths(hidden: tuple[int, ...]) -> str:
    return "x".join(map(str, hidden))


FORMS = ((100,), (256, 256))
COSTS: dict[str, MakeRow] = {f"fit-{_widths(hidden)}": partial(fixed_cost, hidden) for hidden in FORMS}
COSTS |= {f"epoch-{_widths(hidden)}": partial(epoch_cost, hidden) for hidden in FORMS}

BY_LBFGS: dict[str, MakeRow] = {
    name: partial(lbfgs, name, partial(rows_of, name), classes(name), 2.4 if name == "digits" else 1.0) for name in SETS
}
BY_LBFGS |= {
    f"made-{n_rows}": partial(lbfgs, f"made-{n_rows}", partial(made, n_rows), classes("made"), 1.0)
    for n_rows in LBFGS_ROWS
}

SECTIONS = {
    "small-data": PairSection(
        "fits of small data sets: (100,), Adam, the defaults of both, by the number of epochs",
        {f"{name}-{n}": partial(epochs_of_set, name, n) for name in SETS for n in EPOCHS},
    ),
    "costs": PairSection("what a fit and an epoch cost beside their steps, after a first fit of the same form", COSTS),
    "lbfgs": PairSection("L-BFGS: (100,), at most 200 iterations, the losses of ours and of scikit-learn's", BY_LBFGS),
}
