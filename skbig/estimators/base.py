"""What all estimators share: scikit-learn's face over the one training loop.

A fit is a straight way: check -> where to start from -> split -> recipe -> rows -> members -> train -> keep. The way is
in `preparation.py` and `session.py`; here are its doors, and what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from skbig._utils.device import SingleDevice, choose_device, plain_torch
from skbig._utils.user_warning import warn_user
from skbig.components.losses.base import Loss
from skbig.data.rows import as_tensor
from skbig.data.streaming.sent_rows import SentRows
from skbig.engine.train import Training
from skbig.estimators.choices import Choices, component_of
from skbig.estimators.exits import Exits
from skbig.estimators.given import Given
from skbig.estimators.hints import hint_for, hint_for_attribute, with_hints
from skbig.estimators.html_repr import Documented
from skbig.estimators.prediction import raw_predictions
from skbig.estimators.preparation import prepare
from skbig.estimators.private_fit import Accounted
from skbig.estimators.row_checks import check_rows, check_training_rows, check_validation_rows
from skbig.estimators.search_context import receiver_of_fits
from skbig.estimators.shared_weights import SharedWeights
from skbig.estimators.sklearn_compat import CallbackSupportMixin, with_callbacks
from skbig.estimators.summarized import Summarized
from skbig.estimators.tensor_checks import check_tensor, check_training_tensor, check_validation_tensor
from skbig.estimators.tensors import on_device, on_host
from skbig.estimators.types import Table, Targets, ValidationTable, ValidationTargets, ValidationWeights, Weights
from skbig.networks.network import BuiltNetwork, Network


class NetworkEstimator(Documented, SharedWeights, Exits, Summarized, Accounted, CallbackSupportMixin, BaseEstimator):
    """Base of all estimators; a task (classification, regression) and a network make one of it."""

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also those of components: ``optimizer__betas``.

        A component is replaced, never changed: others may share it.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self : estimator
        """
        names = self._get_param_names()
        for name in params:
            if name.partition("__")[0] not in names:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}. {hint_for(name, names)} "
                    f"Valid parameters are: {names!r}."
                )
        for name in sorted(params, key=lambda name: "__" in name):  # whole components first
            if "__" in name:
                self._set_component_param(name, params[name])
            else:
                setattr(self, name, params[name])
        return self

    def _set_component_param(self, name: str, value: Any) -> None:
        parameter, _, field = name.partition("__")
        component = component_of(self, parameter)
        if component is None:
            raise ValueError(f"Invalid parameter {name!r}: {parameter}={getattr(self, parameter)!r} has no parameters.")
        setattr(self, parameter, component.replace(**{field: value}))

    @with_hints
    @with_callbacks
    def fit(
        self,
        X: Table,
        y: Targets,
        sample_weight: Weights = None,
        *,
        X_val: ValidationTable = None,
        y_val: ValidationTargets = None,
        sample_weight_val: ValidationWeights = None,
    ) -> Self:
        """Train from scratch, or go on from the last fit with ``warm_start=True``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            For a classifier class labels (strings or numbers), or a multilabel indicator; for a regressor numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; a row of weight 2 counts as two rows, and rows of weight 0 are dropped.
        X_val, y_val, sample_weight_val : same forms, default=None
            Validation rows. They are scored after each epoch, and with ``early_stopping=True`` they decide when to
            stop, in place of rows held out from X.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            When a parameter or the data are invalid; the estimator stays as it was.
        skbig.exceptions.DivergenceError
            When the loss is not finite any more; the estimator keeps the last finite weights.
        OSError
            When a checkpoint cannot be written; the last one stays.
        """
        return self._fit(Given(X, y, sample_weight), Given(X_val, y_val, sample_weight_val), incremental=False)

    def _fit(self, given: Given, held: Given, *, incremental: bool, classes: Any = None) -> Self:
        receive = receiver_of_fits()
        if receive is not None and not incremental:
            names = ("X", "y", "sample_weight")
            receive(self, given.on_host(*names), held.on_host(*(f"{name}_val" for name in names)))
            return self
        session = prepare(self, given, held, incremental=incremental, classes=classes)
        if session.has_stopped:
            warn_user(
                "Early stopping has ended this model's training, so partial_fit leaves it as it is. Set "
                "early_stopping=False to go on, or call fit to begin anew.",
                ConvergenceWarning,
            )
            return self
        session.fit()
        session.conclude()
        return self

    if not TYPE_CHECKING:  # so that tools go on to know which attributes there are

        def __getattr__(self, name: str) -> Any:
            """Called by Python for what is not there: what other libraries have under the name has one here too."""
            hint = hint_for_attribute(name)
            if not hint:
                return object.__getattribute__(self, name)  # raises as Python would
            message = f"{type(self).__name__!r} object has no attribute {name!r}. {hint}"
            raise AttributeError(message, name=name, obj=self)

    # What the rows and a training come to, for an estimator that makes nothing more of them.

    def _check_initializable(self) -> None:
        pass

    def _stands_for(self, name: str, value: Any) -> Any:
        del name
        return value

    def _check_training_rows(
        self, X: Any, y: Any, weight: np.ndarray | None, dtypes: list[Any], *, reset: bool, incremental: bool
    ) -> tuple[Any, Any]:
        del weight, incremental
        check = check_training_tensor if isinstance(X, torch.Tensor) else check_training_rows
        return check(self, X, y, dtypes, reset=reset, numeric=not self._for_classes)

    def _check_validation_rows(self, X: Any, dtype: Any, name: str) -> Any:
        return (check_validation_tensor if isinstance(X, torch.Tensor) else check_validation_rows)(self, X, dtype, name)

    def _check_rows(self, X: Any, dtype: Any, *, finite: bool = True) -> Any:
        return (check_tensor if isinstance(X, torch.Tensor) else check_rows)(self, X, dtype, finite=finite)

    def _row_dtype(self) -> np.dtype[Any]:
        return np.dtype(self._dtype)

    def _row_lengths(self, X: Any) -> np.ndarray | None:
        del X
        return None

    def _met(
        self, choices: Choices, checked: Given, n_outputs: int, backend: SingleDevice, *, goes_on: bool
    ) -> tuple[Choices, Given, SingleDevice]:
        del n_outputs, goes_on
        return choices, checked, backend

    def _shaped(self, network: Network, n_features: int, n_outputs: int) -> BuiltNetwork:
        return network.of_shape(n_features, n_outputs)

    def _settled(
        self, choices: Choices, checked: Given, targets: Any, *, goes_on: bool, judged: bool, incremental: bool
    ) -> tuple[Choices, Any]:
        del checked, goes_on, judged, incremental
        return choices, targets

    def _begun(
        self, network: BuiltNetwork, arrays: dict[str, np.ndarray], checked: Given, targets: Any, loss: Loss
    ) -> dict[str, np.ndarray]:
        del network, checked, targets, loss
        return arrays

    def _concluded(self, training: Training, targets: Any, held: Mapping[str, Given] | None) -> dict[str, Any]:
        del training, targets, held
        return {}

    def _planned(self, name: str) -> int:
        return int(getattr(self, name))

    # Prediction: by what was fitted, whatever the parameters say now.

    def _raw(self, X: Any, of_raw: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        """Return raw predictions (M, N, K), or what a function makes of them where they are computed."""
        self._check_fitted()
        dtype, device = self._row_dtype(), device_for_prediction(self.device, self._dtype)
        with plain_torch():
            X = on_device(X, device, "X") if self._reads_tensors else on_host(X, "X")
            parameters, statistics = self._tensors(device)
            rows = self._check_rows(X, dtype, finite=device.type != "cuda")
            if isinstance(rows, np.ndarray):
                rows = SentRows(rows, device) if device.type == "cuda" else as_tensor(rows).to(device)
            raw = raw_predictions(self._network, parameters, statistics, rows, of_raw=of_raw)
        if isinstance(rows, SentRows) and not rows.are_finite:
            self._check_rows(X, dtype)  # says what is wrong
        return raw

    def _check_fitted(self) -> None:
        """Raise NotFittedError, scikit-learn's, unless there was a fit; its check looks at much more than that."""
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)

    def _tensors(self, device: torch.device) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return parameters and running statistics as tensors, without a copy where they are on a CPU."""
        arrays = self._network_arrays()
        one = len(self._progress["seeds"]) == 1
        tensors = {name: as_tensor(array[0] if one else array).to(device) for name, array in arrays.items()}
        moments = self._network.statistics_shapes
        return {name: tensors[name] for name in self._network.shapes}, {name: tensors[name] for name in moments}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def device_for_prediction(name: str, dtype: str) -> torch.device:
    """The device asked for, or the CPU where the model was loaded on a machine without it, or one without its dtype."""
    try:
        device = choose_device(name)
    except ValueError:
        return torch.device("cpu")
    return torch.device("cpu") if device.type == "mps" and dtype == "float64" else device
