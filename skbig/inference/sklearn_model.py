"""A fitted network as scikit-learn's own multi-layer perceptron.

Legend: I inputs, O outputs of a layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer

from skbig.data.targets import ClassTargets
from skbig.exceptions import ExportError
from skbig.inference.fitted_network import FittedNetwork
from skbig.networks.dense import Dense
from skbig.networks.linear import LinearLayer

_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
_LOSS_OF_LINK = {"identity": "squared_error", "exp": "poisson"}


def sklearn_model(
    fitted: FittedNetwork, parameters: Mapping[str, Any], trained: Mapping[str, Any]
) -> MLPClassifier | MLPRegressor:
    """Return a fitted network as an MLPClassifier or MLPRegressor.

    `parameters` are those that mean the same in scikit-learn; `trained` are fitted attributes that do.

    Raises
    ------
    ExportError
        When scikit-learn has no such network.
    """
    if fitted.encodes:
        raise _refusal("it encodes the columns of a table by itself, and MLPClassifier reads numbers")
    layers = [_as_dense(fitted, i) for i in range(len(fitted.network.layers))]
    _check_ensemble(fitted)
    activation = _common_activation([layer for layer, _, _ in layers])
    own: dict[str, Any] = {
        "hidden_layer_sizes": tuple(layer.n_out for layer, _, _ in layers[:-1]),
        "activation": activation,
    }
    if fitted.for_classes:
        model: Any = MLPClassifier(**own, **parameters)
    else:
        model = MLPRegressor(**own, **_loss_parameter(fitted), **parameters)
    model.coefs_ = [weight for _, weight, _ in layers]
    model.intercepts_ = [bias for _, _, bias in layers]
    if fitted.decodes:
        _decode_in_last_layer(model, fitted.targets)
    model.n_layers_, model.n_outputs_ = len(layers) + 1, fitted.network.n_outputs
    model.out_activation_ = fitted.link
    _set_trained(model, trained)
    if isinstance(fitted.targets, ClassTargets):
        _set_classes(model, fitted)
    return model


def _as_dense(fitted: FittedNetwork, i: int) -> tuple[Dense, np.ndarray, np.ndarray]:
    """Return a layer as a dense one, and its weight (I, O) and bias (O,)."""
    layer, arrays = fitted.network.layers[i], fitted.of_layer(i, 0)
    if isinstance(layer, LinearLayer):
        bias = arrays.get("bias", np.zeros(layer.n_out, arrays["weight"].dtype))
        return Dense(layer.n_in, layer.n_out), arrays["weight"].copy(), bias.flatten()
    if type(layer) is not Dense:
        raise _refusal(f"the network has a layer {type(layer).__name__}, and MLPClassifier has dense layers only")
    if layer.normalization is not None:
        raise _refusal(f"the network has normalization={layer.normalization!r}, which MLPClassifier has not")
    return layer, arrays["weight"].copy(), arrays["bias"].flatten()


def _check_ensemble(fitted: FittedNetwork) -> None:
    if fitted.n_members > 1:
        raise _refusal(f"the model averages {fitted.n_members} members, and MLPClassifier is one network")
    if fitted.one_class:
        raise _refusal("there is but one class, of which MLPClassifier gives two probabilities")
    # A mean of one is no mean; what is left is what becomes of the raw prediction.
    known = ("softmax", "logistic") if fitted.for_classes else tuple(_LOSS_OF_LINK)
    own_meaning = fitted.link not in known or (fitted.multiclass and fitted.link != "softmax")
    if own_meaning:
        raise _refusal(f"what loss={fitted.loss!r} makes of raw predictions is nothing that scikit-learn's MLP does")


def _decode_in_last_layer(model: Any, targets: Any) -> None:
    """Let the last layer, which nothing follows, predict in the unit of y."""
    dtype = model.coefs_[-1].dtype
    model.coefs_[-1] = (model.coefs_[-1] * targets.scale).astype(dtype)
    model.intercepts_[-1] = (model.intercepts_[-1] * targets.scale + targets.centre).astype(dtype)


def _common_activation(layers: list[Dense]) -> str:
    """Return the one activation of the hidden layers."""
    hidden = list(dict.fromkeys(layer.activation for layer in layers[:-1])) or ["relu"]
    if len(hidden) > 1:
        raise _refusal(f"the hidden layers have several activations, {hidden}, and MLPClassifier has one")
    if layers[-1].activation != "identity":
        raise _refusal(f"the last layer has activation={layers[-1].activation!r}, and MLPClassifier has none there")
    if hidden[0] not in _ACTIVATIONS:
        raise _refusal(f"activation={hidden[0]!r} is none of MLPClassifier's, which are {list(_ACTIVATIONS)}")
    return hidden[0]


def _loss_parameter(fitted: FittedNetwork) -> dict[str, str]:
    name = _LOSS_OF_LINK[str(fitted.link)]
    if "loss" in inspect.signature(MLPRegressor).parameters:
        return {"loss": name}
    if name != "squared_error":
        raise _refusal(f"loss={fitted.loss!r} needs MLPRegressor(loss='poisson'), which came with scikit-learn 1.7")
    return {}


def _set_trained(model: Any, trained: Mapping[str, Any]) -> None:
    """Give it what training leaves behind, so that it can be trained on."""
    for name, value in trained.items():
        setattr(model, name, value)
    model.best_loss_ = None if model.early_stopping else min(model.loss_curve_, default=np.inf)
    model.validation_scores_ = [] if model.early_stopping else None
    model.best_validation_score_ = -np.inf if model.early_stopping else None
    model._no_improvement_count = 0
    model._best_coefs = [weight.copy() for weight in model.coefs_]
    model._best_intercepts = [bias.copy() for bias in model.intercepts_]


def _set_classes(model: Any, fitted: FittedNetwork) -> None:
    assert isinstance(fitted.targets, ClassTargets)
    classes = fitted.targets.classes
    known = np.identity(len(classes), dtype=int) if fitted.targets.multilabel else classes
    model._label_binarizer = LabelBinarizer().fit(known)
    model.classes_ = model._label_binarizer.classes_


def _refusal(reason: str) -> ExportError:
    return ExportError(f"This model cannot become one of scikit-learn's: {reason}. Use to_torch() or skbig.onnx.")
