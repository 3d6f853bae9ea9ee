"""A network of one's own, written against public names, is trained in every way that ours are."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbig import BigGridSearchCV, BigNetworkClassifier, BigNetworkRegressor
from skbig._utils.sparse import SparseRows
from skbig.networks import MLP, Dense, Layer, Network
from skbig.testing import check_component
from tests.networks.own import Embedded, ResNet
from tests.searching import assert_same_search

NETWORKS = {"embedded": Embedded(), "with batch norm": Embedded(normalization="batch"), "residual": ResNet()}
pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
random = np.random.default_rng(0)
X = np.column_stack([random.integers(0, 3, 60), random.normal(size=(60, 3))])
Y = np.where(X[:, 0] == 1, "one", np.where(X[:, 1] > 0, "plus", "minus"))


def classifier(network: Network, **parameters: Any) -> BigNetworkClassifier:
    defaults = {"max_iter": 6, "batch_size": 16, "learning_rate": 0.02, "random_state": 0, "schedule": "cosine"}
    return BigNetworkClassifier(network, **defaults | parameters)


def assert_same(one: Any, other: Any, tolerance: float = 0.0) -> None:
    for name in ("weights_", "buffers_"):
        assert getattr(one, name).keys() == getattr(other, name).keys()
        for key, value in getattr(one, name).items():
            np.testing.assert_allclose(value, getattr(other, name)[key], rtol=tolerance, atol=tolerance, err_msg=key)
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=tolerance)


@every_network
def test_it_keeps_the_laws(network: Network) -> None:
    """`check_component` has nothing to say."""
    check_component(network)


class ReadsOnlySigns(Dense):
    """A layer that takes the values of sparse rows for ones, though it says that it reads them."""

    def forward(self, X: Any, parameters: Any, statistics: Any, training: Any) -> Any:
        return super().forward(X.dense().sign() if isinstance(X, SparseRows) else X, parameters, statistics, training)


@dataclass(frozen=True)
class OfSigns(Network, name="of_signs"):
    def build(self, n_features: int, n_outputs: int) -> list[Layer]:
        return [ReadsOnlySigns(n_features, n_outputs)]


def test_a_network_that_reads_sparse_rows_otherwise_is_told() -> None:
    with pytest.raises(AssertionError, match="OfSigns.* must make of sparse rows what it makes of dense ones"):
        check_component(OfSigns())


@every_network
def test_it_learns(network: Network) -> None:
    """It beats the most frequent class, and what it predicts is probable."""
    model = classifier(network, max_iter=120).fit(X, Y)
    assert model.score(X, Y) > 0.6 > np.mean(Y == "minus")
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    assert model.classes_[model.predict_proba(X).argmax(1)].tolist() == model.predict(X).tolist()


@every_network
def test_a_member_is_trained_as_alone(network: Network) -> None:
    """The first member of an ensemble is the model of the same seed."""
    # Plain descent: of a bias before a batch norm the gradient is nothing but rounding, which Adam would blow up.
    alone = classifier(network, optimizer="sgd").fit(X, Y)
    among = classifier(network, optimizer="sgd", n_members=3).fit(X, Y)
    for name, value in (alone.weights_ | alone.buffers_).items():
        own = (among.weights_ | among.buffers_)[name][0]
        np.testing.assert_allclose(own, value, rtol=1e-12, atol=1e-12, err_msg=name)


@every_network
def test_it_goes_on(network: Network) -> None:
    """Three epochs and three more are six, by partial_fit and by warm_start."""
    whole = classifier(network, schedule="constant", shuffle=False).fit(X, Y)
    parts = classifier(network, schedule="constant", shuffle=False)
    for _ in range(6):
        parts.partial_fit(X, Y, classes=np.unique(Y))
    assert_same(parts, whole)
    warm = classifier(network, schedule="constant", shuffle=False, max_iter=3, warm_start=True).fit(X, Y)
    assert_same(warm.fit(X, Y), whole)


@every_network
def test_it_is_saved_and_goes_on(network: Network, tmp_path: Path) -> None:
    """A pickle predicts and goes on as the model; a fit with checkpoints is the fit, and is read again."""
    model = classifier(network, schedule="constant").fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert_same(loaded.partial_fit(X, Y), model.partial_fit(X, Y))
    saved = classifier(network, checkpoint_dir=tmp_path, checkpoint_every=2)
    expected = classifier(network).fit(X, Y)
    assert_same(saved.fit(X, Y), expected)
    assert_same(clone(saved).fit(X, Y), expected)


@every_network
def test_a_search_trains_it_as_one_stack(network: Network) -> None:
    """Candidates that differ in numbers are stacked, and score as alone; those of another shape are another stack."""
    grid = {"learning_rate": [0.01, 0.05], "alpha": [0.0, 0.1]}
    assert assert_same_search(classifier(network), grid, X, Y, cv=2) > 1
    search = BigGridSearchCV(classifier(Embedded()), {"network__width": [1, 3], "alpha": [0.0, 0.1]}, cv=2).fit(X, Y)
    assert search.best_estimator_.weights_["table0"].shape[1] in (1, 3)


def test_its_numbers_may_differ_in_a_stack() -> None:
    """A hyperparameter that varies, as dropout, does not split a search."""
    assert assert_same_search(classifier(ResNet()), {"network__dropout": [0.0, 0.2, 0.5]}, X, Y, cv=2) == 6


def test_it_regresses_within_a_pipeline() -> None:
    """It takes the place of any estimator, for numbers too."""
    y = X[:, 1] + (X[:, 0] == 2)
    network = BigNetworkRegressor(Embedded(), max_iter=300, learning_rate=0.01, schedule="cosine", random_state=0)
    model = make_pipeline(FunctionTransformer(), network).fit(X, y)
    assert model.score(X, y) > 0.9


def test_of_ours_it_is_the_estimator() -> None:
    """With `MLP` the estimator for any network is the multi-layer perceptron, bit for bit."""
    from skbig import BigMLPClassifier

    plain = BigMLPClassifier((7, 5), max_iter=4, random_state=0, schedule="cosine", normalization="batch").fit(X, Y)
    model = BigNetworkClassifier(MLP((7, 5), normalization="batch"), max_iter=4, random_state=0, schedule="cosine")
    model.fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(model.weights_["weight1"], plain.coefs_[1])
    np.testing.assert_array_equal(model.buffers_["variance0"][0], plain.running_variances_[0])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("mpl", "The 'network' parameter.*'linear', .*'mlp'.*Did you mean 'mlp'"),
        (3, "The 'network' parameter .*instance of Network.*Got 3"),
        (MLP((0,)), "hidden_layer_sizes"),
        (MLP((3,), activation="sigmoid"), "activation"),
    ],
    ids=str,
)
def test_what_is_no_network_is_refused(network: Any, message: str) -> None:
    """The error names the parameter, and nothing is learnt."""
    model = BigNetworkClassifier(network)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)
    assert not hasattr(model, "weights_")
