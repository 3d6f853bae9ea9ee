"""What is lost in smaller models, and how much faster they are: ``python -m benchmarks.compression --data FOLDER``.

Accuracies are those of held-out rows, means over seeds; the student alone, the taught one and the teacher have the same
training rows. "gap closed" is the way from the student alone to its teacher that the taught one has come. Speed is that
of predicting ten thousand rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.datasets import load
from benchmarks.environment import begin_again_without_hobbles
from benchmarks.peers import NEVER, not_converged
from benchmarks.timing import in_turn, threads
from skbig import BigMLPClassifier, BigTabularClassifier
from skbig.compress import Distilled, low_rank, prune

Split = tuple[Any, Any, Any, Any]
"""X, X_test, y, y_test."""

N_PREDICTED = 10_000
SMALLER = "smaller"


def network(*sizes: int, seed: int, max_iter: int, batch_size: int = 128, **parameters: Any) -> BigMLPClassifier:
    """Return a perceptron whose rate falls to zero."""
    return BigMLPClassifier(
        sizes,
        learning_rate=0.01,
        schedule="cosine",
        batch_size=batch_size,
        max_iter=max_iter,
        n_iter_no_change=NEVER,
        random_state=seed,
        **parameters,
    )


@dataclass(frozen=True)
class Lesson:
    """A student, its teacher, and the rows of both; all by the seed."""

    student: Callable[[int], Any]
    teacher: Callable[[int], Any]
    split: Callable[[Path | None, int], Split]
    n_made: int


def digits(folder: Path | None, seed: int) -> Split:
    """Split scikit-learn's digits."""
    del folder
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.4, random_state=seed, stratify=y)
    return X_train, X_test, y_train, y_test


def table(name: str) -> Callable[[Path | None, int], Split]:
    """Return what splits a data set of a folder."""

    def split(folder: Path | None, seed: int) -> Split:
        assert folder is not None
        data = load(folder / name)
        train, test = data.split(seed, None)
        return data.X.iloc[train], data.X.iloc[test], data.y[train], data.y[test]

    return split


def boosting(seed: int) -> Any:
    return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)


def adult(folder: Path | None, seed: int) -> Split:
    """Split adult, with its categories as such."""
    X, X_test, y, y_test = table("adult")(folder, seed)
    texts = X.select_dtypes(exclude="number").columns
    both = [each.astype(dict.fromkeys(texts, "category")) for each in (X, X_test)]
    for name in texts:
        both[1][name] = both[1][name].cat.set_categories(both[0][name].cat.categories)
    return both[0], both[1], y, y_test


LESSONS = {
    "digits": Lesson(
        lambda seed: network(8, seed=seed, max_iter=40),
        lambda seed: network(128, seed=seed, max_iter=30, n_members=8),
        digits,
        n_made=8,
    ),
    "letter": Lesson(
        lambda seed: make_pipeline(StandardScaler(), network(96, seed=seed, max_iter=100, batch_size=512)),
        lambda seed: make_pipeline(StandardScaler(), network(256, seed=seed, max_iter=40, n_members=4)),
        table("letter"),
        n_made=8,
    ),
    "adult": Lesson(
        lambda seed: BigTabularClassifier(hidden_layer_sizes=(64, 64), max_iter=20, random_state=seed),
        boosting,
        adult,
        n_made=3,
    ),
}


def taught(lesson: Lesson, folder: Path | None, seed: int) -> tuple[float, float, float]:
    """Return the accuracy of a student alone, of the taught one, and of its teacher."""
    X, X_test, y, y_test = lesson.split(folder, seed)
    with not_converged():
        teacher = lesson.teacher(seed).fit(X, y)
        alone = clone(lesson.student(seed)).fit(X, y)
        made = Distilled(
            lesson.student(seed), FrozenEstimator(teacher), share=1.0, n_made=lesson.n_made, random_state=seed
        ).fit(X, y)
    return alone.score(X_test, y_test), made.score(X_test, y_test), teacher.score(X_test, y_test)


def print_lessons(names: Sequence[str], folder: Path | None, n_seeds: int) -> None:
    """Print what students gain of their teachers."""
    print(f"\n{'taught':24}{'alone':>8}{'taught':>8}{'teacher':>9}{'gap closed':>12}", flush=True)
    for name in names:
        figures = np.mean([taught(LESSONS[name], folder, seed) for seed in range(n_seeds)], axis=0)
        alone, made, teacher = figures
        closed = (made - alone) / (teacher - alone)
        print(f"{name:24}{alone:>8.3f}{made:>8.3f}{teacher:>9.3f}{closed:>12.2f}", flush=True)


WAYS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "90% of the weights zero": lambda model, X, y: prune(model, X, y, share=0.9),
    "half of the units": lambda model, X, y: prune(model, X, y, share=0.5, structured=True),
    "rank 64": lambda model, X, y: low_rank(model, 64),
    "rank 32": lambda model, X, y: low_rank(model, 32),
    "rank 16": lambda model, X, y: low_rank(model, 16),
}
"""Of networks of (256, 256) on digits."""


def smaller(seed: int) -> dict[str, tuple[float, float, float]]:
    """Return of each way the accuracy that is lost, the share of numbers that is left, and how much faster it is."""
    X, X_test, y, y_test = digits(None, seed)
    with not_converged():
        whole = network(256, 256, seed=seed, max_iter=30).fit(X, y)
        made = {name: way(whole, X, y) for name, way in WAYS.items()}
    many = np.resize(X_test, (N_PREDICTED, X_test.shape[1]))
    predicts = {name: (lambda model=model: model.predict(many)) for name, model in {"": whole, **made}.items()}
    for predict in predicts.values():
        predict()
    seconds = {name: median(times) for name, (times, _) in in_turn(predicts, 15, collect=False).items()}
    score, size = whole.score(X_test, y_test), numbers(whole)
    return {
        name: (score - model.score(X_test, y_test), numbers(model) / size, seconds[""] / seconds[name])
        for name, model in made.items()
    }


def numbers(model: Any) -> int:
    """Return how many numbers a model has that are not zero."""
    return sum(int(np.count_nonzero(weight)) for weight in model.get_weights())


def print_smaller(n_seeds: int) -> None:
    """Print what smaller networks lose."""
    print(f"\n{'digits, (256, 256)':24}{'points lost':>12}{'numbers left':>14}{'faster':>8}", flush=True)
    found = [smaller(seed) for seed in range(n_seeds)]
    for name in WAYS:
        lost, left, faster = np.mean([each[name] for each in found], axis=0)
        print(f"{name:24}{100 * lost:>12.2f}{left:>14.2f}{faster:>8.1f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables, as they come."""
    given = parser().parse_args(arguments)
    began = time.perf_counter()
    print(f"{given.seeds} seeds, {given.threads} threads")
    with threads(given.threads):
        if SMALLER in given.only:
            print_smaller(given.seeds)
        lessons = [name for name in given.only if name in LESSONS and (name == "digits" or given.data is not None)]
        if lessons:
            print_lessons(lessons, given.data, given.seeds)
    print(f"\n{time.perf_counter() - began:.0f} seconds")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=__doc__.splitlines()[0])
    made.add_argument("--data", type=Path, metavar="FOLDER", help="with letter and adult; without it digits alone")
    names = [SMALLER, *LESSONS]
    made.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    made.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    made.add_argument("--threads", type=int, default=2, help="for torch and for NumPy's BLAS (default: %(default)s)")
    return made


if __name__ == "__main__":
    begin_again_without_hobbles("benchmarks.compression")
    main()
