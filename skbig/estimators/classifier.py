"""The classifier.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d

from skbig.components.losses import Loss, resolve_loss
from skbig.data.targets import ClassTargets, class_targets
from skbig.engine.recipe import Recipe
from skbig.estimators.base import BaseBigMLP
from skbig.estimators.hints import with_hints
from skbig.estimators.preparation import Given
from skbig.estimators.scoring import PredictedClassifier
from skbig.estimators.sklearn_bridge import with_callbacks


def _has_probabilities(estimator: Any) -> bool:
    loss = resolve_loss(estimator.loss, for_classes=True)
    if not loss.probabilistic:
        raise AttributeError(f"probability estimates are not available for loss={estimator.loss!r}. Use loss='log_loss'.")
    return True


class BigMLPClassifier(ClassifierMixin, BaseBigMLP):
    """DOCSTRING"""

    _for_classes = True

    @with_hints
    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        loss: Any = "log_loss",
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
        class_weight: Any = None,
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
        self.class_weight = class_weight
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
    ) -> BigMLPClassifier:
        """Train from scratch, or go on from the last fit with ``warm_start=True``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels (strings or numbers), or a multilabel indicator.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; a row of weight 2 counts as two rows, and rows of weight 0 are dropped.
        X_val, y_val, sample_weight_val : same forms, default=None
            Validation rows. They are scored after each epoch, and with ``early_stopping=True`` they decide when to stop, in place of
            rows held out from X.

        Returns
        -------
        self : BigMLPClassifier

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
        classes: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> BigMLPClassifier:
        """Train one epoch on the given rows, going on from the last call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Their labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever occur. Needed in the first call; later calls may leave it out.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.
        X_val, y_val, sample_weight_val : same forms, default=None
            Validation rows, scored after the epoch. With ``early_stopping=True`` they are needed, and the best weights of all calls are
            kept: once the score has not improved in more than `n_iter_no_change` calls, later calls change nothing.

        Returns
        -------
        self : BigMLPClassifier
        """
        given, held = Given(X, y, sample_weight), Given(X_val, y_val, sample_weight_val)
        return self._train(given, held, incremental=True, classes=classes)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        raw, targets = self._raw(X), self._class_targets()
        return self._decide(raw, targets, resolve_loss(self.loss, for_classes=True))

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, averaged over the members.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`; for multilabel targets the probability of each label.
        """
        raw, targets = self._raw(X), self._class_targets()
        return self._two_columns(self._probabilities(raw, targets, resolve_loss(self.loss, for_classes=True)), targets)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of `predict_proba`."""
        probabilities = self.predict_proba(X)
        return np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the raw prediction: positive means the second class, or the largest is the class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
        """
        raw, targets = self._raw(X).mean(axis=0), self._class_targets()
        return raw if targets.multiclass or targets.multilabel else raw[:, 0]

    def _class_targets(self) -> ClassTargets:
        return ClassTargets(self.classes_, self._multilabel)

    def _probabilities(self, raw: np.ndarray, targets: ClassTargets, loss: Loss) -> np.ndarray:
        """Average probabilities over the members: (M, N, K) -> (N, K)."""
        return loss.probabilities(torch.from_numpy(raw), targets.multiclass).mean(0).numpy()

    def _decide(self, raw: np.ndarray, targets: ClassTargets, loss: Loss) -> np.ndarray:
        if raw.shape[0] == 1 or not loss.probabilistic:  # the larger raw prediction has the larger probability
            return targets.decide(raw.mean(axis=0), 0.0)
        return targets.decide(self._probabilities(raw, targets, loss), 0.5)

    @staticmethod
    def _two_columns(probabilities: np.ndarray, targets: ClassTargets) -> np.ndarray:
        if targets.multiclass or targets.multilabel:
            return probabilities
        return np.hstack([1 - probabilities, probabilities])

    # What the base asks for.

    def _make_targets(self, y: Any, classes: Any, goes_on: bool, incremental: bool, loss: Loss) -> ClassTargets:
        del loss  # every classification loss takes every class
        if not goes_on:
            found = class_targets(y, classes)
            if incremental and classes is None and not found.multilabel:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            return found
        known = self._class_targets()
        if classes is not None and not np.array_equal(np.unique(classes), known.classes):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known.classes!r}."
            )
        if not incremental:
            self._check_same_classes(class_targets(y), known)
        return known

    @staticmethod
    def _check_same_classes(found: ClassTargets, known: ClassTargets) -> None:
        if not np.array_equal(found.classes, known.classes) or found.multilabel != known.multilabel:
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {known.classes}, `y` has {found.classes}."
            )

    def _checked_target(self, y: Any) -> Any:
        if hasattr(y, "toarray") or (np.ndim(y) == 2 and np.shape(y)[1] > 1):
            return np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        return column_or_1d(y)

    def _weights(self, given: Given, targets: ClassTargets, incremental: bool) -> np.ndarray | None:
        if self.class_weight is None:
            return given.weight
        if self.class_weight == "balanced" and incremental:
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not see all rows. Pass a dict of weights: "
                "n_samples / (n_classes * np.bincount(y))."
            )
        if self.class_weight == "balanced" and not targets.multilabel:
            return _balanced(given, targets)
        weights = compute_sample_weight(self.class_weight, given.y)
        return weights if given.weight is None else weights * given.weight

    def _predicted(self, raw: np.ndarray, targets: ClassTargets, loss: Loss) -> PredictedClassifier:
        stack = raw[None]
        answers = {"classes": targets.classes, "predict": self._decide(stack, targets, loss)}
        answers["decision_function"] = raw if targets.multiclass or targets.multilabel else raw[:, 0]
        if loss.probabilistic:
            answers["predict_proba"] = self._two_columns(self._probabilities(stack, targets, loss), targets)
        return PredictedClassifier(answers)

    def _describe(self, targets: ClassTargets, recipe: Recipe) -> dict[str, Any]:
        return {
            "classes_": targets.classes,
            "out_activation_": recipe.loss.out_activation(targets.multiclass),
            "_multilabel": targets.multilabel,
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _balanced(given: Given, targets: ClassTargets) -> np.ndarray:
    """Weights that give every class the same sum; a row of weight two counts as two."""
    index = targets.encode(given.y).astype(int).reshape(-1)
    weight = np.ones(len(index)) if given.weight is None else given.weight
    sums = np.bincount(index, weights=weight, minlength=len(targets.classes))
    with np.errstate(divide="ignore"):
        factor = weight.sum() / ((sums > 0).sum() * sums)
    return weight * factor[index]
