"""The ways out of an estimator: what it has fitted, as an object of another library."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skbig.estimators.choices import component_of
from skbig.estimators.interface import EstimatorInterface
from skbig.estimators.tensors import on_host
from skbig.exceptions import ExportError

if TYPE_CHECKING:
    from skbig.inference.fitted_network import FittedNetwork
    from skbig.inference.predictor import Predictor

_SAME_PARAMETERS = (
    *("alpha", "max_iter", "tol", "shuffle", "warm_start", "early_stopping", "validation_fraction"),
    *("n_iter_no_change", "verbose"),
)
_SOLVERS = ("adam", "sgd", "lbfgs")
_SAME_ATTRIBUTES = ("loss_curve_", "loss_", "n_iter_", "t_", "n_features_in_", "feature_names_in_")


class Exits(EstimatorInterface):
    """What the estimators have for leaving: each is a call into the room `skbig.inference`, loaded by it."""

    def to_torch(self) -> nn.Module:
        """Return the fitted network as a module of torch, which shares nothing with this estimator.

        Its layers are torch's own where torch has them, so that `torch.export`, `torch.compile`, captum and SHAP take
        it. It reads the rows that the network reads; of a `BigTabularClassifier` these are encoded ones. It is in
        evaluation mode, on the CPU, and in the dtype of the weights: that of the X in `fit`, on a GPU float32.
        ``module.float()`` makes it float32.

        Returns
        -------
        module : torch.nn.Module
            From rows, a tensor (N, n_features), to predictions: probabilities (N, n_classes) of a classifier, of a
            multilabel one those of the labels, and raw predictions where the loss gives no probabilities; numbers
            (N, n_outputs) of a regressor. An ensemble is averaged. ``module.raw`` is the part before the link,
            from rows to raw predictions (N, n_raw): log-odds of a classifier, one column of them for two classes.

        Examples
        --------
        >>> import torch
        >>> from sklearn.datasets import load_iris
        >>> from skbig import BigMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = BigMLPClassifier((8,), optimizer="lbfgs", random_state=0).fit(X, y)
        >>> module = model.to_torch()
        >>> module.raw
        Sequential(
          (0): Sequential(
            (0): Linear(in_features=4, out_features=8, bias=True)
            (1): ReLU()
          )
          (1): Linear(in_features=8, out_features=3, bias=True)
        )
        >>> module(torch.from_numpy(X)).shape
        torch.Size([150, 3])
        """
        from skbig.inference.torch_module import torch_module

        return torch_module(fitted_network(self))

    def to_sklearn(self) -> MLPClassifier | MLPRegressor:
        """Return the fitted network as scikit-learn's own, which shares nothing with this estimator.

        Its predictions are those of this estimator to rounding, and it can be trained on with ``partial_fit``.
        Parameters that mean the same are kept; dropout, which acts in training only, is left behind.

        Returns
        -------
        model : MLPClassifier or MLPRegressor
            Fitted.

        Raises
        ------
        skbig.exceptions.ExportError
            When scikit-learn has no such network: with another activation than 'identity', 'logistic', 'tanh' or
            'relu', a normalization, several members, or a loss whose link is none of scikit-learn's.

        See Also
        --------
        skbig.from_sklearn : The way back.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skbig import BigMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = BigMLPClassifier((8,), optimizer="lbfgs", random_state=0).fit(X, y)
        >>> theirs = model.to_sklearn()
        >>> type(theirs).__name__, (theirs.predict(X) == model.predict(X)).all()
        ('MLPClassifier', np.True_)
        """
        from skbig.inference.sklearn_model import sklearn_model

        fitted = fitted_network(self)
        parameters = {name: getattr(self, name) for name in _SAME_PARAMETERS}
        parameters["random_state"] = copy.deepcopy(self.random_state)  # drawing from it must not disturb this one
        optimizer = component_of(self, "optimizer")
        parameters["solver"] = "adam" if optimizer is None or optimizer.name not in _SOLVERS else optimizer.name
        trained = {name: copy.copy(getattr(self, name)) for name in _SAME_ATTRIBUTES if hasattr(self, name)}
        return sklearn_model(fitted, parameters, trained)

    def predictor(self) -> Predictor:
        """Return a frozen predictor: what is fitted, as a function that threads may share and later fits do not reach.

        It answers as the estimator does. A single row, as a server gets it, is predicted several times sooner, on the
        CPU: where the network has dense layers, and the row is a NumPy array (1, n_features).

        Returns
        -------
        predictor : callable
            ``predictor(X)`` is ``predict(X)``; it has `predict_proba` and `decision_function` where the estimator has.

        See Also
        --------
        skbig.serving.predictor : The same for a Pipeline.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skbig import BigMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> predictor = BigMLPClassifier((8,), optimizer="lbfgs", random_state=0).fit(X, y).predictor()
        >>> predictor(X[:1])
        array([0])
        >>> predictor.predict_proba(X[:1]).round(2)
        array([[1., 0., 0.]])
        """
        from skbig.inference.one_row import one_row
        from skbig.inference.predictor import Predictor

        check_is_fitted(self)
        frozen = copy.copy(self)
        arrays = {name: array.copy() for name, array in self._network_arrays().items()}
        vars(frozen).update(self._public_weights(self._network, arrays))
        fitted = fitted_network(frozen)
        methods = ("predict", "predict_proba", "decision_function") if self._for_classes else ("predict",)
        answers = {name: partial(frozen._answer, name, fitted.targets) for name in methods if hasattr(self, name)}
        one = one_row(fitted) if _answers_as_ours(type(self)) else None
        return Predictor(frozen, one, answers, fitted.dtype)


def _answers_as_ours(kind: type) -> bool:
    """Whether a class predicts as this package does: one of a user's may have a `predict` of its own."""
    known = ("skbig.", "sklearn.", "builtins", "abc")
    own = ("predict", "decision_function", "_answer", "_raw", "_check")
    others = [cls for cls in kind.__mro__ if not cls.__module__.startswith(known)]
    return not any(name.startswith(own) for cls in others for name in vars(cls))


def fitted_network(estimator: Any) -> FittedNetwork:
    """Return what the predictions of a fitted estimator depend on; the arrays are the estimator's."""
    from skbig.inference.fitted_network import FittedNetwork

    estimator._check_fitted()
    if estimator._reads_texts:
        raise ExportError(
            f"A {type(estimator).__name__} reads texts by a pretrained model that it does not hold, so it leaves "
            "neither as a module nor as a graph. Keep it by joblib.dump, and give the model's folder along; it "
            "predicts on several threads as it is."
        )
    return FittedNetwork(
        estimator._network,
        estimator._network_arrays(),
        estimator._loss,
        estimator._class_targets() if estimator._for_classes else estimator._fitted_targets(),
        temperature=getattr(estimator, "temperature_", 1.0),
        encodes=hasattr(estimator, "encoding_"),
    )


def rows_as_read(estimator: Any, X: Any) -> Any:
    """Return checked rows as the network of a fitted estimator reads them: dense (N, F), or sparse (CSR).

    Raises
    ------
    ValueError
        When they are not valid, or are not in memory.
    """
    estimator._check_fitted()
    rows = estimator._check_rows(on_host(X, "X"), estimator._row_dtype())
    if not (isinstance(rows, np.ndarray) or sparse.issparse(rows)):
        raise ValueError("X must be rows in memory. Take some of them: ``X[:100]``.")
    return rows
