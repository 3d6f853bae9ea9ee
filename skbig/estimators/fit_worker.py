"""A worker's side of a training that `fit` has started: it takes part in it, and rank 0 hands back the result."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from skbig._utils.device import SingleDevice, plain_torch
from skbig.distributed.ranks import Ranks
from skbig.engine.history import History
from skbig.engine.members import Members, make_members
from skbig.engine.recipe import Recipe
from skbig.engine.state_dict import load_state_dict, state_dict
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import EpochReport, Observer, Training
from skbig.estimators.checkpointing import Saver, go_on_from
from skbig.estimators.launched_fit import ANSWERS, REPORTS, RESULT, STATE, TERMINATE, TrainingResult, TrainingTask
from skbig.estimators.rank_training import is_everybodys, train_as_rank
from skbig.estimators.validation import validation_of
from skbig.launch.mailbox import STOP, Mailbox
from skbig.launch.portable import note_rank, portable_warnings, recorded_warnings
from skbig.launch.worker_context import WorkerContext

# Seconds between two looks for the caller's answer.
INTERVAL = 0.005


def train_part(folder: Path, context: WorkerContext) -> None:
    """Train as one rank of the launch that the folder belongs to."""
    mailbox = Mailbox(folder)
    for _, task in mailbox.tasks(context):
        _train_task(task, mailbox, context)


def _train_task(task: TrainingTask, mailbox: Mailbox, context: WorkerContext) -> None:
    ranks = Ranks(context, task.shared_by, is_asked=partial(mailbox.is_set, STOP))
    backend = replace(task.backend, device=context.device)
    with plain_torch(), backend.products(), recorded_warnings() as recorded:
        training = _training(task, backend, ranks)
        if context.attempt > 0:
            _go_on(training, task, ranks)
        overseer = Overseer(mailbox, task, training, ranks)
        error = _train(training, ranks, [overseer])
    if ranks.is_first:
        warned = portable_warnings(recorded)
        mailbox.put(RESULT, TrainingResult(*state_dict(training), warned, error, overseer.terminated))


class Overseer:
    """Rank 0's observer: saves checkpoints, reports to the caller, and asks what it wishes."""

    def __init__(self, mailbox: Mailbox, task: TrainingTask, training: Training, ranks: Ranks) -> None:
        self._mailbox, self._task, self._training, self._beat = mailbox, task, training, ranks.beat
        self._saver: Saver | None = None
        if task.checkpoints is not None:
            self._saver = Saver(task.checkpoints, task.checkpoint_every, training)
        self._n_reports = len(mailbox.lines(REPORTS))
        self._answers: list[bool] = []
        self.terminated = False

    def __call__(self, report: EpochReport) -> bool:
        """Take in an epoch; return whether training shall end."""
        wish = self._report(report) if self._task.reports else False
        if self._saver is None or report.last:
            return wish
        if self._mailbox.is_set(TERMINATE):
            self._saver.save()
            self.terminated = True
        else:
            self._saver(report)
        return wish or self.terminated

    def _report(self, report: EpochReport) -> bool:
        if self._task.listens:
            self._mailbox.put(f"{STATE}-{report.epoch}", state_dict(self._training))
        self._mailbox.append(REPORTS, asdict(report))
        self._n_reports += 1
        return self._task.listens and self._answer(report)

    def _answer(self, report: EpochReport) -> bool:
        """Wait for the caller's answer to a report: whether training shall end."""
        while len(self._answers) < self._n_reports:
            self._beat()
            time.sleep(INTERVAL)
            self._answers += self._mailbox.unread(ANSWERS)
        self._mailbox.remove(f"{STATE}-{report.epoch}")
        return self._answers[-1]


def _train(training: Training, ranks: Ranks, observers: list[Observer]) -> Exception | None:
    """Train, and return the error that all ranks have met; what one of them meets alone is raised, and ends all."""
    try:
        train_as_rank(training, ranks, observers, everywhere=False)
    except Exception as error:
        if not is_everybodys(error, ranks):
            raise
        if ranks.is_first and error is ranks.failure:
            note_rank(error, 0)
        return error
    return None


def _training(task: TrainingTask, backend: SingleDevice, ranks: Ranks) -> Training:
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


def _go_on(training: Training, task: TrainingTask, ranks: Ranks) -> None:
    """After a restart, go on from the newest checkpoint, if there is one."""
    n_epochs = training.members.epochs + training.recipe.max_epochs
    saved = None if task.checkpoints is None else ranks.first(task.checkpoints.newest)
    if saved is not None:
        go_on_from(training, saved)
        training.recipe = replace(training.recipe, max_epochs=n_epochs - training.members.epochs)


def _blank_members(recipe: Recipe, backend: SingleDevice, seeds: list[int]) -> Members:
    shapes = recipe.network.shapes | recipe.network.statistics_shapes
    arrays = {name: np.zeros((len(seeds), *shape)) for name, shape in shapes.items()}
    members = make_members(recipe.network, seeds, arrays, backend.device, backend.dtype)
    members.start(recipe.optimizer, recipe.average, anchored=recipe.anchored)
    return members
