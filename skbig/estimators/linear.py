"""Linear models: what users of `LogisticRegression`, `Ridge`, `Lasso` and `SGDClassifier` ask for at scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skbig._utils.component import constraints_of
from skbig.estimators.attributes import LinearAttributes
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.classification import Classifier
from skbig.estimators.declaration import estimator, parameter
from skbig.estimators.parameters import TrainingParameters
from skbig.estimators.regression import Regressor
from skbig.networks.linear import Linear
from skbig.networks.network import BuiltNetwork


@estimator
class BigLinear(LinearAttributes, NetworkEstimator):
    """What the linear models share."""

    fit_intercept: bool = parameter(
        True, *constraints_of(Linear, "fit_intercept"), words="bool", doc="Whether an intercept is added."
    )

    learning_rate: str | float = parameter(
        0.01,
        *constraints_of(TrainingParameters, "learning_rate"),
        words="float or 'auto'",
        doc="Base rate of the steps. 'auto' is the optimizer's own default, 0.001 for adam.",
        stacks=True,
    )

    @property
    def selected_features_(self) -> np.ndarray:
        """The numbers of the features that have a weight other than zero: (n_selected,)."""
        return np.flatnonzero(np.reshape(self.coef_, (-1, self.n_features_in_)).any(axis=0))

    _network_follows_from_parameters = True

    def _make_network(self) -> Linear:
        return Linear(bool(self.fit_intercept))

    def _public_weights(self, network: BuiltNetwork, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        coef = arrays["weight0"].transpose(0, 2, 1)
        intercept = arrays["bias0"][:, 0] if self.fit_intercept else np.zeros_like(coef[..., 0])
        if len(coef) == 1:
            coef, intercept = coef[0], intercept[0]
        return {"coef_": np.ascontiguousarray(coef), "intercept_": intercept}

    def _network_arrays(self) -> dict[str, np.ndarray]:
        n_members, n_outputs = len(self._progress["seeds"]), self.n_outputs_
        arrays = {"weight0": np.reshape(self.coef_, (n_members, n_outputs, -1)).transpose(0, 2, 1)}
        if "bias0" in self._network.shapes:
            intercept = np.asarray(self.intercept_, dtype=self.coef_.dtype)
            arrays["bias0"] = intercept.reshape(n_members, 1, n_outputs)
        return arrays


@estimator
class BigLinearClassifier(Classifier, BigLinear):
    """A linear classifier, with every loss, penalty and optimizer, for data of any size.

    With ``loss="log_loss"`` and ``penalty="l2"`` it is logistic regression: `alpha` is ``1 / C`` of scikit-learn's
    `LogisticRegression`, whose solution it finds; 'hinge' makes a linear support vector machine of it. On a few
    thousand rows ``optimizer="lbfgs"`` is exact and quick.

    Parameters
    ----------
    ...

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights; with several members of shape (n_members, 1 or n_classes, n_features).
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts, zero without; with several members, they are the first dim.
    selected_features_ : ndarray of shape (n_selected,)
        The numbers of the features that have a weight other than zero; under 'group_l1' and 'l1' not all.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.

    See Also
    --------
    BigLinearRegressor : The same for numbers.
    sklearn.linear_model.LogisticRegression : Solvers for data in memory.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigLinearClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = BigLinearClassifier(optimizer="lbfgs", alpha=1.0).fit(X, y)
    >>> bool(classifier.score(X, y) > 0.95)
    True
    """


@estimator
class BigLinearRegressor(Regressor, BigLinear):
    """A linear regressor, with every loss, penalty and optimizer, for data of any size.

    With ``penalty="l2"`` it finds the solution of scikit-learn's `Ridge` with the same `alpha`; with ``penalty="l1"``
    that of `Lasso`, whose `alpha` is this one divided by the number of rows. 'huber', 'quantile', 'poisson' and 'gamma'
    make the robust and the generalised linear models of it.

    Parameters
    ----------
    ...

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_outputs, n_features)
        Weights; with several members, they are the first dim.
    intercept_ : float or ndarray of shape (n_outputs,)
        Intercepts, zero without; with several members of shape (n_members,) or (n_members, n_outputs).
    selected_features_ : ndarray of shape (n_selected,)
        The numbers of the features that have a weight other than zero; under 'group_l1' and 'l1' not all.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.

    See Also
    --------
    BigLinearClassifier : The same for classes.
    sklearn.linear_model.Ridge, sklearn.linear_model.Lasso : Solvers for data in memory.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbig import BigLinearRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = BigLinearRegressor(optimizer="lbfgs", alpha=0.1).fit(X, y)
    >>> round(regressor.score(X, y), 2)
    0.51
    """

    def _public_weights(self, network: BuiltNetwork, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        public = super()._public_weights(network, arrays)
        if network.n_outputs > 1:
            return public
        coef, intercept = public["coef_"][..., 0, :], public["intercept_"][..., 0]
        return {"coef_": coef, "intercept_": float(intercept) if intercept.ndim == 0 else intercept}
