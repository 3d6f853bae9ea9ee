"""A population: trainings of one cohort, trained as one stack until each has ended as it would alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from skbig._utils.memory import has_run_out
from skbig._utils.user_warning import warn_user
from skbig.data.rows import Rows
from skbig.data.stacked_rows import same_rows
from skbig.engine.stacking import give_back, stacked
from skbig.engine.train import EpochReport, Training, train
from skbig.exceptions import DeviceError

OnEpoch = Callable[[Sequence[Training], EpochReport], Literal["go on", "rest", "end"]]
"""Told of each epoch of a stack. After "rest" the trainings are up to date for `on_rest`; "end" ends them all."""


class Population:
    """Trains a cohort.

    A training that ends leaves the stack, and the others go on in a smaller one. One whose numbers are not finite any
    more, or whose validation fails, leaves it too; it is not known here what it would have done alone, so it has to be
    repeated alone. When memory runs out the stack is halved, and only the epochs since somebody last left are redone.

    Parameters
    ----------
    trainings : sequence of Training
        Of one cohort. They are trained in place.
    on_epoch : callable or None
        ``on_epoch(trainings, report)`` after each epoch of a stack.
    on_rest : callable or None
        ``on_rest(trainings)``, where `on_epoch` has asked for it.

    Attributes
    ----------
    failed : list of Training
        Those to be repeated alone.
    """

    def __init__(
        self,
        trainings: Sequence[Training],
        on_epoch: OnEpoch | None = None,
        on_rest: Callable[[Sequence[Training]], None] | None = None,
    ) -> None:
        self.failed: list[Training] = []
        self._on_epoch, self._on_rest = on_epoch, on_rest
        self._trainings = _by_rows(trainings)
        self._last_epoch = {id(t): t.members.epochs + t.recipe.max_epochs for t in trainings}

    def train(self) -> None:
        """Train every member to its end."""
        self._train(self._trainings)

    def _train(self, going: list[Training]) -> None:
        while going:
            reason = self._phase(going)
            if reason == "too large":  # only now has the error let go of the memory of the stack
                half = len(going) // 2
                self._train(going[:half])
                going = going[half:]
                continue
            if reason == "failed":
                return
            going = [training for training in going if not self._ended(training, reason)]
            if reason == "rest" and self._on_rest is not None:
                self._on_rest(going)

    def _phase(self, going: list[Training]) -> str:
        """Train until one ends; return why, or that the stack is too large, or has failed."""
        try:
            return self._train_until_one_ends(going)
        except DeviceError:
            raise
        except Exception as error:
            if len(going) > 1 and has_run_out(error):
                return "too large"
            self._give_up(going, error)
            return "failed"

    def _give_up(self, going: list[Training], error: Exception) -> None:
        """Leave trainings to be repeated alone, where each fails with an error of its own, or does not fail."""
        if len(going) > 1:
            warn_user(
                f"A stack of {len(going)} trainings failed, and they are repeated one by one: {error!r}",
                RuntimeWarning,
            )
        self.failed += going

    def _train_until_one_ends(self, going: list[Training]) -> str:
        n_epochs = min(self._last_epoch[id(training)] - training.members.epochs for training in going)
        alone = len(going) == 1
        whole = _limited(going[0], n_epochs) if alone else stacked(going, n_epochs)
        failed = np.zeros(whole.members.n_members, dtype=bool)
        bounds = np.cumsum([0] + [training.members.n_members for training in going])[:-1]
        wish = "go on"

        def somebody_ends(report: EpochReport) -> bool:
            nonlocal wish
            wish = "go on" if self._on_epoch is None else self._on_epoch(going, report)
            ended = np.logical_and.reduceat(whole.tracker.stopped, bounds) | np.logical_or.reduceat(failed, bounds)
            return bool(ended.any()) or wish != "go on"

        _run(whole, [somebody_ends], failed)
        if not alone:
            give_back(whole, going)
        for training, bad in zip(going, np.logical_or.reduceat(failed, bounds), strict=True):
            training.history.stop_reason = "failed" if bad else ""
        return "interrupted" if whole.history.stop_reason == "interrupted" or wish == "end" else wish

    def _ended(self, training: Training, reason: str) -> bool:
        """Whether a training has ended; if so, it is left with its best weights and the reason."""
        if training.history.stop_reason == "failed":
            self.failed.append(training)
            return True
        reason = reason if reason == "interrupted" else ""
        if training.tracker.stopped.all():
            reason = "converged"
        elif training.members.epochs == self._last_epoch[id(training)]:
            reason = "max_iter"
        training.history.stop_reason = reason
        if reason and training.tracker.chooses:
            training.tracker.restore_best()
        return bool(reason)


def _run(whole: Training, observers: list[Callable[[EpochReport], bool]], failed: np.ndarray) -> None:
    train(
        whole.members,
        whole.rows,
        whole.recipe,
        validation=whole.validation,
        tracker=whole.tracker,
        history=whole.history,
        observers=observers,
        first_epoch=whole.first_epoch,
        failed=failed,
    )


def _limited(training: Training, n_epochs: int) -> Training:
    return dataclasses.replace(training, recipe=dataclasses.replace(training.recipe, max_epochs=n_epochs))


def _by_rows(trainings: Sequence[Training]) -> list[Training]:
    """Let equal sets of rows be one object, and order the trainings by their sets."""
    sets: list[Rows] = []
    place: dict[int, int] = {}
    for training in trainings:
        rows = training.rows
        assert isinstance(rows, Rows)
        known = next((i for i, other in enumerate(sets) if other is rows or same_rows(other, rows)), None)
        if known is None:
            known = len(sets)
            sets.append(rows)
        training.rows, place[id(training)] = sets[known], known
    return sorted(trainings, key=lambda training: place[id(training)])
