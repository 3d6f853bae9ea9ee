"""The validation rows of a training: their loss, and their score by any scorer, for each member.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from skbig.backends.single import SingleDevice
from skbig.components.losses.base import Loss
from skbig.data.rows import Rows, place_rows
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.train import Training
from skbig.estimators.given import Given
from skbig.estimators.interface import EstimatorInterface
from skbig.estimators.prediction import raw_predictions
from skbig.estimators.sklearn_compat import scorer_of


class Validation:
    """Called after each epoch; returns loss and score (higher is better) of each member.

    Parameters
    ----------
    rows : Rows
    score : callable or None
        ``score(raw) -> float`` for the raw predictions (N, K) of one member; None scores by the negative loss.

    Attributes
    ----------
    has_loss : bool
        Whether the loss has ever been finite.
    """

    def __init__(self, rows: Rows, score: Callable[[np.ndarray], float] | None) -> None:
        self.rows, self._score = rows, score
        self.has_loss = False

    def __call__(self, members: Members, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        return self.evaluate_all(
            raw_predictions(members.network, members.parameters, members.statistics, self.rows.X), recipe
        )

    def evaluate_all(self, raw: Tensor, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Return loss and score of each member by the raw predictions (M, N, K)."""
        evaluated = [self.evaluate(member, recipe) for member in raw]
        loss, score = (np.array(values, dtype=float) for values in zip(*evaluated, strict=True))
        self.has_loss |= bool(np.isfinite(loss).all())
        if not self.has_loss:  # later, an epoch may fail and the next be better
            raise ValueError(f"The loss of the validation rows is not finite: {loss.tolist()}. Scale X_val and y_val.")
        if np.isnan(score).any():
            raise ValueError(f"A validation score must be a number to be compared with others. Got {score.tolist()}.")
        return loss, score

    def evaluate(self, raw: Tensor, recipe: Recipe) -> tuple[float, float]:
        """Return loss and score of the raw predictions (N, K) of one member."""
        loss = self._loss(raw, recipe)
        return loss, -loss if self._score is None else self._score(raw.cpu().numpy())

    def together(self, trainings: Sequence[Training]) -> StackedValidation:
        """Return the validation of a stack."""
        return StackedValidation(trainings)

    def _loss(self, raw: Tensor, recipe: Recipe) -> float:
        with torch.no_grad():
            per_row = recipe.loss.per_row(raw, self.rows.y).cpu().double()  # an mps device has no double
        weight = 1.0 if self.rows.weight is None else self.rows.weight.cpu().double()
        return float((per_row * weight).mean()) * recipe.loss.reporting_scale(raw.shape[-1])


class StackedValidation:
    """Judges each member of a stack by the validation of its own training; members with the same rows in one go."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._owners = [training for training in trainings for _ in range(training.members.n_members)]
        # One that has been evaluated before was finite then; later, an epoch may fail and the next be better.
        self._finite = np.array([bool(training.history.validation_loss) for training in self._owners])
        self._groups: list[list[int]] = []  # members with the same rows
        for m, training in enumerate(self._owners):
            same = [group for group in self._groups if _same_rows(self._owners[group[0]], training)]
            if same:
                same[0].append(m)
            else:
                self._groups.append([m])

    def __call__(self, members: Members, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        del recipe  # of the stack; each member is evaluated by its own
        loss, score = np.full((2, len(self._owners)), np.nan)
        for group in self._groups:
            raw = self._predict(members, group)
            finite = torch.isfinite(raw).all(-1).all(-1).tolist()
            for m, values, usable in zip(group, raw, finite, strict=True):
                if usable:  # a scorer is not asked, and does not warn, about one that has diverged
                    loss[m], score[m] = self._track(m, values)
        return loss, score

    def together(self, trainings: Sequence[Training]) -> StackedValidation:
        return StackedValidation(trainings)

    def _predict(self, members: Members, group: list[int]) -> Tensor:
        which = torch.tensor(group, device=members.flat.device)
        parameters = {name: value.index_select(0, which) for name, value in members.parameters.items()}
        statistics = {name: value.index_select(0, which) for name, value in members.statistics.items()}
        if len(group) == 1:
            parameters = {name: value.squeeze(0) for name, value in parameters.items()}
            statistics = {name: value.squeeze(0) for name, value in statistics.items()}
        return raw_predictions(members.network, parameters, statistics, _rows(self._owners[group[0]]).X)

    def _track(self, m: int, raw: Tensor) -> tuple[float, float]:
        """Return loss and score of a member, NaN where it fails: it will be repeated alone, and fail there."""
        training = self._owners[m]
        assert isinstance(training.validation, Validation)
        try:
            loss, score = training.validation.evaluate(raw, training.recipe)
        except Exception:
            return np.nan, np.nan
        self._finite[m] |= np.isfinite(loss)
        return (loss, score) if self._finite[m] else (np.nan, np.nan)


def _rows(training: Training) -> Rows:
    assert isinstance(training.validation, Validation)
    return training.validation.rows


def _same_rows(one: Training, other: Training) -> bool:
    a, b = _rows(one).X, _rows(other).X
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and (a.data_ptr() == b.data_ptr() or torch.equal(a, b))
    return a is b


def validation_rows(X: Any, y: np.ndarray, weight: np.ndarray | None, device: torch.device, dtype: torch.dtype) -> Rows:
    """Put validation rows on a device; features that are not in memory stay where they are."""
    if not isinstance(X, LazyRows):
        return place_rows(X, y, weight, device, dtype)
    targets = place_rows(np.empty((len(y), 0), X.dtype), y, weight, device, dtype)
    return replace(targets, X=X)


def validation_of(
    estimator: EstimatorInterface, held: Given | None, targets: Any, loss: Loss, backend: SingleDevice
) -> Validation | None:
    """Return what validates an estimator's training on the checked rows that it holds out."""
    if held is None:
        return None
    rows = validation_rows(held.X, targets.encode(held.y), held.weight, backend.device, backend.dtype)
    if estimator.scoring == "loss":
        return Validation(rows, None)
    scorer, keywords = scorer_of(estimator.scoring), {} if held.weight is None else {"sample_weight": held.weight}

    def score(raw: np.ndarray) -> float:
        predicted = estimator._predicted(raw, targets, loss)
        if scorer is None:
            return float(predicted.score(held.X, held.y, **keywords))
        return float(scorer(predicted, held.X, held.y, **keywords))

    return Validation(rows, score)


class _Predicted(BaseEstimator):
    """Stands for a fitted estimator whose predictions are known, so that any scorer can score them."""

    def __init__(self, answers: dict[str, np.ndarray] | None = None) -> None:
        self.answers = answers

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> np.ndarray:
        del X
        assert self.answers is not None
        return self.answers["predict"]


class PredictedClassifier(ClassifierMixin, _Predicted):
    """Answers with known classes, decision values and, for some losses, probabilities."""

    @property
    def classes_(self) -> np.ndarray:
        assert self.answers is not None
        return self.answers["classes"]

    def decision_function(self, X: Any) -> np.ndarray:
        del X
        assert self.answers is not None
        return self.answers["decision_function"]

    @available_if(lambda self: "predict_proba" in self.answers)
    def predict_proba(self, X: Any) -> np.ndarray:
        del X
        assert self.answers is not None
        return self.answers["predict_proba"]

    @available_if(lambda self: "predict_proba" in self.answers)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        with np.errstate(divide="ignore"):
            log_proba: np.ndarray = np.log(self.predict_proba(X))
        return log_proba


class PredictedRegressor(RegressorMixin, _Predicted):
    """Answers with known predictions."""
