"""A fitted estimator as scikit-learn's own MLP predicts the same, or says why there is none."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skbig import BigLinearClassifier, BigLinearRegressor, BigMLPRegressor, BigNetworkClassifier, from_sklearn
from skbig.networks import MLP
from tests.fitting import ANY_TASK, MULTICLASS, VALUES, WORDS, X, fitted, target, trained
from tests.networks.own import ResNet

needs_loss = pytest.mark.skipif(sklearn.__version__ < "1.7", reason="MLPRegressor has its loss since scikit-learn 1.7")


def assert_same(theirs: Any, ours: Any) -> None:
    for name in ("predict", "predict_proba"):
        if hasattr(ours, name):
            found, wanted = getattr(theirs, name)(X), getattr(ours, name)(X)
            assert found.shape == wanted.shape
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-12)
            else:
                np.testing.assert_array_equal(found, wanted)


@ANY_TASK
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_predictions_are_the_estimators(task: str, activation: str) -> None:
    """The MLP predicts what the estimator does, and has its classes, shapes and curve."""
    ours = trained(task, activation=activation, hidden_layer_sizes=(4, 3), dropout=0.1)
    theirs = ours.to_sklearn()
    assert type(theirs) is (MLPClassifier if hasattr(ours, "classes_") else MLPRegressor)
    assert_same(theirs, ours)
    assert theirs.loss_curve_ == ours.loss_curve_
    assert theirs.out_activation_ == ours.out_activation_


@ANY_TASK
@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_goes_on(task: str, early_stopping: bool) -> None:
    """The MLP can be trained on from its weights, which changes nothing here."""
    ours = trained(task, early_stopping=early_stopping)
    theirs, before = ours.to_sklearn().set_params(warm_start=True, max_iter=1), ours.predict(X)
    coefs = [coef.copy() for coef in theirs.coefs_]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(X, target(task)) if early_stopping else theirs.partial_fit(X, target(task))
    assert all(0 < np.abs(new - old).max() < 0.1 for new, old in zip(theirs.coefs_, coefs, strict=True))
    np.testing.assert_array_equal(ours.predict(X), before)


@ANY_TASK
def test_there_and_back(task: str) -> None:
    """`from_sklearn` gives back the same predictions."""
    ours = trained(task)
    np.testing.assert_allclose(from_sklearn(ours.to_sklearn()).predict(X), ours.predict(X), rtol=1e-12)


def test_words_are_the_classes() -> None:
    """Classes may be texts."""
    assert fitted(trained("multiclass"), X, WORDS).to_sklearn().predict(X).dtype.kind == "U"


def test_linear_models_have_no_hidden_layer() -> None:
    """A linear model becomes an MLP without hidden layers, with an intercept of zero if it has none."""
    for ours, y in (
        (BigLinearClassifier(max_iter=3), MULTICLASS),
        (BigLinearRegressor(max_iter=3, fit_intercept=False), VALUES),
    ):
        assert_same(fitted(ours, X, y).to_sklearn(), ours)


@needs_loss
def test_poisson() -> None:
    """A logarithmic link becomes the Poisson loss."""
    ours = fitted(BigMLPRegressor((4,), loss="poisson", max_iter=3), X, np.exp(VALUES))
    assert ours.to_sklearn().loss == "poisson"
    assert_same(ours.to_sklearn(), ours)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"activation": "gelu"}, "activation='gelu' is none of"),
        ({"normalization": "batch"}, "normalization='batch'"),
        ({"n_members": 2}, "averages 2 members"),
        ({"loss": "hinge"}, "loss=Hinge()"),
        ({"loss": "modified_huber"}, "loss=ModifiedHuber()"),
    ],
)
def test_what_is_none_says_why(parameters: dict[str, Any], reason: str) -> None:
    """A network that scikit-learn does not have is refused by what is different."""
    with pytest.raises(ValueError, match=f"cannot become one of scikit-learn's: .*{re.escape(reason)}"):
        trained("multiclass", **parameters).to_sklearn()


def test_networks_are_judged_by_their_layers() -> None:
    """Any network of dense layers is an MLP; another says which layer is none."""
    ours = fitted(BigNetworkClassifier(MLP((3,), "tanh"), max_iter=3), X, WORDS)
    assert_same(ours.to_sklearn(), ours)
    with pytest.raises(ValueError, match="has a layer Residual"):
        fitted(BigNetworkClassifier(ResNet(), max_iter=3), X, WORDS).to_sklearn()
