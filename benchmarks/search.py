"""Searches that are timed: ours, beside scikit-learn's over our networks, over its own and over skorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.environment import rate_of_torch
from benchmarks.options import Options
from benchmarks.peers import HAS_SKORCH, Task, flops_of_training
from benchmarks.searchers import ANNEALED, FASTEST_SKORCH, OURS, PIPELINE, SKORCH, THEIRS, Contender, Search
from benchmarks.speed import NO_GPU, NO_SKORCH
from benchmarks.timing import Row, Table, in_turn
from skbig.search import BigGridSearchCV, BigHalvingGridSearchCV

N_JOBS = 2

LETTER = Task(16, (100,), 32, n_rows=16_000, n_epochs=10, n_classes=26)
ADULT = Task(108, (256, 256, 256), 256, n_rows=32_561, n_epochs=20, n_classes=2, device="cuda")

SMALL_BATCHES = Search("letter", LETTER)
SMALL = Search("letter", replace(LETTER, batch_size=200))
MIDDLE = Search("letter", replace(LETTER, hidden=(256, 256), batch_size=256), n_rates=4, n_alphas=2)
PIPELINES = Search("letter", replace(LETTER, hidden=(128, 128), batch_size=256), n_rates=4, n_alphas=4)
HALVING = Search("letter", replace(LETTER, n_epochs=32), n_rates=16)
ON_GPU = Search("adult", ADULT, n_rates=16, n_folds=5)


def compare(search: Search, options: Options, contenders: dict[str, Contender]) -> tuple[Table, Search, dict[str, Any]]:
    """Search with each contender in turn; return the table, what was searched, and the searches themselves."""
    search, X, y = (search.quick() if options.quick else search).with_rows(options.data)
    runs = {name: partial(each.run, search, X, y) for name, each in contenders.items()}

    def make_ready(name: str) -> None:
        contenders[name].make_ready(search, X, y)

    timed = in_turn(
        runs, options.repeats, collect=not options.quick, before_first=None if options.quick else make_ready
    )
    rows, notes = [], []
    for name, each in contenders.items():
        seconds, fitted = timed[name]
        n_run = each.part_of(search).n_candidates
        score = fitted.best_score_ if n_run == search.n_candidates else None
        rows.append(Row(name, seconds, each.wanted, score, search.n_candidates / n_run))
        if n_run < search.n_candidates:
            notes.append(f"{name}: extrapolated from {n_run} of {search.n_candidates} candidates.")
    table = Table(f"search {search}", search.n_steps, "step", rows, notes, "score", shows_first=True)
    return table, search, {name: fitted for name, (_, fitted) in timed.items()}


def search_small_batches(options: Options) -> Table:
    """Time a search where a step is mostly the calls of its operations."""
    contenders = {
        "BigGridSearchCV": Contender(OURS, kind=BigGridSearchCV),
        "MLPClassifier, n_jobs=2": Contender(THEIRS, 5, N_JOBS),
        "skbig, n_jobs=2": Contender(OURS, 1.5, N_JOBS),
        "skbig, one by one": Contender(OURS),
    }
    if HAS_SKORCH:
        contenders["skorch, n_jobs=2"] = Contender(SKORCH, None, N_JOBS, n_run=4)
    return with_note(compare(SMALL_BATCHES, options, contenders)[0])


def search_small(options: Options) -> Table:
    """Time a search with scikit-learn's default batch."""
    contenders = {
        "BigGridSearchCV": Contender(OURS, kind=BigGridSearchCV),
        "MLPClassifier, n_jobs=2": Contender(THEIRS, 2.5, N_JOBS),
        "skbig, n_jobs=2": Contender(OURS, None, N_JOBS),
        "skbig, one by one": Contender(OURS),
    }
    if HAS_SKORCH:
        contenders["skorch, n_jobs=2"] = Contender(SKORCH, 8, N_JOBS)
        contenders["skorch, no callbacks, n_jobs=2"] = Contender(FASTEST_SKORCH, None, N_JOBS, n_run=8)
    return with_note(compare(SMALL, options, contenders)[0])


def search_middle(options: Options) -> Table:
    """Time a search whose networks are so large that stacking them gains nothing."""
    contenders = {
        "BigGridSearchCV": Contender(OURS, kind=BigGridSearchCV),
        "skbig, n_jobs=2": Contender(OURS, 0.95, N_JOBS),
        "skbig, one by one": Contender(OURS, 0.95),
    }
    return compare(MIDDLE, options, contenders)[0]


def search_pipelines(options: Options) -> Table:
    """Time a search over pipelines with networks of some size, beside scikit-learn's over the same."""
    contenders = {
        "BigGridSearchCV": Contender(PIPELINE, kind=BigGridSearchCV),
        "GridSearchCV, n_jobs=2": Contender(PIPELINE, 1.5, N_JOBS),
        "GridSearchCV": Contender(PIPELINE),
    }
    table, search, _ = compare(PIPELINES, options, contenders)
    return replace(
        table, title=f"pipelines with a StandardScaler: {table.title}", flops=products(search), limits=options.limits
    )


def search_by_halving(options: Options) -> Table:
    """Time a halving search beside our own full grid, and say whether it finds as good a candidate.

    The rate of all networks falls along a cosine: with a constant one the order of candidates changes until the end.
    """
    ours, full = "BigHalvingGridSearchCV", "BigGridSearchCV, all"
    contenders = {ours: Contender(ANNEALED, kind=with_many_rungs), full: Contender(ANNEALED, 3, kind=BigGridSearchCV)}
    table, search, fitted = compare(HALVING, options, contenders)
    rungs = f"rungs of {fitted[ours].n_candidates_} candidates, after {fitted[ours].n_resources_} epochs"
    return replace(table, notes=[*table.notes, rungs, judge(fitted[ours], fitted[full], search.n_folds)])


def with_many_rungs(network: Any, grid: Any, **options: Any) -> BigHalvingGridSearchCV:
    """Look at candidates after the first epoch, and then each time the epochs have doubled."""
    return BigHalvingGridSearchCV(network, grid, factor=2, return_train_score=False, **options)


def judge(halving: Any, full: Any, n_folds: int) -> str:
    """Say whether the best score is within one standard error of the full grid's."""
    error = full.cv_results_["std_test_score"][full.best_index_] / np.sqrt(n_folds - 1)
    lost = full.best_score_ - halving.best_score_
    return f"best score: {lost:.4f} below that of all, standard error {error:.4f}: {'ok' if lost <= error else 'short'}"


def search_on_gpu(options: Options) -> Table | str:
    """Time a search on a GPU, where there is one."""
    return compare_on_gpu(ON_GPU, options) if torch.cuda.is_available() else NO_GPU


def compare_on_gpu(search: Search, options: Options) -> Table:
    """Search beside networks trained one after another, and say how far that is from what the device can do."""
    contenders = {
        "BigGridSearchCV": Contender(OURS, kind=BigGridSearchCV),
        "skbig, one by one": Contender(OURS, 8, n_run=8),
    }
    if HAS_SKORCH:
        contenders["skorch"] = Contender(SKORCH, 100, n_run=1)
        contenders["skorch, no callbacks"] = Contender(FASTEST_SKORCH, None, n_run=1)
    table, search, _ = compare(search, options, contenders)
    seconds = table.rows[0].median
    device = search.task.device
    size, least = (8192, 0.3) if device != "cpu" else (512, 0.0)
    used, most = products(search) / seconds / 1e12, rate_of_torch(size, least, torch.float32, device) / 1e12
    speed = f"{search.n_steps / seconds:,.0f} steps of a member per second"
    share = (
        f"{used:.3g} TFLOP/s in products, {used / most:.1%} of what one large float32 product does here ({most:.3g})"
    )
    return with_note(replace(table, notes=[*table.notes, f"BigGridSearchCV: {speed}, {share}."]))


def products(search: Search) -> float:
    """Return the floating point operations in the products of all trainings."""
    return flops_of_training(replace(search.task, n_rows=search.n_trained, n_epochs=search.n_epochs))


def with_note(table: Table) -> Table:
    """Return a table that says so where skorch is missing."""
    return table if HAS_SKORCH else replace(table, notes=[*table.notes, NO_SKORCH])


SECTIONS: dict[str, Callable[[Options], Table | str]] = {
    "search-small-batches": search_small_batches,
    "search-small": search_small,
    "search-middle": search_middle,
    "search-pipelines": search_pipelines,
    "search-halving": search_by_halving,
    "search-gpu": search_on_gpu,
}
