"""Regression of a target in any unit: the network learns it less its mean, divided by its standard deviation.

Legend: N rows, K outputs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from torch import Tensor

from skbig._utils.validation import Boolean
from skbig.components.losses.base import Loss
from skbig.components.losses.units import InUnits
from skbig.data.targets import RegressionTargets
from skbig.data.tensor_rows import beside
from skbig.engine.recipe import Recipe
from skbig.estimators.choices import Choices
from skbig.estimators.declaration import estimator, parameter
from skbig.estimators.given import Given
from skbig.estimators.regression import Regressor
from skbig.estimators.tensors import on_host


@estimator
class StandardizedRegressor(Regressor):
    """A regressor that may standardize its target."""

    standardize_target: bool = parameter(
        False,
        Boolean(),
        words="bool",
        doc="""Whether the network learns ``(y - mean) / std`` of the training rows, as a target far from mean zero and
        standard deviation one needs it. Predictions, scores and the hyperparameters of a loss are in the unit of y;
        the curves of 'squared_error', 'absolute_error' and 'quantile' are those of the standardized target, and so are
        `coefs_`. `partial_fit` and ``warm_start`` go on with the mean and the deviation of the first call,
        `target_mean_` and `target_scale_`. For losses whose raw prediction is the prediction.""",
        stacks=True,
    )

    def _check_initializable(self) -> None:
        super()._check_initializable()
        if self.standardize_target:
            raise ValueError(
                "standardize_target=True takes the mean and the deviation of y from rows, and initialize has none. Use "
                "standardize_target=False, and train on a y that is scaled by numbers on which all clients agree."
            )

    @property
    def target_mean_(self) -> np.ndarray:
        """What was taken from each output before training, of shape (n_outputs_,): zeros without standardization."""
        return self._part_of_scale("centre", 0.0)

    @property
    def target_scale_(self) -> np.ndarray:
        """By what each output was divided, of shape (n_outputs_,): ones without standardization."""
        return self._part_of_scale("scale", 1.0)

    def _part_of_scale(self, name: str, otherwise: float) -> np.ndarray:
        kept = self._kept_scale()
        return kept[name] if kept else np.full(self._fitted_targets().n_columns, otherwise)

    def _kept_scale(self) -> dict[str, np.ndarray]:
        return vars(self).get("_target_scale") or {}

    def _settled(
        self, choices: Choices, checked: Given, targets: Any, *, goes_on: bool, judged: bool, incremental: bool
    ) -> tuple[Choices, Any]:
        facts = {"goes_on": goes_on, "judged": judged, "incremental": incremental}
        choices, targets = super()._settled(choices, checked, targets, **facts)
        scale = self._kept_scale() if goes_on else {}
        if self.standardize_target and not goes_on:
            _require_identity(choices)
            scale = scale_of(targets.encode(checked.y), checked.weight, choices.loss)
        if not scale:
            return choices, targets
        if choices.loss.has_units:
            units = InUnits(choices.loss, float(scale["scale"][0]), float(scale["centre"][0]))
            choices = dataclasses.replace(choices, loss=units)
        return choices, dataclasses.replace(targets, **scale)

    def _fitted_targets(self) -> RegressionTargets:
        scale: dict[str, Any] = self._kept_scale()
        return dataclasses.replace(super()._fitted_targets(), **scale)

    def _describe(self, targets: Any, recipe: Recipe) -> dict[str, Any]:
        kept = None if isinstance(targets.scale, float) else {"centre": targets.centre, "scale": targets.scale}
        return {**super()._describe(targets, recipe), "_target_scale": kept}


def scale_of(y: Any, weight: Any, loss: Loss) -> dict[str, np.ndarray]:
    """Return the weighted mean and standard deviation of targets (N, K), each (K,).

    A loss that depends on the unit of y sums outputs in it, so that these have one mean and deviation then.
    """
    mean = _average(y, weight)
    if loss.has_units:
        mean = np.full_like(mean, mean.mean())
    variance = _average((y - (beside(y, mean) if isinstance(y, Tensor) else mean)) ** 2, weight)
    if loss.has_units:
        variance = np.full_like(variance, variance.mean())
    tiny = np.finfo(float).eps * np.abs(mean)  # of a constant, rounding alone
    return {"centre": mean, "scale": np.where(np.sqrt(variance) > tiny, np.sqrt(variance), 1.0)}


def _average(values: Any, weight: Any) -> np.ndarray:
    """Return the weighted mean of values (N, K), an array or a tensor: (K,)."""
    if not isinstance(values, Tensor):
        return np.asarray(np.average(values, axis=0, weights=on_host(weight, "sample_weight")))
    if weight is None:
        return np.asarray(values.mean(0).cpu().double())
    share = beside(values, weight) if isinstance(weight, np.ndarray) else weight
    return np.asarray(((values * share[:, None]).sum(0) / share.sum()).cpu().double())


def _require_identity(choices: Choices) -> None:
    link = choices.loss.out_activation()
    if link != "identity":
        raise ValueError(
            f"standardize_target=True needs a loss whose raw prediction is the prediction. Of loss={choices['loss']!r} "
            f"it is {link} of it, which fits a target of any unit. Use standardize_target=False."
        )
