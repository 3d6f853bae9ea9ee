"""Classification: from raw predictions to classes and probabilities.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable as Function
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from skbig._utils.validation import Instance, Options
from skbig.components.losses.base import Loss, resolve_loss
from skbig.data.targets import ClassTargets, class_targets, sorted_labels
from skbig.engine.recipe import Recipe
from skbig.estimators.attributes import ClassifierAttributes
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.class_weights import row_weights
from skbig.estimators.declaration import estimator, parameter
from skbig.estimators.given import Given
from skbig.estimators.hints import with_hints
from skbig.estimators.initialize import begin
from skbig.estimators.prediction import pooled
from skbig.estimators.row_checks import check_validation_labels
from skbig.estimators.sklearn_compat import available_if, with_callbacks
from skbig.estimators.stand_ins import PredictedClassifier, ScoredClassifier
from skbig.estimators.tensors import as_the_rows
from skbig.estimators.types import Table, Targets, ValidationTable, ValidationTargets, ValidationWeights, Weights


def _has_probabilities(estimator: Classifier) -> bool:
    """By the fitted loss, or by the one that the next fit will have."""
    fitted = estimator.__sklearn_is_fitted__()
    loss = estimator._loss if fitted else resolve_loss(estimator.loss, for_classes=True)
    if not loss.probabilistic:
        raise AttributeError(
            f"probability estimates are not available for loss={estimator.loss!r}. Use loss='log_loss'."
        )
    return True


def _largest(raw: torch.Tensor) -> torch.Tensor:
    """Return which raw prediction is the largest: (M, N, K) -> (M, N, 1); where they are, since it is one of K."""
    return raw.max(-1, keepdim=True).indices.int()  # `argmax` takes twenty times as long where classes lie apart


def _positive(raw: torch.Tensor) -> torch.Tensor:
    """Return whether each raw prediction is positive: (M, N, K) -> (M, N, K)."""
    return (raw > 0.0).long()


@estimator
class Classifier(ScoredClassifier, ClassifierAttributes, NetworkEstimator):
    """What makes a classifier of a network estimator."""

    loss: str | Loss | Function[..., torch.Tensor] = parameter(
        "log_loss",
        words="str, Loss or callable",
        doc="""What training minimises: 'log_loss', 'focal', 'hinge', 'squared_hinge', 'modified_huber'; a component
        such as ``LogLoss(label_smoothing=0.1)``; or ``function(raw, y)`` that returns the loss of each row.""",
        kind=Loss,
    )
    class_weight: Mapping[Any, float] | list[Mapping[int, float]] | str | None = parameter(
        None,
        Options(("balanced", None)),
        Instance((Mapping, list), "a dict of weights (a list of them for multilabel y)"),
        words="dict, 'balanced' or None",
        doc="Weight of each class, times that of the row. 'balanced' gives every class the same total.",
        stacks=True,
    )

    _for_classes = True

    def initialize(self, n_features: int | Sequence[int], classes: Targets, *, multilabel: bool = False) -> Self:
        """Begin without rows: with the first weights that `fit` would draw, from which training can go on.

        A server and its clients agree in this way on a network, on its first weights and on the classes, of which a
        client may have few. Go on with `partial_fit`, or with ``warm_start=True`` and `fit`.

        Parameters
        ----------
        n_features : int
            Columns of X; of a module also the shape of a row, as ``(3, 32, 32)``.
        classes : array-like of shape (n_classes,)
            All labels that will ever occur; for multilabel targets the numbers of the labels, ``range(n_labels)``.
        multilabel : bool, default=False
            Whether a row may have several labels.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            When the parameters are invalid, or rows are needed to begin, as by `BigTabularClassifier`; the estimator
            stays as it was.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skbig import BigMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = BigMLPClassifier((8,), random_state=0).initialize(n_features=4, classes=[0, 1, 2])
        >>> model.n_iter_, model.partial_fit(X[:100], y[:100]).n_iter_
        (0, 1)
        """
        self._check_initializable()
        labels = sorted_labels(classes)
        if multilabel and not np.array_equal(labels, np.arange(len(labels))):
            raise ValueError(f"With multilabel=True, classes must be range(n_labels). Got {classes!r} instead.")
        begin(self, ClassTargets(labels, bool(multilabel)), n_features)
        return self

    @with_hints
    @with_callbacks
    def partial_fit(
        self,
        X: Table,
        y: Targets,
        classes: Targets | None = None,
        sample_weight: Weights = None,
        *,
        X_val: ValidationTable = None,
        y_val: ValidationTargets = None,
        sample_weight_val: ValidationWeights = None,
    ) -> Self:
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
            Validation rows, scored after the epoch. With ``early_stopping=True`` they are needed, and the best
            weights of all calls are kept: once the score has not improved in more than `n_iter_no_change` calls,
            later calls change nothing.

        Returns
        -------
        self : estimator
        """
        given, held = Given(X, y, sample_weight), Given(X_val, y_val, sample_weight_val)
        return self._fit(given, held, incremental=True, classes=classes)

    def predict(self, X: Table) -> np.ndarray:
        """Return the class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        self._check_fitted()
        targets = self._class_targets()
        if len(self._progress["seeds"]) == 1:  # the larger raw prediction has the larger probability
            chosen = self._raw(X, _largest if targets.multiclass else _positive)
        else:
            chosen = self._raw(X, lambda raw: self._chosen(raw, targets, self._loss)[None])
        return targets.named(as_the_rows(chosen, X)[0])

    @available_if(_has_probabilities)
    def predict_proba(self, X: Table) -> np.ndarray:
        """Return the probability of each class, averaged over the members.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`; for multilabel targets the probability of each label.
        """
        self._check_fitted()
        targets = self._class_targets()
        return as_the_rows(self._raw(X, lambda raw: self._columns(raw, targets, self._loss)[None]), X)[0]

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Table) -> np.ndarray:
        """Return the logarithm of `predict_proba`, computed from the raw prediction: it is finite for sure rows too."""
        self._check_fitted()
        targets = self._class_targets()
        return as_the_rows(self._raw(X, lambda raw: self._log_probabilities(raw, targets, self._loss)[None]), X)[0]

    def __call__(self, X: Table) -> np.ndarray:
        """Return probabilities, or the raw prediction where the loss has none.

        So a classifier is a function of rows, as tools that explain functions take one: ``shap.Explainer(model, X)``.
        """
        return self.predict_proba(X) if hasattr(self, "predict_proba") else self.decision_function(X)

    def decision_function(self, X: Table) -> np.ndarray:
        """Return the raw prediction: positive means the second class, or the largest is the class.

        Of several members it agrees with the mean of their probabilities: its log-odds, or their logarithms. It is the
        mean of the raw predictions where the loss has no probabilities, or others than log-odds stand for.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
        """
        self._check_fitted()
        targets = self._class_targets()
        scores = self._raw(X, lambda raw: self._decision_values(raw, targets)[None])
        return self._one_column(as_the_rows(scores, X)[0], targets)

    def _answer(self, method: str, targets: ClassTargets, raw: np.ndarray) -> np.ndarray:
        """Return what a method makes of raw predictions (M, N, K)."""
        if method == "predict" and len(raw) == 1:
            return np.asarray(targets.named(targets.choose(raw[0], 0.0)))
        values = torch.from_numpy(raw)
        if method == "predict":
            return np.asarray(targets.named(self._chosen(values, targets, self._loss).numpy()))
        if method == "predict_proba":
            return self._columns(values, targets, self._loss).numpy()
        return np.asarray(self._one_column(self._decision_values(values, targets).numpy(), targets))

    def _decision_values(self, raw: Tensor, targets: ClassTargets) -> Tensor:
        """Put the raw predictions of the members together: (M, N, K) -> (N, K)."""
        return pooled(raw, targets.multiclass) if self._loss.has_log_odds else raw.mean(0)

    def _class_targets(self) -> ClassTargets:
        return ClassTargets(self.classes_, self._multilabel)

    def _probabilities(self, raw: Tensor, targets: ClassTargets, loss: Loss) -> Tensor:
        """Average probabilities over the members: (M, N, K) -> (N, K)."""
        of_members = loss.probabilities(raw, targets.multiclass)
        probabilities = of_members.mean(0) if len(raw) > 1 else of_members[0]
        # A softmax is never quite 0, a logistic function neither 0 nor 1, and nor are their rounded values; so their
        # logarithms are about those that `predict_log_proba` computes from the raw prediction.
        numbers, link = torch.finfo(probabilities.dtype), loss.out_activation(targets.multiclass)
        if link in ("softmax", "logistic"):
            probabilities.clamp_(numbers.tiny, 1 - numbers.eps if link == "logistic" else 1)
        return probabilities

    def _log_probabilities(self, raw: Tensor, targets: ClassTargets, loss: Loss) -> Tensor:
        """Return the logarithms of the probabilities, averaged over the members: (M, N, K) -> (N, C)."""
        return log_probabilities(loss, raw, targets).logsumexp(0) - math.log(len(raw))

    def _chosen(self, raw: Tensor, targets: ClassTargets, loss: Loss) -> Tensor:
        """Return the numbers of the classes that the members choose together, or the labels: (M, N, K) -> (N, C)."""
        if raw.shape[0] == 1:  # the larger raw prediction has the larger probability
            return targets.choose(raw[0], 0.0)
        if not loss.probabilistic:
            return targets.choose(raw.mean(0), 0.0)
        return targets.choose(self._probabilities(raw, targets, loss), 0.5)

    @staticmethod
    def _one_column(values: Any, targets: ClassTargets) -> Any:
        return values if targets.multiclass or targets.multilabel else values[:, 0]

    def _columns(self, raw: Tensor, targets: ClassTargets, loss: Loss) -> Tensor:
        """Return the probability of each class or label: (M, N, K) -> (N, C)."""
        probabilities = self._probabilities(raw, targets, loss)
        if targets.multiclass or targets.multilabel:
            return probabilities
        if len(targets.classes) == 1:
            return torch.ones_like(probabilities)
        # What is left of 1 has lost the digits of a small probability; the logistic function of -raw has them.
        first = self._probabilities(-raw, targets, loss) if is_logistic(loss, targets) else 1 - probabilities
        return torch.hstack([first, probabilities])

    # What the base asks for.

    def _make_targets(self, y: Any, classes: Any, goes_on: bool, incremental: bool, loss: Loss) -> ClassTargets:
        del loss  # every classification loss takes every class
        if not goes_on:
            found = class_targets(y, classes)
            if incremental and classes is None and not found.multilabel:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            return found
        known = self._class_targets()
        if classes is not None and not np.array_equal(sorted_labels(classes), known.classes):
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

    def _checked_target(self, y: Any, name: str) -> Any:
        return check_validation_labels(y, name)

    def _weights(self, given: Given, targets: ClassTargets, incremental: bool) -> Any:
        if self.class_weight == "balanced" and incremental:
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not see all rows. Pass a dict of "
                "weights: n_samples / (n_classes * np.bincount(y))."
            )
        return row_weights(self.class_weight, given, targets)

    def _predicted(self, raw: np.ndarray, targets: ClassTargets, loss: Loss) -> PredictedClassifier:
        values = torch.from_numpy(raw)
        stack = values[None]
        answers = {"classes": targets.classes, "predict": targets.named(self._chosen(stack, targets, loss).numpy())}
        answers["decision_function"] = self._one_column(values, targets).numpy()
        if loss.probabilistic:
            answers["predict_proba"] = self._columns(stack, targets, loss).numpy()
            answers["predict_log_proba"] = self._log_probabilities(stack, targets, loss).numpy()
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


def is_logistic(loss: Loss, targets: ClassTargets) -> bool:
    """Whether a probability is the logistic function of the raw prediction."""
    return _has_usual_link(loss) and loss.out_activation(targets.multiclass) == "logistic"


def _has_usual_link(loss: Loss) -> bool:
    """Whether the loss has no formula of its own for probabilities."""
    return type(loss).probabilities is Loss.probabilities


def log_probabilities(loss: Loss, raw: torch.Tensor, targets: ClassTargets) -> torch.Tensor:
    """Return the logarithm of the probability of each class or label, (..., K) -> (..., C)."""
    if is_logistic(loss, targets):
        return (
            logsigmoid(raw) if targets.multilabel else _two_columns_of_logs(logsigmoid(-raw), logsigmoid(raw), targets)
        )
    if _has_usual_link(loss) and loss.out_activation(targets.multiclass) == "softmax":
        return raw.log_softmax(-1)
    p = loss.probabilities(raw, targets.multiclass)
    return (
        p.log() if targets.multiclass or targets.multilabel else _two_columns_of_logs((1 - p).log(), p.log(), targets)
    )


def _two_columns_of_logs(first: torch.Tensor, second: torch.Tensor, targets: ClassTargets) -> torch.Tensor:
    """Put the logarithms of the probabilities of two classes side by side; where there is one class, it is sure."""
    return torch.zeros_like(second) if len(targets.classes) == 1 else torch.cat([first, second], -1)
