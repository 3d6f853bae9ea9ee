"""Whatever predicts can be served: what the server says of a model is what the model gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from skbig.exceptions import ModelFileError
from skbig.serving import ServedModel, TensorSpec
from skbig.serving.loading import as_served
from skbig.serving.tensors import DTYPES
from tests.fitting import ANY_TASK, BINARY, MULTICLASS, VALUES, WORDS, X, trained
from tests.serving.clients import running

TEXTS = np.array([f"{word} and {other}" for word, other in zip(WORDS, WORDS[::-1], strict=True)])
MIXED = np.column_stack([X[:, 0].astype(object), WORDS.astype(object)])
NAMED = pd.DataFrame({"x": X[:, 0], "word": WORDS, "code": MULTICLASS})

ENCODED = ColumnTransformer([("words", OneHotEncoder(), ["word"]), ("codes", OrdinalEncoder(), slice("code", "code"))])
ESTIMATORS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "regressor": (Ridge().fit(X, VALUES), X, {"X": "FP64"}),
    "no probabilities": (RidgeClassifier().fit(X, WORDS), X, {"X": "FP64"}),
    "two targets": (KNeighborsClassifier().fit(X, np.column_stack([BINARY, MULTICLASS])), X, {"X": "FP64"}),
    "clusters": (KMeans(3, random_state=0, n_init=1).fit(X), X, {"X": "FP64"}),
    "transformer": (PCA(2).fit(X), X, {"X": "FP64"}),
    "search": (GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2).fit(X, VALUES), X, {"X": "FP64"}),
    "documents": (make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, WORDS), TEXTS, {"X": "BYTES"}),
    "text without names": (
        make_pipeline(make_column_transformer((OneHotEncoder(), [1]), remainder="passthrough"), Ridge()).fit(
            MIXED, VALUES
        ),
        MIXED,
        {"x0": "FP64", "x1": "BYTES"},
    ),
    "text with names": (
        make_pipeline(ENCODED, Ridge()).fit(NAMED, VALUES),
        NAMED,
        {"x": "FP64", "word": "BYTES", "code": "FP64"},
    ),
    "documents among columns": (
        make_pipeline(make_column_transformer((TfidfVectorizer(), "word"), ("drop", ["x"])), Ridge()).fit(
            NAMED, VALUES
        ),
        NAMED,
        {"x": "FP64", "word": "BYTES", "code": "FP64"},
    ),
    "encoder of all": (
        make_pipeline(OneHotEncoder(), LogisticRegression()).fit(NAMED[["word"]], BINARY),
        NAMED[["word"]],
        {"word": "BYTES"},
    ),
}


def inputs_of(rows: Any, names: list[str]) -> dict[str, np.ndarray]:
    """Return rows as the tensors of a model's inputs."""
    if names == ["X"]:
        return {"X": np.asarray(rows)}
    columns = rows.to_numpy(object).T if isinstance(rows, pd.DataFrame) else rows.T
    return {
        name: column.astype(object if isinstance(column[0], str) else float)
        for name, column in zip(names, columns, strict=True)
    }


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_answers_as_it_does_itself(name: str) -> None:
    """Every method of an estimator is an output, of the type and shape that the metadata gives."""
    estimator, rows, kinds = ESTIMATORS[name]
    model = as_served(estimator)
    assert {spec.name: spec.datatype for spec in model.inputs} == kinds
    with running({"model": estimator}) as client:
        found = client.infer("model", inputs_of(rows[:6], list(kinds)))
    assert found.keys() == {spec.name for spec in model.outputs}
    for spec in model.outputs:
        method, _, index = spec.name.partition(".")
        expected = getattr(estimator, method)(rows[:6])
        expected = expected[int(index)] if index else expected
        expected = expected.toarray() if hasattr(expected, "toarray") else expected
        assert DTYPES[spec.datatype] == (expected.dtype if expected.dtype.kind not in "OU" else object)
        assert expected.shape[1:] == spec.shape[1:]
        same = np.testing.assert_array_equal if spec.datatype == "BYTES" else np.testing.assert_allclose
        same(found[spec.name], expected, strict=False)


@ANY_TASK
def test_our_estimators_are_described_as_they_are(task: str) -> None:
    """The outputs of our own estimators have types and shapes of what they give."""
    estimator = trained(task)
    for spec in as_served(estimator).outputs:
        result = getattr(estimator, spec.name)(X)
        assert (spec.shape[1:], DTYPES[spec.datatype]) == (result.shape[1:], result.dtype)


def test_a_model_that_refuses_our_rows_is_served_all_the_same() -> None:
    """A pipeline that wants other rows than those it is tried with is described by what it says of itself."""

    class Picky(LogisticRegression):
        def predict(self, X: Any) -> Any:
            if (X == 0).all():
                raise ValueError("only zeros")
            return super().predict(X)

    model = as_served(Picky().fit(X, WORDS))
    assert [(spec.name, spec.datatype, spec.shape) for spec in model.outputs] == [
        ("predict", "BYTES", (-1,)),
        ("predict_proba", "FP64", (-1, 3)),
    ]


def test_a_missing_number_is_null() -> None:
    """null goes into an imputer as NaN, and a number that is not finite comes out as null."""
    estimator = make_pipeline(SimpleImputer(), Ridge()).fit(X, VALUES)
    holes = X[:3].copy()
    holes[1, 2] = np.nan
    with running({"model": estimator, "hole": Hole()}) as client:
        rows = [[None if np.isnan(value) else value for value in row] for row in holes.tolist()]
        np.testing.assert_allclose(client.predict("model", instances=rows)["predictions"], estimator.predict(holes))
        assert client.predict("hole", instances=[[1.0], [2.0]]) == {"predictions": [None, None]}


class Hole:
    """A model of another kind, which answers with NaN and infinity."""

    platform = "python"
    inputs = (TensorSpec("X", "FP64", (-1, 1)),)
    outputs = (TensorSpec("predict", "FP64", (-1,)),)
    classes = None

    def run(self, inputs: Any, outputs: Any) -> Any:
        return {"predict": np.resize([np.nan, np.inf], len(inputs["X"]))}


def test_what_fits_the_protocol_is_served_as_it_is() -> None:
    """An object with the attributes of ServedModel is served without a wrapper."""
    hole = Hole()
    assert isinstance(hole, ServedModel)
    assert as_served(hole) is hole


def test_what_has_nothing_to_say_is_refused() -> None:
    """An object without a method of a model cannot be served."""
    with pytest.raises(ModelFileError, match="int has none of the methods predict, predict_proba, transform"):
        as_served(5)


class Meta(ClassifierMixin, BaseEstimator):
    """An estimator with a parameter of the name of a method of ours."""

    def __init__(self, predictor: Any = None) -> None:
        self.predictor = predictor

    def fit(self, X: Any, y: Any) -> Any:
        self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


def test_estimators_of_others_are_served_as_they_are() -> None:
    assert as_served(Meta().fit(X, BINARY)).run({"X": X[:3]}, ["predict"])["predict"].tolist() == [0, 0, 0]
