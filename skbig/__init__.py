"""Scikit-learn estimators that train torch networks."""

from skbig.estimators.classifier import BigMLPClassifier
from skbig.estimators.regressor import BigMLPRegressor
from skbig.from_sklearn import from_sklearn

__version__ = "0.1.0"
__all__ = ["BigMLPClassifier", "BigMLPRegressor", "from_sklearn"]
