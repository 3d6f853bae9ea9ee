"""Scikit-learn estimators that train torch networks."""

from skbig._utils.version import __version__
from skbig.distributed.ddp import DDP
from skbig.distributed.fsdp import FSDP
from skbig.distributed.tensor import TensorParallel
from skbig.estimators.linear import BigLinearClassifier, BigLinearRegressor
from skbig.estimators.mlp import BigMLPClassifier, BigMLPRegressor
from skbig.estimators.module import BigModuleClassifier, BigModuleRegressor
from skbig.estimators.network import BigNetworkClassifier, BigNetworkRegressor
from skbig.estimators.tabular_classifier import BigTabularClassifier
from skbig.estimators.tabular_regressor import BigTabularRegressor
from skbig.from_sklearn import from_sklearn
from skbig.from_skorch import from_skorch
from skbig.search import BigGridSearchCV, BigHalvingGridSearchCV, BigRandomizedSearchCV
from skbig.trusted import trusted_types
from skbig.versions import show_versions
from skbig.weights import load_weights, save_weights

__all__ = [
    "DDP",
    "FSDP",
    "BigGridSearchCV",
    "BigHalvingGridSearchCV",
    "BigLinearClassifier",
    "BigLinearRegressor",
    "BigMLPClassifier",
    "BigMLPRegressor",
    "BigModuleClassifier",
    "BigModuleRegressor",
    "BigNetworkClassifier",
    "BigNetworkRegressor",
    "BigRandomizedSearchCV",
    "BigTabularClassifier",
    "BigTabularRegressor",
    "TensorParallel",
    "__version__",
    "from_sklearn",
    "from_skorch",
    "load_weights",
    "save_weights",
    "show_versions",
    "trusted_types",
]
