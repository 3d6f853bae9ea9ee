"""What the ranks of test_ranks_agree.py do: a worker imports this file by its name."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import joblib
import numpy as np
import psutil
from scipy import sparse

from skbig import DDP, FSDP, BigMLPClassifier, BigMLPRegressor, TensorParallel
from skbig._utils.threads import thread_count
from skbig.components import DPSGD, SGD, Mixup, Plateau
from skbig.data.rows import DENSE_FEATURES
from skbig.distributed.backend import Backend
from skbig.distributed.ranks import Ranks
from skbig.distributed.sharding import ShardedTraining
from skbig.engine import train as loop
from skbig.engine.history import History
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import Training
from skbig.estimators import row_checks
from skbig.estimators.rank_training import train_as_rank
from skbig.launch.worker_context import WorkerContext, existing_context
from tests.small import data, factors, kept, new_members, recipe, rows, weights

SEEDS = {1: (0,), 3: (0, 17, 2**32 - 1)}
BACKENDS: dict[str, Backend] = {"ddp": DDP(), "fsdp": FSDP(), "tensor": TensorParallel()}

# Below the estimators: name -> task, changes of the recipe, rows, whether they have weights.
FACTORS: dict[str, tuple[str, dict[str, Any], int, bool]] = {
    name: (task, changes, 45, False)
    for name, (task, changes) in factors().items()
    # Muon's default rounds to bfloat16, so that a last bit may become a thousandth.
    if "ns_precision='bfloat16'" not in name
}
# 41 rows in batches of 20: the last batch has fewer rows than there are ranks.
FACTORS |= {
    f"weighted {task}, {changes}": (task, changes, 41, True)
    for task in ("binary", "multiclass", "multi-output")
    for changes in ({}, {"normalization": "batch", "dropout": 0.2}, {"augmentation": Mixup(1.0), "dropout": 0.2})
}
Case = tuple[str, int]  # a factor, and how many members


def strict(changes: dict[str, Any]) -> dict[str, Any]:
    """Keep noise small: a bias before a batch norm has no gradient but noise, and Adam would divide by its size."""
    return changes | ({"optimizer": SGD(momentum=0.9)} if changes.get("normalization") == "batch" else {})


@cache
def trained_alone(case: Case) -> dict[str, Any]:
    """Return the same of one process."""
    return trained(case)


@cache
def fitted_alone(name: str) -> dict[str, Any]:
    """Return what a fit of one process learns."""
    return learnt(quiet(lambda: FITS[name](None)))


def trained(case: Case, ranks: Ranks | None = None, n_threads: int = 1) -> dict[str, Any]:
    """Return all that a training below the estimators has changed."""
    name, n_members = case
    task, changes, n_rows, weighted = FACTORS[name]
    what = recipe(task, **strict(changes))
    members = new_members(what, SEEDS[n_members])
    own = rows(task, weight=weights(n_rows) if weighted else None, n_rows=n_rows)
    history = History()
    training = Training(members, own, what, StoppingTracker(members, what), history, None, 0)
    with thread_count(n_threads), mock.patch.object(loop, "useful_threads", lambda *_: n_threads):
        training.run() if ranks is None else train_as_rank(training, ranks, ())
    return kept(members) | {"loss": np.array(history.loss), "rate": np.array(history.rate)}


# Estimators.

X, CLASSES = data("multiclass", 61)
VALUES = data("multi-output", 61)[1]
LABELS = np.array(["low", "mid", "top"], dtype=object)[CLASSES]
INDICATOR = data("multilabel", 61)[1].astype(int)
MANY_ZEROS = np.random.RandomState(5).randint(0, 3, size=61).astype(float)
X_VAL, CLASSES_VAL = data("multiclass", 23)
SPARSE = sparse.csr_array(X * (np.abs(X) > 0.7))
SPARSE.resize(len(X), DENSE_FEATURES + 1)  # rows that are never made dense
SMALL: dict[str, Any] = {"hidden_layer_sizes": (6, 5), "batch_size": 20, "max_iter": 6, "random_state": 0}


def classifier(**parameters: Any) -> BigMLPClassifier:
    return BigMLPClassifier(**SMALL | parameters)


def regressor(**parameters: Any) -> BigMLPRegressor:
    return BigMLPRegressor(**SMALL | parameters)


def stopping(**parameters: Any) -> dict[str, Any]:
    defaults = {"early_stopping": True, "max_iter": 40, "n_iter_no_change": 2, "learning_rate": 0.02}
    return defaults | {"validation_fraction": 0.2} | parameters


def in_calls(estimator: Any) -> Any:
    for start in (0, 20, 40):
        part = slice(start, start + 21)
        estimator.partial_fit(X[part], LABELS[part], classes=np.unique(LABELS), sample_weight=MANY_ZEROS[part])
    return estimator


def in_private_calls(estimator: Any) -> Any:
    estimator.set_params(privacy=DPSGD(noise_multiplier=0.5)).fit(X, VALUES)
    for _ in range(2):
        estimator.partial_fit(X[:40], VALUES[:40]).set_weights(estimator.get_weights())
    return estimator


def twice(estimator: Any) -> Any:
    return estimator.fit(X, CLASSES).set_params(learning_rate=0.1).fit(X, CLASSES)


class Slices:
    """Rows that are nowhere in memory, as far as an estimator can see."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.rows[key]


def streamed(estimator: Any) -> Any:
    with mock.patch.object(row_checks, "LOADED_BYTES", 0):
        return estimator.fit(Slices(X), CLASSES, MANY_ZEROS, X_val=Slices(X_VAL), y_val=CLASSES_VAL)


FITS: dict[str, Callable[[Any], Any]] = {
    "weights with zeros": lambda b: classifier(backend=b).fit(X, LABELS, MANY_ZEROS),
    "class weights": lambda b: classifier(backend=b, class_weight="balanced").fit(X, CLASSES, MANY_ZEROS),
    "multilabel": lambda b: classifier(backend=b, dropout=0.3, clipping="norm").fit(X, INDICATOR),
    "multi-output, members": lambda b: regressor(backend=b, n_members=3, penalty="l1").fit(X, VALUES, MANY_ZEROS),
    "one batch": lambda b: regressor(backend=b, batch_size="full").fit(X, VALUES),
    "batches of one row": lambda b: regressor(backend=b, batch_size=1, max_iter=2).fit(X, VALUES),
    "float32": lambda b: classifier(backend=b).fit(X.astype(np.float32), CLASSES),
    "bf16": lambda b: classifier(backend=b, precision="bf16", normalization="batch").fit(X, CLASSES),
    "held out rows, accuracy": lambda b: classifier(backend=b, **stopping(scoring="accuracy")).fit(X, LABELS),
    "held out rows, members": lambda b: classifier(backend=b, **stopping(n_members=3)).fit(X, CLASSES, MANY_ZEROS),
    "given rows, batch norm": lambda b: classifier(
        backend=b, **stopping(normalization="batch", optimizer="sgd", scoring=None)
    ).fit(X, CLASSES, X_val=X_VAL, y_val=CLASSES_VAL, sample_weight_val=weights(23)),
    "one validation row": lambda b: regressor(backend=b, **stopping()).fit(X, VALUES, X_val=X[:1], y_val=VALUES[:1]),
    "one validation row, float32": lambda b: regressor(backend=b, **stopping()).fit(
        X.astype(np.float32), VALUES, X_val=X[:1].astype(np.float32), y_val=VALUES[:1]
    ),
    "one sparse validation row": lambda b: classifier(backend=b, **stopping()).fit(
        SPARSE, CLASSES, X_val=SPARSE[:1], y_val=CLASSES[:1]
    ),
    "plateau": lambda b: regressor(
        backend=b, optimizer="sgd", schedule=Plateau(factor=0.5, patience=1), tol=0.01, max_iter=30, n_iter_no_change=1
    ).fit(X, VALUES),
    "sparse": lambda b: classifier(backend=b, **stopping()).fit(SPARSE, CLASSES, MANY_ZEROS),
    "sparse, bf16": lambda b: classifier(backend=b, precision="bf16").fit(SPARSE, CLASSES),
    "sparse, members": lambda b: regressor(backend=b, n_members=3).fit(SPARSE, VALUES),
    "calls of partial_fit": lambda b: in_calls(classifier(backend=b, schedule="cosine")),
    # Where workers have parts of the parameters it is refused.
    "privacy": lambda b: in_private_calls(regressor(backend=b if isinstance(b, DDP) else None, n_members=2)),
    "a warm start": lambda b: twice(classifier(backend=b, warm_start=True, **stopping())),
    "rows that are read": lambda b: streamed(classifier(backend=b, **stopping(n_members=3, augmentation="mixup"))),
    "no shuffling": lambda b: regressor(backend=b, shuffle=False, augmentation="swap_noise").fit(X, VALUES),
}
INEXACT = {"float32": 1e-4, "one validation row, float32": 1e-4, "bf16": 0.05, "sparse, bf16": 0.05}


def quiet(fit: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit()


def learnt(estimator: Any) -> dict[str, Any]:
    """Return what a fit has come to, but for times, and for how its steps were executed."""
    names = [name for name in vars(estimator) if name[-1] == "_" or name in ("_progress", "_names_of_curves")]
    curves = {name: list(curve) for name, curve in estimator._curves.items()}
    return {"_curves": curves} | {name: getattr(estimator, name) for name in names if name != "executor_"}


# What has no counterpart in one process.


def many_scores(estimator: Any, X: Any, y: Any) -> float:
    """Score otherwise in each process, and in each call."""
    return float(np.random.default_rng().normal())


def failing(estimator: Any, X: Any, y: Any) -> float:
    raise KeyError("a column that is not there")


def only_in_ranks(together: Backend, names: Sequence[str], context: WorkerContext, folder: Path) -> dict[str, Any]:
    """Return states that must be the same in all ranks, and the errors that all must meet."""
    own = slice(context.rank, None)
    saving = {"checkpoint_dir": folder / "checkpoints", "checkpoint_every": 1, "backend": together}
    fits = {
        "no seed": lambda: classifier(backend=together, random_state=None).fit(X, CLASSES),
        "seeds of each rank": lambda: classifier(
            backend=together, random_state=np.random.RandomState(3), n_members=3
        ).fit(X, CLASSES),
        "time is over": lambda: regressor(backend=together, max_time=0.3, max_iter=10**6, tol=0).fit(X, VALUES),
        "a score by chance": lambda: classifier(backend=together, **stopping(scoring=many_scores)).fit(X, CLASSES),
        "steps apart": lambda: regressor(backend=DDP(sync_every=2), normalization="batch", dropout=0.2).fit(X, VALUES),
        "steps apart, sparse": lambda: classifier(backend=DDP(sync_every=3), n_members=3).fit(SPARSE, CLASSES),
        "saved": lambda: regressor(max_iter=3, **saving).fit(X, VALUES),
        "saved, and read": lambda: regressor(max_iter=3, **saving).fit(X, VALUES),
        "other rows": lambda: classifier(backend=together).fit(X[own], CLASSES[own]),
        "other weights": lambda: regressor(backend=together).fit(X, VALUES, np.ones(61) + context.rank),
        "other parameters": lambda: regressor(backend=together, alpha=1.0 + context.rank).fit(X, VALUES),
        "diverging": lambda: regressor(backend=together, learning_rate=1e200).fit(X, VALUES),
        "diverging apart": lambda: regressor(backend=DDP(sync_every=2), learning_rate=1e200).fit(X, VALUES),
        "a failing score": lambda: classifier(backend=together, **stopping(scoring=failing)).fit(X, CLASSES),
        "checkpoints nowhere": lambda: regressor(**saving | {"checkpoint_dir": "/dev/null/x"}).fit(X, VALUES),
    }
    return {name: quiet(lambda name=name: _outcome(fits[name])) for name in (*names, "saved", "saved, and read")}


def _outcome(fit: Callable[[], Any]) -> dict[str, Any]:
    try:
        return learnt(fit())
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def can_train(backend: Backend, name: str) -> bool:
    """Whether a factor needs no whole matrices of parameters, or a backend's workers have them."""
    task, changes, *_ = FACTORS[name]
    what = recipe(task, **changes)
    return not backend.shares_parameters or (what.optimizer.elementwise and what.privacy is None)


def held(ranks: Ranks, n_members: int) -> dict[str, Any]:
    """Return how many numbers each rank holds of parameters and of optimizer state, and how many there are."""
    what = recipe("multiclass", normalization="layer", hidden_layer_sizes=(31, 17, 1))
    members = new_members(what, SEEDS[n_members])
    training = Training(members, rows("multiclass"), what, StoppingTracker(members, what), History(), None, 0)
    n_numbers = members.flat.numel()
    part = ShardedTraining(training, ranks).part.members
    assert all(tensor.is_meta for tensor in members.changing())
    state = sum(tensor.numel() for own in part.state for tensor in own.values())
    return {"all": n_numbers, "parameters": ranks.everybodys(part.flat.numel()), "state": ranks.everybodys(state)}


def hosts() -> list[str]:
    """Return the addresses at which this process waits for connections."""
    sockets = psutil.Process().net_connections("inet")
    return sorted({each.laddr.ip for each in sockets if each.status in ("LISTEN", "NONE")})


def train_all(folder: Path, context: WorkerContext) -> None:
    """Train what is asked by every backend, in all ranks; rank 0 writes the results, and whether all have the same."""
    assert existing_context() is context
    for name, backend in BACKENDS.items():
        train_by(backend, folder / name, context)


def train_by(backend: Backend, folder: Path, context: WorkerContext) -> None:
    ranks = Ranks(context, backend)
    cases, fits, outcomes = pickle.loads((folder / "asked").read_bytes())
    results: dict[Any, Any] = {case: trained(case, ranks) for case in cases}
    if not backend.shares_parameters:
        results |= {(*case, "with threads"): trained(case, ranks, n_threads=2) for case in cases}
    results |= {name: learnt(quiet(lambda name=name: FITS[name](backend))) for name in fits}
    results |= only_in_ranks(backend, outcomes, context, folder)
    if backend.shares_parameters:
        results |= {f"held, {n_members}": held(ranks, n_members) for n_members in SEEDS}
    results["hosts"] = {"all": ranks.everybodys(hosts())}
    hashes = {name: joblib.hash(result) for name, result in results.items()}
    alike = {name: len({own[name] for own in ranks.everybodys(hashes)}) == 1 for name in results}
    if ranks.is_first:
        (folder / "results").write_bytes(pickle.dumps((results, alike)))
