"""The validation rows of a training: their loss, and their scores by any metric, for each member.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig._utils.device import SingleDevice
from skbig.components.losses.base import Loss
from skbig.data.rows import Rows, dense_if_small, place_rows
from skbig.data.streaming.host_rows import fits, left_on_host
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.data.tensor_rows import TensorRows
from skbig.engine.history import MORE
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.train import Training, Validated
from skbig.estimators.device_scores import Score, device_scores
from skbig.estimators.finite_predictions import are_finite
from skbig.estimators.given import Given
from skbig.estimators.interface import EstimatorInterface
from skbig.estimators.prediction import raw_predictions, raw_predictions_of_own
from skbig.estimators.scoring import Member, Metric, metrics_of, model_of


@dataclass(frozen=True)
class ValidationSet:
    """Rows that are scored together.

    Attributes
    ----------
    name : str
    rows : Rows
        On the device.
    given : Given
        The same rows as they were checked.
    metrics : sequence of Metric
    stand_in : callable
        ``stand_in(raw)`` answers a metric's scorer with the raw predictions (N, K) of one member.
    model : callable
        ``model(member)`` is an estimator that is fitted to what the member has come to.
    on_device : mapping of str to callable
        What computes the score of a metric, by its name, where the predictions are.
    """

    name: str
    rows: Rows
    given: Given
    metrics: Sequence[Metric]
    stand_in: Callable[[np.ndarray], Any]
    model: Callable[[Member], Any]
    on_device: Mapping[str, Score]

    @property
    def needs_models(self) -> bool:
        return not all(metric.by_predictions for metric in self.metrics)

    def evaluate(self, raw: Tensor, member: Member) -> tuple[float, list[float]]:
        """Return the loss, and each score, of the raw predictions (N, K) of one member; NaN where they are not finite.

        A scorer is not asked, and does not warn, about one that has diverged. What is known on the device comes back in
        one copy.
        """
        loss = self.loss(raw, member.recipe)
        scores = [score(raw, self.rows.y, self.rows.weight, member.recipe.loss) for score in self.on_device.values()]
        known = torch.stack([are_finite(raw, member.recipe.loss).to(loss), loss, *(score.to(loss) for score in scores)])
        finite, value, *values = known.tolist()
        if not finite:
            return np.nan, [np.nan] * len(self.metrics)
        value *= member.recipe.loss.reporting_scale(raw.shape[-1])
        scored = dict(zip(self.on_device, values, strict=True)) | self._scored_on_host(raw, member)
        return value, [-value if metric.scorer is None else scored[metric.name] for metric in self.metrics]

    def loss(self, raw: Tensor, recipe: Recipe) -> Tensor:
        """Return the mean loss by the raw predictions (N, K) of one member, in double precision."""
        home = raw.device if raw.device.type != "mps" else torch.device("cpu")  # which has no double
        with torch.no_grad():
            per_row = recipe.loss.per_row(raw, self.rows.y).to(home).double()
        return per_row.mean() if self.rows.weight is None else (per_row * self.rows.weight.to(home).double()).mean()

    def _scored_on_host(self, raw: Tensor, member: Member) -> dict[str, float]:
        asked = [one for one in self.metrics if one.scorer is not None and one.name not in self.on_device]
        stand_in = self.stand_in(raw.cpu().numpy()) if any(one.by_predictions for one in asked) else None
        model = self.model(member) if any(not one.by_predictions for one in asked) else None
        return {one.name: one.score(stand_in if one.by_predictions else model, self._for_scorers) for one in asked}

    @cached_property
    def _for_scorers(self) -> Given:
        """The rows as scorers get them, in arrays; a tensor of features comes to the host for one who looks at it."""
        given = self.given.labels_on_host()
        if not (isinstance(given.X, TensorRows) and self.needs_models):
            return given
        return replace(given, X=given.X.on_host())


class Validation:
    """Called after each epoch; judges each member by the first score on the first set, and notes down the others.

    Parameters
    ----------
    sets : sequence of ValidationSet
    first_epoch : int
        The epoch at which the training began.

    Attributes
    ----------
    has_loss : bool
        Whether the loss has ever been finite.
    """

    def __init__(self, sets: Sequence[ValidationSet], first_epoch: int = 0) -> None:
        self.sets, self._first_epoch = sets, first_epoch
        self.has_loss = False
        self._places = {
            f"{one.name}/{name}": (k, i) for k, one in enumerate(sets) for i, name in _noted_besides(one, k == 0)
        }

    @property
    def more(self) -> list[str]:
        return list(self._places)

    def sets_of(self, own: int) -> Sequence[ValidationSet]:
        """Return the sets by which a member of the training is judged: those of all."""
        del own
        return self.sets

    @property
    def needs_models(self) -> bool:
        """Whether a scorer looks at more than predictions."""
        return any(one.needs_models for one in self.sets)

    def __call__(self, members: Members, recipe: Recipe) -> Validated:
        return self.evaluate_all([predicted(members, one.rows.X) for one in self.sets], members, recipe)

    def evaluate_all(self, raws: Sequence[Tensor], members: Members, recipe: Recipe) -> Validated:
        """Judge all members by the raw predictions (M, N, K) of each set."""
        every = [self.evaluate([raw[m] for raw in raws], members, m, recipe, m) for m in range(members.n_members)]
        validated = side_by_side(every)
        predicted = ~np.isnan(validated.loss)
        self.has_loss |= bool(np.isfinite(validated.loss).all())
        if not self.has_loss and predicted.all():  # later, an epoch may fail and the next be better
            raise ValueError(
                f"The loss of the validation rows is not finite: {validated.loss.tolist()}. Scale X_val and y_val."
            )
        if np.isnan(validated.score[predicted]).any():
            raise ValueError(
                "A validation score must be a number to be compared with others. Got "
                f"{validated.score[predicted].tolist()}."
            )
        return validated

    def evaluate(self, raws: Sequence[Tensor], members: Members, m: int, recipe: Recipe, own: int) -> Validated:
        """Judge one member by its raw predictions (N, K) of each set; the arrays are (1,).

        It is the one at `m` of some members, and at `own` of those of its training.
        """
        member = Member(members, m, recipe, self._first_epoch)
        evaluated = [one.evaluate(raw, member) for one, raw in zip(self.sets_of(own), raws, strict=True)]
        values = [[loss, *scores] for loss, scores in evaluated]
        more = {name: np.array([values[k][i]]) for name, (k, i) in self._places.items()}
        return Validated(np.array([values[0][0]]), np.array([values[0][1]]), more)

    def together(self, trainings: Sequence[Training]) -> StackedValidation:
        """Return the validation of a stack."""
        return StackedValidation(trainings)

    def names_of_curves(self) -> dict[str, dict[str, str]]:
        """Return what a history calls the curves of each set by name: its loss, and each of its scores."""
        first, metric = self.sets[0].name, self.sets[0].metrics[0]
        names: dict[str, dict[str, str]] = {one.name: {} for one in self.sets}
        names[first]["loss"] = "validation_loss"
        if metric.scorer is not None:
            names[first][metric.name] = "validation_score"
        for name, (k, i) in self._places.items():
            own = self.sets[k]
            names[own.name]["loss" if i == 0 else own.metrics[i - 1].name] = f"{MORE}{name}"
        return names


class FoldedValidation(Validation):
    """Judges each member by a fold of its own, which it has not read.

    Parameters
    ----------
    whole : ValidationSet
        The folds one after another, equally large.
    n_folds : int
    first_epoch : int
    """

    def __init__(self, whole: ValidationSet, n_folds: int, first_epoch: int = 0) -> None:
        super().__init__([whole], first_epoch)
        size = whole.rows.n_rows // n_folds
        self._folds = [_part_of(whole, slice(m * size, (m + 1) * size)) for m in range(n_folds)]
        self._X = whole.rows.X.unflatten(0, (n_folds, size))

    def sets_of(self, own: int) -> Sequence[ValidationSet]:
        return self._folds[own : own + 1]

    def __call__(self, members: Members, recipe: Recipe) -> Validated:
        return self.evaluate_all([self.out_of_fold(members)], members, recipe)

    def out_of_fold(self, members: Members) -> Tensor:
        """Return what each member predicts for its own fold, (M, N, K)."""
        return raw_predictions_of_own(members.network, members.parameters, members.statistics, self._X)


def _part_of(whole: ValidationSet, rows: slice) -> ValidationSet:
    placed, given = whole.rows, whole.given.take(np.arange(rows.start, rows.stop))
    weight = None if placed.weight is None else placed.weight[rows]
    return replace(whole, rows=replace(placed, X=placed.X[rows], y=placed.y[rows], weight=weight), given=given)


def _noted_besides(one: ValidationSet, decides: bool) -> list[tuple[int, str]]:
    """What is noted down of a set besides what decides: place and name, the loss first."""
    scores = [(i, metric.name) for i, metric in enumerate(one.metrics, 1) if metric.scorer is not None]
    return [(i, name) for i, name in scores if i > 1] if decides else [(0, "loss"), *scores]


def predicted(members: Members, X: Any) -> Tensor:
    """Return the raw predictions (M, N, K) of all members."""
    return raw_predictions(members.network, members.parameters, members.statistics, X)


def side_by_side(every: Sequence[Validated]) -> Validated:
    """Put what is said of each member side by side."""
    loss, score = (np.concatenate(values) for values in zip(*((one.loss, one.score) for one in every), strict=True))
    return Validated(loss, score, {name: np.concatenate([one.more[name] for one in every]) for name in every[0].more})


class StackedValidation:
    """Judges each member of a stack by the validation of its own training; members with the same rows in one go."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._owners = [(training, own) for training in trainings for own in range(training.members.n_members)]
        # One that has been evaluated before was finite then; later, an epoch may fail and the next be better.
        self._finite = np.array([bool(training.history.validation_loss) for training, _ in self._owners])
        first = _validation(trainings[0])
        self.more = first.more
        self._groups = [self._members_by_rows(k) for k in range(len(first.sets))]

    def _members_by_rows(self, k: int) -> list[list[int]]:
        groups: list[list[int]] = []
        for m, owner in enumerate(self._owners):
            same = [group for group in groups if _same_rows(_rows(self._owners[group[0]], k), _rows(owner, k))]
            if same:
                same[0].append(m)
            else:
                groups.append([m])
        return groups

    def __call__(self, members: Members, recipe: Recipe) -> Validated:
        del recipe  # of the stack; each member is evaluated by its own
        raws: list[list[Tensor]] = [[] for _ in self._owners]
        for k, groups in enumerate(self._groups):
            for group in groups:
                for m, raw in zip(group, self._predict(members, group, k), strict=True):
                    raws[m].append(raw)
        return side_by_side([self._judge(members, m, own) for m, own in enumerate(raws)])

    def together(self, trainings: Sequence[Training]) -> StackedValidation:
        return StackedValidation(trainings)

    def _predict(self, members: Members, group: list[int], k: int) -> Tensor:
        which = torch.tensor(group, device=members.flat.device)
        parameters = {name: value.index_select(0, which) for name, value in members.parameters.items()}
        statistics = {name: value.index_select(0, which) for name, value in members.statistics.items()}
        if len(group) == 1:
            parameters = {name: value.squeeze(0) for name, value in parameters.items()}
            statistics = {name: value.squeeze(0) for name, value in statistics.items()}
        return raw_predictions(members.network, parameters, statistics, _rows(self._owners[group[0]], k))

    def _judge(self, members: Members, m: int, raws: Sequence[Tensor]) -> Validated:
        """Judge a member; all is NaN where it fails: it will be repeated alone, and fail there."""
        training, own = self._owners[m]
        try:
            validated = _validation(training).evaluate(raws, members, m, training.recipe, own)
        except Exception:
            return self._nothing()
        self._finite[m] |= bool(np.isfinite(validated.loss).all())
        return validated if self._finite[m] and not np.isnan(validated.score).any() else self._nothing()

    def _nothing(self) -> Validated:
        nan = np.array([np.nan])
        return Validated(nan, nan, dict.fromkeys(self.more, nan))


def _validation(training: Training) -> Validation:
    assert isinstance(training.validation, Validation)
    return training.validation


def _rows(owner: tuple[Training, int], k: int) -> Any:
    training, own = owner
    return _validation(training).sets_of(own)[k].rows.X


def _same_rows(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and (a.data_ptr() == b.data_ptr() or torch.equal(a, b))
    return a is b


def validation_rows(X: Any, y: np.ndarray, weight: np.ndarray | None, device: torch.device, dtype: torch.dtype) -> Rows:
    """Put validation rows on a device; features that are not in memory, or too many, stay where they are."""
    if not isinstance(X, LazyRows) and not fits(X, device, dtype):
        X = left_on_host(X, dtype)
    if not isinstance(X, LazyRows):
        return place_rows(dense_if_small(X), y, weight, device, dtype, keep_whole=True)
    targets = place_rows(np.empty((len(y), 0), X.dtype), y, weight, device, dtype)
    return replace(targets, X=X)


def validation_of(
    estimator: EstimatorInterface,
    held: Mapping[str, Given] | None,
    targets: Any,
    loss: Loss,
    backend: SingleDevice,
    first_epoch: int = 0,
    n_folds: int = 1,
) -> Validation | None:
    """Return what validates an estimator's training on the checked sets of rows that it holds out.

    Of several folds, which lie one after another in the only set, each judges the member at its place.
    """
    if held is None:
        return None
    metrics = metrics_of(estimator, weighted=any(given.weight is not None for given in held.values()))

    def stand_in(raw: np.ndarray) -> Any:
        return estimator._predicted(raw, targets, loss)

    def model(member: Member) -> Any:
        return model_of(estimator, member, targets)

    on_device = device_scores(metrics, targets, backend.device)
    sets = []
    for name, given in held.items():
        rows = validation_rows(given.X, targets.encode(given.y), given.weight, backend.device, backend.dtype)
        sets.append(ValidationSet(name, rows, given, metrics, stand_in, model, on_device))
    return Validation(sets, first_epoch) if n_folds == 1 else FoldedValidation(sets[0], n_folds, first_epoch)
