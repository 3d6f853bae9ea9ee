"""Training under differential privacy: what it refuses and notes down, and that it is an ordinary fit otherwise."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbig import (
    DDP,
    BigLinearClassifier,
    BigMLPClassifier,
    BigMLPRegressor,
    BigModuleClassifier,
    BigNetworkClassifier,
    BigTabularClassifier,
)
from skbig.components import DPSGD, LBFGS, SGD, Mixup
from skbig.networks import MLP
from tests.small import optimizers

X, y = make_classification(60, 6, n_informative=4, random_state=0)
X_VAL, Y_VAL = X[:20] + 0.1, y[:20]
NOISY = DPSGD(noise_multiplier=1.0)


def classifier(**changes: Any) -> BigMLPClassifier:
    settled = {"hidden_layer_sizes": (5,), "max_iter": 3, "batch_size": 20, "random_state": 0, "privacy": NOISY}
    return BigMLPClassifier(**settled | changes)


def weights(estimator: Any) -> np.ndarray:
    return np.concatenate([coef.ravel() for coef in estimator.coefs_])


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "batch norm": ({"normalization": "batch"}, {}, "batch norm"),
    "mixup": ({"augmentation": "mixup"}, {}, "augmentation='mixup' is refused"),
    "swap noise": ({"augmentation": "swap_noise"}, {}, "swap_noise"),
    "a line search": ({"optimizer": "lbfgs", "batch_size": "auto"}, {}, "line search"),
    "early stopping": ({"early_stopping": True}, {}, "X_val"),
    "a plateau": ({"schedule": "plateau"}, {}, "schedule='plateau' is refused"),
    "a plateau by rows that stop nothing": ({"schedule": "plateau"}, {"X_val": X_VAL, "y_val": Y_VAL}, "plateau"),
    "class weights": ({"class_weight": "balanced"}, {}, "class_weight"),
    "weights": ({}, {"sample_weight": np.arange(1.0, 61)}, "sample_weight"),
    "an order": ({"shuffle": False}, {}, "shuffle=False"),
    "bfloat16": ({"precision": "bf16"}, {}, "precision='bf16'"),
    "parts of parameters": ({"backend": "fsdp"}, {}, "backend='fsdp' is refused"),
    "steps apart": ({"backend": DDP(sync_every=2)}, {}, "sync_every=1"),
    "secure workers": ({"backend": "ddp", "privacy": DPSGD(1.0, secure=True)}, {}, "several workers"),
    "a delta for few rows": ({"privacy": DPSGD(1.0, delta=0.1)}, {}, "delta must be less than one over"),
    "two noises": ({"privacy": DPSGD(1.0, target_epsilon=1.0)}, {}, "takes noise_multiplier, or target_epsilon"),
    "a number": ({"privacy": 3.0}, {}, "The 'privacy' parameter of BigMLPClassifier must be"),
    "noise of zero": ({"privacy": DPSGD(0.0)}, {}, "noise_multiplier"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_the_reason(name: str) -> None:
    """What would tell of rows by another way than noisy gradients is refused, with its name; nothing is changed."""
    changes, arguments, message = REFUSED[name]
    estimator = classifier(**changes)
    before = copy.copy(vars(estimator))
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y, **arguments)
    assert vars(estimator) == before


def test_refuses_what_learns_of_the_rows_otherwise() -> None:
    """A standardized target, and an estimator that learns columns, keep facts of the rows without noise."""
    A, b = make_regression(40, 4, random_state=0)
    with pytest.raises(ValueError, match="standardize_target=True is refused"):
        BigMLPRegressor(standardize_target=True, privacy=NOISY).fit(A, b)
    with pytest.raises(ValueError, match="BigTabularClassifier learns"):
        BigTabularClassifier(privacy=NOISY, max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match="gradients of single rows are needed, and \\['ModuleLayer'\\] cannot tell"):
        BigModuleClassifier(torch.nn.Sequential(torch.nn.Linear(6, 1)), privacy=NOISY).fit(X, y)


@pytest.mark.parametrize("optimizer", optimizers(), ids=str)
def test_every_optimizer(optimizer: Any) -> None:
    """Every optimizer but a line search trains on noisy gradients, and the loss of private rows is not told."""
    estimator = classifier(optimizer=optimizer).fit(X, y)
    assert np.isfinite(weights(estimator)).all()
    assert np.isnan(estimator.loss_curve_).all() and np.isnan(estimator.loss_) and estimator.best_loss_ is None
    assert estimator.n_iter_ == 3 and estimator.stop_reason_ == "max_iter"


def test_equal_weights_are_no_weights() -> None:
    """Rows of one weight are taken, and rows of weight zero are no rows: a mask."""
    mask = np.arange(60) % 3 > 0
    masked = classifier(alpha=0).fit(X, y, sample_weight=np.where(mask, 2.0, 0.0))
    assert np.array_equal(weights(masked), weights(classifier(alpha=0).fit(X[mask], y[mask])))


def test_public_rows_may_stop_it() -> None:
    """Rows that need no protection are scored after each epoch, and may end the training."""
    public = {"X_val": X_VAL, "y_val": Y_VAL}
    assert len(classifier().fit(X, y, **public).validation_scores_) == 3
    stopped = classifier(early_stopping=True, tol=10.0, n_iter_no_change=2, max_iter=30).fit(X, y, **public)
    assert stopped.n_iter_ < 30
    assert stopped._ledger["spent"] == [[1.0, 20 / 60, 3 * stopped.n_iter_]]


def test_notes_down_what_it_spends() -> None:
    """A ledger holds the steps of all members, over `partial_fit` and `warm_start`; a fit from scratch begins anew."""
    estimator = classifier(n_members=2).fit(X, y)
    assert estimator._ledger["spent"] == [[1.0, 20 / 60, 2 * 3 * 3]] and estimator.noise_multiplier_ == 1.0
    estimator.partial_fit(X[:40], y[:40])
    assert estimator._ledger["spent"] == [[1.0, 20 / 60, 18], [1.0, 20 / 40, 2 * 2]]
    estimator.set_params(warm_start=True, privacy__noise_multiplier=2.0, max_iter=1).fit(X, y)
    assert estimator._ledger["spent"][-1] == [2.0, 20 / 60, 6] and estimator.noise_multiplier_ == 2.0
    estimator.set_params(warm_start=False).fit(X, y)
    assert estimator._ledger["spent"] == [[2.0, 20 / 60, 6]]


@pytest.mark.filterwarnings("ignore:Maximum iterations")
def test_what_had_no_noise_has_spent_all() -> None:
    """A model that was trained without noise, before or after, has no bound; one without privacy has no epsilon_."""
    plain = classifier(privacy=None).fit(X, y)
    with pytest.raises(AttributeError, match="trained without privacy"):
        _ = plain.epsilon_
    assert not hasattr(plain, "noise_multiplier_")
    plain.set_params(privacy=NOISY).partial_fit(X, y)
    assert plain.epsilon_ == np.inf
    private = classifier().fit(X, y)
    private.set_params(privacy=None).partial_fit(X, y)
    assert private.epsilon_ == np.inf


def test_without_the_library_an_estimator_is_looked_at_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing adds up, there is no epsilon_, which says what to install, and a notebook shows the rest."""
    for name in ("dp_accounting", "dp_accounting.pld", "dp_accounting.rdp"):
        monkeypatch.setitem(sys.modules, name, None)
    estimator = classifier(privacy=DPSGD(1.25)).fit(X, y)
    assert not hasattr(estimator, "epsilon_") and "coefs_" in dir(estimator)
    assert "DPSGD" in estimator._repr_html_()
    with pytest.raises(AttributeError, match=r'pip install "skbig\[privacy\]"'):
        _ = estimator.epsilon_
    with pytest.raises(ImportError, match=r'pip install "skbig\[privacy\]"'):
        classifier(privacy=DPSGD(target_epsilon=3.0)).fit(X, y)


def test_noise_is_never_used_twice() -> None:
    """Calls that go on draw other noise, also where steps are counted anew: after `set_weights`, say."""
    loud = {"privacy": DPSGD(1000.0), "optimizer": SGD(momentum=0.0), "hidden_layer_sizes": (40,)}
    estimator = classifier(**loud, max_iter=1, batch_size="full").fit(X, y)
    first = weights(estimator)
    second = weights(estimator.partial_fit(X, y))
    third = weights(estimator.partial_fit(X, y))
    estimator.set_weights(estimator.get_weights())
    fourth = weights(estimator.partial_fit(X, y))
    estimator.set_params(optimizer=SGD(momentum=0.0, weight_decay=1e-9)).partial_fit(X, y)
    moves = np.diff([first, second, third, fourth, weights(estimator)], axis=0)
    assert np.abs(np.corrcoef(moves) - np.eye(4)).max() < 0.3
    assert sum(n_steps for _, _, n_steps in estimator._ledger["spent"]) == 5


def test_weights_without_rows_have_spent_nothing() -> None:
    """A model that begins with `initialize`, or with weights of others, spends what its own steps do."""
    begun = classifier().initialize(n_features=6, classes=[0, 1])
    begun.set_weights(begun.get_weights()).partial_fit(X, y)
    assert begun._ledger["spent"] == [[1.0, 20 / 60, 3]]


def test_same_seed_same_bits() -> None:
    """The same seed gives the same bits, also from a pickle; secure noise gives others each time."""
    one, other = classifier().fit(X, y), clone(classifier()).fit(X, y)
    assert np.array_equal(weights(one), weights(other))
    assert not np.array_equal(weights(one), weights(classifier(random_state=1).fit(X, y)))
    copied = pickle.loads(pickle.dumps(one))
    assert np.array_equal(weights(copied.partial_fit(X, y)), weights(other.partial_fit(X, y)))
    secure = classifier(privacy=DPSGD(1.0, secure=True))
    assert not np.array_equal(weights(secure.fit(X, y)), weights(clone(secure).fit(X, y)))


def test_noise_hides_and_its_absence_learns() -> None:
    """With hardly any noise it learns what a plain fit does, and with very much it learns nothing."""
    A, b = make_classification(300, 6, n_informative=4, class_sep=2.0, random_state=1)
    settings = {"max_iter": 60, "learning_rate": 0.01}
    quiet = classifier(privacy=DPSGD(0.01), **settings).fit(A, b)
    loud = classifier(privacy=DPSGD(1000.0), **settings).fit(A, b)
    assert quiet.score(A, b) > 0.9
    assert quiet.executor_ == "recorded"
    assert loud.score(A, b) < 0.8


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (BigMLPRegressor(), np.column_stack([y, y]) + 0.5),
        (BigMLPRegressor(loss="poisson", dropout=0.2), y + 1.0),
        (BigLinearClassifier(fit_intercept=False, penalty="l1"), y),
        (BigLinearClassifier(), np.arange(60) % 3),
        (BigNetworkClassifier(MLP((4,), normalization="layer", dropout=0.1)), np.column_stack([y, 1 - y, y])),
    ],
    ids=["two targets", "counts", "two classes", "three classes", "labels"],
)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, np.float32])
def test_every_task(estimator: Any, target: np.ndarray, form: Any) -> None:
    """Classes, labels, numbers, counts; dense and sparse rows; within a pipeline."""
    private = clone(estimator).set_params(privacy=NOISY, max_iter=2, batch_size=30)
    rows = form(X)
    fitted = make_pipeline(FunctionTransformer(), private).fit(rows, target)
    assert fitted.predict(rows).shape == target.shape
    assert fitted[-1]._ledger["spent"] == [[1.0, 0.5, 4]]


def test_components_say_what_they_need() -> None:
    """Components outside an estimator are checked alike."""
    assert LBFGS().full_batch and Mixup().mixes_rows
    with pytest.raises(ValueError, match="max_grad_norm"):
        classifier(privacy=DPSGD(1.0, max_grad_norm=-1.0)).fit(X, y)
    with pytest.raises(ValueError, match="delta"):
        classifier(privacy=DPSGD(1.0, delta=1.0)).fit(X, y)
