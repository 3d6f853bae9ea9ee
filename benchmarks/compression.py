"""What is lost in smaller models, and how much faster they are: ``python -m benchmarks.compression --data FOLDER``.

Students, teachers and the settings to choose from are stated below. Settings are chosen, one by one, by the log
loss of a fifth of the training rows, held out, of which teacher and student have seen nothing; so is for how long the
student alone is trained. Nothing is chosen where all is left at its defaults. Then teacher and both students learn all
training rows, and the test rows are looked at once.
"closed" is the way from the student alone to its teacher that the taught one has come, in accuracy and in log loss.
Speed is that of predicting ten thousand rows.
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
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.datasets import load
from benchmarks.environment import begin_again_without_hobbles
from benchmarks.peers import NEVER, not_converged
from benchmarks.timing import in_turn, threads
from skbig import BigMLPClassifier
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
    """A student, by seed and number of epochs; its teacher, by the seed; and the rows of both."""

    student: Callable[[int, int], Any]
    teacher: Callable[[int], Any]
    split: Callable[[Path | None, int], Split]
    max_iter: int
    tuned: bool = True


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


def of_columns(network: BigMLPClassifier) -> Any:
    """Let a network read scaled numbers, and a column for each category."""
    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_include="category")),
    )
    return make_pipeline(columns, network)


LESSONS = {
    "digits": Lesson(
        lambda seed, max_iter: network(8, seed=seed, max_iter=max_iter),
        lambda seed: network(128, seed=seed, max_iter=30, n_members=8),
        digits,
        max_iter=40,
    ),
    "letter": Lesson(
        lambda seed, max_iter: make_pipeline(
            StandardScaler(), network(96, seed=seed, max_iter=max_iter, batch_size=512)
        ),
        lambda seed: make_pipeline(StandardScaler(), network(256, seed=seed, max_iter=40, n_members=4)),
        table("letter"),
        max_iter=100,
    ),
    "adult": Lesson(
        lambda seed, max_iter: of_columns(network(64, 64, seed=seed, max_iter=max_iter)), boosting, adult, max_iter=5
    ),
    "adult-defaults": Lesson(
        lambda seed, max_iter: of_columns(BigMLPClassifier(max_iter=max_iter, random_state=seed)),
        boosting,
        adult,
        max_iter=200,
        tuned=False,
    ),
}

SETTINGS: dict[str, tuple[Any, ...]] = {
    "n_made": (8, 2, 0),
    "temperature": (2.0, 1.0, 4.0),
    "share": (0.9, 1.0),
    "epochs": (1, 3),
}
"""Of the taught student, in the order in which they are chosen; it begins with the first of each."""

HELD_OUT = 0.2

Scores = tuple[float, float]
"""Accuracy and log loss."""


def scores(model: Any, X: Any, y: Any) -> Scores:
    return model.score(X, y), log_loss(y, model.predict_proba(X), labels=model.classes_)


def chosen(settings: dict[str, tuple[Any, ...]], loss: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """Return the setting with the smallest loss, of those that are found by choosing one after the other."""
    best = {name: values[0] for name, values in settings.items()}
    least = loss(best)
    for name, values in settings.items():
        for value in values[1:]:
            trial = best | {name: value}
            found = loss(trial)
            if found < least:
                least, best = found, trial
    return best


@dataclass(frozen=True)
class School:
    """A teacher that has learnt some rows, and what students become of them."""

    lesson: Lesson
    seed: int
    X: Any
    y: Any
    teacher: Any

    @classmethod
    def of(cls, lesson: Lesson, seed: int, X: Any, y: Any) -> School:
        return cls(lesson, seed, X, y, lesson.teacher(seed).fit(X, y))

    def alone(self, epochs: int = 1) -> Any:
        return self._student(epochs).fit(self.X, self.y)

    def taught(self, epochs: int = 1, **setting: Any) -> Any:
        teacher = FrozenEstimator(self.teacher)
        return Distilled(self._student(epochs), teacher, random_state=self.seed, **setting).fit(self.X, self.y)

    def _student(self, epochs: int) -> Any:
        return self.lesson.student(self.seed, epochs * self.lesson.max_iter)


def taught(lesson: Lesson, folder: Path | None, seed: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the scores (3, 2) of a student alone, of the taught one and of its teacher, and what was chosen."""
    X, X_test, y, y_test = lesson.split(folder, seed)
    with not_converged():
        of_alone, of_taught = tuned(lesson, seed, X, y) if lesson.tuned else ({}, {})
        school = School.of(lesson, seed, X, y)
        models = school.alone(**of_alone), school.taught(**of_taught), school.teacher
    return np.array([scores(model, X_test, y_test) for model in models]), [of_alone, of_taught]


def tuned(lesson: Lesson, seed: int, X: Any, y: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a student alone and of a taught one, by training rows that are held out."""
    some, held, y_some, y_held = train_test_split(X, y, test_size=HELD_OUT, random_state=seed, stratify=y)
    trial = School.of(lesson, seed, some, y_some)
    of_alone = chosen({"epochs": SETTINGS["epochs"]}, lambda one: scores(trial.alone(**one), held, y_held)[1])
    return of_alone, chosen(SETTINGS, lambda one: scores(trial.taught(**one), held, y_held)[1])


def print_lessons(names: Sequence[str], folder: Path | None, n_seeds: int) -> None:
    """Print what students gain of their teachers."""
    print(f"\n{'taught':24}{'alone':>8}{'taught':>8}{'teacher':>9}{'closed':>8}", flush=True)
    for name in names:
        figures = []
        for seed in range(n_seeds):
            found, settings = taught(LESSONS[name], folder, seed)
            figures.append(found)
            print(f"  {name}, seed {seed}: alone {settings[0]}, taught {settings[1]}", flush=True)
            print_scores(f"  {name}, seed {seed}", found)
        print_scores(f"{name}, mean", np.mean(figures, axis=0))


def print_scores(title: str, found: np.ndarray) -> None:
    """Print a line of accuracies and one of log losses."""
    for measure, (alone, made, teacher) in zip(("accuracy", "log loss"), found.T, strict=True):
        closed = (made - alone) / (teacher - alone)
        print(f"{title + ' ' + measure:32}{alone:>8.4f}{made:>8.4f}{teacher:>9.4f}{closed:>8.2f}", flush=True)


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
