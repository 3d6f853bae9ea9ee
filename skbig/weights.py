"""Weights alone, in a file that the safetensors library reads by itself.

A tensor has its name in the network ("weight0", "bias0"); of an ensemble, members come first. The metadata are texts:
"format", "skbig", "estimator", "network", "loss", "n_features_in", "n_outputs", "n_members", "n_iter", "t", and in JSON
"parameters", "loss_curve", "classes" or "one_dimensional" and "target_scale", and "feature_names_in" if there are some.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from sklearn.utils.validation import check_is_fitted

from skbig._utils.version import __version__
from skbig._utils.whole_files import in_place_of
from skbig.components.losses.units import InUnits
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.choices import resolve_choices
from skbig.estimators.classification import Classifier
from skbig.estimators.initialize import initialize
from skbig.estimators.regression import Regressor
from skbig.exceptions import ModelFileError
from skbig.networks.network import BuiltNetwork

E = TypeVar("E", bound=NetworkEstimator)
PathLike = str | os.PathLike[str]

_FORMAT = "skbig-weights-1"
_SCALE = ("centre", "scale", "low", "high")


def save_weights(model: NetworkEstimator, path: PathLike) -> Path:
    """Write the weights of a fitted model, with what is needed to understand them, as a safetensors file.

    Any program that reads safetensors reads the file: tensors by the names that they have in the network, and metadata
    as text. It holds no code, and nothing of the optimizer; for all of a model see `trusted_types`, and joblib.

    Parameters
    ----------
    model : estimator
        Fitted.
    path : path
        Written as a whole, or not at all.

    Returns
    -------
    path : Path

    See Also
    --------
    load_weights : The way back.

    Examples
    --------
    >>> from safetensors import safe_open
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier, save_weights
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((8,), optimizer="lbfgs", random_state=0).fit(X, y)
    >>> with safe_open(save_weights(model, "iris.safetensors"), framework="numpy") as file:
    ...     {name: file.get_tensor(name).shape for name in sorted(file.keys())}
    {'bias0': (1, 8), 'bias1': (1, 3), 'weight0': (4, 8), 'weight1': (8, 3)}
    """
    _check_estimator(model, "save_weights")
    check_is_fitted(model)
    arrays, n_members = model._network_arrays(), len(model._progress["seeds"])
    tensors = {name: np.ascontiguousarray(array[0] if n_members == 1 else array) for name, array in arrays.items()}
    path = Path(path)
    with in_place_of(path) as unfinished:
        save_file(tensors, unfinished, _metadata(model, n_members))
    return path


def load_weights(model: E, path: PathLike) -> E:
    """Give an estimator the weights of a file that `save_weights` has written; it is then a fitted one.

    Parameters
    ----------
    model : estimator
        Fitted or not. Its class, and the network, loss and number of members that its parameters ask for, must be those
        of the file.
    path : path
        The file, all of which is checked before the model is changed.

    Returns
    -------
    model : estimator
        It predicts as the one that was saved, and can be trained on with ``warm_start=True`` or ``partial_fit``, with
        a new optimizer state.

    Raises
    ------
    ModelFileError
        When the file is none of `save_weights`, is damaged, or is of another network.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier, load_weights, save_weights
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((8,), optimizer="lbfgs", random_state=0).fit(X, y)
    >>> again = load_weights(BigMLPClassifier((8,)), save_weights(model, "iris.safetensors"))
    >>> (again.predict_proba(X) == model.predict_proba(X)).all()
    np.True_
    """
    _check_estimator(model, "load_weights")
    path = Path(path)
    metadata, tensors = _read(path)
    try:
        facts = _Facts(metadata)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"The metadata of {path} are not those of save_weights: {error!r}.") from error
    named = copy.copy(model)
    named.__dict__.pop("feature_names_in_", None)
    if facts.feature_names is not None:
        named.feature_names_in_ = facts.feature_names
    network = _matching_network(named, facts, path)
    arrays = _matching_arrays(tensors, network, facts.n_members, path)
    progress: Any = {"loss_curve": facts.loss_curve, "n_iter": facts.n_iter, "t": facts.t}
    initialize(named, facts.targets, facts.n_features, arrays, **progress)
    named.n_features_in_ = facts.n_features
    model.__dict__.clear()
    model.__dict__.update(named.__dict__)
    return model


def _check_estimator(model: Any, name: str) -> None:
    if not isinstance(model, NetworkEstimator):
        raise TypeError(f"{name} takes an estimator of this package, of a Pipeline its last step. Got {model!r:.200}.")
    if model._reads_texts:
        raise TypeError(
            f"{name} takes weights that are all of a model, and a {type(model).__name__} needs the tokens of a "
            "pretrained one besides. Use joblib.dump and joblib.load: what they write is about as small."
        )


def _metadata(model: NetworkEstimator, n_members: int) -> dict[str, str]:
    """Describe a fitted model in texts."""
    facts: dict[str, Any] = {
        "format": _FORMAT,
        "skbig": __version__,
        "estimator": type(model).__name__,
        "network": _text(model._network.network),
        "loss": _text(model._loss.loss if isinstance(model._loss, InUnits) else model._loss),
        "n_features_in": model.n_features_in_,
        "n_outputs": model.n_outputs_,
        "n_members": n_members,
        "n_iter": model.n_iter_,
        "t": model.t_,
        "loss_curve": json.dumps(model.loss_curve_),
        "parameters": json.dumps({name: _text(value) for name, value in model.get_params(deep=False).items()}),
    }
    if hasattr(model, "feature_names_in_"):
        facts["feature_names_in"] = json.dumps(model.feature_names_in_.tolist())
    if isinstance(model, Classifier):
        classes = {
            "dtype": model.classes_.dtype.str,
            "labels": model.classes_.tolist(),
            "multilabel": model._multilabel,
        }
        facts["classes"] = json.dumps(classes)
    elif isinstance(model, Regressor):
        facts["one_dimensional"] = json.dumps(model._one_dimensional)
        scale = vars(model).get("_target_scale") or {}
        facts["target_scale"] = json.dumps({name: values.tolist() for name, values in scale.items()})
    return {name: str(value) for name, value in facts.items()}


def _text(value: Any) -> str:
    """Return a value in words that are the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class _Facts:
    """What the metadata of a file say, checked."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        if metadata["format"] != _FORMAT:
            raise ValueError(f"the format is {metadata['format']!r:.60}, and {_FORMAT!r} is read")
        self.estimator, self.network, self.loss = (metadata[name] for name in ("estimator", "network", "loss"))
        counts = [int(metadata[name]) for name in ("n_features_in", "n_outputs", "n_members", "n_iter", "t")]
        if min(counts) < 0 or min(counts[:3]) < 1:
            raise ValueError("a count is too small")
        self.n_features, self.n_outputs, self.n_members, self.n_iter, self.t = counts
        self.loss_curve = [float(value) for value in json.loads(metadata["loss_curve"])]
        names = json.loads(metadata.get("feature_names_in", "null"))
        self.feature_names = None if names is None else np.array([str(name) for name in names], dtype=object)
        if names is not None and len(names) != self.n_features:
            raise ValueError("the names of the features are not as many as these")
        self.targets = self._targets(metadata)
        if self.targets.n_outputs != self.n_outputs:
            raise ValueError("the outputs are not as many as the classes need")

    def _targets(self, metadata: Mapping[str, str]) -> ClassTargets | RegressionTargets:
        if "classes" not in metadata:
            described = json.loads(metadata.get("target_scale", "{}"))
            scale: dict[str, Any] = {
                name: np.array(described[name], dtype=np.float64) for name in _SCALE if name in described
            }
            if not all(values.ndim == 1 and np.isfinite(values).all() for values in scale.values()):
                raise ValueError("the mean and the deviation of the target must be finite numbers")
            return RegressionTargets(self.n_outputs, json.loads(metadata["one_dimensional"]) is True, **scale)
        described = json.loads(metadata["classes"])
        dtype = np.dtype(str(described["dtype"]))
        if dtype.kind not in "iufbUO":
            raise ValueError(f"classes cannot be {dtype}")
        classes = np.array(described["labels"], dtype=dtype)
        if classes.ndim != 1 or len(classes) < 2 or not np.array_equal(np.unique(classes), classes):
            raise ValueError("the classes must be two or more, in their order")
        return ClassTargets(classes, described["multilabel"] is True)


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        raise ModelFileError(f"{path} cannot be read as a safetensors file: {error}") from error


def _matching_network(model: NetworkEstimator, facts: _Facts, path: Path) -> BuiltNetwork:
    """Return the network that the model asks for, if it is that of the file."""
    choices = resolve_choices(model)
    try:
        network = model._shaped(choices.network, facts.n_features, facts.n_outputs)
    except ValueError as error:
        raise ModelFileError(f"{path} was saved of a model with other features: {error}") from error
    asked = {
        "estimator": type(model).__name__,
        "network": _text(network.network),
        "loss": _text(choices.loss),
        "n_members": model.n_members,
    }
    for name, value in asked.items():
        saved = getattr(facts, name)
        if value != saved:
            raise ModelFileError(f"{path} was saved of a model whose {name} is {saved}, and not {value}.")
    return network


def _matching_arrays(
    tensors: dict[str, np.ndarray], network: BuiltNetwork, n_members: int, path: Path
) -> dict[str, np.ndarray]:
    """Return the tensors with the members axis, if they are those of the network."""
    shapes = {**network.shapes, **network.statistics_shapes}
    found = {name: array if n_members > 1 else array[np.newaxis] for name, array in tensors.items()}
    if {name: array.shape for name, array in found.items()} != {
        name: (n_members, *shape) for name, shape in shapes.items()
    }:
        raise ModelFileError(f"The tensors of {path} have other names or shapes than those of the network, {shapes}.")
    kinds = {array.dtype for array in found.values()}
    if len(kinds) > 1 or not kinds <= {np.dtype(np.float32), np.dtype(np.float64)}:
        raise ModelFileError(
            f"The tensors of {path} must all be float32, or all float64. Got {sorted(map(str, kinds))}."
        )
    if not all(np.isfinite(array).all() for array in found.values()):
        raise ModelFileError(f"A weight in {path} is not finite.")
    return {name: found[name] for name in shapes}
