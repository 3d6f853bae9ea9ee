"""A search that trains its candidates together gives what scikit-learn's gives: the promise of `skbig.search`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, PolynomialFeatures, StandardScaler

from skbig._utils.threads import thread_count
from tests.candidates import APART, STACKED
from tests.fitting import BINARY, MULTICLASS, N_ROWS, TASKS, WORDS, X, target
from tests.searching import (
    EARLY,
    RATES,
    ROWS,
    UNEQUAL,
    answers,
    assert_alike,
    assert_same_best,
    assert_same_search,
    each,
    estimator_of,
    searches,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WEIGHT = np.random.RandomState(1).choice([0.0, 0.5, 1.0, 3.0], size=N_ROWS)
GROUPS = np.repeat([0, 1, 2, 3], [4, 37, 7, 12])
RARE = np.where(ROWS % 20 == 0, "rare", WORDS)
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "d"]).assign(c=lambda frame: (100 * frame.c).round().astype(int))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let all folds share one stack: with more threads each would have its own."""
    with thread_count(1):
        yield


@pytest.mark.parametrize("name", STACKED)
def test_numbers_share_a_stack(name: str) -> None:
    """Candidates that differ in numbers are trained together, and come to what they come to one by one."""
    task, parameters, grid = STACKED[name]
    largest = assert_same_search(estimator_of(task, **parameters), grid, X, target(task))
    assert largest > 2


@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
@pytest.mark.parametrize("name", APART)
def test_kinds_are_kept_apart(name: str) -> None:
    """Candidates that differ in shape or kind are each trained as they would be alone."""
    task, parameters, grid = APART[name]
    assert_same_search(estimator_of(task, **parameters), grid, X, target(task), refit="score")


@pytest.mark.parametrize(("most", "n_threads"), [(1, 1), (2, 2), (3, 1), (3, 2)])
def test_any_composition_of_stacks(most: int, n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are trained together, and how many stacks side by side, changes no score."""
    monkeypatch.setattr("skbig.search.stack_planning.MAX_ON_CPU", most)
    parameters = EARLY | {"dropout": 0.2, "tol": 0.05, "learning_rate": 0.03}
    grid = each(n_iter_no_change=[0, 2, 20, 1], alpha=[0, 1, 0, 1], n_members=[1, 1, 1, 2])
    with thread_count(n_threads):
        largest = assert_same_search(estimator_of("multiclass", **parameters), grid, X, MULTICLASS)
    assert largest <= most


# Data.

FORMS = {
    "words": ("multiclass", X, WORDS),
    "two words": ("binary", X, np.where(BINARY, "yes", "no")),
    "several labels": ("multilabel", X, target("multilabel")),
    "several values": ("multi-output", X, target("multi-output")),
    "a frame": ("multiclass", FRAME, pd.Series(WORDS)),
    "sparse rows": ("multiclass", sparse.csr_array(X * (X > 0)), MULTICLASS),
    "lists": ("binary", X.tolist(), BINARY.tolist()),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_data(form: str) -> None:
    """Whatever rows and targets scikit-learn's search takes, ours takes, with train scores as well."""
    task, rows, y = FORMS[form]
    grid = each(learning_rate=RATES, alpha=[0, 1, 0])
    assert_same_search(estimator_of(task), grid, rows, y, return_train_score=True, refit="score")


@pytest.mark.parametrize("changes", [{}, EARLY, {"n_members": 2}], ids=str)
def test_long_sparse_rows_share_a_stack(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sparse rows that are never made dense are trained in stacks, too."""
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    rows = sparse.csr_array(X * (X > 0))
    largest = assert_same_search(
        estimator_of("multiclass", **changes), each(learning_rate=RATES, alpha=[0, 1, 0]), rows, MULTICLASS
    )
    assert largest > 2


@pytest.mark.filterwarnings("ignore:The scoring .*does not support sample_weight:UserWarning")
@pytest.mark.parametrize("task", TASKS)
def test_weighted_rows(task: str) -> None:
    """Weights are cut like rows, and a fold in which more of them are zero is a smaller one."""
    grid = each(learning_rate=RATES, dropout=[0, 0.2, 0])
    largest = assert_same_search(estimator_of(task), grid, X, target(task), fit={"sample_weight": WEIGHT})
    assert largest > 2


@pytest.mark.crossed
@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
@pytest.mark.parametrize("changes", [{}, {"class_weight": "balanced"}, {"loss": "focal"}], ids=str)
@pytest.mark.parametrize("cv", [StratifiedKFold(4), GroupKFold(4), KFold(3)], ids=lambda cv: type(cv).__name__)
def test_folds_with_other_classes(cv: Any, changes: dict[str, Any]) -> None:
    """Folds that lack a class have networks of another shape, and groups of rows may be large or small."""
    order = np.argsort(RARE, kind="stable") if isinstance(cv, KFold) else ROWS
    fit = {"groups": GROUPS} if isinstance(cv, GroupKFold) else {}
    grid = each(learning_rate=RATES, max_iter=[2, 3, 3])
    largest = assert_same_search(estimator_of("multiclass", **changes), grid, X[order], RARE[order], cv=cv, fit=fit)
    assert largest > 2


@pytest.mark.parametrize("early_stopping", [True, False])
def test_validation_rows_of_the_caller(early_stopping: bool) -> None:
    """Validation rows that are given to `fit` judge all candidates on all folds."""
    estimator = estimator_of("multiclass", max_iter=8, early_stopping=early_stopping, scoring="loss")
    fit = {"X_val": X[:25] + 0.1, "y_val": MULTICLASS[:25], "sample_weight_val": WEIGHT[:25]}
    grid = each(learning_rate=[0.01, 0.1, 0.1], n_iter_no_change=[1, 1, 5])
    assert assert_same_search(estimator, grid, X, MULTICLASS, fit=fit) > 2


# A bias before a batch norm has no gradient but rounding, which optimizers like Adam make as large as any other.
SINGLE = [
    {},
    {"normalization": "batch", "optimizer": "sgd"},
    {"normalization": "layer"},
    {"augmentation": "mixup"},
    EARLY,
]


@pytest.mark.crossed
@pytest.mark.parametrize("changes", SINGLE, ids=str)
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_single_precision(task: str, changes: dict[str, Any]) -> None:
    """In float32 a score differs by no more than one row's vote."""
    grid = each(dropout=[0, 0.2, 0.2], learning_rate=RATES, n_members=[1, 1, 2])
    theirs, ours = searches(estimator_of(task, **changes), grid, scoring=None)
    for search in (theirs, ours):
        search.fit(X.astype(np.float32), target(task))
    for i, (_, test) in enumerate(UNEQUAL):
        expected, actual = (search.cv_results_[f"split{i}_test_score"] for search in (theirs, ours))
        assert np.abs(expected - actual).max() < 1.01 / len(test)


@pytest.mark.parametrize("changes", SINGLE, ids=str)
def test_single_precision_of_values(changes: dict[str, Any]) -> None:
    """In float32 a squared error has the digits that float32 gives."""
    grid = each(dropout=[0, 0.2, 0.2], learning_rate=RATES, n_members=[1, 1, 2])
    theirs, ours = searches(estimator_of("regression", **changes), grid, scoring="neg_mean_squared_error")
    for search in (theirs, ours):
        search.fit(X.astype(np.float32), target("regression"))
    assert_alike(theirs, ours, 1e-4)


# Pipelines.


def network(**parameters: Any) -> Any:
    return estimator_of("multiclass", **parameters)


def columns() -> ColumnTransformer:
    return ColumnTransformer([("scaled", StandardScaler(), ["a", "b"]), ("powers", PolynomialFeatures(), ["c", "d"])])


SCALED = make_pipeline(StandardScaler(), network())
PIPELINES: dict[str, tuple[Any, Any]] = {
    "a scaler": (SCALED, {"standardscaler__with_mean": [True, False], "bigmlpclassifier__alpha": [0, 1.0]}),
    "other steps": (SCALED, {"standardscaler": [StandardScaler(), MinMaxScaler(), "passthrough"]}),
    "other networks": (SCALED, {"bigmlpclassifier": [network(max_iter=2), network(alpha=1), LogisticRegression()]}),
    "columns": (
        make_pipeline(columns(), StandardScaler(), network()),
        {"columntransformer__powers__degree": [1, 2], "bigmlpclassifier__learning_rate": RATES[:2]},
    ),
    "a pipeline in a pipeline": (
        make_pipeline(make_pipeline(columns(), MinMaxScaler()), make_pipeline(StandardScaler(), network())),
        each(
            **{
                "pipeline-1__columntransformer__powers__degree": [1, 2, 2],
                "pipeline-2__standardscaler__with_mean": [True, True, False],
                "pipeline-2__bigmlpclassifier__dropout": [0, 0.2, 0.2],
            }
        ),
    ),
    "a step that cannot be pickled": (
        make_pipeline(FunctionTransformer(lambda frame: frame / 2), network()),
        {"bigmlpclassifier__learning_rate": RATES},
    ),
    "a step that looks at y": (
        make_pipeline(SelectKBest(k=2), network()),
        {"selectkbest__k": [1, 3], "bigmlpclassifier__learning_rate": RATES[:2]},
    ),
    "early stopping": (
        make_pipeline(StandardScaler(), network(scoring="loss", **EARLY)),
        {"bigmlpclassifier__learning_rate": [0.01, 0.1, 0.3]},
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines(name: str) -> None:
    """Steps before the network are fitted for its fold and setting, also where candidates share them."""
    pipeline, grid = PIPELINES[name]
    own = {"scoring": "neg_log_loss", "refit": True} if name == "other networks" else {"refit": "score"}
    assert assert_same_search(pipeline, grid, FRAME, WORDS, return_train_score=True, **own) > 1


def test_pipelines_with_a_memory_and_weights(tmp_path: Path) -> None:
    """A Pipeline's own memory is left to it, and weights find their step."""
    pipeline = clone(SCALED).set_params(memory=str(tmp_path))
    fit = {"bigmlpclassifier__sample_weight": WEIGHT, "standardscaler__sample_weight": WEIGHT}
    assert assert_same_search(pipeline, {"bigmlpclassifier__learning_rate": RATES}, X, WORDS, fit=fit) > 2


# Other ways to ask.


@pytest.mark.crossed
@pytest.mark.parametrize(
    "scoring", [None, "neg_log_loss", ["accuracy", "neg_log_loss"], make_scorer(accuracy_score)], ids=str
)
@pytest.mark.parametrize("refit", [True, False, lambda results: len(results["params"]) - 2], ids=["best", "no", "own"])
def test_scoring_and_refit(scoring: Any, refit: Any) -> None:
    """One scorer or several, and any choice of the best, are scikit-learn's."""
    refit = "neg_log_loss" if refit is True and isinstance(scoring, list) else refit
    grid = {"learning_rate": [0.001, 0.3, 0.05]}
    theirs, ours = searches(network(), grid, scoring=scoring, refit=refit, cv=2)
    theirs.fit(X, WORDS)
    ours.fit(X, WORDS)
    assert_alike(theirs, ours)
    for name in ("best_index_", "best_params_", "best_score_", "best_estimator_", "refit_time_", "classes_"):
        assert hasattr(ours, name) == hasattr(theirs, name)
    if refit:
        assert_same_best(theirs, ours, X)
        np.testing.assert_array_equal(answers(ours, X), answers(theirs, X))


def test_a_generator_as_random_state() -> None:
    """Each candidate and fold begins with the generator as it was given."""
    estimator = estimator_of("regression", random_state=np.random.RandomState(5), dropout=0.2)
    grid = {"random_state": [np.random.RandomState(5), np.random.RandomState(6), 7]}
    theirs, ours = searches(estimator, grid)
    theirs.fit(X, target("regression"))
    ours.fit(X, target("regression"))
    for i in range(len(UNEQUAL)):
        expected, actual = (search.cv_results_[f"split{i}_test_score"] for search in (theirs, ours))
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
