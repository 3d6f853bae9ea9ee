"""The contenders: ours, scikit-learn's, skorch, and a loop as one writes it by hand.

All of them train the same network with Adam at 0.001, on the same rows, for the same number of epochs and steps, and
know the loss of every epoch in the end. What differs, differs in the others' favour: the L2 penalty of 1e-4, which ours
and scikit-learn's have by default, is left out in skorch and in the loop.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

from skbig import BigMLPClassifier

if TYPE_CHECKING:
    from skorch import NeuralNetClassifier

HELD_OUT = 0.1
NEVER = 1_000_000
HAS_SKORCH = find_spec("skorch") is not None


@dataclass(frozen=True)
class Task:
    """What is trained: a network, and how many rows in how many batches and epochs.

    With `validation`, a tenth of the rows is held out, judged after each epoch, and the best weights are kept.
    """

    n_features: int
    hidden: tuple[int, ...]
    batch_size: int
    n_rows: int
    n_epochs: int
    n_classes: int = 10
    validation: bool = False
    device: str = "cpu"

    @property
    def n_steps(self) -> int:
        n_trained = self.n_rows - math.ceil(HELD_OUT * self.n_rows) * self.validation
        return self.n_epochs * math.ceil(n_trained / self.batch_size)

    def __str__(self) -> str:
        return f"{self.n_features} features, {self.hidden}, batch {self.batch_size}"

    def size(self) -> str:
        """Return how much is trained, in words."""
        return f"{self.n_rows:,} rows x {self.n_epochs} epochs = {self.n_steps:,} steps"


def weights_of(task: Task) -> list[int]:
    """Return how many weights each layer has."""
    sizes = (task.n_features, *task.hidden, task.n_classes)
    return [before * after for before, after in pairwise(sizes)]


def flops_of_training(task: Task) -> float:
    """Return the floating point operations in the products of a training.

    A weight takes two for a row's output, two for its own gradient and two for that of its input, which the first
    layer does without.
    """
    weights = weights_of(task)
    n_trained = task.n_rows - math.ceil(HELD_OUT * task.n_rows) * task.validation
    return task.n_epochs * n_trained * (6.0 * sum(weights) - 2.0 * weights[0])


def make_rows(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows, and the class of each by a noisy linear rule."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((task.n_rows, task.n_features), dtype=np.float32)
    scores = X @ rng.standard_normal((task.n_features, task.n_classes), dtype=np.float32)
    return X, (scores + rng.gumbel(size=scores.shape)).argmax(1)


def train_skbig(task: Task, X: np.ndarray, y: np.ndarray, precision: str = "auto") -> float:
    """Train ours; return the loss of the last epoch."""
    more: dict[str, Any] = {"scoring": None} if task.validation else {}  # scikit-learn's watches the accuracy
    model = BigMLPClassifier(**shared(task), device=task.device, precision=precision, **more)
    return trained(model, task, X, y)


def train_sklearn(task: Task, X: np.ndarray, y: np.ndarray) -> float:
    """Train scikit-learn's; return the loss of the last epoch."""
    return trained(MLPClassifier(**shared(task)), task, X, y)


def shared(task: Task) -> dict[str, Any]:
    """Return the parameters that ours and scikit-learn's have in common; nothing ends the training early."""
    return {
        "hidden_layer_sizes": task.hidden,
        "batch_size": task.batch_size,
        "max_iter": task.n_epochs,
        "tol": 0.0,
        "n_iter_no_change": NEVER,
        "early_stopping": task.validation,
        "validation_fraction": HELD_OUT,
        "random_state": 0,
    }


def trained(model: Any, task: Task, X: np.ndarray, y: np.ndarray) -> float:
    """Fit a model, make sure that it did not stop early, and return its last loss."""
    with not_converged():
        model.fit(X, y)
    if model.n_iter_ != task.n_epochs:
        raise RuntimeError(f"{type(model).__name__} ran {model.n_iter_} epochs of {task.n_epochs}.")
    return model.loss_curve_[-1]


@contextmanager
def not_converged() -> Iterator[None]:
    """Let a training end at its last epoch without being warned of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def train_skorch(task: Task, X: np.ndarray, y: np.ndarray, callbacks: str | None = None) -> float:
    """Train skorch; return the loss of the last epoch."""
    net = skorch_net(task, callbacks)
    net.fit(X, y)
    synchronize(task)
    losses, sizes = np.array(net.history[-1, "batches", :, ("train_loss", "train_batch_size")]).T
    return float(np.average(losses, weights=sizes))


def skorch_net(task: Task, callbacks: str | None = None) -> NeuralNetClassifier:
    """Return skorch's estimator, at its default callbacks or at ``"disable"``, its fastest."""
    from skorch import NeuralNetClassifier
    from skorch.dataset import ValidSplit

    torch.manual_seed(0)
    return NeuralNetClassifier(
        network(task),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.001,
        max_epochs=task.n_epochs,
        batch_size=task.batch_size,
        iterator_train__shuffle=True,
        train_split=ValidSplit(HELD_OUT) if task.validation else None,
        callbacks=callbacks,
        device=task.device,
        verbose=0,
    )


def train_lean(task: Task, X: np.ndarray, y: np.ndarray) -> float:
    """Train by a loop as one writes it by hand: rows on the device, batches by index; return the last loss."""
    torch.manual_seed(0)
    net = network(task).to(task.device)
    optimizer = torch.optim.Adam(net.parameters())
    rows, classes = torch.from_numpy(X).to(task.device), torch.from_numpy(y).to(task.device)
    held_out = math.ceil(HELD_OUT * len(rows)) * task.validation
    rows, X_val = rows[held_out:], rows[:held_out]
    classes, y_val = classes[held_out:], classes[:held_out]
    curve: list[float] = []
    best, kept = -1.0, None
    for _ in range(task.n_epochs):
        curve.append(epoch(net, optimizer, rows, classes, task.batch_size).item())
        if task.validation:
            with torch.no_grad():
                accuracy = (net(X_val).argmax(1) == y_val).float().mean().item()
            if accuracy > best:
                best, kept = accuracy, {name: value.clone() for name, value in net.state_dict().items()}
    if kept is not None:
        net.load_state_dict(kept)
    synchronize(task)
    return curve[-1]


def epoch(net: nn.Module, optimizer: torch.optim.Optimizer, rows: Tensor, classes: Tensor, batch_size: int) -> Tensor:
    """Train one epoch; return its mean loss, which is read once an epoch and not at every step."""
    total = torch.zeros((), device=rows.device)
    for batch in torch.randperm(len(rows), device=rows.device).split(batch_size):
        loss = nn.functional.cross_entropy(net(rows[batch]), classes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch)
    return total / len(rows)


def network(task: Task) -> nn.Sequential:
    """Return the network as a torch module."""
    sizes = (task.n_features, *task.hidden, task.n_classes)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def synchronize(task: Task) -> None:
    """Wait for the GPU, where there is one in the task."""
    if task.device != "cpu":
        torch.cuda.synchronize(task.device)
