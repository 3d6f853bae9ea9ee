"""How sure a network is, put right by rows that were held out.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from torch import Tensor

from skbig.components.losses.base import Loss
from skbig.data.folded_rows import FoldedRows, shared_places
from skbig.data.rows import Rows, place_rows
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.data.targets import ClassTargets
from skbig.engine.train import Training
from skbig.estimators.given import Given
from skbig.estimators.prediction import raw_predictions
from skbig.estimators.validation import FoldedValidation

CALIBRATED_ROWS = 10_000
"""So many held-out rows are enough."""

LOG_TEMPERATURES = (-2.0, 2.0)
"""Between which the temperature is looked for."""

SPREAD = 0.3
"""Of the temperature's logarithm before any row is seen: so a few rows, all of them right, do not make it tiny."""

SPREAD_OF_SHARED = 0.6
"""The same of rows that no member has read, by which temperatures are only compared."""

WRONG_LABELS = 0.002
"""Share of labels that may be wrong whatever is predicted: so a few rows do not make all others less sure."""


def judging_rows(held: Mapping[str, Given] | None) -> Given | None:
    """Return the held-out rows by which the best epoch is chosen: the first set of those that were given."""
    return next(iter(held.values())) if held else None


def calibrating_places(training: Training, held: Given) -> np.ndarray:
    """Return which held-out rows are enough: the first ones, or of each part that a member holds out as many.

    These are spread over the part, which may be sorted by class.
    """
    if not isinstance(training.validation, FoldedValidation):
        return np.arange(min(CALIBRATED_ROWS, held.X.shape[0]))
    n_folds = training.members.n_members
    size = held.X.shape[0] // n_folds
    n_each = min(size, max(1, CALIBRATED_ROWS // n_folds))
    return (np.arange(n_folds)[:, None] * size + np.arange(n_each) * size // n_each).ravel()


def in_memory(held: Given, places: np.ndarray) -> Given:
    """Return some of the held-out rows, in memory."""
    rows = held.take(places)
    return replace(rows, X=rows.X.load()) if isinstance(rows.X, LazyRows) else rows


def placed_for(training: Training, targets: Any, held: Given) -> Rows:
    """Return held-out rows as they would be trained on."""
    rows, like = in_memory(held, calibrating_places(training, held)), training.members.flat
    return place_rows(rows.X, targets.encode(rows.y), rows.weight, like.device, like.dtype)


def predicted_by_members(training: Training, X: Any) -> Tensor:
    """Return raw predictions (M, N, K) of a network as it has been trained, in float64."""
    members = training.shown
    return raw_predictions(members.network, members.parameters, members.statistics, X).cpu().double()


def out_of_fold(training: Training, places: np.ndarray, *, last: bool = False) -> Tensor | None:
    """Return what held-out rows are predicted as by the member that has not read them, (1, N, K) in float64.

    By the best weights, which these rows have chosen, or by those of the `last` epoch. None, where all members hold out
    the same rows.
    """
    if not isinstance(training.validation, FoldedValidation):
        return None
    with training.tracker.at_last_epoch() if last else nullcontext():
        raw = training.validation.out_of_fold(training.shown)
    return raw.flatten(0, 1)[None, places].cpu().double()


def temperature_of(training: Training, targets: ClassTargets, held: Given) -> float:
    """Return by what to divide raw predictions, so that the ensemble's log loss on held-out rows is small.

    Where each member holds out rows of its own, these tell what suits one member. The mean of probabilities is less
    sure than its parts, so that it wants a lower temperature: by how much is told by rows that no member has read.
    """
    places = calibrating_places(training, held)
    rows, alone = in_memory(held, places), out_of_fold(training, places)
    if alone is None:
        return _temperature(predicted_by_members(training, rows.X), training.recipe.loss, targets, rows)
    of_one = _temperature(alone, training.recipe.loss, targets, rows)
    return of_one * _temperature_of_mean(training, targets, held)


def _temperature_of_mean(training: Training, targets: ClassTargets, held: Given) -> float:
    """Return the temperature of the mean of members over that of each alone, by what none of them has read."""
    assert isinstance(training.rows, FoldedRows)
    n_folds, loss = training.members.n_members, training.recipe.loss
    size = held.X.shape[0] // n_folds
    n_each = training.rows.n_shared(size)
    if not n_each:
        return 1.0
    shared = held.take((np.arange(n_folds)[:, None] * size + shared_places(n_folds, size, n_each)).ravel())
    raw = predicted_by_members(training, shared.X)
    each = [_temperature(own[None], loss, targets, shared, SPREAD_OF_SHARED) for own in raw]
    return float(_temperature(raw, loss, targets, shared, SPREAD_OF_SHARED) / np.exp(np.mean(np.log(each))))


def _temperature(raw: Tensor, loss: Loss, targets: ClassTargets, rows: Given, spread: float = SPREAD) -> float:
    """Return the most probable temperature of the mean of some members, by raw predictions (M, N, K).

    Its logarithm is taken to be normal around zero; few rows say little against that.
    """
    y = targets.encode(rows.y)
    weight = np.ones(len(y)) if rows.weight is None else rows.weight

    def loss_at(log_temperature: float) -> float:
        probability = loss.probabilities(raw / np.exp(log_temperature), targets.multiclass).mean(0)
        return float(weight @ _surprise(probability.numpy(), y)) + (log_temperature / spread) ** 2 / 2

    return float(np.exp(minimize_scalar(loss_at, bounds=LOG_TEMPERATURES, method="bounded").x))


def _surprise(probability: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the log loss of each row, from probabilities (N, K) of classes, or of labels and of the second class."""
    if y.ndim == 1:
        return _loss_of(probability[np.arange(len(y)), y.astype(int)])
    return _loss_of(np.where(y > 0, probability, 1 - probability)).sum(axis=1)


def _loss_of(probability: np.ndarray) -> np.ndarray:
    """Return the log loss of what was predicted with a probability, where some labels are wrong."""
    return -np.log((1 - WRONG_LABELS) * probability + WRONG_LABELS)
