"""Every estimator check of scikit-learn passes, for each way of optimizing."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbig import (
    BigLinearClassifier,
    BigLinearRegressor,
    BigMLPClassifier,
    BigMLPRegressor,
    BigModuleClassifier,
    BigModuleRegressor,
    BigNetworkClassifier,
    BigNetworkRegressor,
    BigTabularClassifier,
    BigTabularRegressor,
)
from tests.networks.modules import Perceptron

ESTIMATORS = [
    BigMLPClassifier(),
    BigMLPClassifier(optimizer="sgd"),
    BigMLPClassifier(optimizer="lbfgs", max_iter=50),  # after 200, probabilities that float64 cannot order tie
    BigMLPRegressor(),
    BigMLPRegressor(optimizer="sgd"),
    BigMLPRegressor(optimizer="lbfgs"),
    BigLinearClassifier(),
    BigLinearRegressor(),
    BigNetworkClassifier(),
    BigNetworkRegressor(),
    BigTabularClassifier("fast"),
    BigTabularRegressor("fast"),
    BigModuleClassifier(Perceptron, module__width=32),
    BigModuleRegressor(Perceptron, module__width=32),
]


@pytest.mark.crossed
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_estimator_checks(estimator, check):
    """The check passes, with no expected failure."""
    check(estimator)
