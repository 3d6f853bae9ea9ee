"""What a fitted estimator has: the names and types of its attributes.

Everything is NumPy, plain Python, a component, or a curve; nothing holds a torch object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skbig.components.losses.base import Loss
from skbig.engine.curve import Curve
from skbig.networks.network import BuiltNetwork

if TYPE_CHECKING:
    from skbig.estimators.conformal import Conformity
    from skbig.tables.encoding import TableEncoding
    from skbig.tables.sparse_columns import SparseEncoding


class TrainedAttributes:
    """What training leaves behind in every estimator."""

    loss_: float
    best_loss_: float | None
    best_validation_score_: float | None
    n_iter_: int
    t_: int
    n_outputs_: int
    stop_reason_: str
    device_: str
    executor_: str
    out_activation_: str
    n_features_in_: int
    feature_names_in_: np.ndarray

    _loss: Loss
    _network: BuiltNetwork
    _dtype: str
    _progress: dict[str, Any]
    _curves: dict[str, Curve]
    _names_of_curves: dict[str, dict[str, str]] | None

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch."""
        return self._means("loss_curve_", "loss")

    @property
    def learning_rates_(self) -> list[float]:
        """The rate of each epoch's last step."""
        return self._means("learning_rates_", "rate")

    @property
    def validation_loss_curve_(self) -> list[float] | None:
        """The loss of the validation rows after each epoch; None without any."""
        return self._means("validation_loss_curve_", "validation_loss") or None

    @property
    def validation_scores_(self) -> list[float] | None:
        """The score of the validation rows after each epoch; None without any."""
        return self._means("validation_scores_", "validation_score") or None

    @property
    def validation_curves_(self) -> dict[str, dict[str, list[float]]] | None:
        """By the name of each validation set, and then of each metric: its value after each epoch."""
        sets = self._learnt("validation_curves_", "_names_of_curves")
        if sets is None:
            return None
        return {
            of_rows: {metric: self._means("validation_curves_", name) for metric, name in names.items()}
            for of_rows, names in sets.items()
        }

    def _means(self, attribute: str, name: str) -> list[float]:
        """Return a curve as a list of its own. A fit keeps none, which would take longer the longer it is."""
        curve = self._learnt(attribute, "_curves")[name]
        return (curve if isinstance(curve, Curve) else Curve(curve)).means()

    def _learnt(self, attribute: str, name: str) -> Any:
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {attribute!r}", name=attribute, obj=self
            ) from None


class ClassifierAttributes:
    """What a fitted classifier has besides."""

    classes_: np.ndarray
    _multilabel: bool


class RegressorAttributes:
    """What a fitted regressor has besides."""

    _one_dimensional: bool


class MLPAttributes:
    """The layers of a fitted multi-layer perceptron; with several members every array has them as its first dim."""

    n_layers_: int
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    scales_: list[np.ndarray]
    offsets_: list[np.ndarray]
    running_means_: list[np.ndarray]
    running_variances_: list[np.ndarray]


class LinearAttributes:
    """The weights of a fitted linear model, in scikit-learn's shapes."""

    coef_: np.ndarray
    intercept_: float | np.ndarray


class TabularAttributes:
    """What an estimator of tables has learnt besides: of the columns, the probabilities, and the unit of y."""

    encoding_: TableEncoding | SparseEncoding
    temperature_: float
    feature_importances_: np.ndarray
    _conformity: Conformity | None
    _target_scale: dict[str, np.ndarray]


class NetworkAttributes:
    """The parameters and running statistics of a fitted network, by name."""

    weights_: dict[str, np.ndarray]
    buffers_: dict[str, np.ndarray]


class ModuleAttributes:
    """What is known of the rows of a fitted module."""

    input_shape_: tuple[int, ...]


class TextAttributes:
    """Which pretrained model an estimator of texts was fitted with."""

    folder_: str
    fingerprint_: str
    max_length_: int
