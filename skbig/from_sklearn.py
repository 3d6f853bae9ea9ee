"""From an estimator of scikit-learn's to the one here that means the same.

Legend: F features, K raw outputs; a weight is (in, out) and an intercept (out,), as in scikit-learn's ``coefs_``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import Tensor

from skbig import components
from skbig.components import Loss, Optimizer, Schedule
from skbig.components.losses.base import over_columns
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.estimators.initialize import initialize
from skbig.estimators.mlp import BigMLPClassifier, BigMLPRegressor

if TYPE_CHECKING:
    from sklearn.linear_model import SGDClassifier, SGDRegressor

Big = BigMLPClassifier | BigMLPRegressor


def from_sklearn(estimator: MLPClassifier | MLPRegressor | SGDClassifier | SGDRegressor) -> Big:
    """Return the estimator that means the same as one of scikit-learn's, with its weights if it is fitted.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, SGDClassifier or SGDRegressor
        It is not changed, and shares nothing with the result.

    Returns
    -------
    big : BigMLPClassifier or BigMLPRegressor
        With the same hyperparameters. If the estimator is fitted, so is this, with the same weights: predictions agree
        to rounding, and training goes on with ``warm_start=True`` or ``partial_fit``, with a new optimizer state.

    Raises
    ------
    TypeError
        When the estimator is none of the four.
    ValueError
        When a hyperparameter has no equal here; the message names it. Of SGDClassifier and SGDRegressor these are
        ``average``, ``fit_intercept=False``, the passive-aggressive rates, ``loss="squared_epsilon_insensitive"``,
        ``loss="perceptron"``, and the losses of regression in a classifier.

    Notes
    -----
    Every setting of MLPClassifier and MLPRegressor has an equal. With an int as `random_state` the first weights are
    the same as well, and without shuffling so is the loss curve.

    An SGD estimator becomes a network without hidden layers that reads one row at a time. It descends the same
    objective at the same rates, but begins with small random weights instead of zeros, keeps the best weights
    instead of the last under ``early_stopping``, and moves the intercept at the full rate on sparse data. With three
    classes or more, ``loss="log_loss"`` means the softmax of all classes, unless the estimator is already fitted with
    each class against the rest, and a `class_weight` weighs the rows of its class in all decisions.

    Larger batches train much faster: ``from_sklearn(estimator).set_params(batch_size="auto")``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import SGDClassifier
    >>> from skbig import from_sklearn
    >>> X, y = load_iris(return_X_y=True)
    >>> theirs = SGDClassifier(random_state=0).fit(X, y)
    >>> ours = from_sklearn(theirs)
    >>> (ours.predict(X) == theirs.predict(X)).all()
    np.True_
    """
    for kind, (big_class, parameters_of, network_of) in _conversions().items():
        if isinstance(estimator, kind):
            big = big_class(**parameters_of(estimator))
            network = network_of(estimator)
            return big if network is None else _adopt(big, estimator, network)
    raise TypeError(
        "from_sklearn takes an MLPClassifier, MLPRegressor, SGDClassifier or SGDRegressor, fitted or not. "
        f"Got {estimator!r} instead."
    )


@dataclass(frozen=True)
class OneVersusRestLogLoss(Loss):
    """The logistic loss of each class against the rest, added up, as SGDClassifier's for three classes or more.

    The probabilities of the classes are scaled to sum to one. For two classes and for labels it is the log loss.
    """

    for_classes = True
    probabilistic = True

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        target = y if y.is_floating_point() else F.one_hot(y, raw.shape[-1]).to(raw.dtype)
        return over_columns(F.binary_cross_entropy_with_logits(raw, target, reduction="none"))

    def out_activation(self, multiclass: bool = False) -> str:
        return "logistic"

    def probabilities(self, raw: Tensor, multiclass: bool) -> Tensor:
        single = torch.sigmoid(raw)
        return single / single.sum(-1, keepdim=True) if multiclass else single


# MLPClassifier and MLPRegressor.


def _mlp_parameters(estimator: Any) -> dict[str, Any]:
    """Return our parameters; those of scikit-learn's that its solver ignores are left out."""
    given = SimpleNamespace(**estimator.get_params(deep=False))
    batches = given.solver != "lbfgs"
    return {
        **_shared_parameters(given, early_stopping=given.early_stopping and batches),
        **({"loss": given.loss} if hasattr(given, "loss") else {}),
        "hidden_layer_sizes": tuple(np.atleast_1d(given.hidden_layer_sizes).tolist()),
        "activation": given.activation,
        "optimizer": _mlp_optimizer(given, estimator),
        "learning_rate": given.learning_rate_init if batches else "auto",
        "schedule": _mlp_schedule(given, estimator) if given.solver == "sgd" else "constant",
        "batch_size": given.batch_size if batches else "auto",
        "n_iter_no_change": given.n_iter_no_change,
        "tol": given.tol,
    }


def _mlp_optimizer(given: SimpleNamespace, estimator: Any) -> Optimizer:
    if given.solver == "adam":
        return components.Adam(betas=(given.beta_1, given.beta_2), eps=given.epsilon, eps_hat=True)
    if given.solver == "sgd":
        return components.SGD(momentum=given.momentum, nesterov=given.nesterovs_momentum, rate_in_velocity=True)
    if given.solver == "lbfgs":
        return components.LBFGS(max_fun=given.max_fun)
    raise _refusal(estimator, "solver", "'adam', 'sgd' or 'lbfgs'")


def _mlp_schedule(given: SimpleNamespace, estimator: Any) -> Any:
    if given.learning_rate == "constant":
        return "constant"
    if given.learning_rate == "invscaling":
        return components.InvScaling(power_t=given.power_t)
    if given.learning_rate == "adaptive":
        return _plateau(given.learning_rate_init, given.n_iter_no_change)
    raise _refusal(estimator, "learning_rate", "'constant', 'invscaling' or 'adaptive'")


def _mlp_network(estimator: Any) -> dict[str, Any] | None:
    """Return the fitted network, None when there is none."""
    if not hasattr(estimator, "coefs_"):
        return None
    dtype = estimator.coefs_[0].dtype
    return {
        "coefs": [np.array(coef, dtype=dtype) for coef in estimator.coefs_],
        "intercepts": [np.array(intercept, dtype=dtype) for intercept in estimator.intercepts_],
        # scikit-learn's softmax tells classes from labels, which are many logistic outputs.
        "multilabel": estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1,
        "loss_curve": [float(loss) for loss in getattr(estimator, "loss_curve_", [])],
        "t": int(estimator.t_),
    }


# SGDClassifier and SGDRegressor.


def _sgd_parameters(estimator: Any) -> dict[str, Any]:
    given = SimpleNamespace(**estimator.get_params(deep=False))
    if not given.fit_intercept:
        raise _refusal(estimator, "fit_intercept", "True: every layer here has intercepts")
    if given.average:
        raise _refusal(estimator, "average", "False: weights are not averaged here")
    # scikit-learn stops at as many epochs without improvement, we after more; without a tol it never stops early.
    patience = given.max_iter if given.tol is None else given.n_iter_no_change - 1
    rate, schedule = _sgd_rate(given, estimator, patience)
    return {
        **_shared_parameters(given, early_stopping=given.early_stopping),
        **({"class_weight": copy.deepcopy(given.class_weight)} if hasattr(given, "class_weight") else {}),
        "hidden_layer_sizes": (),
        "activation": "identity",
        "loss": _sgd_loss(given, estimator),
        "penalty": components.ElasticNet(given.l1_ratio) if given.penalty == "elasticnet" else given.penalty,
        "optimizer": components.SGD(momentum=0.0),
        "learning_rate": rate,
        "schedule": schedule,
        "batch_size": 1,
        "n_iter_no_change": patience,
        "tol": 0.0 if given.tol is None else given.tol,
    }


def _sgd_loss(given: SimpleNamespace, estimator: Any) -> Any:
    if is_classifier(estimator):
        if given.loss == "log_loss" and len(getattr(estimator, "classes_", ())) > 2:
            return OneVersusRestLogLoss()
        if given.loss in ("hinge", "squared_hinge", "log_loss", "modified_huber"):
            return given.loss
        raise _refusal(estimator, "loss", "'hinge', 'squared_hinge', 'log_loss' or 'modified_huber'")
    if given.loss == "huber":
        if given.epsilon == 0:
            raise _refusal(estimator, "epsilon", "greater than 0 with loss='huber'")
        return components.Huber(delta=given.epsilon)
    if given.loss == "epsilon_insensitive":
        return components.EpsilonInsensitive(epsilon=given.epsilon)
    if given.loss == "squared_error":
        return given.loss
    raise _refusal(estimator, "loss", "'squared_error', 'huber' or 'epsilon_insensitive'")


def _sgd_rate(given: SimpleNamespace, estimator: Any, patience: int) -> tuple[float, Any]:
    """Return rate and schedule; t counts rows, from 1, in scikit-learn's formulas."""
    if given.learning_rate == "constant":
        return given.eta0, "constant"
    if given.learning_rate == "adaptive":
        return given.eta0, _plateau(given.eta0, patience)
    if given.learning_rate == "invscaling":
        if given.power_t < 0:
            raise _refusal(estimator, "power_t", "at least 0")
        return given.eta0, components.InvScaling(power_t=given.power_t, unit="step")
    if given.learning_rate == "optimal":
        if given.alpha == 0:
            raise _refusal(estimator, "alpha", "greater than 0 with learning_rate='optimal'")
        # 1 / (alpha (t0 + t - 1)), with Bottou's t0 such that the first rate is alpha^(-1/4).
        return given.alpha**-0.25, components.InverseTime(beta=given.alpha**0.75, unit="step")
    raise _refusal(estimator, "learning_rate", "'constant', 'optimal', 'invscaling' or 'adaptive'")


def _sgd_network(estimator: Any) -> dict[str, Any] | None:
    """Return the fitted network, None when there is none."""
    if getattr(estimator, "coef_", None) is None:
        return None
    dense = estimator.coef_.toarray() if sparse.issparse(estimator.coef_) else estimator.coef_
    return {
        "coefs": [np.array(np.atleast_2d(dense).T, order="C")],
        "intercepts": [np.array(estimator.intercept_, dtype=dense.dtype)],
        "multilabel": False,
        "loss_curve": [],
        "t": int(estimator.t_) - 1,  # counted from 1
    }


# All four.


def _shared_parameters(given: SimpleNamespace, *, early_stopping: bool) -> dict[str, Any]:
    """Return what is called the same in all four, and here."""
    shared = {name: getattr(given, name) for name in ("alpha", "max_iter", "shuffle", "warm_start", "verbose")}
    shared["random_state"] = copy.deepcopy(given.random_state)  # drawing from it must not disturb the original
    shared["early_stopping"] = early_stopping
    if early_stopping:
        # Of no meaning otherwise, and then even a fraction of zero is legal in scikit-learn.
        shared["validation_fraction"] = given.validation_fraction
        shared["scoring"] = None
    return shared


def _plateau(rate: float, patience: float) -> Schedule:
    """Return scikit-learn's "adaptive": a fifth of the rate at a time, until it is at most 1e-6."""
    last = rate
    while last > 1e-6:
        last /= 5
    return components.Plateau(factor=0.2, patience=patience, min_rate=last)


def _refusal(estimator: Any, name: str, wanted: str) -> ValueError:
    return ValueError(
        f"The {name!r} parameter of {type(estimator).__name__} must be {wanted}, to be converted. "
        f"Got {getattr(estimator, name)!r} instead."
    )


def _adopt(big: Big, estimator: Any, network: dict[str, Any]) -> Big:
    """Give the fitted network to its equal here."""
    multilabel, coefs, intercepts = (network.pop(name) for name in ("multilabel", "coefs", "intercepts"))
    n_outputs = coefs[-1].shape[1]
    if isinstance(big, BigMLPClassifier):
        targets: ClassTargets | RegressionTargets = ClassTargets(np.array(estimator.classes_), multilabel)
    else:
        targets = RegressionTargets(n_outputs, n_outputs == 1)
    big.n_features_in_ = estimator.n_features_in_
    if hasattr(estimator, "feature_names_in_"):
        big.feature_names_in_ = estimator.feature_names_in_.copy()
    arrays = {f"weight{i}": coef[None] for i, coef in enumerate(coefs)}
    arrays |= {f"bias{i}": intercept[None, None] for i, intercept in enumerate(intercepts)}
    initialize(big, targets, coefs[0].shape[0], arrays, **network, n_iter=int(estimator.n_iter_))
    return big


_Converter = tuple[type[Big], Callable[[Any], dict[str, Any]], Callable[[Any], "dict[str, Any] | None"]]


def _conversions() -> dict[type, _Converter]:
    from sklearn.linear_model import SGDClassifier, SGDRegressor  # a sixth of the time in which skbig is imported

    return {
        MLPClassifier: (BigMLPClassifier, _mlp_parameters, _mlp_network),
        MLPRegressor: (BigMLPRegressor, _mlp_parameters, _mlp_network),
        SGDClassifier: (BigMLPClassifier, _sgd_parameters, _sgd_network),
        SGDRegressor: (BigMLPRegressor, _sgd_parameters, _sgd_network),
    }
