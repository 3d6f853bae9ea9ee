"""The classifier.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from skbig.components.losses.base import Loss, resolve_loss
from skbig.data.targets import ClassTargets, class_targets
from skbig.engine.recipe import Recipe
from skbig.estimators.base import BaseBigMLP
from skbig.estimators.class_weights import row_weights
from skbig.estimators.hints import with_hints
from skbig.estimators.inputs import Given
from skbig.estimators.scoring import PredictedClassifier
from skbig.estimators.sklearn_compat import check_validation_labels, with_callbacks


def _has_probabilities(estimator: Any) -> bool:
    loss = resolve_loss(estimator.loss, for_classes=True)
    if not loss.probabilistic:
        raise AttributeError(
            f"probability estimates are not available for loss={estimator.loss!r}. Use loss='log_loss'."
        )
    return True


class BigMLPClassifier(ClassifierMixin, BaseBigMLP):
    """A multi-layer perceptron that classifies, trained by torch.

    It is used like scikit-learn's `MLPClassifier`, whose parameters and attributes keep their names and meanings,
    and takes its optimizer, schedule, clipping, penalty, loss and augmentation as components, by name or as an
    instance from `skbig.components`. The parameters of a component are searched as ``optimizer__betas``.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Units of each hidden layer; ``()`` is a linear model.
    activation : str, default='relu'
        What each hidden layer applies to its sums: 'identity', 'logistic', 'tanh', 'relu', 'gelu', 'silu', 'mish',
        'selu', 'elu' or 'leaky_relu'.
    loss : str, Loss or callable, default='log_loss'
        What training minimises: 'log_loss', 'focal', 'hinge', 'squared_hinge', 'modified_huber'; a component such as
        ``LogLoss(label_smoothing=0.1)``; or ``function(raw, y)`` that returns the loss of each row.
    penalty : {'l2', 'l1', 'elasticnet'}, Penalty or None, default='l2'
        What is added to the loss for large weights (biases are free). 'l1' and 'elasticnet' give exact zeros.
    alpha : float, default=0.0001
        Strength of the penalty, divided by the weight of the batch as in scikit-learn:
        ``loss + alpha / n * penalty``.
    optimizer : str or Optimizer, default='adam'
        'sgd', 'adagrad', 'rmsprop', 'adam', 'adamw', 'nadam', 'lion', 'muon', 'lbfgs', or a component such as
        ``AdamW(betas=(0.9, 0.95))``. 'lbfgs' reads the whole set in each iteration and is often the best choice for
        a few thousand rows or less.
    learning_rate : 'auto' or float, default='auto'
        Base rate of the steps. 'auto' is the optimizer's own default, 0.001 for adam.
    schedule : str, Schedule or callable, default='constant'
        How the rate changes: 'constant', 'exponential', 'linear', 'cosine', 'step', 'inverse_time', 'invscaling',
        'one_cycle', 'plateau'; a component such as ``Cosine(warmup=0.1)``; or a function of the share of training
        done, in [0, 1], that returns the factor of the base rate.
    clipping : {'norm', 'value'}, Clipping or None, default=None
        How gradients are kept small: 'norm' shortens a member's gradient to length 1, 'value' cuts each entry to
        [-1, 1]; other bounds by ``ClipNorm(max_norm=5.0)``.
    augmentation : {'mixup', 'gaussian_noise', 'swap_noise'}, Augmentation or None, default=None
        What changes training batches. Validation and prediction see the rows as they are.
    dropout : float in [0, 1), default=0.0
        Share of hidden units that are zeroed at random in each training step.
    normalization : {'batch', 'layer'} or None, default=None
        What is normalised between the sums of a hidden layer and its activation.
    n_members : int, default=1
        Networks trained side by side from different seeds; their probabilities are averaged.
    batch_size : int, 'auto' or 'full', default='auto'
        Rows per step; 'auto' is ``min(200, n_samples)``, 'full' the whole set.
    max_iter : int, default=200
        Epochs: how often each row is read (iterations for 'lbfgs').
    max_time : float or None, default=None
        Seconds after which training ends; the schedule then ends on time too.
    shuffle : bool, default=True
        Whether rows are read in a new random order in each epoch.
    class_weight : dict, 'balanced' or None, default=None
        Weight of each class, times that of the row. 'balanced' gives every class the same total.
    early_stopping : bool, default=False
        Whether training stops when the validation score stops improving; the best weights are kept. The validation
        rows are `X_val` of `fit`, else held out from X.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out for early stopping.
    n_iter_no_change : int, default=10
        Epochs without improvement after which training stops.
    tol : float, default=0.0001
        By how much the validation score, or without early stopping the training loss, must improve to count. For
        'lbfgs': training stops when no entry of the gradient is larger.
    scoring : 'loss', str, callable or None, default='loss'
        What validation rows are scored by: their negative loss, any scorer of scikit-learn, or None for the
        estimator's own `score`.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit, optimizer state included.
    random_state : int, RandomState instance or None, default=None
        The same int gives the same bits, on one device. Initial weights are those of scikit-learn's MLP with this seed.
    device : {'auto', 'cpu', 'cuda', 'cuda:1', 'mps'}, default='auto'
        Where to compute; 'auto' takes a GPU if there is one.
    precision : {'auto', 'float32', 'float64', 'tf32', 'bf16'}, default='auto'
        'auto' follows X on a CPU (float64 in, float64 trained) and is float32 on a GPU. 'bf16' computes in bfloat16 and
        keeps the weights in float32.
    backend : {'ddp', 'fsdp', 'tensor'}, DDP, FSDP, TensorParallel or None, default=None
        Who trains: None is this process alone, 'ddp' several processes, one for each GPU, with the same result;
        :class:`~skbig.DDP` says how many, and when to start them again. They are started by `fit`, which joins a launch
        by torchrun, SLURM or Ray instead, if there is one. For networks that one device does not hold,
        :class:`~skbig.FSDP` and :class:`~skbig.TensorParallel` leave to each process a part of the weights.
    verbose : bool or int, default=False
        Whether a progress line is shown.
    checkpoint_dir : path or None, default=None
        A directory in which `fit` saves its training. A fit that was killed goes on from the newest checkpoint, bit by
        bit, when it is repeated with the same data and parameters; one that has ended returns its model at once.
        `partial_fit` saves nothing.
    checkpoint_every : int or float, default=60.0
        How often: an int counts epochs, a float seconds.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer; with several members of shape (n_members, n_in, n_out).
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer; with several members of shape (n_members, n_out).
    loss_curve_ : list of float
        Training loss of each epoch, penalty included; the mean over members.
    loss_, best_loss_ : float
        The last of them and the smallest; `best_loss_` is None with early stopping.
    validation_loss_curve_, validation_scores_ : list of float or None
        Loss and score of the validation rows after each epoch.
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
    >>> classifier = BigMLPClassifier(optimizer="lbfgs", alpha=0.1, random_state=0).fit(X, y)
    >>> classifier.predict(X[:3])
    array([0, 0, 0])
    >>> bool(classifier.score(X, y) > 0.95)
    True
    """

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
        backend: Any = None,
        verbose: Any = False,
        checkpoint_dir: Any = None,
        checkpoint_every: Any = 60.0,
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
        self.backend = backend
        self.verbose = verbose
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every

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
            Validation rows. They are scored after each epoch, and with ``early_stopping=True`` they decide when to
            stop, in place of rows held out from X.

        Returns
        -------
        self : BigMLPClassifier

        Raises
        ------
        ValueError
            When a parameter or the data are invalid; the estimator stays as it was.
        skbig.exceptions.DivergenceError
            When the loss is not finite any more; the estimator keeps the last finite weights.
        OSError
            When a checkpoint cannot be written; the last one stays.
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
            Validation rows, scored after the epoch. With ``early_stopping=True`` they are needed, and the best
            weights of all calls are kept: once the score has not improved in more than `n_iter_no_change` calls,
            later calls change nothing.

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
        with np.errstate(divide="ignore"):  # the logarithm of a probability of zero is -inf
            return np.log(self.predict_proba(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the raw prediction: positive means the second class, or the largest is the class.

        Of several members it is the mean; `predict` goes by the mean of their probabilities, which may differ.

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
        probabilities = loss.probabilities(torch.from_numpy(raw), targets.multiclass).mean(0)
        if loss.out_activation(targets.multiclass) == "logistic":
            # A logistic function is never quite 0 or 1, and neither is its rounded value.
            epsilon = torch.finfo(probabilities.dtype).eps
            probabilities = probabilities.clamp(epsilon, 1 - epsilon)
        return probabilities.numpy()

    def _decide(self, raw: np.ndarray, targets: ClassTargets, loss: Loss) -> np.ndarray:
        if raw.shape[0] == 1:  # the larger raw prediction has the larger probability
            return targets.decide(raw[0], 0.0)
        if not loss.probabilistic:
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
        return check_validation_labels(y)

    def _weights(self, given: Given, targets: ClassTargets, incremental: bool) -> np.ndarray | None:
        if self.class_weight == "balanced" and incremental:
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not see all rows. Pass a dict of "
                "weights: n_samples / (n_classes * np.bincount(y))."
            )
        return row_weights(self.class_weight, given, targets)

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
