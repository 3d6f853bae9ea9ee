"""Modules of a user's: ours beside skorch, and beside a lean loop over the same module.

Everybody trains the same module with Adam at 0.001 on the same float32 rows, without a penalty; skorch with
callbacks="disable", its fastest. All is in the time but our trial of the module, of which a process needs one for a
class and a shape of rows: it comes before, in the first run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.options import Options
from benchmarks.pairs import Pair, PairSection, timed_pair
from benchmarks.peers import HAS_SKORCH, NEVER, epoch, not_converged
from skbig import BigModuleClassifier

N_CLASSES = 10
N_MEMBERS = 8


class Perceptron(nn.Module):
    """Three layers."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, width: int = 256) -> None:
        super().__init__()
        sizes = (input_shape[0], width, width)
        hidden = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, n_outputs))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.layers(X)


class Convolutions(nn.Module):
    """Two convolutions with a batch norm each, and the sums."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(input_shape[0], width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(2 * width * (input_shape[1] // 4) * (input_shape[2] // 4), n_outputs)),
        )

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.layers(X)


@dataclass(frozen=True)
class ModuleTask:
    """Which module is trained, on how many rows of which shape."""

    module: Callable[..., nn.Module]
    shape: tuple[int, ...]
    batch_size: int
    n_rows: int
    n_epochs: int

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 rows, and a class of each."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.n_rows, *self.shape), dtype=np.float32)
        scores = X.reshape(len(X), -1) @ rng.standard_normal((int(np.prod(self.shape)), N_CLASSES), dtype=np.float32)
        return X, scores.argmax(1)

    def made(self) -> nn.Module:
        return self.module(self.shape, N_CLASSES)


TASKS = {
    "perceptron": ModuleTask(Perceptron, (50,), 256, n_rows=20 * 256, n_epochs=5),
    "convolutions-8": ModuleTask(Convolutions, (1, 8, 8), 64, n_rows=1797, n_epochs=5),
    "convolutions-28": ModuleTask(Convolutions, (1, 28, 28), 128, n_rows=16 * 128, n_epochs=5),
    "convolutions-28-once": ModuleTask(Convolutions, (1, 28, 28), 128, n_rows=16 * 128, n_epochs=1),
}


def train_skbig(task: ModuleTask, X: np.ndarray, y: np.ndarray, n_members: int = 1) -> None:
    """Train ours."""
    model = BigModuleClassifier(
        task.module,
        batch_size=task.batch_size,
        max_iter=task.n_epochs,
        tol=0.0,
        n_iter_no_change=NEVER,
        alpha=0.0,
        n_members=n_members,
        device="cpu",
        random_state=0,
    )
    with not_converged():
        model.fit(X, y)


def train_skorch(task: ModuleTask, X: np.ndarray, y: np.ndarray) -> None:
    """Train skorch's estimator."""
    from skorch import NeuralNetClassifier

    torch.manual_seed(0)
    net = NeuralNetClassifier(
        task.made(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.001,
        max_epochs=task.n_epochs,
        batch_size=task.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks="disable",
        verbose=0,
    )
    net.fit(X, y)


def train_lean(task: ModuleTask, X: np.ndarray, y: np.ndarray) -> None:
    """Train by a loop as one writes it by hand."""
    torch.manual_seed(0)
    net = task.made()
    optimizer = torch.optim.Adam(net.parameters())
    rows, classes = torch.from_numpy(X), torch.from_numpy(y)
    for _ in range(task.n_epochs):
        epoch(net, optimizer, rows, classes, task.batch_size).item()


PEERS: dict[str, Callable[[ModuleTask, np.ndarray, np.ndarray], None]] = {"lean-loop": train_lean}
if HAS_SKORCH:
    PEERS["skorch"] = train_skorch
WANTED = {
    ("perceptron", "skorch"): 1.5,
    ("convolutions-8", "skorch"): 1.0,
    ("convolutions-28", "skorch"): 1.0,
    ("convolutions-28-once", "skorch"): 1.0,
}
"""How many times longer than ours a peer should take; 1 / 1.1 where nothing is said."""


def beside(name: str, peer: str, options: Options) -> Pair:
    """Time a training of a module, ours and a peer's."""
    task = TASKS[name]
    X, y = task.rows()
    X, y = (X[: task.batch_size], y[: task.batch_size]) if options.quick else (X, y)
    wanted = WANTED.get((name, peer), 1 / 1.1)
    ours, theirs = partial(train_skbig, task, X, y), partial(PEERS[peer], task, X, y)
    return timed_pair(f"{name}/{peer}", ours, theirs, peer, options, wanted=wanted)


def member(name: str, options: Options) -> Pair:
    """Time one of eight members of an ensemble, and one alone."""
    task = TASKS[name]
    X, y = task.rows()
    X, y = (X[: task.batch_size], y[: task.batch_size]) if options.quick else (X, y)
    ours, alone = (partial(train_skbig, task, X, y, n_members=n) for n in (N_MEMBERS, 1))
    title = f"{name}/member"
    return timed_pair(title, ours, alone, "one alone", options, n_units=N_MEMBERS, n_peer_units=1)


SECTIONS = {
    "modules": PairSection(
        "a torch module of one's own, a whole fit",
        {f"{name}/{peer}": partial(beside, name, peer) for name in TASKS for peer in PEERS}
        | {f"{name}/member": partial(member, name) for name in TASKS},
    )
}
