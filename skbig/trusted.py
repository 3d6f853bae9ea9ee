"""Which types skops may load: those of this package, and what a search of it keeps of scikit-learn."""

from __future__ import annotations

from types import ModuleType

from sklearn import model_selection

from skbig import components, networks, search
from skbig.components import DPSGD, Component
from skbig.distributed.ddp import DDP
from skbig.distributed.fsdp import FSDP
from skbig.distributed.tensor import TensorParallel
from skbig.engine.curve import Curve
from skbig.estimators.conformal import Conformity
from skbig.estimators.linear import BigLinearClassifier, BigLinearRegressor
from skbig.estimators.mlp import BigMLPClassifier, BigMLPRegressor
from skbig.estimators.network import BigNetworkClassifier, BigNetworkRegressor
from skbig.estimators.sklearn_compat import scorer_types
from skbig.estimators.tabular_classifier import BigTabularClassifier
from skbig.estimators.tabular_regressor import BigTabularRegressor
from skbig.from_sklearn import OneVersusRestLogLoss
from skbig.networks.network import BuiltNetwork
from skbig.search.ensemble import EnsembleClassifier, EnsembleRegressor
from skbig.tables.categories import Categories
from skbig.tables.encoding import TableEncoding
from skbig.tables.numbers import Numbers

_ESTIMATORS = (
    *(BigMLPClassifier, BigMLPRegressor, BigLinearClassifier, BigLinearRegressor),
    *(BigNetworkClassifier, BigNetworkRegressor),
    *(BigTabularClassifier, BigTabularRegressor, TableEncoding, Categories, Numbers, Conformity),
)
_BACKENDS = (DDP, FSDP, TensorParallel)


def trusted_types() -> list[str]:
    """Return the names of the types that a model of this package may consist of, for skops.

    skops loads no type that it does not know, unless it is told to trust it. These can be trusted: the estimators,
    searches, components and backends of this package, and the splitters and scorers that a search keeps, none of which
    runs code that a file could bring.

    Returns
    -------
    names : list of str
        For the `trusted` argument of ``skops.io.load`` and ``skops.io.loads``, and for `skops_trusted_types` of
        ``mlflow.sklearn.log_model``. Functions of your own (a loss, a schedule), distributions that a randomized
        search draws from, and estimators of other packages are not among them: add their names. The estimators of
        your own modules are not either: a module is code.

    Examples
    --------
    >>> import skops.io
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigMLPClassifier, trusted_types
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), BigMLPClassifier((8,), optimizer="lbfgs", random_state=0)).fit(X, y)
    >>> skops.io.dump(model, "iris.skops")
    >>> loaded = skops.io.load("iris.skops", trusted=trusted_types())
    >>> (loaded.predict(X) == model.predict(X)).all()
    np.True_
    """
    ours = [*_ESTIMATORS, *_BACKENDS, BuiltNetwork, Curve, OneVersusRestLogLoss, DPSGD]
    ours += [*_concrete(components), *_concrete(networks)]
    ours += [*(getattr(search, name) for name in search.__all__), EnsembleClassifier, EnsembleRegressor]
    splitters = [kind for kind in vars(model_selection).values() if isinstance(kind, type) and hasattr(kind, "split")]
    return sorted({*(f"{kind.__module__}.{kind.__qualname__}" for kind in (*ours, *splitters)), *scorer_types()})


def _concrete(room: ModuleType) -> list[type]:
    """Return the components that a room exports, without the interfaces that they are made by."""
    exported = [getattr(room, name) for name in room.__all__]
    kinds = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, Component)]
    return [kind for kind in kinds if kind is not Component and Component not in kind.__bases__]
