"""The caller's side of a training by workers that `fit` starts: it hands over files, and waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skbig._utils.device import SingleDevice
from skbig._utils.user_warning import warn_user
from skbig.data.rows import Rows
from skbig.data.streamed_rows import StreamedRows
from skbig.distributed.backend import Backend
from skbig.engine.checkpoint import CheckpointDirectory
from skbig.engine.recipe import Recipe
from skbig.engine.state_dict import load_state_dict, state_dict
from skbig.engine.train import EpochReport, Observer
from skbig.estimators.declaration import given_parameters
from skbig.estimators.estimator_training import EstimatorTraining
from skbig.estimators.given import Given
from skbig.estimators.progress import ProgressLine
from skbig.estimators.rank_training import check_batches
from skbig.estimators.validation import Validation
from skbig.launch.mailbox import Mailbox
from skbig.launch.portable import PortableWarning
from skbig.launch.worker_pool import WorkerPool

T = TypeVar("T")

JOB = "skbig.estimators.fit_worker:train_part"
# Before workers are forked: their job, and what torch loads when several processes begin a training, in two seconds.
LOADED_ONCE = ("skbig.estimators.fit_worker", "torch._dynamo")

# What lies in the mailbox of a launch. The caller writes ANSWERS and TERMINATE, rank 0 the others.
RESULT = "result"
REPORTS = "reports"
ANSWERS = "answers"
STATE = "state"
TERMINATE = "terminate"


@dataclass(frozen=True)
class TrainingTask:
    """What a worker needs to know.

    Attributes
    ----------
    recipe : Recipe
    rows : Rows or StreamedRows
    arrays, facts : mapping
        The state_dict of the training where it begins.
    first_epoch : int
    backend : SingleDevice
        The numbers to compute in; the device is the worker's own.
    shared_by : Backend
        How the workers share the work.
    estimator : estimator
        Not fitted; it makes the validation from `held`, the checked validation rows.
    targets : ClassTargets or RegressionTargets
    held : dict of Given, or None
    has_loss : bool
        Whether the loss of the validation rows was ever finite.
    checkpoints : CheckpointDirectory or None
        Where rank 0 saves, each `checkpoint_every`.
    reports, listens : bool
        Whether the caller wants to hear of each epoch, and to answer before the next begins.
    """

    recipe: Recipe
    rows: Rows | StreamedRows
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    first_epoch: int
    backend: SingleDevice
    shared_by: Backend
    estimator: Any
    targets: Any
    held: dict[str, Given] | None
    has_loss: bool
    checkpoints: CheckpointDirectory | None
    checkpoint_every: Any
    reports: bool
    listens: bool


@dataclass(frozen=True)
class TrainingResult:
    """What rank 0 hands back.

    Attributes
    ----------
    arrays, facts : mapping
        The state_dict of the training where it ended.
    warnings : list of PortableWarning
    error : Exception or None
        What all ranks have raised.
    terminated : bool
        Whether it ended because the caller was asked to end.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    warnings: list[PortableWarning]
    error: Exception | None
    terminated: bool


class LaunchedFitRunner:
    """Workers that this process starts, for this training alone.

    Parameters
    ----------
    backend : Backend
    device_type : {"cpu", "cuda"}
    """

    stacks = False

    def __init__(self, backend: Backend, device_type: str) -> None:
        self._backend, self._device_type = backend, device_type
        self._options = replace(backend.launch_options(device_type), modules=LOADED_ONCE)

    def device(self, chosen: torch.device) -> torch.device:
        del chosen  # each worker has its own of this type
        return torch.device(self._device_type)

    def home(self, backend: SingleDevice) -> SingleDevice:
        """Return this process's memory: the devices are the workers'."""
        return replace(backend, device=torch.device("cpu"))

    def first(self, function: Callable[[], T]) -> T:
        return function()

    def train(self, training: EstimatorTraining, observers: Sequence[Observer]) -> None:
        """Have it trained by workers; the saver is not told here, for rank 0 has its own."""
        saver = training.saver
        check_batches(training.recipe, self._backend.steps_alone, self._options.n_workers)
        told = [observer for observer in observers if observer is not saver]
        n_epochs = training.members.epochs + training.recipe.max_epochs
        while self._launch(training, told).terminated and saver is not None:
            training.history.stop_reason = ""
            training.tracker.restore_latest()
            training.recipe = replace(training.recipe, max_epochs=n_epochs - training.members.epochs)
            saver.let_sigterm_through()  # and go on, where a handler of the caller's has done so

    def _launch(self, training: EstimatorTraining, observers: Sequence[Observer]) -> TrainingResult:
        with WorkerPool(JOB, self._options) as pool:
            supervisor = Supervisor(pool.mailbox, training, observers)
            pool.give(self._task(training, supervisor), last=True)
            pool.wait(supervisor.look)
            supervisor.look()
            result: TrainingResult = pool.mailbox.get(RESULT)
            load_state_dict(training, result.arrays, result.facts)
        for warning in result.warnings:
            warn_user(warning.message, warning.category)
        if result.error is not None:
            raise result.error
        return result

    def _task(self, training: EstimatorTraining, supervisor: Supervisor) -> TrainingTask:
        saver, validation = training.saver, training.validation
        assert isinstance(training.rows, Rows | StreamedRows)
        arrays, facts = state_dict(training)
        return TrainingTask(
            recipe=training.recipe,
            rows=training.rows,
            arrays=arrays,
            facts=facts,
            first_epoch=training.first_epoch,
            backend=training.backend,
            shared_by=self._backend,
            estimator=_unfitted(training.estimator),
            targets=training.targets,
            held=training.held,
            has_loss=isinstance(validation, Validation) and validation.has_loss,
            checkpoints=None if saver is None else saver.directory,
            checkpoint_every=None if saver is None else saver.every,
            reports=supervisor.reports,
            listens=supervisor.listens,
        )


class Supervisor:
    """Attends to the workers: tells observers what rank 0 reports, and rank 0 what is asked of this process.

    Attributes
    ----------
    reports : bool
        Whether somebody wants to hear of each epoch.
    listens : bool
        Whether somebody may end the training, or look at the model: then rank 0 waits for an answer.
    """

    def __init__(self, mailbox: Mailbox, training: EstimatorTraining, observers: Sequence[Observer]) -> None:
        self._mailbox, self._training, self._observers = mailbox, training, observers
        self.reports = bool(observers)
        self.listens = any(not isinstance(observer, ProgressLine) for observer in observers)

    def look(self) -> bool:
        """Tell what is new, and ask rank 0 to end if this process shall; the workers end by themselves."""
        for report in self._mailbox.unread(REPORTS):
            self._tell(EpochReport(**report))
        saver = self._training.saver
        if saver is not None and saver.is_terminated:
            self._mailbox.set(TERMINATE)
        return False

    def _tell(self, report: EpochReport) -> None:
        if self.listens:
            load_state_dict(self._training, *self._mailbox.get(f"{STATE}-{report.epoch}"))
        wishes = [observer(report) for observer in self._observers]
        if self.listens:
            self._mailbox.append(ANSWERS, any(wishes))


def _unfitted(estimator: BaseEstimator) -> BaseEstimator:
    """Return an estimator with the same parameters, and nothing that it has learnt."""
    kind: Any = type(estimator)
    copy: BaseEstimator = kind.__new__(kind)
    vars(copy).update(given_parameters(estimator))
    return copy
