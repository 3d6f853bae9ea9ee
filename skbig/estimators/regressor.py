"""The regressor.

Legend: M members, N rows, K outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, column_or_1d

from skbig.components.losses import Loss, resolve_loss
from skbig.data.targets import RegressionTargets
from skbig.engine.recipe import Recipe
from skbig.estimators.base import BaseBigMLP
from skbig.estimators.hints import with_hints
from skbig.estimators.preparation import Given
from skbig.estimators.scoring import PredictedRegressor
from skbig.estimators.sklearn_bridge import with_callbacks


class BigMLPRegressor(RegressorMixin, BaseBigMLP):
    """DOCSTRING"""

    _for_classes = False

    @with_hints
    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        loss: Any = "squared_error",
        penalty: Any = "l2",
        alpha: float = 0.0001,
        optimizer: Any = "adam",
        learning_rate: Any = "auto",
        schedule: Any = "constant",
        clipping: Any = None,
        augmentation: Any = None,
        dropout: float = 0.0,
        normalization: str | None = None,
        n_members: int = 1,
        batch_size: Any = "auto",
        max_iter: int = 200,
        max_time: float | None = None,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        scoring: Any = "loss",
        warm_start: bool = False,
        random_state: Any = None,
        device: str = "auto",
        precision: str = "auto",
        verbose: Any = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.clipping = clipping
        self.augmentation = augmentation
        self.dropout = dropout
        self.normalization = normalization
        self.n_members = n_members
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_time = max_time
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.scoring = scoring
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.verbose = verbose

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> BigMLPRegressor:
        """Train from scratch, or go on from the last fit with ``warm_start=True``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; a row of weight 2 counts as two rows, and rows of weight 0 are dropped.
        X_val, y_val, sample_weight_val : same forms, default=None
            Validation rows. They are scored after each epoch, and with ``early_stopping=True`` they decide when to stop, in place of
            rows held out from X.

        Returns
        -------
        self : BigMLPRegressor

        Raises
        ------
        ValueError
            When a parameter or the data are invalid; the estimator stays as it was.
        skbig.exceptions.DivergenceError
            When the loss is not finite any more; the estimator keeps the last finite weights.
        """
        return self._train(Given(X, y, sample_weight), Given(X_val, y_val, sample_weight_val), incremental=False)

    @with_callbacks
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> BigMLPRegressor:
        """Train one epoch on the given rows, going on from the last call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.
        X_val, y_val, sample_weight_val : same forms, default=None
            Validation rows, scored after the epoch. With ``early_stopping=True`` they are needed, and the best weights of all calls are
            kept: once the score has not improved in more than `n_iter_no_change` calls, later calls change nothing.

        Returns
        -------
        self : BigMLPRegressor
        """
        given, held = Given(X, y, sample_weight), Given(X_val, y_val, sample_weight_val)
        return self._train(given, held, incremental=True)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the prediction of each row, averaged over the members.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return also how far the members disagree: the standard deviation of their predictions.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        std : ndarray of the same shape
            Only with ``return_std=True``.

        Raises
        ------
        ValueError
            With ``return_std=True`` and ``n_members=1``: one member agrees with itself.
        """
        raw = self._raw(X)
        if return_std and raw.shape[0] == 1:
            raise ValueError("return_std=True needs an ensemble. Fit with n_members=2 or more; got n_members=1.")
        predictions = _inverse_link(raw, resolve_loss(self.loss, for_classes=False))
        mean = _flat(predictions.mean(axis=0), self._one_dimensional)
        return (mean, _flat(predictions.std(axis=0), self._one_dimensional)) if return_std else mean

    # What the base asks for.

    def _make_targets(
        self, y: Any, classes: Any, goes_on: bool, incremental: bool, loss: Loss
    ) -> RegressionTargets:
        del classes, goes_on, incremental  # of classifiers only; another number of outputs is noticed with the weights
        loss.check_targets(y)
        return RegressionTargets(1 if y.ndim == 1 or y.shape[1] == 1 else y.shape[1], y.ndim == 1 or y.shape[1] == 1)

    def _checked_target(self, y: Any) -> Any:
        y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y_val")
        return column_or_1d(y) if y.ndim == 2 and y.shape[1] == 1 else y

    def _weights(self, given: Given, targets: RegressionTargets, incremental: bool) -> np.ndarray | None:
        del targets, incremental
        return given.weight

    def _predicted(self, raw: np.ndarray, targets: RegressionTargets, loss: Loss) -> PredictedRegressor:
        return PredictedRegressor({"predict": _flat(_inverse_link(raw, loss), targets.one_dimensional)})

    def _describe(self, targets: RegressionTargets, recipe: Recipe) -> dict[str, Any]:
        return {"out_activation_": recipe.loss.out_activation(), "_one_dimensional": targets.one_dimensional}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _inverse_link(raw: np.ndarray, loss: Loss) -> np.ndarray:
    return loss.predict(torch.from_numpy(raw)).numpy()


def _flat(values: np.ndarray, one_dimensional: bool) -> np.ndarray:
    return values[:, 0] if one_dimensional else values
