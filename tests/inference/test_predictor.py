"""A predictor answers as the estimator that it was made of, whatever becomes of that one."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler

from skbig import BigLinearClassifier, BigMLPClassifier, BigMLPRegressor, BigNetworkClassifier
from skbig.inference.predictor import Predictor
from skbig.networks.activations import ACTIVATIONS
from skbig.serving import predictor as predictor_of
from tests.fitting import ANY_TASK, BINARY, VALUES, WORDS, X, fitted, small, trained
from tests.networks.own import ResNet


def assert_same(found: Any, estimator: Any, rows: Any) -> None:
    """Compare all methods, on one row at a time and on all."""
    for method in ("predict", "predict_proba", "decision_function"):
        if not hasattr(estimator, method):
            continue
        for some in (rows, rows[3:4], rows[7:8]):
            wanted, answer = getattr(estimator, method)(some), getattr(found, method)(some)
            assert answer.shape == wanted.shape
            assert answer.dtype == wanted.dtype
            if wanted.dtype.kind == "f":
                precise = wanted.dtype == np.float64
                np.testing.assert_allclose(
                    answer, wanted, rtol=1e-10 if precise else 1e-4, atol=1e-12 if precise else 1e-6
                )
            else:
                np.testing.assert_array_equal(answer, wanted)


@pytest.mark.crossed
@ANY_TASK
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_answers_are_the_estimators(task: str, n_members: int, normalization: str | None) -> None:
    """Every method gives the estimator's numbers, shapes and dtypes, for one row and for many."""
    estimator = trained(task, n_members=n_members, normalization=normalization)
    assert_same(estimator.predictor(), estimator, X)
    np.testing.assert_array_equal(estimator.predictor()(X), estimator.predict(X))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_activation(activation: str, dtype: Any) -> None:
    """One row by NumPy is what torch makes of it, in both precisions."""
    estimator = fitted(BigMLPRegressor((6, 5), activation, max_iter=3, random_state=0), X.astype(dtype), VALUES)
    assert_same(estimator.predictor(), estimator, X.astype(dtype) * 3)


def test_dtypes_are_the_fitted_ones() -> None:
    """A row of another dtype is cast as the estimator casts it."""
    estimator = fitted(BigMLPRegressor((6,), max_iter=3, random_state=0), X.astype(np.float32), VALUES)
    assert_same(estimator.predictor(), estimator, X)
    assert_same(estimator.predictor(), estimator, (X * 10).astype(int))


@pytest.mark.parametrize("estimator", [BigLinearClassifier(max_iter=3), BigNetworkClassifier(ResNet(), max_iter=3)])
def test_any_network(estimator: Any) -> None:
    """A network without a short way is predicted by the estimator's."""
    fitted(estimator, X, WORDS)
    assert_same(estimator.predictor(), estimator, X)


def test_frames_and_lists() -> None:
    """What is no array is read as the estimator reads it."""
    table = pd.DataFrame(X, columns=list("abcd"))
    estimator = fitted(BigMLPClassifier((4,), max_iter=3, random_state=0), table, WORDS)
    assert_same(estimator.predictor(), estimator, table)


def test_it_is_frozen() -> None:
    """Neither another fit, nor a weight that is changed, nor a parameter reaches it."""
    estimator = trained("multiclass")
    frozen, before = estimator.predictor(), [estimator.predict_proba(X[i : i + 5]) for i in range(5)]
    estimator.coefs_[0][:] = 7.0
    estimator.set_params(hidden_layer_sizes=(9,), loss="hinge")
    fitted(estimator, -X, WORDS)
    for i in range(5):
        np.testing.assert_array_equal(frozen.predict_proba(X[i : i + 5]), before[i])
        np.testing.assert_allclose(frozen.predict_proba(X[i : i + 1]), before[i][:1], rtol=1e-10)


def test_threads_share_it() -> None:
    """Many threads at once get what one gets."""
    found = trained("multiclass", n_members=2).predictor()
    wanted = [found.predict_proba(X[i : i + 1]) for i in range(len(X))]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda i: found.predict_proba(X[i % len(X)][None]), range(20 * len(X))))
    assert all(np.array_equal(answer, wanted[i % len(X)]) for i, answer in enumerate(answers))


def test_rows_stay_as_they_are() -> None:
    """A row may be read-only, and is not written to."""
    row = X[:1].copy()
    row.flags.writeable = False
    estimator = trained("regression")
    np.testing.assert_allclose(estimator.predictor()(row), estimator.predict(X[:1]), rtol=1e-12)
    np.testing.assert_array_equal(row, X[:1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_rows_are_refused_as_by_the_estimator(bad: float) -> None:
    """What the estimator refuses is refused in its words."""
    found = trained("binary").predictor()
    row = X[:1].copy()
    row[0, 1] = bad
    with pytest.raises(ValueError, match="Input X contains"):
        found(row)
    with pytest.raises(ValueError, match="X has 3 features, but BigMLPClassifier is expecting 4"):
        found(X[:1, :3])
    with pytest.raises(ValueError, match="Expected 2D array"):
        found(X[0])


def test_no_probabilities_without_them() -> None:
    """A loss without probabilities has none here either."""
    found = trained("binary", loss="hinge").predictor()
    assert found.methods == ("predict", "decision_function")
    with pytest.raises(AttributeError, match="has no attribute 'predict_proba'"):
        found.predict_proba(X[:1])


def test_it_can_be_pickled() -> None:
    """A predictor goes to other processes."""
    estimator = trained("multiclass")
    assert_same(pickle.loads(pickle.dumps(estimator.predictor())), estimator, X)


@pytest.mark.parametrize(
    "scaler",
    [StandardScaler(), MinMaxScaler((-1, 1), clip=True), RobustScaler(), PolynomialFeatures(2), FunctionTransformer()],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pipelines(scaler: Any, dtype: Any) -> None:
    """A whole Pipeline is frozen, and answers the same."""
    rows = X.astype(dtype)
    model = make_pipeline(scaler, BigMLPClassifier((4,), max_iter=3, random_state=0))
    fitted(model, rows, BINARY)
    found = predictor_of(model)
    before = model.predict_proba(X[:1])
    assert_same(found, model, rows)
    fitted(model, rows * 5, 1 - BINARY)
    np.testing.assert_allclose(found.predict_proba(X[:1]), before, rtol=1e-6)


def test_what_has_none_is_refused() -> None:
    """A model without a network of ours at its end says so."""
    assert isinstance(predictor_of(trained("binary")), Predictor)
    with pytest.raises(TypeError, match="predictor takes a fitted estimator of this package, or a Pipeline that ends"):
        predictor_of(StandardScaler())


class Sure(BigMLPClassifier):
    """Predicts in its own way."""

    def predict(self, X: Any) -> Any:
        return (self.predict_proba(X)[:, 1] > 0.9).astype(int)


class Contrary(Pipeline):
    def predict(self, X: Any, **params: Any) -> Any:
        return 1 - super().predict(X, **params)


def test_a_class_that_predicts_in_its_own_way_does() -> None:
    """Whether a row comes alone or among others."""
    model = fitted(Sure((4,), max_iter=3, random_state=0), X, BINARY)
    contrary = fitted(Contrary([("scaler", StandardScaler()), ("network", small("binary"))]), X, BINARY)
    for estimator in (model, contrary):
        found = predictor_of(estimator)
        assert not found.is_quick
        rows = [found.predict(X[i : i + 1]) for i in range(len(X))]
        np.testing.assert_array_equal(np.concatenate(rows), estimator.predict(X))
