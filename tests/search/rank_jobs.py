"""Searches over a network with a backend, and the jobs of test_ranks.py: a worker imports this file by its name."""

from __future__ import annotations

import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import distributed

from skbig import DDP, BigGridSearchCV, BigHalvingGridSearchCV, BigRandomizedSearchCV
from skbig._utils.threads import thread_count
from skbig.distributed.ranks import Ranks
from skbig.launch.worker_context import WorkerContext
from tests.fitting import BINARY, N_ROWS, VALUES, WORDS, X, small, weights_of
from tests.searching import last_of, seen

TWO = DDP(n_workers=2)
WEIGHT = np.random.RandomState(1).choice([0.0, 0.5, 1.0, 3.0], size=N_ROWS)
GROUPS = np.repeat([0, 1, 2, 3], [4, 37, 7, 12])
MIXED = [
    {"learning_rate": [0.1, 0.03, 0.01], "dropout": [0.0, 0.3]},
    {"hidden_layer_sizes": [(3,), (5, 2)], "alpha": [0.0, 1.0], "n_members": [1, 2]},
]
RATES = {"learning_rate": [0.1, 0.03, 0.01]}
FAILING = [
    {"optimizer": ["sgd"], "activation": ["identity"], "learning_rate": [1e60, 1e-2]},
    {"alpha": [-1.0, 1.0]},
    {"batch_size": [0]},
]


def net(backend: Any, task: str = "multiclass", **parameters: Any) -> Any:
    return small(task, **{"device": "cpu", "backend": backend} | parameters)


def piped(backend: Any) -> Pipeline:
    steps = [("scaler", StandardScaler()), ("half", FunctionTransformer(lambda rows: rows / 2)), ("net", net(backend))]
    return Pipeline(steps)


def grid_search(estimator: Any, grid: Any, y: Any = WORDS, fit: Any = None, **settings: Any) -> Any:
    settings = {"cv": KFold(3), "scoring": seen, "refit": "score", "return_train_score": True} | settings
    return BigGridSearchCV(estimator, grid, **settings).fit(X, y, **(fit or {}))


def accuracy(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """Score, and warn."""
    warnings.warn("few rows", UserWarning, stacklevel=1)
    return {"score": estimator.score(X, y)}


def halving(backend: Any, *, refit: bool = True, **parameters: Any) -> Any:
    """Search in rungs of 1, 2, 4 and 8 epochs."""
    network, settings = net(backend, max_iter=8, **parameters), {"factor": 2, "min_resources": 1, "refit": refit}
    grid = {"learning_rate": [0.1, 0.03, 0.01, 0.003], "hidden_layer_sizes": [(3,), (4,)]}
    search = BigHalvingGridSearchCV(network, grid, cv=KFold(2), scoring="neg_log_loss", **settings)
    return search.fit(X, WORDS)


SEARCHES: dict[str, Callable[..., Any]] = {
    "mixed": lambda b: grid_search(net(b), MIXED),
    "pipeline, weights": lambda b, **settings: grid_search(
        piped(b),
        {"net__learning_rate": [0.1, 0.03], "scaler__with_mean": [True, False]},
        fit={"net__sample_weight": WEIGHT, "scaler__sample_weight": WEIGHT},
        **settings,
    ),
    "groups, words as objects": lambda b: grid_search(
        net(b), RATES, WORDS.astype(object), fit={"groups": GROUPS}, cv=GroupKFold(3)
    ),
    "early stopping": lambda b: grid_search(
        net(b, "regression", early_stopping=True, validation_fraction=0.25, max_iter=12), RATES, VALUES
    ),
    "several scores": lambda b: grid_search(
        net(b, "binary"), RATES, BINARY, scoring={"a": make_scorer(accuracy_score), "b": "neg_log_loss"}, refit="b"
    ),
    "one by one": lambda b: grid_search(net(b, batch_size=50), {"alpha": [0.0, 1.0], "max_time": [1e6]}),
    "failing": lambda b, **settings: grid_search(net(b), FAILING, error_score=-9.0, **settings),
    "warnings": lambda b: grid_search(net(b), RATES, scoring=accuracy, refit=False),
    "drawn": lambda b: BigRandomizedSearchCV(
        net(b), {"alpha": [0.0, 0.1, 1.0, 10.0]}, n_iter=3, cv=KFold(2), random_state=0
    ).fit(X, WORDS),
    "halving": halving,
    "halving, early stopping": lambda b, **settings: halving(
        b, early_stopping=True, validation_fraction=0.25, scoring="loss", **settings
    ),
}


def found(search: Any) -> dict[str, Any]:
    """Return what a search has come to, but for times, and the weights of its best network."""
    results = {name: values for name, values in search.cv_results_.items() if not name.endswith("_time")}
    results = {name: values for name, values in results.items() if not name.startswith(("rank", "param"))}
    best = getattr(search, "best_estimator_", None)
    return {
        "parameters": repr(search.cv_results_["params"]),
        "best": repr(getattr(search, "best_params_", None)),
        "weights": None if best is None else weights_of(last_of(best)),
        **{name: np.asarray(values) for name, values in results.items()},
    }


def heard(run: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Return what a function returns, or raises, and the beginnings of the warnings that it gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = run()
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
    return result, sorted(str(entry.message)[:60] for entry in caught)


# A launch by others.

OTHERS: dict[str, Callable[[int], Any]] = {
    "an error": lambda rank: grid_search(net(TWO), FAILING, error_score="raise"),
    "other rows": lambda rank: grid_search(net(TWO), RATES, WORDS if rank else WORDS[::-1]),
    "other candidates": lambda rank: BigRandomizedSearchCV(
        net(TWO), {"alpha": [0.0, 0.1, 1.0, 10.0]}, n_iter=2, cv=KFold(2), random_state=rank
    ).fit(X, WORDS),
    "Ctrl-C in one rank": lambda rank: interrupted(),
}


def interrupted() -> dict[str, Any]:
    """Return what is kept of a search in which the second rank hears Ctrl-C, when it has scored a few stacks."""
    scored = []

    def score(estimator: Any, X: Any, y: Any) -> float:
        scored.append(1)
        if distributed.get_rank() == 1 and len(scored) == 3:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.1)
        return float(estimator.score(X, y))

    search = BigGridSearchCV(net(TWO), {"hidden_layer_sizes": [(i,) for i in range(1, 21)]}, cv=KFold(2), scoring=score)
    try:
        search.fit(X, WORDS)
    except KeyboardInterrupt:
        return found(search) | {"interrupted": True}
    return found(search)


def search_all(folder: Path, context: WorkerContext) -> None:
    """Run all searches in all ranks; rank 0 writes what they have found, and whether all have the same."""
    with thread_count(1):
        results = {name: heard(lambda run=run: found(run(DDP())))[0] for name, run in SEARCHES.items()}
        results |= {name: heard(lambda run=run: run(context.rank))[0] for name, run in OTHERS.items()}
        results["saved"] = [found(saved(folder / "checkpoints")) for _ in range(2)]
    hashes = {name: joblib.hash(result) for name, result in results.items()}
    alike = {name: len({own[name] for own in Ranks(context).everybodys(hashes)}) == 1 for name in results}
    if context.rank == 0:
        (folder / "results").write_bytes(pickle.dumps((results, alike)))


def saved(place: Path, backend: Any = TWO, **settings: Any) -> Any:
    return heard(lambda: grid_search(net(backend), RATES, checkpoint_dir=place, **settings))[0]


# What a worker may do.


class Acting:
    """A score that does something, once, in the first worker to score so many fits; it may note down each fit."""

    def __init__(self, act: Callable[[], None], mark: Path, fits: int = 1, calls: Path | None = None) -> None:
        self.act, self.mark, self.fits, self.calls, self.count = act, mark, fits, calls, 0

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        self.count += 1
        if distributed.is_initialized():
            self._act()
        return float(estimator.score(X, y))

    def _act(self) -> None:
        if self.calls is not None:
            with open(self.calls, "a", encoding="utf-8") as file:
                file.write(".")
        if self.count == self.fits and not self.mark.exists():
            self.mark.touch()
            self.act()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
