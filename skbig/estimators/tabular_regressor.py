"""The regressor of tables: targets of any unit, and intervals that hold them.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable as Function
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skbig.components.losses.base import Loss
from skbig.components.losses.units import InUnits
from skbig.data.folded_rows import FoldedRows
from skbig.data.targets import RegressionTargets
from skbig.engine.train import Training
from skbig.estimators.calibration import (
    calibrating_places,
    in_memory,
    judging_rows,
    out_of_fold,
    predicted_by_members,
)
from skbig.estimators.choices import Choices
from skbig.estimators.conformal import FEW_DEALT_OUT, Conformity, conformity, error_of_mean
from skbig.estimators.declaration import estimator, parameter
from skbig.estimators.given import Given
from skbig.estimators.regression import Regressor, flat, std_of, values_of
from skbig.estimators.standardized import scale_of
from skbig.estimators.tabular import BigTabular, with_offset
from skbig.estimators.tensors import as_the_rows
from skbig.estimators.types import Table
from skbig.networks.network import BuiltNetwork


@estimator
class BigTabularRegressor(Regressor, BigTabular):
    """A regressor for tables as they are: numbers, categories and missing values, without preprocessing.

    An ensemble of multi-layer perceptrons that learn functions of each number and a vector for each category. Of each
    training the epoch with the best validation loss is kept. The target may have any unit; predictions stay between the
    smallest and the largest one of the training rows.

    X is a DataFrame of pandas or polars, an Arrow table, an array, sparse rows, or what :func:`skbig.data.open_parquet`
    returns. Columns of words and of categorical types are categories; see `categorical_features` for others. A category
    that the training rows do not have, or a missing value where none was missing, may occur later. Columns are found by
    their names, in any order.

    Parameters
    ----------
    ...

    Attributes
    ----------
    encoding_ : TableEncoding
        What became of the columns.
    feature_importances_ : ndarray of shape (n_features,)
        Of each column by how much the loss rises when the column is shuffled among up to 512 rows, those held out if
        there are any, as a share of the sum. Not of sparse rows, nor of streamed ones where none are held out.
    weights_, buffers_ : dict of ndarray
        Parameters and running statistics by name; with several members, they are the first dim of each.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where they have any.

    See Also
    --------
    BigTabularClassifier : The same for classes.
    BigMLPRegressor : A multi-layer perceptron, with scikit-learn's parameters and attributes.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbig import BigTabularRegressor
    >>> X = pd.DataFrame({"rooms": [1, 2, 3, 4] * 25, "district": ["north", "south"] * 50})
    >>> y = 200.0 * X["rooms"] + 300.0 * (X["district"] == "south")
    >>> regressor = BigTabularRegressor(preset="fast", random_state=0).fit(X, y)
    >>> bool(regressor.score(X, y) > 0.9)
    True
    """

    if TYPE_CHECKING:  # type checkers would take these as Regressor has inherited them
        n_members: str | int = parameter("auto", words="", doc="")
        max_iter: str | int = parameter("auto", words="", doc="")
        early_stopping: str | bool = parameter("auto", words="", doc="")

    def predict_interval(self, X: Table, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return an interval for each row that holds its target with a given probability.

        The errors on the rows that were held out say how wide it has to be: split conformal prediction. The intervals
        are wider where the members disagree. Of many intervals about the share `coverage` holds, if new rows are
        drawn as the held-out ones were; a single one may be too narrow or too wide. Where each member holds out a part
        of its own (`early_stopping`), its errors on it after the last epoch count as those of the mean of all members,
        which are smaller by how far they differ. Of fewer than 500 rows they count as they are, and the intervals are
        wide enough: of those for 80%, 81% held their targets where 100 rows were trained on.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        coverage : float in (0, 1), default=0.9

        Returns
        -------
        low, high : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the unit of y.

        Raises
        ------
        ValueError
            When no rows were held out, or too few for so large a coverage.

        Examples
        --------
        >>> import numpy as np
        >>> from skbig import BigTabularRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 3))
        >>> y = X[:, 0] + rng.normal(size=400)
        >>> model = BigTabularRegressor("fast", random_state=0).fit(X[:300], y[:300])
        >>> low, high = model.predict_interval(X[300:], coverage=0.8)
        >>> low.shape, bool((low < high).all())
        ((100,), True)
        """
        check_is_fitted(self)
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must be a float in (0, 1). Got {coverage!r}.")
        if self._conformity is None:
            raise ValueError(
                "predict_interval needs rows that were held out. Fit with early_stopping=True, or pass X_val and y_val."
            )
        kept, targets = self._conformity, self._fitted_targets()

        def bounds(raw: Tensor) -> Tensor:
            middle, spread = _middle_and_spread(raw.cpu(), self._loss, targets)
            half = kept.half_width(spread, coverage)
            return torch.from_numpy(np.stack([middle - half, middle + half]))

        low, high = (flat(values, self._one_dimensional) for values in as_the_rows(self._raw(X, bounds), X))
        return low, high

    def _concluded(self, training: Training, targets: Any, held: Mapping[str, Given] | None) -> dict[str, Any]:
        judges = judging_rows(held)
        return {
            **super()._concluded(training, targets, held),
            "_conformity": None if judges is None else self._compared(training, targets, judges),
        }

    def _compared(self, training: Training, targets: RegressionTargets, held: Given) -> Conformity:
        """Compare held-out targets with what is predicted for them."""
        places, loss = calibrating_places(training, held), training.recipe.loss
        rows, unseen = in_memory(held, places), out_of_fold(training, places, last=True)
        few = isinstance(training.rows, FoldedRows) and len(training.rows.X) < FEW_DEALT_OUT
        raw = predicted_by_members(training, rows.X)
        middle, spread = _middle_and_spread(raw, loss, targets)
        y = np.asarray(rows.y, dtype=np.float64).reshape(len(middle), -1)
        if unseen is None:
            return conformity(y, middle, spread, rows.weight)
        middle, _ = _middle_and_spread(unseen, loss, targets)  # others of the members have read the row
        share = 1.0 if few else error_of_mean(y - middle, _middles(raw, loss, targets), rows.weight)
        return conformity(y, middle, spread, rows.weight, share)

    def _settled(
        self, choices: Choices, checked: Given, targets: Any, *, goes_on: bool, judged: bool, incremental: bool
    ) -> tuple[Choices, Any]:
        facts = {"goes_on": goes_on, "judged": judged, "incremental": incremental}
        choices, targets = super()._settled(choices, checked, targets, **facts)
        loss, y = choices.loss, targets.encode(checked.y)
        low, high = y.min(axis=0), y.max(axis=0)
        if goes_on:
            before = self._target_scale
            low, high = np.minimum(low, before["low"]), np.maximum(high, before["high"])
            scale = {name: before[name] for name in ("centre", "scale")}
        else:
            scale = _scale(y, checked.weight, loss)
        if loss.has_units and loss.out_activation() == "identity":
            units = InUnits(loss, float(scale["scale"][0]), float(scale["centre"][0]))
            choices = dataclasses.replace(choices, loss=units)
        return choices, dataclasses.replace(targets, **scale, low=low, high=high)

    def _begun(
        self, network: BuiltNetwork, arrays: dict[str, np.ndarray], checked: Given, targets: Any, loss: Loss
    ) -> dict[str, np.ndarray]:
        if targets.per_target > 1:  # of a target that is standardized already
            return arrays
        mean = np.average(targets.encode(checked.y), axis=0, weights=checked.weight)
        return with_offset(network, arrays, LINKS[loss.out_activation()](mean))

    def _fitted_targets(self) -> RegressionTargets:
        scale: dict[str, Any] = self._target_scale
        return dataclasses.replace(super()._fitted_targets(), **scale)

    def _describe(self, targets: Any, recipe: Any) -> dict[str, Any]:
        names = ("centre", "scale", "low", "high")
        return {**super()._describe(targets, recipe), "_target_scale": {name: getattr(targets, name) for name in names}}


def _middle_and_spread(raw: Tensor, loss: Loss, targets: RegressionTargets) -> tuple[np.ndarray, np.ndarray]:
    """Return of raw predictions (M, N, K) the middle of an interval, and how wide it is expected to be, (N, C) both.

    Of several quantiles the outer ones say so, else the members and, if it predicts a deviation, the loss.
    """
    middle, spread = _middles(raw, loss, targets).mean(0), std_of(raw, loss, targets).numpy()
    if not loss.quantiles:
        return middle, spread
    values = values_of(raw, loss, targets).mean(0).numpy()
    return middle, np.hypot((values[:, -1:] - values[:, :1]) / 2, spread.mean(axis=1, keepdims=True))


def _middles(raw: Tensor, loss: Loss, targets: RegressionTargets) -> np.ndarray:
    """Return the middle of an interval of each member, (M, N, C)."""
    values: np.ndarray = values_of(raw, loss, targets).numpy()
    return (values[..., :1] + values[..., -1:]) / 2 if loss.quantiles else values


def _scale(y: np.ndarray, weight: np.ndarray | None, loss: Loss) -> dict[str, np.ndarray]:
    """Return by what targets (N, K) are standardized: one that a link is for has any unit already."""
    if loss.out_activation() == "identity":
        return scale_of(y, weight, loss)
    return {"centre": np.zeros(y.shape[1]), "scale": np.ones(y.shape[1])}


def _log(mean: np.ndarray) -> np.ndarray:
    return np.log(mean.clip(np.finfo(float).tiny))


LINKS: dict[str, Function[[np.ndarray], np.ndarray]] = {"identity": np.asarray, "exp": _log, "expm1": np.log1p}
"""From a mean to the raw prediction that stands for it."""
