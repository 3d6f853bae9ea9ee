"""skops loads every model of this package by one list of types, and nothing that is not on it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skops.io.exceptions import UntrustedTypesFoundException

import skbig
from skbig import components
from tests.fitting import ANY_TASK, WORDS, X, fitted, small, target, trained, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

INTERFACES = {"Augmentation", "Average", "Clipping", "Component", "Loss", "Mix", "Optimizer", "Penalty", "Progress"}
INTERFACES |= {"Schedule"}
MADE_OF_FUNCTIONS = {"ClassFunctionLoss", "FunctionLoss", "FunctionSchedule"}
CLASSES = {name for name in components.__all__ if isinstance(getattr(components, name), type)} - INTERFACES


def through_skops(model: Any) -> Any:
    """Return the model as it is loaded from a file, by our list."""
    return skops.io.loads(skops.io.dumps(model), trusted=skbig.trusted_types())


@ANY_TASK
def test_a_model_comes_back_the_same(task: str) -> None:
    """A loaded model predicts the same bits, and training goes on from it to the same bits."""
    model = trained(task, normalization="batch", n_members=2)
    loaded = through_skops(model)
    assert (loaded.predict(X) == model.predict(X)).all()
    for estimator in (model, loaded):
        estimator.partial_fit(X, target(task))
    assert (weights_of(loaded) == weights_of(model)).all()


@pytest.mark.parametrize("name", sorted(CLASSES - MADE_OF_FUNCTIONS))
def test_a_component_is_loaded(name: str) -> None:
    """A fitted model comes back with the component it was given."""
    component = getattr(components, name)()
    task = "binary" if getattr(component, "for_classes", True) else "regression"
    model = fitted(small(task, max_iter=1, **{component.kind: component}), X, np.abs(target(task)) + (task != "binary"))
    assert through_skops(model).get_params(deep=False)[component.kind] == component


def test_every_public_class_is_on_the_list() -> None:
    """What the package exports can be a part of a model file, but not a module of a user's, which is code."""
    listed = {name.rpartition(".")[2] for name in skbig.trusted_types()}
    classes = {name for name in skbig.__all__ if isinstance(getattr(skbig, name), type)}
    of_modules = {"BigModuleClassifier", "BigModuleRegressor"}
    assert (classes - of_modules) | CLASSES | {"MLP", "Linear", "BuiltNetwork"} <= listed
    assert listed.isdisjoint(of_modules)


@pytest.mark.parametrize("estimator", [skbig.BigTabularClassifier, skbig.BigTabularRegressor])
def test_a_model_of_tables_is_loaded(estimator: type) -> None:
    """The encoding of a table comes back with the model."""
    table = pd.DataFrame({"number": X[:, 0], "word": pd.Categorical(WORDS)})
    y = target("binary") if estimator is skbig.BigTabularClassifier else X[:, 1]
    model = estimator(preset="fast", max_iter=1, random_state=0)
    loaded = through_skops(fitted(model, table, y))
    assert (loaded.predict(table) == model.predict(table)).all()


@pytest.mark.parametrize("scoring", [None, "neg_log_loss", ["accuracy", "f1_macro"]], ids=str)
def test_a_search_over_a_pipeline_is_loaded(scoring: Any) -> None:
    """A fitted search, its scorers and its splitter come back, with the best model."""
    pipeline = make_pipeline(StandardScaler(), small("multiclass", max_iter=1))
    splitter = ShuffleSplit(2, random_state=0)
    refit = scoring[0] if isinstance(scoring, list) else True
    grid = {"bigmlpclassifier__alpha": [1e-4, 1e-2]}
    search = skbig.BigGridSearchCV(pipeline, grid, cv=splitter, scoring=scoring, refit=refit).fit(X, WORDS)
    loaded = through_skops(search)
    assert (loaded.predict(X) == search.predict(X)).all()
    assert loaded.score(X, WORDS) == search.score(X, WORDS)
    assert clone(loaded).get_params()["cv"].n_splits == 2


def test_what_could_run_code_is_not_loaded() -> None:
    """A function of the system, hidden in a pipeline, is refused by name."""
    model = make_pipeline(FunctionTransformer(os.system), small("multiclass"))
    with pytest.raises(UntrustedTypesFoundException, match="system"):
        through_skops(model)
