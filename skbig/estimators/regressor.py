"""The regressor.

Legend: M members, N rows, K outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, column_or_1d

from skbig.components.losses.base import Loss, resolve_loss
from skbig.data.targets import RegressionTargets
from skbig.engine.recipe import Recipe
from skbig.estimators.base import BaseBigMLP
from skbig.estimators.hints import with_hints
from skbig.estimators.inputs import Given
from skbig.estimators.scoring import PredictedRegressor
from skbig.estimators.sklearn_compat import with_callbacks


class BigMLPRegressor(RegressorMixin, BaseBigMLP):
    """A multi-layer perceptron that predicts numbers, trained by torch.

    It is used like scikit-learn's `MLPRegressor`, whose parameters and attributes keep their names and meanings, and
    takes its optimizer, schedule, clipping, penalty, loss and augmentation as components, by name or as an instance
    from `skbig.components`. The parameters of a component are searched as ``optimizer__betas``.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Units of each hidden layer; ``()`` is a linear model.
    activation : str, default='relu'
        What each hidden layer applies to its sums: 'identity', 'logistic', 'tanh', 'relu', 'gelu', 'silu', 'mish',
        'selu', 'elu' or 'leaky_relu'.
    loss : str, Loss or callable, default='squared_error'
        What training minimises: 'squared_error', 'absolute_error', 'huber', 'log_cosh', 'squared_log_error',
        'poisson', 'gamma', 'quantile', 'epsilon_insensitive'; a component such as ``Quantile(quantile=0.9)``; or
        ``function(raw, y)`` that returns the loss of each row.
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
        Networks trained side by side from different seeds; their predictions are averaged.
    batch_size : int, 'auto' or 'full', default='auto'
        Rows per step; 'auto' is ``min(200, n_samples)``, 'full' the whole set.
    max_iter : int, default=200
        Epochs: how often each row is read (iterations for 'lbfgs').
    max_time : float or None, default=None
        Seconds after which training ends; the schedule then ends on time too.
    shuffle : bool, default=True
        Whether rows are read in a new random order in each epoch.
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
        What turns raw predictions into predictions.
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
    BigMLPClassifier : The same for classes.
    sklearn.neural_network.MLPRegressor : The estimator that this one can replace.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = BigMLPRegressor(learning_rate=0.01, early_stopping=True, random_state=0)
    >>> regressor = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> bool(regressor.score(X, y) > 0.5)
    True
    """

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
            Validation rows. They are scored after each epoch, and with ``early_stopping=True`` they decide when to
            stop, in place of rows held out from X.

        Returns
        -------
        self : BigMLPRegressor

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
            Validation rows, scored after the epoch. With ``early_stopping=True`` they are needed, and the best
            weights of all calls are kept: once the score has not improved in more than `n_iter_no_change` calls,
            later calls change nothing.

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

    def _make_targets(self, y: Any, classes: Any, goes_on: bool, incremental: bool, loss: Loss) -> RegressionTargets:
        del classes, goes_on, incremental  # of classifiers only; another number of outputs is noticed with the weights
        if hasattr(y, "toarray"):
            raise ValueError("y must be dense for a regressor, and it is sparse. Use y.toarray().")
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
