"""A search that is timed, and those who search: scikit-learn's, over three kinds of networks, and ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.accuracy import pipeline
from benchmarks.datasets import load
from benchmarks.peers import Task, not_converged, shared, skorch_net, synchronize
from skbig import BigMLPClassifier


@dataclass(frozen=True)
class Search:
    """What is searched: learning rates times penalties, over the folds of a task's rows."""

    data: str
    task: Task
    n_rates: int = 8
    n_alphas: int = 4
    n_folds: int = 3

    @property
    def n_candidates(self) -> int:
        return self.n_rates * self.n_alphas

    @property
    def n_trained(self) -> int:
        """How many rows a fit of a fold trains on."""
        return round(self.task.n_rows * (self.n_folds - 1) / self.n_folds)

    @property
    def n_epochs(self) -> int:
        """How many epochs there are in all fits of all folds."""
        return self.n_candidates * self.n_folds * self.task.n_epochs

    @property
    def n_steps(self) -> int:
        return self.n_epochs * ceil(self.n_trained / self.task.batch_size)

    def __str__(self) -> str:
        size = f"{self.task.n_rows:,} rows x {self.task.n_epochs} epochs = {self.n_steps:,} steps"
        return f"{self.n_candidates} candidates x {self.n_folds} folds, {self.task}: {self.data}, {size}"

    def grid(self, rate: str, alpha: str) -> dict[str, list[float]]:
        """Return the values of the two parameters; with none of the rates does a training diverge."""
        rates, alphas = np.logspace(-4, -2, self.n_rates), np.logspace(-6, -3, self.n_alphas)
        return {rate: rates.tolist(), alpha: alphas.tolist()}

    def quick(self) -> Search:
        """Return a search that is over at once, only to see that it runs."""
        narrow = tuple(min(size, 32) for size in self.task.hidden)
        n_rows = max(2 * self.task.batch_size, 20 * self.task.n_classes)
        task = replace(self.task, hidden=narrow, n_rows=n_rows, n_epochs=1)
        return replace(self, task=task, n_rates=2, n_alphas=1, n_folds=2)

    def with_rows(self, folder: Path | None) -> tuple[Search, np.ndarray, np.ndarray]:
        """Return the rows of the real set, or as many made ones, and the search on them."""
        X, y = made_rows(self.task) if folder is None else real_rows(folder / self.data)
        X, y = X[: self.task.n_rows], y[: self.task.n_rows]
        task = replace(self.task, n_rows=len(X), n_features=X.shape[1], n_classes=len(np.unique(y)))
        return replace(self, task=task, data=f"made like {self.data}" if folder is None else self.data), X, y


def made_rows(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows of the shape of a real set: a cloud for each class, and some rows of another class."""
    X, y = make_classification(
        task.n_rows,
        task.n_features,
        n_informative=min(task.n_features, 16),
        n_redundant=0,
        n_classes=task.n_classes,
        n_clusters_per_class=1,
        flip_y=0.05,
        random_state=0,
    )
    return StandardScaler().fit_transform(X.astype(np.float32)), y


def real_rows(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the training part of a real set, its numbers scaled and a column for each category, in float32."""
    data = load(folder)
    train, _ = data.split(seed=0, max_train=None)
    X = pipeline("passthrough", data).fit_transform(data.X.iloc[train])
    return np.ascontiguousarray(X, np.float32), np.unique(data.y[train], return_inverse=True)[1]


@dataclass(frozen=True)
class Network:
    """An estimator that is searched, and what it calls the rate and the penalty."""

    make: Callable[[Task], Any]
    names: tuple[str, str]


OURS = Network(lambda task: BigMLPClassifier(**shared(task), device=task.device), ("learning_rate", "alpha"))
PIPELINE = Network(
    lambda task: make_pipeline(StandardScaler(), OURS.make(task)),
    ("bigmlpclassifier__learning_rate", "bigmlpclassifier__alpha"),
)
ANNEALED = replace(OURS, make=lambda task: OURS.make(task).set_params(schedule="cosine"))
THEIRS = Network(lambda task: MLPClassifier(**shared(task)), ("learning_rate_init", "alpha"))
SKORCH = Network(skorch_net, ("lr", "optimizer__weight_decay"))
FASTEST_SKORCH = replace(SKORCH, make=lambda task: skorch_net(task, "disable"))


@dataclass(frozen=True)
class Contender:
    """A way to search, by how much we want to be faster, and how many of the candidates are run at most."""

    network: Network
    wanted: float | None = None
    n_jobs: int | None = None
    kind: Callable[..., Any] = GridSearchCV
    n_run: int | None = None

    def part_of(self, search: Search) -> Search:
        """Return the part of a search that is run."""
        if self.n_run is None:
            return search
        return replace(search, n_rates=min(self.n_run, search.n_candidates // 2), n_alphas=1)

    def run(self, search: Search, X: np.ndarray, y: np.ndarray) -> Any:
        """Search, or search the part; a candidate that fails is an error, since it would take no time."""
        whole = self.n_run is None
        grid = self.part_of(search).grid(*self.network.names)
        made = self.kind(self.network.make(search.task), grid, cv=search.n_folds, refit=whole, error_score="raise")
        with not_converged(), workers(self.n_jobs):
            made.fit(X, y)
        synchronize(search.task)
        return made

    def make_ready(self, search: Search, X: np.ndarray, y: np.ndarray) -> None:
        """Stop the worker processes of others; start new ones where their start would be extrapolated, too."""
        get_reusable_executor().shutdown(wait=True)
        if self.n_run is not None:
            short = replace(search, task=replace(search.task, n_epochs=1))
            replace(self, n_run=1).run(short, X, y)


def workers(n_jobs: int | None) -> AbstractContextManager[Any]:
    """Give worker processes, where they are asked for, as many threads together as this process has."""
    if n_jobs is None:
        return nullcontext()
    n_threads = max(1, torch.get_num_threads() // n_jobs)
    return parallel_config(backend="loky", n_jobs=n_jobs, inner_max_num_threads=n_threads)
