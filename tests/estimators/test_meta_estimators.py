"""Inside scikit-learn's meta-estimators, searches and pipelines the estimators are like any of its own."""

from __future__ import annotations

import warnings
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from skbig.components import AdamW
from tests.fitting import (
    ANY_TASK,
    BINARY,
    BOTH,
    MANY_VALUES,
    MULTICLASS,
    MULTILABEL,
    TASKS,
    VALUES,
    WORDS,
    X,
    fitted,
    small,
    state_of,
    target,
    trained,
    weights_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FAST = {"max_iter": 30, "learning_rate": 0.05}
LINEAR = {"final_estimator": LogisticRegression()}


def classifier(**parameters: Any) -> Any:
    return small("multiclass", **FAST, **parameters)


def regressor(**parameters: Any) -> Any:
    return small("regression", **FAST, **parameters)


@pytest.mark.crossed
@pytest.mark.parametrize(
    "meta",
    [
        CalibratedClassifierCV(classifier(), cv=2),
        CalibratedClassifierCV(classifier(loss="hinge"), method="isotonic", cv=2),
        StackingClassifier([("a", classifier()), ("b", classifier(activation="tanh"))], cv=2, **LINEAR),
        VotingClassifier([("a", classifier()), ("b", LogisticRegression())], voting="soft"),
        AdaBoostClassifier(classifier(), n_estimators=3),
        BaggingClassifier(classifier(), n_estimators=3, max_features=3, random_state=0),
        OneVsRestClassifier(classifier()),
        OneVsOneClassifier(classifier()),
        make_pipeline(StandardScaler(), classifier()),
    ],
    ids=lambda meta: type(meta).__name__,
)
@pytest.mark.parametrize("words", [False, True])
def test_classifiers_inside_others(meta: Any, words: bool) -> None:
    """A meta-estimator of classifiers fits, and predicts better than chance, for numbers and for words."""
    y = WORDS if words else MULTICLASS
    model = fitted(clone(meta), X, y)
    assert set(model.predict(X)) <= set(y)
    assert model.score(X, y) > 0.6
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize(
    "meta",
    [
        BaggingRegressor(regressor(), n_estimators=3, random_state=0),
        AdaBoostRegressor(regressor(), n_estimators=3, random_state=0),
        StackingRegressor([("a", regressor()), ("b", LinearRegression())], final_estimator=LinearRegression(), cv=2),
        VotingRegressor([("a", regressor()), ("b", LinearRegression())]),
        TransformedTargetRegressor(regressor(), transformer=StandardScaler()),
        make_pipeline(StandardScaler(), regressor()),
    ],
    ids=lambda meta: type(meta).__name__,
)
def test_regressors_inside_others(meta: Any) -> None:
    """A meta-estimator of regressors fits, and explains most of the variance."""
    assert fitted(clone(meta), X, VALUES).score(X, VALUES) > 0.5


@pytest.mark.parametrize(
    ("meta", "y"),
    [
        (MultiOutputClassifier(small("binary", **FAST)), MULTILABEL),
        (ClassifierChain(small("binary", **FAST)), MULTILABEL),
        (OneVsRestClassifier(small("binary", **FAST)), MULTILABEL),
        (MultiOutputRegressor(regressor()), MANY_VALUES),
        (RegressorChain(regressor()), MANY_VALUES),
    ],
    ids=lambda value: type(value).__name__,
)
def test_many_outputs_by_one_estimator_each(meta: Any, y: np.ndarray) -> None:
    """Meta-estimators that fit one estimator for each output predict in the shape of y."""
    model = fitted(clone(meta), X, y)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.3


def test_features_are_selected() -> None:
    """Features can be chosen by the scores of the network that is fitted to them."""
    selector = SequentialFeatureSelector(small("multiclass"), n_features_to_select=2, cv=2)
    assert fitted(selector, X, MULTICLASS).transform(X).shape == (60, 2)


def test_unlabelled_rows_are_labelled() -> None:
    """Self-training labels the rows that have no label."""
    partly = np.where(np.arange(60) % 3 == 0, -1, MULTICLASS)
    model = fitted(SelfTrainingClassifier(classifier(), threshold=0.5), X, partly)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.score(X, MULTICLASS) > 0.6


def test_partial_fit_reaches_through() -> None:
    """Meta-estimators that pass partial_fit on pass it on to ours."""
    model = MultiOutputClassifier(small("binary"))
    for _ in range(2):
        model.partial_fit(X, MULTILABEL, classes=[[0, 1]] * 3)
    assert [one.n_iter_ for one in model.estimators_] == [2, 2, 2]
    ovr = OneVsRestClassifier(small("binary")).partial_fit(X, MULTICLASS, classes=[0, 1, 2])
    assert ovr.predict(X).shape == (60,)


@pytest.mark.parametrize(
    "task", ["multiclass", *(pytest.param(task, marks=pytest.mark.thorough) for task in TASKS if task != "multiclass")]
)
def test_two_processes_give_what_one_gives(task: str) -> None:
    """cross_validate has the same scores, and the same weights, in one process and in two."""
    one, two = (
        cross_validate(small(task, batch_size=10), X, target(task), cv=2, n_jobs=n_jobs, return_estimator=True)
        for n_jobs in (1, 2)
    )
    assert one["test_score"].tolist() == two["test_score"].tolist()
    for alone, worker in zip(one["estimator"], two["estimator"], strict=True):
        assert weights_of(alone).tobytes() == weights_of(worker).tobytes()


@BOTH
def test_two_threads_give_what_one_gives(task: str) -> None:
    """Fits side by side in threads of one process have the same scores."""
    alone = cross_validate(small(task, dropout=0.2), X, target(task), cv=3)
    with joblib.parallel_config(backend="threading"):
        together = cross_validate(small(task, dropout=0.2), X, target(task), cv=3, n_jobs=2)
    assert together["test_score"].tolist() == alone["test_score"].tolist()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_searches(n_jobs: int) -> None:
    """Grid, randomized and halving searches tune numbers, names and fields, in one process or two."""
    grid = {"optimizer": ["sgd", AdamW()], "alpha": [1e-4, 1e-2]}
    searches = [
        GridSearchCV(classifier(), grid, cv=2, n_jobs=n_jobs),
        RandomizedSearchCV(classifier(), grid, n_iter=2, cv=2, n_jobs=n_jobs, random_state=0),
        HalvingGridSearchCV(
            small("multiclass"), grid, resource="max_iter", min_resources=2, max_resources=8, cv=2, n_jobs=n_jobs
        ),
    ]
    for search in searches:
        fitted(search, X, WORDS)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        assert search.best_estimator_.get_params()["alpha"] == search.best_params_["alpha"]
        assert set(search.predict(X)) <= {"low", "mid", "top"}
    assert grid["optimizer"][1] == AdamW()


@BOTH
def test_a_search_stops_early_on_given_rows(task: str) -> None:
    """Validation rows given to a search reach every fit as they are."""
    rows, y = X[:15], target(task)[:15]
    search = GridSearchCV(small(task, early_stopping=True), {"alpha": [1e-4, 1e-3]}, cv=2, error_score="raise")
    fitted(search, X, target(task), X_val=rows, y_val=y)
    refit = fitted(clone(search.best_estimator_), X, target(task), X_val=rows, y_val=y)
    assert weights_of(search.best_estimator_).tobytes() == weights_of(refit).tobytes()


def test_curves_and_inspection() -> None:
    """Learning and validation curves, cross-validated predictions, importances and dependences work."""
    model = classifier()
    sizes, training, held = learning_curve(model, X, MULTICLASS, cv=2, train_sizes=[0.5, 1.0])
    assert training.shape == held.shape == (len(sizes), 2)
    training, held = validation_curve(model, X, MULTICLASS, param_name="alpha", param_range=[1e-4, 1.0], cv=2)
    assert training.shape == held.shape == (2, 2)
    assert cross_val_predict(model, X, MULTICLASS, cv=2, method="predict_proba").shape == (60, 3)
    fitted(model, X, WORDS)
    before = state_of(model)
    assert permutation_importance(model, X, WORDS, n_repeats=2, random_state=0).importances_mean.max() > 0
    assert partial_dependence(model, X, [0])["average"].shape[0] == 3
    assert state_of(model) == before


def test_incremental_learning_curves() -> None:
    """A learning curve by partial_fit works too."""
    curve = learning_curve(
        small("binary"), X, BINARY, cv=2, train_sizes=[10, 30], exploit_incremental_learning=True, error_score="raise"
    )
    assert np.isfinite(curve[2]).all()


def test_a_threshold_is_tuned() -> None:
    """The decision threshold of a classifier can be tuned after it is fitted."""
    tuned = fitted(TunedThresholdClassifierCV(small("binary", **FAST), cv=2, scoring="balanced_accuracy"), X, BINARY)
    assert tuned.score(X, BINARY) > 0.7


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@BOTH
def test_named_columns_go_through_a_pipeline(task: str, kind: str) -> None:
    """With set_output the columns of a transformer keep their names up to the network."""
    columns = {"u": X[:, 0], "v": X[:, 1], "w": np.array(["x", "y", "z"])[MULTICLASS]}
    frame = pd.DataFrame(columns) if kind == "pandas" else pl.DataFrame(columns)
    encoder = OneHotEncoder(sparse_output=False)
    transformer = ColumnTransformer([("numbers", StandardScaler(), ["u", "v"]), ("words", encoder, ["w"])])
    pipeline = Pipeline([("columns", transformer), ("net", small(task))]).set_output(transform=kind)
    fitted(pipeline, frame, target(task))
    assert pipeline[-1].feature_names_in_.tolist() == [
        "numbers__u", "numbers__v", "words__w_x", "words__w_y", "words__w_z",
    ]  # fmt: skip
    assert pipeline[-1].n_features_in_ == 5
    assert pipeline.predict(frame).shape == (60,)
    assert "BigMLP" in pipeline._repr_html_()


def test_a_sparse_encoding_goes_through_a_pipeline() -> None:
    """One-hot rows stay sparse up to the network."""
    words = np.array(["x", "y", "z"])[MULTICLASS][:, None]
    pipeline = fitted(make_pipeline(OneHotEncoder(), classifier()), words, MULTICLASS)
    assert pipeline.score(words, MULTICLASS) == 1.0


@BOTH
def test_weights_are_routed(task: str) -> None:
    """With metadata routing sample_weight reaches fit, partial_fit and score where it is asked for, and only there."""
    weight = np.random.RandomState(0).uniform(0.5, 2, size=60)
    direct = fitted(small(task), X, target(task), weight)
    scaler = StandardScaler(with_mean=False, with_std=False)
    with config_context(enable_metadata_routing=True):
        scaler.set_fit_request(sample_weight=False)
        asked = small(task).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = fitted(make_pipeline(scaler, asked), X, target(task), sample_weight=weight)
        assert weights_of(pipeline[-1]).tobytes() == weights_of(direct).tobytes()
        search = fitted(GridSearchCV(asked, {"alpha": [1e-4]}, cv=2), X, target(task), sample_weight=weight)
        assert weights_of(search.best_estimator_).tobytes() == weights_of(direct).tobytes()
        with pytest.raises(ValueError, match="sample_weight"):
            fitted(make_pipeline(scaler, small(task)), X, target(task), sample_weight=weight)
        asked.set_partial_fit_request(sample_weight=True)
        if task == "regression":
            asked.set_predict_request(return_std=True)


def test_scores_in_a_search_see_the_weights_asked_for() -> None:
    """cross_validate routes weights to fit and to score alike."""
    weight = np.where(BINARY, 5.0, 1.0)
    with config_context(enable_metadata_routing=True):
        model = small("binary").set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        routed = cross_val_score(model, X, BINARY, cv=2, params={"sample_weight": weight})
    plain = cross_val_score(small("binary"), X, BINARY, cv=2)
    assert routed.tolist() != plain.tolist()


def test_a_search_over_a_callers_weights_works_without_routing() -> None:
    """Without routing fit parameters are cut along with the rows, as scikit-learn does it."""
    search = GridSearchCV(small("regression"), {"alpha": [1e-4]}, cv=2, error_score="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, VALUES, sample_weight=np.ones(60))
    assert (
        weights_of(search.best_estimator_).tobytes()
        == weights_of(fitted(small("regression"), X, VALUES, np.ones(60))).tobytes()
    )


@ANY_TASK
def test_fits_do_not_share_anything(task: str) -> None:
    """A clone of a fitted estimator that is fitted to other rows leaves the first as it was."""
    model = trained(task)
    before = state_of(model)
    fitted(clone(model), X[::2], target(task)[::2])
    fitted(clone(model).set_params(warm_start=True), X[::2], target(task)[::2])
    assert state_of(model) == before
