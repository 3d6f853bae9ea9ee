"""The L1 penalties have one minimum, that of the lasso, under every optimizer."""

import numpy as np
import pytest
from sklearn.datasets import make_regression
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import MultiTaskLasso

from skbig import BigMLPRegressor
from skbig.components import SGD, Adagrad, Adam, AdamW, NAdam, RMSprop

STRENGTH = 0.3


EVERY_OPTIMIZER = pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        (SGD(momentum=0.0, nesterov=False), 0.05),
        (SGD(momentum=0.9), 0.01),
        (SGD(momentum=0.9, nesterov=False, rate_in_velocity=True), 0.01),
        (SGD(momentum=0.5, dampening=0.5, nesterov=False), 0.05),
        (Adam(), 0.03),
        (Adam(amsgrad=True, eps_hat=True), 0.03),
        (AdamW(weight_decay=0.0), 0.03),
        (NAdam(), 0.03),
        (RMSprop(), 0.01),
        (RMSprop(momentum=0.5, centered=True), 0.003),
        (Adagrad(), 0.3),
    ],
    ids=repr,
)


@pytest.mark.crossed
@EVERY_OPTIMIZER
@pytest.mark.parametrize(("penalty", "ratio"), [("l1", 1.0), ("elasticnet", 0.15)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_l1_finds_the_lasso(optimizer, rate, penalty, ratio):
    """A linear model trained on the whole set comes to scikit-learn's coefficients, zeros included."""
    X, y = make_regression(60, 8, n_informative=3, noise=3.0, random_state=0)
    X, y = (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()
    theirs = SklearnElasticNet(alpha=STRENGTH, l1_ratio=ratio).fit(X, y).coef_
    ours = BigMLPRegressor(
        (), penalty=penalty, alpha=STRENGTH * len(y), optimizer=optimizer, learning_rate=rate,
        schedule="constant" if isinstance(optimizer, SGD) else "linear", batch_size="full", max_iter=800,
        n_iter_no_change=800, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert np.array_equal(ours.coefs_[0][:, 0] == 0, theirs == 0)
    np.testing.assert_allclose(ours.coefs_[0][:, 0], theirs, atol=2e-3)


@EVERY_OPTIMIZER
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_group_lasso_is_the_multi_task_lasso(optimizer, rate):
    """Whole rows of a linear model of several outputs come to scikit-learn's coefficients, zeros included."""
    X, y = make_regression(60, 8, n_informative=3, n_targets=2, noise=3.0, random_state=0)
    X, y = (X - X.mean(0)) / X.std(0), (y - y.mean(0)) / y.std(0) * [1.0, 0.5]
    theirs = MultiTaskLasso(alpha=STRENGTH).fit(X, y).coef_.T
    ours = BigMLPRegressor(
        (), penalty="group_l1", alpha=STRENGTH * len(y), optimizer=optimizer, learning_rate=rate,
        schedule="constant" if isinstance(optimizer, SGD) else "linear", batch_size="full", max_iter=800,
        n_iter_no_change=800, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert np.array_equal(ours.coefs_[0] == 0, theirs == 0)
    np.testing.assert_allclose(ours.coefs_[0], theirs, atol=2e-3)
    assert ours.selected_features_.tolist() == np.flatnonzero(theirs.any(1)).tolist()
