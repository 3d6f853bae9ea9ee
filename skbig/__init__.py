"""Scikit-learn estimators that train torch networks."""

from typing import TYPE_CHECKING

from skbig._utils.late_names import late_names as _late_names
from skbig._utils.version import __version__
from skbig.estimators.mlp import BigMLPClassifier, BigMLPRegressor
from skbig.from_sklearn import from_sklearn
from skbig.from_skorch import from_skorch

if TYPE_CHECKING:
    from skbig.distributed.ddp import DDP
    from skbig.distributed.fsdp import FSDP
    from skbig.distributed.tensor import TensorParallel
    from skbig.estimators.linear import BigLinearClassifier, BigLinearRegressor
    from skbig.estimators.module import BigModuleClassifier, BigModuleRegressor
    from skbig.estimators.network import BigNetworkClassifier, BigNetworkRegressor
    from skbig.estimators.tabular_classifier import BigTabularClassifier
    from skbig.estimators.tabular_regressor import BigTabularRegressor
    from skbig.search import BigGridSearchCV, BigHalvingGridSearchCV, BigRandomizedSearchCV
    from skbig.trusted import trusted_types
    from skbig.versions import show_versions
    from skbig.weights import load_weights, save_weights
else:
    __getattr__, __dir__ = _late_names(
        __name__,
        {
            "distributed.ddp": ["DDP"],
            "distributed.fsdp": ["FSDP"],
            "distributed.tensor": ["TensorParallel"],
            "estimators.linear": ["BigLinearClassifier", "BigLinearRegressor"],
            "estimators.module": ["BigModuleClassifier", "BigModuleRegressor"],
            "estimators.network": ["BigNetworkClassifier", "BigNetworkRegressor"],
            "estimators.tabular_classifier": ["BigTabularClassifier"],
            "estimators.tabular_regressor": ["BigTabularRegressor"],
            "search": ["BigGridSearchCV", "BigHalvingGridSearchCV", "BigRandomizedSearchCV"],
            "trusted": ["trusted_types"],
            "versions": ["show_versions"],
            "weights": ["load_weights", "save_weights"],
        },
    )

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
