"""The multi-layer perceptrons: scikit-learn's `MLPClassifier` and `MLPRegressor`, trained by torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from numbers import Integral
from typing import Any

import numpy as np

from skbig._utils.component import constraints_of
from skbig._utils.validation import COUNT, plain, shown
from skbig.estimators.attributes import MLPAttributes
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.classification import Classifier
from skbig.estimators.declaration import estimator, parameter, positional
from skbig.estimators.monotonic import monotonic_signs
from skbig.estimators.standardized import StandardizedRegressor
from skbig.networks.mlp import MLP
from skbig.networks.network import BuiltNetwork, Network

LISTS = {
    "coefs_": "weight",
    "intercepts_": "bias",
    "scales_": "scale",
    "offsets_": "offset",
    "running_means_": "mean",
    "running_variances_": "variance",
}
"""Fitted attributes, each a list with an array for each layer, and how the network calls what they hold."""

MATRICES = ("coefs_",)
"""Those whose arrays are matrices; the others are rows of numbers, without the dim of one that a network's have."""


@estimator
class BigMLP(MLPAttributes, NetworkEstimator):
    """What the multi-layer perceptrons share: the network, and how its weights are shown."""

    hidden_layer_sizes: int | Sequence[int] = positional(
        default=(100,),
        words="int or sequence of int",
        doc="Units of each hidden layer; ``()`` is a linear model.",
        stacks=True,  # the network itself says which sizes are alike
        kw_only=False,
    )
    activation: str = positional(
        *constraints_of(MLP, "activation"),
        default="relu",
        words="str",
        doc="""What each hidden layer applies to its sums: 'identity', 'logistic', 'tanh', 'relu', 'gelu', 'silu',
        'mish', 'selu', 'elu' or 'leaky_relu'.""",
        stacks=True,
        kw_only=False,
    )
    dropout: float = parameter(
        0.0,
        *constraints_of(MLP, "dropout"),
        words="float in [0, 1)",
        doc="Share of hidden units that are zeroed at random in each training step.",
        stacks=True,
    )
    normalization: str | None = parameter(
        None,
        *constraints_of(MLP, "normalization"),
        words="{'batch', 'layer'} or None",
        doc="What is normalised between the sums of a hidden layer and its activation.",
        stacks=True,
    )

    monotonic_cst: Mapping[str, int] | Sequence[int] | None = parameter(
        None,
        words="array-like of int of shape (n_features,), dict of str or None",
        doc="""Of features, by place or by name, whether predictions rise with them (1), fall (-1), or may do either
        (0); of a classifier, of two classes, the probability of the second one. It holds for every pair of rows, by the
        form of the network: a weight then counts by its size, see :class:`~skbig.networks.MonotonicDense`.""",
    )

    @property
    def selected_features_(self) -> np.ndarray:
        """The numbers of the features that have a first weight other than zero: (n_selected,)."""
        first = self.coefs_[0]
        return np.flatnonzero(first.reshape(-1, *first.shape[-2:]).any(axis=(0, 2)))

    @property
    def feature_importances_(self) -> np.ndarray:
        """The norm of each feature's first weights, as its share in all: (n_features,)."""
        norms = np.linalg.norm(self.coefs_[0], axis=-1).reshape(-1, self.coefs_[0].shape[-2]).mean(axis=0)
        return norms / (norms.sum() or 1.0)

    _network_follows_from_parameters = True

    def _make_network(self) -> MLP:
        sizes = hidden_sizes(self.hidden_layer_sizes, type(self).__name__)
        return MLP(sizes, self.activation, float(self.dropout), self.normalization)

    def _shaped(self, network: Network, n_features: int, n_outputs: int) -> BuiltNetwork:
        signs = monotonic_signs(self, n_features, n_outputs)
        return super()._shaped(network.replace(monotonic_cst=signs) if signs else network, n_features, n_outputs)

    def _public_weights(self, network: BuiltNetwork, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        public = _by_kind(arrays)
        flat = {name: [value[:, 0] for value in values] for name, values in public.items() if name not in MATRICES}
        lists, n_layers = public | flat, len(network.layers) + 1
        if lists["coefs_"][0].shape[0] == 1:  # one member needs no axis
            lists = {name: [value[0] for value in values] for name, values in lists.items()}
        return {**lists, "n_layers_": n_layers}

    def _network_arrays(self) -> dict[str, np.ndarray]:
        n_members = len(self._progress["seeds"])
        named = {}
        for name, kind in LISTS.items():
            for i, value in enumerate(getattr(self, name)):
                rows = value.shape[-2] if name in MATRICES else 1
                named[f"{kind}{i}"] = value.reshape(n_members, rows, value.shape[-1])
        return named


@estimator
class BigMLPClassifier(Classifier, BigMLP):
    """A multi-layer perceptron that classifies, trained by torch.

    It is used like scikit-learn's `MLPClassifier`, whose parameters and attributes keep their names and meanings,
    and takes its optimizer, schedule, clipping, penalty, loss and augmentation as components, by name or as an
    instance from `skbig.components`. The parameters of a component are searched as ``optimizer__betas``.

    Parameters
    ----------
    ...

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer; with several members of shape (n_members, n_in, n_out).
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer; with several members of shape (n_members, n_out).
    scales_, offsets_ : list of ndarray of shape (n_out,)
        Of each hidden layer's normalization; empty without one. With several members of shape (n_members, n_out).
    running_means_, running_variances_ : list of ndarray of shape (n_out,)
        By which a batch norm normalises when it predicts; empty without one.
    selected_features_ : ndarray of shape (n_selected,)
        The numbers of the features that have a first weight other than zero; under 'group_l1' and 'l1' not all.
    feature_importances_ : ndarray of shape (n_features,)
        The norm of each feature's first weights, as its share in all: a measure where 'group_l1' selects features, for
        `SelectFromModel`. How predictions come about is told by :mod:`skbig.explain`.
    loss_curve_ : list of float
        Training loss of each epoch, penalty included; the mean over members.
    loss_, best_loss_ : float
        The last of them and the smallest; `best_loss_` is None with early stopping.
    validation_loss_curve_, validation_scores_ : list of float or None
        Loss and score of the validation rows after each epoch.
    validation_curves_ : dict of dict of list of float, or None
        By the name of each validation set, and then of each metric: its value after each epoch, the loss included.
    best_validation_score_ : float or None
        The best of the scores.
    learning_rates_ : list of float
        Rate of the last step of each epoch.
    n_iter_ : int
        Epochs run by the last `fit`, or by all calls of `partial_fit`.
    t_ : int
        Training rows seen.
    n_layers_, n_outputs_ : int
        Layers, input and output counted; columns of the raw prediction.
    out_activation_ : str
        What turns raw predictions into probabilities.
    stop_reason_ : {'converged', 'max_iter', 'max_time', 'callback', 'interrupted', ''}
        Why training ended; empty when it failed.
    device_ : str
        Where the model was trained.
    executor_ : {'written', 'recorded', 'graphed', ''}
        How the steps were executed in the end: by autograd as they are written, by the recorded operations, or as CUDA
        graphs. All give the same result. Empty when no step was taken.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, when X is a DataFrame whose column names are strings.

    See Also
    --------
    BigMLPRegressor : The same for numbers.
    sklearn.neural_network.MLPClassifier : The estimator that this one can replace.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = BigMLPClassifier(schedule="cosine", learning_rate=0.01, random_state=0).fit(X, y)
    >>> classifier.predict(X[:3])
    array([0, 0, 0])
    >>> bool(classifier.score(X, y) > 0.95)
    True
    """


@estimator
class BigMLPRegressor(StandardizedRegressor, BigMLP):
    """A multi-layer perceptron that predicts numbers, trained by torch.

    It is used like scikit-learn's `MLPRegressor`, whose parameters and attributes keep their names and meanings, and
    takes its optimizer, schedule, clipping, penalty, loss and augmentation as components, by name or as an instance
    from `skbig.components`. The parameters of a component are searched as ``optimizer__betas``.

    Parameters
    ----------
    ...

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer; with several members of shape (n_members, n_in, n_out).
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer; with several members of shape (n_members, n_out).
    scales_, offsets_ : list of ndarray of shape (n_out,)
        Of each hidden layer's normalization; empty without one. With several members of shape (n_members, n_out).
    running_means_, running_variances_ : list of ndarray of shape (n_out,)
        By which a batch norm normalises when it predicts; empty without one.
    selected_features_ : ndarray of shape (n_selected,)
        The numbers of the features that have a first weight other than zero; under 'group_l1' and 'l1' not all.
    feature_importances_ : ndarray of shape (n_features,)
        The norm of each feature's first weights, as its share in all: a measure where 'group_l1' selects features, for
        `SelectFromModel`. How predictions come about is told by :mod:`skbig.explain`.
    loss_curve_ : list of float
        Training loss of each epoch, penalty included; the mean over members.
    loss_, best_loss_ : float
        The last of them and the smallest; `best_loss_` is None with early stopping.
    validation_loss_curve_, validation_scores_ : list of float or None
        Loss and score of the validation rows after each epoch.
    validation_curves_ : dict of dict of list of float, or None
        By the name of each validation set, and then of each metric: its value after each epoch, the loss included.
    best_validation_score_ : float or None
        The best of the scores.
    learning_rates_ : list of float
        Rate of the last step of each epoch.
    n_iter_ : int
        Epochs run by the last `fit`, or by all calls of `partial_fit`.
    t_ : int
        Training rows seen.
    n_layers_, n_outputs_ : int
        Layers, input and output counted; columns of the raw prediction.
    out_activation_ : str
        What turns raw predictions into predictions.
    stop_reason_ : {'converged', 'max_iter', 'max_time', 'callback', 'interrupted', ''}
        Why training ended; empty when it failed.
    device_ : str
        Where the model was trained.
    executor_ : {'written', 'recorded', 'graphed', ''}
        How the steps were executed in the end: by autograd as they are written, by the recorded operations, or as CUDA
        graphs. All give the same result. Empty when no step was taken.
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        With ``standardize_target=True`` what predictions are moved and multiplied by, else zeros and ones.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, when X is a DataFrame whose column names are strings.

    See Also
    --------
    BigMLPClassifier : The same for classes.
    sklearn.neural_network.MLPRegressor : The estimator that this one can replace.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = BigMLPRegressor(learning_rate=0.01, early_stopping=True, random_state=0)
    >>> regressor = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> bool(regressor.score(X, y) > 0.5)
    True
    """


def hidden_sizes(value: Any, owner: str) -> tuple[int, ...]:
    """Return the widths of the hidden layers as a tuple."""
    given = plain(value)
    sizes = (given,) if isinstance(given, Integral) else given
    # A generator could be read only once, so it must have a length; keys and members of a set have no order.
    listed = isinstance(sizes, Sized) and isinstance(sizes, Iterable) and not isinstance(sizes, Mapping | Set)
    if not (listed and all(map(COUNT.accepts, sizes))):
        raise ValueError(
            f"The 'hidden_layer_sizes' parameter of {owner} must be a sequence of ints > 0, or one int. "
            f"Got {shown(value)} instead."
        )
    return tuple(int(size) for size in sizes)


def _by_kind(arrays: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Return the arrays that each of the `LISTS` holds; those of a kind come in the order of the layers."""
    of_kind: dict[str, list[np.ndarray]] = {kind: [] for kind in LISTS.values()}
    for name, array in arrays.items():
        of_kind[name.rstrip("0123456789")].append(array)
    return {name: of_kind[kind] for name, kind in LISTS.items()}
