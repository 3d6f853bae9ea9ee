"""Attributions go back through the steps before the network, to the columns of X."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from skbig import BigMLPClassifier, BigMLPRegressor, BigTabularClassifier, BigTabularRegressor
from skbig.explain import gradients, integrated_gradients
from skbig.explain.steps import sources_of
from tests.fitting import MULTICLASS, VALUES, fitted

X = np.random.RandomState(0).normal(size=(60, 4)) * [1, 20, 0.1, 5] + [0, 100, 3, -7]
NUMBERS = BigMLPRegressor((6,), activation="tanh", max_iter=3, random_state=0, standardize_target=True)


def table() -> pd.DataFrame:
    """Return numbers, some of them missing, and categories."""
    random = np.random.RandomState(1)
    frame = pd.DataFrame(X[:, :2].copy(), columns=["length", "width"])
    frame.loc[::7, "width"] = np.nan
    frame["colour"] = random.choice(["red", "green", "blue"], 60)
    frame["size"] = random.choice([1, 2, 3], 60)
    frame["flag"] = random.choice([True, False], 60)
    return frame


LINEAR = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    RobustScaler(),
    RobustScaler(with_centering=False, with_scaling=False),
    MaxAbsScaler(),
    MinMaxScaler((-1, 2)),
    "passthrough",
    None,
    FunctionTransformer(),
    PCA(3),
    PCA(2, whiten=True),
    TruncatedSVD(2),
    SelectKBest(f_regression, k=2),
    VarianceThreshold(0.5),
    SimpleImputer(),
    make_pipeline(StandardScaler(), PCA(3), MinMaxScaler()),
    FeatureUnion([("a", StandardScaler()), ("b", PCA(1)), ("c", "drop")], transformer_weights={"a": 3.0}),
    ColumnTransformer([("a", RobustScaler(), [3, 1]), ("b", "passthrough", slice(0, 1)), ("c", "drop", [2])]),
    ColumnTransformer([("a", PCA(1), np.array([True, False, True, False]))], remainder=StandardScaler()),
]


@pytest.mark.parametrize("step", LINEAR, ids=lambda step: str(step)[:40])
def test_gradients_through_linear_steps_are_exact(step: Any) -> None:
    """By the chain rule the gradient is that of finite differences in the unit of X, and attributions add up."""
    pipeline = fitted(make_pipeline(step, NUMBERS), X, VALUES)
    found = gradients(pipeline, X[:5])
    for column in range(4):
        moved = np.zeros(4)
        moved[column] = 1e-5 * X[:, column].std()
        change = pipeline.predict(X[:5] + moved) - pipeline.predict(X[:5] - moved)
        np.testing.assert_allclose(found.values[:, column], change / (2 * moved[column]), rtol=1e-4, atol=1e-7)
    found = integrated_gradients(pipeline, X[:5], baseline=X.mean(0))
    np.testing.assert_allclose(found.base_values, np.tile(pipeline.predict(X.mean(0)[None]), 5))
    np.testing.assert_allclose(found.values.sum(1) + found.base_values, pipeline.predict(X[:5]), rtol=1e-3)


def test_behind_a_scaler_the_baseline_is_the_mean() -> None:
    """The row of which the network reads zeros is the mean row of a StandardScaler."""
    pipeline = fitted(make_pipeline(StandardScaler(), NUMBERS), X, VALUES)
    wanted = integrated_gradients(pipeline, X[:5], baseline=X.mean(0)).values
    np.testing.assert_allclose(integrated_gradients(pipeline, X[:5]).values, wanted, rtol=1e-9)
    with pytest.raises(ValueError, match="A baseline is needed"):
        integrated_gradients(fitted(make_pipeline(PCA(2), NUMBERS), X, VALUES), X[:5])


@pytest.mark.parametrize("step", [StandardScaler(), PCA(3), make_pipeline(MinMaxScaler(), RobustScaler())])
def test_steps_that_make_tables_are_followed(step: Any) -> None:
    """A network behind them knows names of columns that X lacks; no warning, and the attributions of arrays."""
    wanted = integrated_gradients(fitted(make_pipeline(step, NUMBERS), X, VALUES), X[:5], baseline=X.mean(0))
    for configured, asked in ((None, "pandas"), ("pandas", None), ("pandas", "default")):
        with config_context(transform_output=configured):
            pipeline = fitted(make_pipeline(clone(step), NUMBERS).set_output(transform=asked), X, VALUES)
            found = integrated_gradients(pipeline, X[:5], baseline=X.mean(0))
        assert hasattr(pipeline[-1], "feature_names_in_") is (asked != "default")
        np.testing.assert_allclose(found.values, wanted.values, rtol=1e-6)


OF_ONE_COLUMN = [
    KBinsDiscretizer(3, encode="onehot", strategy="uniform"),
    KBinsDiscretizer(3, encode="ordinal", strategy="uniform"),
    QuantileTransformer(n_quantiles=10),
    PowerTransformer(),
    SplineTransformer(3),
    MinMaxScaler(clip=True),
    OneHotEncoder(handle_unknown="ignore", min_frequency=2),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OneHotEncoder(drop="first", handle_unknown="ignore"),
    TargetEncoder(cv=2),
    FunctionTransformer(np.log1p, feature_names_out="one-to-one"),
]


@pytest.mark.parametrize("step", OF_ONE_COLUMN, ids=str)
def test_what_is_made_of_a_column_is_added_up(step: Any) -> None:
    """A column that is not the one of a feature does not change it; so attributions of features go to their columns."""
    rows = ((X - X.mean(0)) / X.std(0)).round() if "Encoder" in str(step) else np.abs(X)
    step.fit(rows, VALUES)
    sources = np.asarray(sources_of(step))
    before, dense = step.transform(rows), lambda made: made.toarray() if sparse.issparse(made) else made
    assert sources.shape == (before.shape[1],)
    for column in range(4):
        moved = rows.copy()
        moved[:, column] = moved[::-1, column]
        changed = (dense(step.transform(moved)) != dense(before)).any(0)
        assert changed.any() and (sources[changed] == column).all()
    pipeline = fitted(make_pipeline(step, StandardScaler(with_mean=False), NUMBERS), rows, VALUES)
    found = integrated_gradients(pipeline, rows[:5], baseline=rows[9])
    assert found.values.shape == (5, 4)
    np.testing.assert_allclose(found.values.sum(1) + found.base_values, pipeline.predict(rows[:5]), rtol=1e-3)


def mixed() -> ColumnTransformer:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["width", "length"]),
        (OneHotEncoder(), make_column_selector(dtype_exclude=[np.number, bool])),
        (KBinsDiscretizer(2, strategy="uniform"), ["size"]),
        remainder="passthrough",
    )


def test_a_table_is_explained_by_its_columns() -> None:
    """Behind a ColumnTransformer there is one attribution for each column of the table, also of categories."""
    frame = table()
    pipeline = fitted(make_pipeline(mixed(), NUMBERS), frame, VALUES)
    found = integrated_gradients(pipeline, frame[:9], baseline=frame.iloc[20])
    assert found.feature_names == list(frame)
    np.testing.assert_allclose(found.values.sum(1) + found.base_values, pipeline.predict(frame[:9]), rtol=1e-3)
    same = frame[:9].to_numpy(dtype=object) == frame.iloc[20].to_numpy(dtype=object)
    assert (found.values[same] == 0).all() and (found.values[~same] != 0).mean() > 0.9
    shuffled = frame[:9][["size", "flag", "colour", "width", "length"]]
    np.testing.assert_array_equal(
        integrated_gradients(pipeline, shuffled, baseline=frame.iloc[20]).values, found.values
    )


def test_categories_have_no_gradient() -> None:
    """Numbers have their gradient, NaN says that a column has none."""
    frame = table()
    pipeline = fitted(make_pipeline(mixed(), NUMBERS), frame, VALUES)
    found = gradients(pipeline, frame[1:5]).values
    assert np.isnan(found).all(0).tolist() == [False, True, True, True, False]
    moved = frame[1:5].assign(length=frame["length"] + 1e-4)
    slope = (pipeline.predict(moved) - pipeline.predict(frame[1:5])) / 1e-4
    np.testing.assert_allclose(found[:, 0], slope, rtol=1e-3)


@pytest.mark.parametrize("step", [Normalizer(), FunctionTransformer(np.log1p), CountVectorizer()], ids=str)
def test_a_step_that_cannot_be_followed_is_refused(step: Any) -> None:
    """The error says what to explain in its place."""
    rows: Any = ["so big", "big net", "net so"] * 20 if isinstance(step, CountVectorizer) else np.abs(X)
    pipeline = fitted(make_pipeline(step, NUMBERS), rows, VALUES)
    with pytest.raises((ValueError, TypeError, AttributeError), match=r"followed back|one-to-one|Expected 2D"):
        integrated_gradients(pipeline, rows)
    made = pipeline[:-1].transform(rows)
    assert integrated_gradients(pipeline[-1], made).values.shape == made.shape


class Doubled(StandardScaler):
    """A scaler that does something else besides."""

    def transform(self, X: Any, copy: Any = None) -> Any:
        return 2 * super().transform(X)


class Unfollowed(TransformerMixin, BaseEstimator):
    def fit(self, X: Any, y: Any = None) -> Unfollowed:
        return self

    def transform(self, X: Any) -> Any:
        return X


@pytest.mark.parametrize(("step", "message"), [(Doubled(), "something else"), (Unfollowed(), "cannot be followed")])
def test_steps_of_ones_own_are_not_mistaken(step: Any, message: str) -> None:
    """What is not known, or behaves otherwise than its kind, is refused and not explained wrongly."""
    with pytest.raises(ValueError, match=message):
        integrated_gradients(fitted(make_pipeline(step, NUMBERS), X, VALUES), X[:5])


def test_columns_mixed_before_they_are_encoded_are_refused() -> None:
    """What is made of a component of PCA belongs to no column."""
    pipeline = make_pipeline(PCA(2), KBinsDiscretizer(2, strategy="uniform"), NUMBERS)
    with pytest.raises(ValueError, match="made of several"):
        integrated_gradients(fitted(pipeline, X, VALUES), X[:5])


@pytest.mark.crossed
@pytest.mark.parametrize("embedding", ["piecewise_linear", "periodic", None])
@pytest.mark.parametrize("task", ["classifier", "regressor"])
def test_a_table_of_the_tabular_estimators_is_explained(task: str, embedding: str | None) -> None:
    """Embedded numbers and categories add up to the prediction, by columns of the table, for all members."""
    frame = table()
    frame["code"] = [f"c{i % 15}" for i in range(60)]
    options: Any = {
        "hidden_layer_sizes": (8,),
        "n_members": 2,
        "max_iter": 2,
        "n_bins": 8,
        "number_embedding": embedding,
    }
    make = BigTabularClassifier if task == "classifier" else BigTabularRegressor
    model = fitted(make(**options, random_state=0), frame, MULTICLASS if task == "classifier" else VALUES)
    found = integrated_gradients(model, frame[:9], baseline=frame[20:21])
    whole = model.predict(frame[:9]) if task == "regressor" else model.decision_function(frame[:9])
    base = model.predict(frame[20:21]) if task == "regressor" else model.decision_function(frame[20:21])
    np.testing.assert_allclose(found.base_values, np.broadcast_to(base, whole.shape), rtol=1e-5)
    np.testing.assert_allclose(found.values.sum(1) + found.base_values, whole, rtol=2e-3, atol=2e-3)
    assert found.feature_names == list(frame) and found.values.shape[1] == 6
    assert np.isfinite(integrated_gradients(model, frame[:9]).values).all()
    with pytest.raises(ValueError, match="Use integrated_gradients"):
        gradients(model, frame[:9])


def test_sparse_tables_are_explained() -> None:
    """Sparse rows of a tabular estimator are scaled, and followed back; so are those of a Pipeline."""
    rows = sparse.csr_array(sparse.random(60, 5, density=0.4, random_state=0))
    for model in (
        BigTabularRegressor(hidden_layer_sizes=(8,), max_iter=4, random_state=0),
        make_pipeline(MaxAbsScaler(), BigMLPClassifier((4,), max_iter=3, random_state=0)),
    ):
        y = VALUES if isinstance(model, BigTabularRegressor) else (VALUES > 0).astype(int)
        explain = fitted(model, rows, y)
        found = integrated_gradients(explain, rows[:6])
        whole = explain.predict(rows[:6]) if y is VALUES else explain.decision_function(rows[:6])
        np.testing.assert_allclose(found.values.sum(1) + found.base_values, whole, rtol=2e-3, atol=1e-3)
