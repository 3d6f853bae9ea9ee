"""The caller's side of a training by workers that `fit` starts: it hands over files, and waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import distributed

from skbig._utils.user_warning import warn_user
from skbig.backends.backend import Backend, resolve_backend
from skbig.backends.context import WorkerContext, existing_context
from skbig.backends.folder import private_folder
from skbig.backends.launch import launch
from skbig.backends.single import SingleDevice
from skbig.data.packing import pack, unpack
from skbig.data.rows import Rows
from skbig.data.streamed_rows import StreamedRows
from skbig.engine.checkpoint import CheckpointDirectory
from skbig.engine.ranks import Ranks
from skbig.engine.recipe import Recipe
from skbig.engine.state_dict import load_state_dict, state_dict
from skbig.engine.train import EpochReport, Observer
from skbig.estimators.checkpointing import Saver
from skbig.estimators.declaration import given_parameters
from skbig.estimators.given import Given
from skbig.estimators.progress import ProgressLine
from skbig.estimators.search_context import inside_candidate
from skbig.estimators.teams import ALONE, Errand, Joined, Team, check_parts
from skbig.estimators.validation import Validation

T = TypeVar("T")

JOB = "skbig.estimators.labour:train_part"

# What lies in the folder of a launch. The caller writes TASK, ANSWERS, STOP and TERMINATE, rank 0 the others.
TASK = "task"
OUTCOME = "outcome"
REPORTS = "reports.jsonl"
ANSWERS = "answers"
STATE = "state"
STOP = "stop"
TERMINATE = "terminate"


@dataclass(frozen=True)
class Task:
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
    team : Backend
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
    team: Backend
    estimator: Any
    targets: Any
    held: dict[str, Given] | None
    has_loss: bool
    checkpoints: CheckpointDirectory | None
    checkpoint_every: Any
    reports: bool
    listens: bool


@dataclass(frozen=True)
class Outcome:
    """What rank 0 hands back.

    Attributes
    ----------
    arrays, facts : mapping
        The state_dict of the training where it ended.
    warnings : list of Warning
    error : Exception or None
        What all ranks have raised.
    terminated : bool
        Whether it ended because the caller was asked to end.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    warnings: list[Warning]
    error: Exception | None
    terminated: bool


class Launching:
    """Workers that this process starts, for this training alone.

    Parameters
    ----------
    backend : Backend
    device_type : {"cpu", "cuda"}
    estimator : estimator
    """

    def __init__(self, backend: Backend, device_type: str, estimator: BaseEstimator) -> None:
        self._backend, self._device_type, self._estimator = backend, device_type, estimator
        self._n_workers = backend.count(device_type)

    def device(self, chosen: torch.device) -> torch.device:
        del chosen  # each worker has its own of this type
        return torch.device(self._device_type)

    def home(self, backend: SingleDevice) -> SingleDevice:
        """Return this process's memory: the devices are the workers'."""
        return replace(backend, device=torch.device("cpu"))

    def first(self, function: Callable[[], T]) -> T:
        return function()

    def train(self, errand: Errand, observers: Sequence[Observer]) -> None:
        """Have it trained by workers; the saver is not told here, for rank 0 has its own."""
        training, saver = errand.training, errand.saver
        check_parts(training.recipe, self._backend.steps_alone, self._n_workers)
        told = [observer for observer in observers if observer is not saver]
        n_epochs = training.members.epochs + training.recipe.max_epochs
        while self._launch(errand, told).terminated and saver is not None:
            training.history.stop_reason = ""
            training.tracker.restore_latest()
            training.recipe = replace(training.recipe, max_epochs=n_epochs - training.members.epochs)
            saver.let_sigterm_through()  # and go on, where a handler of the caller's has done so

    def _launch(self, errand: Errand, observers: Sequence[Observer]) -> Outcome:
        backend = self._backend
        with private_folder() as folder:
            supervisor = Supervisor(folder, errand, observers)
            pack(self._task(errand, supervisor), folder / TASK)
            launch(
                JOB,
                folder,
                n_workers=self._n_workers,
                device_type=self._device_type,
                timeout=backend.timeout,
                max_restarts=backend.max_restarts,
                attendant=supervisor,
            )
            supervisor.look()
            outcome: Outcome = unpack(folder / OUTCOME)
            load_state_dict(errand.training, outcome.arrays, outcome.facts)
        for warning in outcome.warnings:
            warn_user(warning, type(warning))
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def _task(self, errand: Errand, supervisor: Supervisor) -> Task:
        training, saver, validation = errand.training, errand.saver, errand.training.validation
        assert isinstance(training.rows, Rows | StreamedRows)
        arrays, facts = state_dict(training)
        return Task(
            recipe=training.recipe,
            rows=training.rows,
            arrays=arrays,
            facts=facts,
            first_epoch=training.first_epoch,
            backend=errand.backend,
            team=self._backend,
            estimator=_unfitted(self._estimator),
            targets=errand.targets,
            held=errand.held,
            has_loss=isinstance(validation, Validation) and validation.has_loss,
            checkpoints=None if saver is None else saver.directory,
            checkpoint_every=None if saver is None else saver.every,
            reports=supervisor.reports,
            listens=supervisor.listens,
        )


def team_of(estimator: Any) -> Team:
    """Return who trains an estimator, by its parameters `backend` and `device`.

    Raises
    ------
    ValueError
        When the workers could not have devices of their own.
    RuntimeError
        When the environment tells of other ranks that do not come.
    """
    backend = resolve_backend(getattr(estimator, "backend", None))
    if backend is None or (backend.spreads_searches and inside_candidate()):
        return ALONE
    context, device_type = place_of(estimator.device, backend)
    if context is not None:
        return Joined(Ranks(context, backend), estimator)
    return Launching(backend, device_type, estimator)


def place_of(device: str, backend: Backend) -> tuple[WorkerContext | None, str]:
    """Return the launch that this process is in, if it is in one, and the kind of device that workers have.

    Raises
    ------
    ValueError, RuntimeError
        As `team_of`.
    """
    wanted = _device_type(device, backend)
    context = existing_context(wanted, backend.timeout)
    if context is not None:
        _check_device(wanted, context.device)
        return context, context.device.type
    return None, wanted or ("cuda" if torch.cuda.is_available() else "cpu")


def _device_type(device: str, backend: Backend) -> str | None:
    """Return the kind of device that a parameter names; None leaves it open."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f"backend={backend!r} gives each worker a device of its own. Use device='auto', 'cpu' or 'cuda'. Got "
            f"{device!r} instead."
        )
    return None if device == "auto" else device


def _check_device(device_type: str | None, device: torch.device) -> None:
    if device_type not in (None, device.type):
        raise ValueError(
            f"device={device_type!r} is not what the ranks of this launch compute on, which is {device.type!r}: their "
            f"process group is one of {distributed.get_backend()!r}. Use device='auto', or start the group for it."
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

    def __init__(self, folder: Path, errand: Errand, observers: Sequence[Observer]) -> None:
        self._folder, self._errand, self._observers = folder, errand, observers
        self.reports = bool(observers)
        self.listens = any(not isinstance(observer, ProgressLine) for observer in observers)
        self._place = 0

    def look(self) -> None:
        for report in self._news():
            self._tell(report)
        saver: Saver | None = self._errand.saver
        if saver is not None and saver.is_terminated:
            (self._folder / TERMINATE).touch()

    def interrupted(self) -> None:
        (self._folder / STOP).touch()

    def _news(self) -> Iterator[EpochReport]:
        """Yield the reports that have come since the last look."""
        path = self._folder / REPORTS
        if not path.exists():
            return
        with open(path, encoding="utf-8") as file:
            file.seek(self._place)
            lines = file.read()
        for line in lines.splitlines(keepends=True):
            if line.endswith("\n"):  # the last one may be half written
                self._place += len(line)
                yield EpochReport(**json.loads(line))

    def _tell(self, report: EpochReport) -> None:
        if self.listens:
            load_state_dict(self._errand.training, *unpack(self._folder / f"{STATE}-{report.epoch}"))
        wishes = [observer(report) for observer in self._observers]
        if self.listens:
            with open(self._folder / ANSWERS, "a", encoding="utf-8") as file:
                file.write("end\n" if any(wishes) else "go on\n")


def _unfitted(estimator: BaseEstimator) -> BaseEstimator:
    """Return an estimator with the same parameters, and nothing that it has learnt."""
    kind: Any = type(estimator)
    copy: BaseEstimator = kind.__new__(kind)
    vars(copy).update(given_parameters(estimator))
    return copy
