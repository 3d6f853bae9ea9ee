"""When a training stops, and which weights are the best: decided per member after each epoch.

Legend: M members, P parameters, S running statistics of one member.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from skbig.engine.members import Members
from skbig.engine.recipe import Recipe


class StoppingTracker:
    """Decides, per member, whether an epoch was an improvement, keeps the best weights, and says when to stop.

    It watches the validation score where the recipe keeps the best weights, else the training loss, in
    scikit-learn's way: an epoch that does not improve on the best by `tol` counts; more than `patience` of them in a
    row end the training, unless a plateau schedule can still reduce the rate.

    Attributes
    ----------
    best_loss, best_score : ndarray (M,)
    stalled : ndarray (M,) of int
        Epochs in a row without improvement.
    stopped : ndarray (M,) of bool
    best : Tensor (M, 1, P + S) or None
        Parameters and running moments of the best validation score, averaged where they are.
    latest : Tensor (M, 1, P + S) or None
        Those of the last epoch, once the best ones have taken their place.
    looks_again : bool
        Whether the weights at hand have to be scored first: other rows or another score may judge them now.
    """

    def __init__(self, members: Members, recipe: Recipe) -> None:
        n_members = members.n_members
        self.best_loss = np.full(n_members, np.inf)
        self.best_score = np.full(n_members, -np.inf)
        self.stalled = np.zeros(n_members, dtype=int)
        self.stopped = np.zeros(n_members, dtype=bool)
        self.best: Tensor | None = None
        self.latest: Tensor | None = None
        self.looks_again = False
        self._members, self._recipe = members, recipe
        # A line search ends at a small gradient, not after small steps.
        self._ends_when_stalled = not recipe.optimizer.full_batch or recipe.keep_best

    @property
    def chooses(self) -> bool:
        """Whether members end with other weights than those of their last step."""
        members = self._members
        return self._recipe.keep_best or members.n_members > 1 or members.averaged is not None

    def begin(self, score: np.ndarray) -> None:
        """Take the weights at hand, of this score, for the best so far."""
        self.best_score, self.best = score, everything(self._members.shown)

    def see(self, loss: np.ndarray, score: np.ndarray | None, rate: np.ndarray, converged: np.ndarray) -> None:
        """Take in an epoch."""
        reacts = self._recipe.schedule.reacts
        if self._ends_when_stalled or reacts:
            self.stalled = np.where(self._improves(loss, score), 0, self.stalled + 1)
        self._keep(loss, score)
        exhausted = self._reduce_rates(rate) if reacts else True
        if self._ends_when_stalled:
            self.stopped |= (self.stalled > self._recipe.patience) & exhausted
        self.stopped |= converged

    def _improves(self, loss: np.ndarray, score: np.ndarray | None) -> np.ndarray:
        if self._recipe.keep_best and score is not None:
            return score >= self.best_score + self._recipe.tol
        return loss <= self.best_loss - self._recipe.tol

    def _keep(self, loss: np.ndarray, score: np.ndarray | None) -> None:
        goes_on = ~self.stopped
        self.best_loss = np.fmin(self.best_loss, loss, out=self.best_loss.copy(), where=goes_on)
        better = np.zeros_like(goes_on) if score is None else (score > self.best_score) & goes_on
        if score is not None:
            self.best_score = np.where(better, score, self.best_score)
        if self.chooses:
            self._remember(better if self._recipe.keep_best else goes_on)

    def _remember(self, which: np.ndarray) -> None:
        """Copy the weights of some members: those that just got better, or those that go on."""
        now = everything(self._members.shown)
        if self.best is None:
            self.best = now.clone()
        mask = torch.from_numpy(which).to(now.device)
        self.best[mask] = now[mask]

    def _reduce_rates(self, rate: np.ndarray) -> np.ndarray:
        """Let a schedule that reacts reduce rates; return which members have nothing left to reduce."""
        schedule, members = self._recipe.schedule, self._members
        rates = torch.from_numpy(np.array(rate, dtype=np.float64))
        exhausted = schedule.exhausted(rates).numpy()
        ratio = schedule.reduce(rates, torch.from_numpy(self.stalled)).numpy()
        members.rate_scale = members.rate_scale * ratio
        self.stalled = np.where(ratio < 1.0, 0, self.stalled)
        return np.asarray(exhausted)

    def restore_best(self) -> None:
        """Give the members their best weights, or those with which they stopped."""
        if self.best is not None:
            self.latest = everything(self._members)
            load_everything(self._members, self.best)

    def restore_latest(self) -> None:
        """Go on where the last epoch ended."""
        if self.latest is not None:
            load_everything(self._members, self.latest)
            self.latest = None

    @contextmanager
    def at_last_epoch(self) -> Iterator[None]:
        """Give members for a while the weights of the last epoch, which no score has chosen."""
        has_best = self.latest is not None
        self.restore_latest()
        try:
            yield
        finally:
            if has_best:
                self.restore_best()


def everything(members: Members) -> Tensor:
    """Parameters and running moments of each member in a row, (M, 1, P + S)."""
    moments = [value.reshape(members.n_members, 1, -1) for value in members.statistics.values()]
    return torch.cat([members.flat, *moments], 2)


def load_everything(members: Members, weights: Tensor) -> None:
    """Give members the parameters and running moments that `everything` has returned."""
    start = members.flat.shape[-1]
    members.flat.copy_(weights.narrow(2, 0, start))
    for value in members.statistics.values():
        size = value.numel() // members.n_members
        value.copy_(weights.narrow(2, start, size).reshape(value.shape))
        start += size
