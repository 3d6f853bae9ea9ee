"""Estimators for any network: `network=MLP(...)`, or one of the user's own."""

from __future__ import annotations

from skbig._utils.component import resolve
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.classification import Classifier
from skbig.estimators.declaration import estimator, positional
from skbig.estimators.named_weights import NamedWeights
from skbig.estimators.standardized import StandardizedRegressor
from skbig.networks.network import Network


@estimator
class BigNetwork(NamedWeights, NetworkEstimator):
    """What the estimators for any network share."""

    network: str | Network | type[Network] = positional(
        default="mlp",
        words="str or Network",
        doc="""What is trained: 'mlp', or a component such as ``MLP((64, 64), dropout=0.1)`` or your own subclass of
        :class:`~skbig.networks.Network`; its hyperparameters are searched as ``network__dropout``.""",
        kind=Network,
        kw_only=False,
    )

    def _make_network(self) -> Network:
        network = resolve(Network, self.network)
        assert network is not None
        network.check()
        return network.plain()


@estimator
class BigNetworkClassifier(Classifier, BigNetwork):
    """Any network as a classifier.

    Parameters
    ----------
    ...

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    weights_, buffers_ : dict of ndarray
        Parameters and running statistics by name; with several members, they are the first dim of each.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.

    See Also
    --------
    BigNetworkRegressor : The same for numbers.
    BigMLPClassifier : A multi-layer perceptron, with scikit-learn's parameters and attributes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigNetworkClassifier
    >>> from skbig.networks import MLP
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = BigNetworkClassifier(MLP((20,)), schedule="cosine", learning_rate=0.02, random_state=0)
    >>> bool(classifier.fit(X, y).score(X, y) > 0.95)
    True
    """


@estimator
class BigNetworkRegressor(StandardizedRegressor, BigNetwork):
    """Any network as a regressor.

    Parameters
    ----------
    ...

    Attributes
    ----------
    weights_, buffers_ : dict of ndarray
        Parameters and running statistics by name; with several members, they are the first dim of each.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        With ``standardize_target=True`` what predictions are moved and multiplied by, else zeros and ones.
    n_iter_, t_ : int
        Epochs run, and training rows seen.

    See Also
    --------
    BigNetworkClassifier : The same for classes.
    BigMLPRegressor : A multi-layer perceptron, with scikit-learn's parameters and attributes.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbig import BigNetworkRegressor
    >>> from skbig.networks import MLP
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = BigNetworkRegressor(MLP((20,)), schedule="cosine", learning_rate=0.1, random_state=0)
    >>> bool(regressor.fit(X, y).score(X, y) > 0.5)
    True
    """
