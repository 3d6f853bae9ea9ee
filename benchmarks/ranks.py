"""Training by two processes, beside two that are independent, and beside torch's DistributedDataParallel by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.options import Options
from benchmarks.peers import Task, make_rows, network, shared
from benchmarks.timing import Row, Table, in_turn
from skbig import DDP, BigMLPClassifier
from skbig.distributed.rank_processes import RankProcesses
from skbig.distributed.ranks import Ranks
from skbig.engine.epoch import Clock
from skbig.engine.processes import ONE_PROCESS, Processes
from skbig.engine.step import forward
from skbig.engine.train import epochs_of
from skbig.estimators.given import Given
from skbig.estimators.preparation import prepare
from skbig.launch.launch_options import LaunchOptions
from skbig.launch.launcher import launch
from skbig.launch.worker_context import WorkerContext, existing_context

N_RANKS = 2
APART = 16
TOGETHER = Task(100, (1024, 1024, 1024), 2048, n_rows=APART * 2048, n_epochs=1)
N_TESTED = 8192

OURS, OURS_APART = f"skbig, DDP({N_RANKS})", f"skbig, DDP({N_RANKS}, sync_every={APART})"
INDEPENDENT, BY_HAND = "skbig, independent", "torch DDP by hand"
WANTED = {INDEPENDENT: 0.9, BY_HAND: 1.0}
WANTED_APART = 0.97


class Contender(Protocol):
    """Trains an epoch at a time."""

    def epoch(self) -> object: ...

    def raw(self, X: Tensor) -> Tensor:
        """Return the raw prediction (N, K) of rows (N, F)."""
        ...


def train_by_ranks(options: Options) -> Table:
    """Time epochs of processes that train together, and test what they have learnt after the last."""
    task = replace(options.sized(TOGETHER), validation=False)
    with TemporaryDirectory(dir=options.scratch) as made:
        folder, order = Path(made), {"task": asdict(task), "repeats": options.repeats}
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        start = time.perf_counter()
        launch("benchmarks.ranks:compete", folder, LaunchOptions(N_RANKS, threads_per_worker=1))
        seconds = time.perf_counter() - start
        found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    rows = [Row(name, *found["rows"][name]) for name in found["rows"]]
    rows = [replace(row, wanted=WANTED.get(row.name)) for row in rows]
    head = f"{N_RANKS} processes, one thread each: "
    started = f"To start and to end the processes took {seconds - found['seconds']:.2g} s, which are left out."
    alone = train_alone(task, options)
    notes = [judged_apart({row.name: row for row in rows}), started]
    return Table(f"{head}{task}: {task.size()}", task.n_steps, "step", [*rows, alone], notes, judged_by="accuracy")


def judged_apart(rows: dict[str, Row]) -> str:
    """Return what steps of their own cost two processes, beside two that are independent."""
    ratio = rows[INDEPENDENT].median / rows[OURS_APART].median
    verdict = "ok" if ratio >= WANTED_APART else "short"
    return f"{INDEPENDENT} / {OURS_APART}: {ratio:.2f}, wanted >= {WANTED_APART}: {verdict}"


def train_alone(task: Task, options: Options) -> Row:
    """Time the same epochs in this process alone, on all its threads."""
    X, y, tested = made_rows(task)
    ours = Ours(task, X, y)
    ours.epoch()
    name = f"skbig, alone, {torch.get_num_threads()} threads"
    seconds, _ = in_turn({name: ours.epoch}, options.repeats)[name]
    return Row(name, seconds, None, accuracy(ours, *tested))


# In each of the processes.


def compete(folder: Path, context: WorkerContext) -> None:
    """Let all contenders train an epoch in turn; rank 0 writes the seconds until all ranks were through."""
    start = time.perf_counter()
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    task = Task(**order["task"] | {"hidden": tuple(order["task"]["hidden"])})
    X, y, tested = made_rows(task)
    contenders = made_contenders(task, X, y, context)
    for contender in contenders.values():
        contender.epoch()  # the first one records steps and connects processes
    runs: dict[str, Callable[[], Any]] = {name: contender.epoch for name, contender in contenders.items()}
    timed = in_turn(runs, order["repeats"], before_each=lambda name: distributed.barrier())
    rows = {
        name: (slowest(timed[name][0]), None, accuracy(contender, *tested)) for name, contender in contenders.items()
    }
    if context.rank == 0:
        found = {"rows": rows, "seconds": time.perf_counter() - start}
        (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def made_contenders(task: Task, X: np.ndarray, y: np.ndarray, context: WorkerContext) -> dict[str, Contender]:
    """Return all contenders. The independent have half of the rows each, and half of the batch."""
    own, half = slice(context.rank, None, context.world_size), replace(task, batch_size=task.batch_size // N_RANKS)
    return {
        OURS: Ours(task, X, y, DDP()),
        INDEPENDENT: Ours(half, X[own], y[own]),
        BY_HAND: ByHand(task, X, y, context),
        OURS_APART: Ours(task, X, y, DDP(sync_every=APART)),
    }


def slowest(seconds: list[float]) -> list[float]:
    """Return the seconds of each repeat in that rank where it took longest."""
    most = torch.tensor(seconds, dtype=torch.float64)
    distributed.all_reduce(most, op=distributed.ReduceOp.MAX)
    return list(most.tolist())


class Ours:
    """An estimator's training, without what comes before its first epoch and after its last."""

    def __init__(self, task: Task, X: np.ndarray, y: np.ndarray, backend: DDP | None = None) -> None:
        model = BigMLPClassifier(**shared(task), device="cpu", backend=backend)
        session = prepare(model, Given(X, y), Given(None, None))
        self._members, recipe = session.members, session.recipe
        processes = _processes(backend)
        rows = processes.own_rows(session.rows, recipe)
        clock = Clock(time.perf_counter(), None)
        self.epoch = epochs_of(self._members, rows, recipe, clock, 0, processes=processes).run

    def raw(self, X: Tensor) -> Tensor:
        return forward(self._members.network, self._members.parameters, self._members.statistics, X)


def _processes(backend: DDP | None) -> Processes:
    """Return this process, or with a backend all ranks of the launch that it is in."""
    if backend is None:
        return ONE_PROCESS
    context = existing_context()
    assert context is not None
    return RankProcesses(Ranks(context, backend))


class ByHand:
    """A loop as one writes it by hand: every rank indexes its part of each batch, and torch means the gradients."""

    def __init__(self, task: Task, X: np.ndarray, y: np.ndarray, context: WorkerContext) -> None:
        torch.manual_seed(0)
        self._net = DistributedDataParallel(network(task))
        self._optimizer = torch.optim.Adam(self._net.parameters())
        self._X, self._y, self._batch_size = torch.from_numpy(X), torch.from_numpy(y), task.batch_size
        self._rank, self._n_ranks = context.rank, context.world_size
        self._order = torch.Generator().manual_seed(0)  # the same order in all ranks

    def epoch(self) -> float:
        total = torch.zeros(())
        for batch in torch.randperm(len(self._X), generator=self._order).split(self._batch_size):
            own = batch.chunk(self._n_ranks)[self._rank]
            loss = nn.functional.cross_entropy(self._net(self._X[own]), self._y[own])
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += loss.detach() * len(own)
        distributed.all_reduce(total)
        return total.item() / len(self._X)

    def raw(self, X: Tensor) -> Tensor:
        raw: Tensor = self._net.module(X)
        return raw


def made_rows(task: Task) -> tuple[np.ndarray, np.ndarray, tuple[Tensor, Tensor]]:
    """Return rows to train on, and others by the same rule to test on."""
    X, y = make_rows(replace(task, n_rows=task.n_rows + N_TESTED))
    tested = torch.from_numpy(X[task.n_rows :]), torch.from_numpy(y[task.n_rows :])
    return X[: task.n_rows], y[: task.n_rows], tested


def accuracy(contender: Contender, X: Tensor, y: Tensor) -> float:
    """Return which part of the rows is told right."""
    with torch.no_grad():
        return (contender.raw(X).argmax(1) == y).double().mean().item()


SECTIONS: dict[str, Callable[[Options], Table | str]] = {"ranks": train_by_ranks}
