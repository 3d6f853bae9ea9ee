"""A worker's side of a training that `fit` has started: it takes part in it, and rank 0 hands back what it came to."""

from __future__ import annotations

import json
import shutil
import time
import traceback
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from skbig.backends.context import WorkerContext
from skbig.backends.single import SingleDevice, plain_torch
from skbig.data.packing import hand_over, unpack
from skbig.engine.history import History
from skbig.engine.members import Members, make_members
from skbig.engine.ranks import Ranks
from skbig.engine.recipe import Recipe
from skbig.engine.state_dict import load_state_dict, state_dict
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import EpochReport, Observer, Training
from skbig.estimators.checkpointing import Saver, go_on_from
from skbig.estimators.launching import ANSWERS, OUTCOME, REPORTS, STATE, STOP, TASK, TERMINATE, Outcome, Task
from skbig.estimators.teams import is_everybodys, train_as_rank
from skbig.estimators.validation import validation_of

BEGUN = "begun"
"""There from the first attempt on: who finds it has been started again."""

# Seconds between two looks for the caller's answer.
INTERVAL = 0.005


def train_part(folder: Path, context: WorkerContext) -> None:
    """Train as one rank of the launch that the folder belongs to."""
    task: Task = unpack(folder / TASK)
    ranks = Ranks(context, task.team, is_asked=(folder / STOP).exists)
    backend = replace(task.backend, device=context.device)
    with plain_torch(), backend.products(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training = _training(task, backend, ranks)
        if ranks.first(lambda: _is_restarted(folder)):
            _go_on(training, task, ranks)
        overseer = Overseer(folder, task, training, ranks)
        error = _train(training, ranks, [overseer])
    if ranks.is_first:
        said = [entry.message for entry in caught if isinstance(entry.message, Warning)]
        outcome = Outcome(*state_dict(training), said, error, overseer.terminated)
        hand_over(outcome, folder / OUTCOME)


class Overseer:
    """Rank 0's observer: saves checkpoints, reports to the caller, and asks what it wishes."""

    def __init__(self, folder: Path, task: Task, training: Training, ranks: Ranks) -> None:
        self._folder, self._task, self._training, self._beat = folder, task, training, ranks.beat
        self._saver: Saver | None = None
        if task.checkpoints is not None:
            self._saver = Saver(task.checkpoints, task.checkpoint_every, training)
        self._n_reports = len(_lines(folder / REPORTS))
        self.terminated = False

    def __call__(self, report: EpochReport) -> bool:
        """Take in an epoch; return whether training shall end."""
        wish = self._report(report) if self._task.reports else False
        if self._saver is None or report.last:
            return wish
        if (self._folder / TERMINATE).exists():
            self._saver.save()
            self.terminated = True
        else:
            self._saver(report)
        return wish or self.terminated

    def _report(self, report: EpochReport) -> bool:
        if self._task.listens:
            hand_over(state_dict(self._training), self._folder / f"{STATE}-{report.epoch}")
        with open(self._folder / REPORTS, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(report)) + "\n")
        self._n_reports += 1
        return self._task.listens and self._answer(report) == "end"

    def _answer(self, report: EpochReport) -> str:
        """Wait for what the caller says to a report."""
        while len(answers := _lines(self._folder / ANSWERS)) < self._n_reports:
            self._beat()
            time.sleep(INTERVAL)
        shutil.rmtree(self._folder / f"{STATE}-{report.epoch}")
        return answers[-1]


def _train(training: Training, ranks: Ranks, observers: list[Observer]) -> Exception | None:
    """Train, and return the error that all ranks have met; what one of them meets alone is raised, and ends all."""
    try:
        train_as_rank(training, ranks, observers, everywhere=False)
    except Exception as error:
        if not is_everybodys(error, ranks):
            raise
        if ranks.is_first and error is ranks.failure:
            error.add_note(f"In rank 0:\n{''.join(traceback.format_exception(error))}")
        return error
    return None


def _training(task: Task, backend: SingleDevice, ranks: Ranks) -> Training:
    """Return the training of a task where it began, on this worker's device.

    Members of which a device holds a part begin in the memory of the host.
    """
    home = replace(backend, device=torch.device("cpu")) if ranks.shares_parameters else backend
    members = _blank_members(task.recipe, home, task.facts["seeds"])
    validation = None
    if task.held is not None:
        of_targets = (task.targets, task.recipe.loss, backend, task.first_epoch)
        validation = validation_of(task.estimator, task.held, *of_targets)
        assert validation is not None
        validation.has_loss = task.has_loss
    tracker = StoppingTracker(members, task.recipe)
    rows = task.rows.to(backend.device)  # on a CPU the ranks share the memory of the files
    training = Training(members, rows, task.recipe, tracker, History(), validation, task.first_epoch)
    load_state_dict(training, task.arrays, task.facts)
    return training


def _go_on(training: Training, task: Task, ranks: Ranks) -> None:
    """After a restart, go on from the newest checkpoint, if there is one."""
    n_epochs = training.members.epochs + training.recipe.max_epochs
    saved = None if task.checkpoints is None else ranks.first(task.checkpoints.newest)
    if saved is not None:
        go_on_from(training, saved)
        training.recipe = replace(training.recipe, max_epochs=n_epochs - training.members.epochs)


def _is_restarted(folder: Path) -> bool:
    restarted = (folder / BEGUN).exists()
    (folder / BEGUN).touch()
    return restarted


def _blank_members(recipe: Recipe, backend: SingleDevice, seeds: list[int]) -> Members:
    shapes = recipe.network.shapes | recipe.network.statistics_shapes
    arrays = {name: np.zeros((len(seeds), *shape)) for name, shape in shapes.items()}
    members = make_members(recipe.network, seeds, arrays, backend.device, backend.dtype)
    members.start(recipe.optimizer)
    return members


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
