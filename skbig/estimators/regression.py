"""Regression: from raw predictions to numbers.

Legend: M members, N rows, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable as Function
from collections.abc import Sequence
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from torch import Tensor

from skbig._utils.validation import COUNT, check
from skbig.components.losses.base import Loss
from skbig.data.targets import RegressionTargets
from skbig.data.tensor_rows import beside
from skbig.engine.recipe import Recipe
from skbig.estimators.attributes import RegressorAttributes
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.choices import component_of
from skbig.estimators.declaration import estimator, parameter
from skbig.estimators.given import Given
from skbig.estimators.hints import with_hints
from skbig.estimators.initialize import begin
from skbig.estimators.row_checks import check_targets
from skbig.estimators.sklearn_compat import with_callbacks
from skbig.estimators.stand_ins import PredictedRegressor, ScoredRegressor
from skbig.estimators.tensors import as_the_rows, for_loss
from skbig.estimators.types import Table, Targets, ValidationTable, ValidationTargets, ValidationWeights, Weights


@estimator
class Regressor(ScoredRegressor, RegressorAttributes, NetworkEstimator):
    """What makes a regressor of a network estimator."""

    loss: str | Loss | Function[..., torch.Tensor] = parameter(
        "squared_error",
        words="str, Loss or callable",
        doc="""What training minimises: 'squared_error', 'absolute_error', 'huber', 'log_cosh', 'squared_log_error',
        'poisson', 'gamma', 'quantile', 'epsilon_insensitive', 'gaussian_nll', which predicts a deviation as well; a
        component such as ``Quantile(0.9)``, or ``Quantile([0.05, 0.5, 0.95])`` for several quantiles that do not cross;
        or ``function(raw, y)`` that returns the loss of each row.""",
        kind=Loss,
    )

    _for_classes = False

    def initialize(self, n_features: int | Sequence[int], n_outputs: int = 1) -> Self:
        """Begin without rows: with the first weights that `fit` would draw, from which training can go on.

        A server and its clients agree in this way on a network and on its first weights. Go on with `partial_fit`, or
        with ``warm_start=True`` and `fit`.

        Parameters
        ----------
        n_features : int
            Columns of X; of a module also the shape of a row, as ``(3, 32, 32)``.
        n_outputs : int, default=1
            Columns of y.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            When the parameters are invalid, or rows are needed to begin, as by `BigTabularRegressor` or
            ``standardize_target=True``; the estimator stays as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from skbig import BigMLPRegressor
        >>> model = BigMLPRegressor((8,), random_state=0).initialize(n_features=4)
        >>> model.predict(np.zeros((2, 4))).shape
        (2,)
        """
        self._check_initializable()
        check("n_outputs", f"{type(self).__name__}.initialize", n_outputs, COUNT)
        loss = component_of(self, "loss")
        assert isinstance(loss, Loss)
        if loss.quantiles and n_outputs > 1:
            raise ValueError(f"Several quantiles are of one target. Got n_outputs={n_outputs} with loss={self.loss!r}.")
        per_target = loss.columns_per_target
        begin(self, RegressionTargets(int(n_outputs) * per_target, n_outputs == 1, per_target=per_target), n_features)
        return self

    @with_hints
    @with_callbacks
    def partial_fit(
        self,
        X: Table,
        y: Targets,
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
        self : estimator
        """
        given, held = Given(X, y, sample_weight), Given(X_val, y_val, sample_weight_val)
        return self._fit(given, held, incremental=True)

    @overload
    def predict(self, X: Table, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: Table, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(self, X: Table, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the prediction of each row, averaged over the members.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return also how far the members disagree: the standard deviation of their predictions. With
            ``loss="gaussian_nll"`` it is that of the target: what each member predicts is added.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of several quantiles (n_samples, n_quantiles).
        std : ndarray of the same shape
            Only with ``return_std=True``.

        Raises
        ------
        ValueError
            With ``return_std=True`` and ``n_members=1``, where one member agrees with itself; but not with
            ``loss="gaussian_nll"``.
        """
        self._check_fitted()
        n_members, targets = len(self._progress["seeds"]), self._fitted_targets()
        if return_std and n_members == 1 and not self._loss.predicts_std:
            raise ValueError(
                "return_std=True needs an ensemble, or a loss that predicts a deviation. Fit with n_members=2 or more, "
                f"or with loss='gaussian_nll'; got n_members=1 and loss={self._loss!r}."
            )

        def moments(raw: Tensor) -> Tensor:
            mean = mean_of(values_of(raw, self._loss, targets))
            return torch.stack([mean, std_of(raw, self._loss, targets)] if return_std else [mean])

        found = [flat(values, self._one_dimensional) for values in as_the_rows(self._raw(X, moments), X)]
        return (found[0], found[1]) if return_std else found[0]

    def __call__(self, X: Table) -> np.ndarray:
        """Return what `predict` does: a regressor is a function of rows, as ``shap.Explainer(model, X)`` takes one."""
        return self.predict(X)

    def _answer(self, method: str, targets: RegressionTargets, raw: np.ndarray) -> np.ndarray:
        """Return predictions (N,) or (N, K) of raw ones (M, N, K)."""
        del method  # there is one
        values = targets.decode(self._loss.predict(torch.from_numpy(raw)).numpy())
        return np.asarray(flat(mean_of(values), self._one_dimensional))

    def _fitted_targets(self) -> RegressionTargets:
        return RegressionTargets(self.n_outputs_, self._one_dimensional, per_target=self._loss.columns_per_target)

    @property
    def _quantiles(self) -> tuple[float, ...]:  # type: ignore[override]
        return self._loss.quantiles

    # What the base asks for.

    def _make_targets(self, y: Any, classes: Any, goes_on: bool, incremental: bool, loss: Loss) -> RegressionTargets:
        del classes, goes_on, incremental  # of classifiers only; another number of outputs is noticed with the weights
        if hasattr(y, "toarray"):
            raise ValueError("y must be dense for a regressor, and it is sparse. Use y.toarray().")
        loss.check_targets(for_loss(loss, y))
        n_columns, per_target = 1 if y.ndim == 1 else y.shape[1], loss.columns_per_target
        return RegressionTargets(n_columns * per_target, n_columns == 1, per_target=per_target)

    def _checked_target(self, y: Any, name: str) -> Any:
        return check_targets(y, name)

    def _weights(self, given: Given, targets: RegressionTargets, incremental: bool) -> Any:
        del targets, incremental
        return given.weight

    def _predicted(self, raw: np.ndarray, targets: RegressionTargets, loss: Loss) -> PredictedRegressor:
        answers = {"predict": flat(values_of(torch.from_numpy(raw), loss, targets), targets.one_dimensional).numpy()}
        return PredictedRegressor(answers | {"quantiles": np.array(loss.quantiles)})

    def _describe(self, targets: RegressionTargets, recipe: Recipe) -> dict[str, Any]:
        return {"out_activation_": recipe.loss.out_activation(), "_one_dimensional": targets.one_dimensional}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def values_of(raw: Tensor, loss: Loss, targets: RegressionTargets) -> Tensor:
    """Return raw predictions (..., K) in the unit of y."""
    return targets.decode(loss.predict(raw))


def std_of(raw: Tensor, loss: Loss, targets: RegressionTargets) -> Tensor:
    """Return how far targets are from the mean prediction of raw ones (M, N, K), as far as members tell: (N, C).

    The variance of a mixture is that between its parts, and the mean of those that the loss knows of each.
    """
    between = values_of(raw, loss, targets).std(0, correction=0)
    if not loss.predicts_std:
        return between
    within = loss.std(raw) * (targets.scale if isinstance(targets.scale, float) else beside(raw, targets.scale))
    return torch.hypot(between, within.square().mean(0).sqrt())


def mean_of(values: Any) -> Any:
    """Return the mean of what the members predict, (M, ...) -> (...), of an array or a tensor."""
    return values[0] if len(values) == 1 else values.mean(0)


def flat(values: Any, one_dimensional: bool) -> Any:
    """Return predictions (N,) of the one column of a y of shape (N,); of several quantiles all columns."""
    return values[:, 0] if one_dimensional and values.shape[1] == 1 else values
